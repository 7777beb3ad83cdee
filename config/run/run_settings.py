"""What the main job is told about the servers it works on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Addresses and paths of one `make run`; `once` when everything stops after the main job.

    `main_job.run(settings)` is called in a process whose environment has everything Django needs.
    """

    web_url: str
    database_url: str
    redis_url: str
    carrier_sim_url: str
    var: Path
    once: bool = False

    @property
    def demo_env(self) -> Path:
        """Where the main job leaves addresses and logins, readable for a shell, mode 0600."""
        return self.var / "demo.env"

    @property
    def local_env(self) -> Path:
        """The secrets of this machine's demo."""
        return self.var / "local.env"

    @property
    def ledger(self) -> Path:
        """What the simulated carrier remembers: one per database, since they grow old together."""
        database = urlsplit(self.database_url)
        place = f"{database.hostname}:{database.port}{database.path}"
        return self.var / f"carrier_sim-{hashlib.sha256(place.encode()).hexdigest()[:8]}.jsonl"

    @property
    def logs(self) -> Path:
        return self.var / "log"

    def environment(self) -> dict[str, str]:
        """The variables that tell Django, the simulator and `from_environment` the same."""
        return {
            "DJANGO_SETTINGS_MODULE": "config.settings.local",
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "KAIHU_PUBLIC_URL": self.web_url,
            "CARRIER_SIM_URL": self.carrier_sim_url,
            "REALNAME_AUTHORITY_URL": f"{self.carrier_sim_url}/realname/authority",
            "REALNAME_FACE_URL": f"{self.carrier_sim_url}/realname/face",
            "REALNAME_SECOND_AUTHORITY_URL": f"{self.carrier_sim_url}/realname2/citizen",
            "REALNAME_SECOND_FACE_URL": f"{self.carrier_sim_url}/realname2/portrait",
            # A log is read while its process runs, and after it was killed.
            "PYTHONUNBUFFERED": "1",
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, var: Path, once: bool) -> RunSettings:
        return cls(
            web_url=environment["KAIHU_PUBLIC_URL"],
            database_url=environment["DATABASE_URL"],
            redis_url=environment["REDIS_URL"],
            carrier_sim_url=environment["CARRIER_SIM_URL"],
            var=var,
            once=once,
        )
