"""The carrier simulator as a real process of its own, for any test that wants a carrier at the other end of a
socket.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parent.parent
MASTER_SECRET = "only-for-tests-carrier-secret"
REALNAME_TOKEN = "only-for-tests-realname-token"
REALNAME_SECOND_SECRET = "only-for-tests-realname-second-secret"
START_SECONDS = 20.0

# One for all: making a client takes longer than a call. Nothing is kept open between calls.
http = httpx2.Client(
    trust_env=False, verify=False, limits=httpx2.Limits(max_keepalive_connections=0), timeout=30
)


def secret_for(app_key: str) -> str:
    """What a reseller signs its requests to the simulator with."""
    return _derive(app_key)


def callback_secret_for(app_key: str) -> str:
    """What the simulator signs its callbacks to that reseller with."""
    return _derive(f"callback:{app_key}")


def _derive(label: str) -> str:
    return hmac.new(MASTER_SECRET.encode(), label.encode(), hashlib.sha256).hexdigest()


def start_simulator(*, ledger: Path | None = None, port: int = 0) -> tuple[subprocess.Popen[bytes], str]:
    """Starts one and waits until it listens; returns the process (kill it by its pid) and its base url."""
    command = [sys.executable, "-m", "apps.carrier_sim", "--port", str(port)]
    if ledger is not None:
        command += ["--ledger", str(ledger)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={
            **os.environ,
            "CARRIER_SIM_SECRET": MASTER_SECRET,
            "REALNAME_TOKEN": REALNAME_TOKEN,
            "REALNAME_SECOND_SECRET": REALNAME_SECOND_SECRET,
        },
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline().decode() if ready else ""
    if " on http" not in line:
        process.kill()
        process.wait()
        raise RuntimeError(f"the simulator did not start: {line!r}")
    return process, line.rsplit(" ", 1)[-1].strip()


def stop_simulator(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def running_simulator(*, ledger: Path | None = None, port: int = 0, **knobs: Any) -> Iterator[str]:
    """A simulator for the length of the block; yields its base url. Keyword arguments are knobs."""
    process, base_url = start_simulator(ledger=ledger, port=port)
    try:
        if knobs:
            set_knobs(base_url, **knobs)
        yield base_url
    finally:
        stop_simulator(process)


def set_knobs(base_url: str, *, carrier: str | None = None, **knobs: Any) -> dict[str, Any]:
    """Of one carrier, or of all; returns every knob of those carriers."""
    params = {"carrier": carrier} if carrier else {}
    reply = http.put(f"{base_url}/_sim/knobs", params=params, json=knobs)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def reset(base_url: str) -> None:
    """Empties ledger, lines, counters and knobs."""
    assert http.post(f"{base_url}/_sim/reset").status_code == 204


def read_ledger(base_url: str) -> list[dict[str, Any]]:
    """Every effect the carrier accepted, oldest first."""
    entries: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = http.get(f"{base_url}/_sim/ledger", params={"after": after, "limit": 10_000}).json()
        entries += page["items"]
        after = page["next"]
    return entries


def read_state(base_url: str) -> dict[str, Any]:
    """Counters, number of entries and of lines by status; the same and the knobs for each of `carriers`."""
    return dict(http.get(f"{base_url}/_sim/state").json())


def wait_for_result(base_url: str, reference: str, *, seconds: float = 10.0) -> dict[str, Any]:
    """The ledger entry of that reference once the carrier is through with it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for entry in read_ledger(base_url):
            if entry["reference"] == reference and entry["result"] != "PENDING":
                return entry
        time.sleep(0.02)
    raise AssertionError(f"no result for {reference} within {seconds} s")
