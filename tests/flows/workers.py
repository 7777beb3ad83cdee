"""Real worker processes on the test's own database, to be killed by pid."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from django.conf import settings
from django.db import connection

from tests.simulator import REALNAME_TOKEN, ROOT

CARRIER = ["worker", "-Q", "carrier.unicom", "--pool", "threads", "-c", "2", "-n", "carrier@%h"]
WORK = ["worker", "-Q", "default,realname,events", "--pool", "threads", "-c", "3", "-n", "work@%h"]


class Workers:
    """Celery workers and beat; each in a process group of its own."""

    def __init__(self, *, environment: Mapping[str, str], folder: Path) -> None:
        self.environment = dict(environment)
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.kills = 0

    def start(self) -> None:
        self._start("carrier", *CARRIER, "--without-gossip", "--without-mingle")
        self._start("work", *WORK, "--without-gossip", "--without-mingle")
        self._start("beat", "beat", "--schedule", str(self.folder / "beat"), "--pidfile=")

    def kill_workers(self) -> None:
        """SIGKILL to every worker, so that none of them can tidy up, and new ones in their place."""
        for name in ("carrier", "work"):
            self._end(name, signal.SIGKILL)
            self.kills += 1
        self.start_missing()

    def start_missing(self) -> None:
        if "carrier" not in self.running:
            self._start("carrier", *CARRIER, "--without-gossip", "--without-mingle")
        if "work" not in self.running:
            self._start("work", *WORK, "--without-gossip", "--without-mingle")

    def stop(self) -> None:
        for name in list(self.running):
            self._end(name, signal.SIGKILL)

    def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "config.celery", *arguments, "--loglevel", "WARNING"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, name: str, number: int) -> None:
        process = self.running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        process.wait()


@contextlib.contextmanager
def running_workers(*, public_url: str, simulator_url: str, folder: Path) -> Iterator[Workers]:
    """Workers that see what the test has committed, call the simulator, and are called back at `public_url`."""
    database = connection.settings_dict
    password = f":{database['PASSWORD']}" if database["PASSWORD"] else ""
    host = f"{database['HOST'] or '127.0.0.1'}:{database['PORT'] or 5432}"
    workers = Workers(
        folder=folder,
        environment={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings.test",
            "DATABASE_URL": f"postgresql://{database['USER']}{password}@{host}/{database['NAME']}",
            "REDIS_URL": settings.REDIS_URL,
            "KAIHU_PUBLIC_URL": public_url,
            "REALNAME_AUTHORITY_URL": f"{simulator_url}/realname/authority",
            "REALNAME_FACE_URL": f"{simulator_url}/realname/face",
            "REALNAME_TOKEN": REALNAME_TOKEN,
        },
    )
    workers.start()
    try:
        yield workers
    finally:
        workers.stop()


def wait_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Whether the condition came true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.1)
    return condition()
