"""Worker processes under measurement, and what the database says of them afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection

from apps.core import dispatch
from apps.provisioning.models import JobAttempt
from config.run.home import ROOT

QUEUES = "carrier.unicom,carrier.mobile,carrier.telecom"


@contextmanager
def running(*arguments: str, slots: int = 512) -> Iterator[subprocess.Popen[bytes]]:
    """A Celery worker that has answered a ping."""
    log = Path(settings.BASE_DIR) / "var" / "bench" / "provisioning-worker.log"
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "config.celery",
        "worker",
        *arguments,
        "--loglevel",
        "WARNING",
    ]
    command += ["--without-gossip", "--without-mingle", "-n", "bench@%h"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "KAIHU_CARRIER_SLOTS": str(slots)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_for_ping()
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def carrier_worker(slots: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """As `make run` starts it."""
    return running("-Q", QUEUES, "--pool", "threads", "-c", "8", slots=slots)


def _wait_for_ping() -> None:
    from config.celery import app

    until = time.monotonic() + 60
    while time.monotonic() < until:
        if app.control.inspect(timeout=0.5).ping():
            return
    raise RuntimeError("the worker does not answer")


def make_due(jobs: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE provisioning_activationjob SET next_attempt_at = clock_timestamp() WHERE id = ANY(%s)",
            [jobs],
        )


def nudge(carrier: str, connection_id: int) -> None:
    dispatch.now("provisioning.drain", queue=f"carrier.{carrier}", connection_id=connection_id)


def wait_until_called(jobs: list[int], *, seconds: float) -> int:
    """How many of them have been called and recorded when all are, or the time is up."""
    until = time.monotonic() + seconds
    done = 0
    while time.monotonic() < until:
        done = JobAttempt.objects.filter(job_id__in=jobs, finished_at__isnull=False).count()
        if done >= len(jobs):
            break
        time.sleep(0.5)
    return done


def rate(jobs: list[int], *, skip: float = 0.1) -> float:
    """Jobs recorded per second between the tenth and the last tenth of them, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM finished_at) FROM provisioning_jobattempt "
            "WHERE job_id = ANY(%s) AND outcome IN ('ACCEPTED', 'SUCCEEDED') ORDER BY 1",
            [jobs],
        )
        moments = [float(row[0]) for row in cursor.fetchall()]
    if len(moments) < len(jobs) * 0.9:
        raise RuntimeError(f"only {len(moments)} of {len(jobs)} jobs went through")
    cut = int(len(moments) * skip)
    middle = moments[cut : len(moments) - cut]
    return (len(middle) - 1) / (middle[-1] - middle[0])


def memory_mb(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of the process at its highest."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024
