"""What the tests of config.run share: folders, supervisors, commands in a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.run.home import ROOT
from config.run.processes import Supervisor

NOT_FOR_CHILDREN = ("DATABASE_URL", "REDIS_URL", "PORT", "DJANGO_SETTINGS_MODULE")


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(home=tmp_path) as current:
        yield current


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of a shell that knows nothing of this test run's servers."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in NOT_FOR_CHILDREN and not name.startswith("KAIHU_")
    }


@pytest.fixture
def run_command(
    tmp_path: Path, environment: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m config.run <arguments>` on the test's own folder, with more variables set."""

    def run(command: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "config.run", command, "--var", str(tmp_path), *arguments],
            cwd=ROOT,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def wait_until(condition: Callable[[], object], *, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether the process is there; zombies, which some containers never collect, are not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
