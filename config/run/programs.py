"""The processes of `make run`, beside the servers: one table, and how each shows that it is ready."""

from __future__ import annotations

import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from celery import Celery

from config.run.home import ROOT
from config.run.processes import Program
from config.run.run_settings import RunSettings

# name: the command after `python -m`; {port} and {sim_port} are free ones, {run} is a folder.
TABLE = {
    "carrier_sim": "apps.carrier_sim --port {sim_port} --ledger {ledger}",
    "web": (
        "gunicorn config.wsgi --bind 127.0.0.1:{port} --workers 2 --worker-class gthread --threads 4 "
        "--graceful-timeout 10 --no-control-socket"
    ),
    # One thread per host carrier that has work; the others take the nudges that wake it.
    "carrier": (
        "celery -A config.celery worker -Q carrier.unicom,carrier.mobile,carrier.telecom "
        "--pool threads -c 8 -n carrier@%h"
    ),
    # Apart from the rest: a slow provider must not keep callbacks and sweeps waiting.
    "realname": "celery -A config.celery worker -Q realname --pool threads -c 2 -n realname@%h",
    "reconciliation": "celery -A config.celery worker -Q reconciliation --pool threads -c 2 -n reconciliation@%h",
    "work": "celery -A config.celery worker -Q default,events --pool threads -c 4 -n work@%h",
    "beat": "celery -A config.celery beat --schedule {run}/beat-schedule --pidfile=",
}
LABELS = {
    "carrier_sim": "Carrier simulator at {sim}/_sim/",
    "web": "Web at {web}/",
    "carrier": "Worker for carrier jobs",
    "realname": "Worker for real-name checks",
    "reconciliation": "Worker for reconciliation with the carriers",
    "work": "Worker for callbacks, events, housekeeping",
    "beat": "Beat",
}
LOG_LEVEL = ("--loglevel", "INFO")
PROBE_SECONDS = 2.0


def programs(*, settings: RunSettings, environment: Mapping[str, str]) -> list[Program]:
    """All of them, in the order in which they are waited for."""
    run = settings.var / "run"
    values = {
        "port": urlsplit(settings.web_url).port,
        "sim_port": urlsplit(settings.carrier_sim_url).port,
        "run": run,
        "ledger": settings.ledger,
        "sim": settings.carrier_sim_url,
        "web": settings.web_url,
    }
    ready: dict[str, Callable[[], bool]] = {
        "carrier_sim": lambda: answers(f"{settings.carrier_sim_url}/_sim/"),
        "web": lambda: answers(f"{settings.web_url}/readyz"),
        "carrier": lambda: worker_answers("carrier", broker=settings.redis_url),
        "realname": lambda: worker_answers("realname", broker=settings.redis_url),
        "reconciliation": lambda: worker_answers("reconciliation", broker=settings.redis_url),
        "work": lambda: worker_answers("work", broker=settings.redis_url),
        "beat": lambda: any(run.glob("beat-schedule*")),
    }
    before: dict[str, Callable[[], None]] = {"beat": lambda: forget_schedule(run)}
    return [
        Program(
            name=name,
            label=LABELS[name].format(**values),
            # Split first: a folder may have spaces in its name.
            command=[
                *(sys.executable, "-m"),
                *(part.format(**values) for part in command.split()),
                *(LOG_LEVEL if command.startswith("celery") else ()),
            ],
            env=environment,
            cwd=ROOT,
            ready=ready[name],
            before_start=before.get(name),
        )
        for name, command in TABLE.items()
    ]


def answers(url: str) -> bool:
    """Whether a GET answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS) as response:  # noqa: S310 - our own address
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def worker_answers(name: str, *, broker: str) -> bool:
    """Whether the worker answers a ping through the broker."""
    node = f"{name}@{socket.gethostname()}"
    with Celery("probe", broker=broker) as app:
        try:
            return bool(app.control.inspect(destination=[node], timeout=PROBE_SECONDS).ping())
        except OSError:
            return False


def forget_schedule(run: Path) -> None:
    """What beat remembers may be half written; it costs nothing to forget."""
    for file in run.glob("beat-schedule*"):
        file.unlink(missing_ok=True)
