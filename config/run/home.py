"""The folder of one set of servers (`var/`, or `var/test/`): whose it is now, and what it remembers."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from config.run.console import Problem

ROOT = Path(__file__).resolve().parent.parent.parent
VAR = ROOT / "var"


def write_private(path: Path, text: str) -> None:
    """Replaces the file whole, readable for its owner alone from its first byte on."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    draft.replace(path)


@dataclass(kw_only=True)
class Memory:
    """What a folder keeps from one start to the next, in `servers.json`, mode 0600.

    `postgres_folder` is where PostgreSQL's data is when it could not be in the folder itself.
    """

    postgres_port: int | None = None
    postgres_password: str = ""
    postgres_role_made: bool = False
    postgres_folder: str = ""
    redis_port: int | None = None
    redis_password: str = ""
    web_port: int | None = None
    carrier_sim_port: int | None = None

    @classmethod
    def load(cls, home: Path) -> Memory:
        try:
            kept = json.loads((home / "servers.json").read_text())
            return cls(**kept)
        except (OSError, ValueError, TypeError):
            return cls()

    def save(self, home: Path) -> None:
        write_private(home / "servers.json", json.dumps(asdict(self), indent=1) + "\n")

    @property
    def database_url(self) -> str:
        return f"postgresql://kaihu:{self.postgres_password}@127.0.0.1:{self.postgres_port}/kaihu"

    @property
    def redis_url(self) -> str:
        return f"redis://kaihu:{self.redis_password}@127.0.0.1:{self.redis_port}/0"


class Lock:
    """Held by the one process that starts and stops what runs in a folder; gone with it, however it ends."""

    def __init__(self, *, home: Path) -> None:
        self.path = home / "lock"
        self._file: TextIO | None = None
        try:
            home.mkdir(parents=True, exist_ok=True)
            if not os.access(home, os.W_OK):
                raise PermissionError
        except PermissionError:
            raise Problem(
                f"{home} belongs to another user: remove it (make clean as that user) or use another clone"
            ) from None

    def acquire(self, *, seconds: float = 0.0) -> bool:
        """Tries for so long; False when somebody else keeps it."""
        deadline = time.monotonic() + seconds
        while True:
            file = self._open()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.1)
                continue
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            self._file = file
            return True

    def owner(self) -> int | None:
        """The process that wrote itself down last; it is alive as long as `acquire` fails."""
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> TextIO:
        try:
            return self.path.open("a", encoding="ascii")
        except PermissionError:
            raise Problem(
                f"{self.path} belongs to another user: run as that user, or remove {self.path.parent}"
            ) from None
