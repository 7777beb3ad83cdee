"""TCP ports of 127.0.0.1."""

from __future__ import annotations

import random
import socket

from config.run.console import Problem

HOST = "127.0.0.1"
DEFAULT_WEB_PORT = 8000
# Below the range from which systems take the near end of outgoing connections, so that a server that restarts
# finds its port again.
PRIVATE_RANGE = range(20_000, 30_000)


def is_free(port: int) -> bool:
    """Whether a server could listen there now; ports that only wait for their last packets count as free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(*, remembered: int | None = None) -> int:
    """The remembered port when it is still free, else another free one."""
    if remembered is not None and is_free(remembered):
        return remembered
    for port in random.SystemRandom().sample(PRIVATE_RANGE, 200):
        if is_free(port):
            return port
    raise Problem(f"no free port between {PRIVATE_RANGE.start} and {PRIVATE_RANGE.stop} on {HOST}")


def web_port(wanted: str | None, *, remembered: int | None = None) -> int:
    """The port of PORT, which must be free; without it 8000, or when that is taken the remembered or any free one.

    :raises Problem: PORT is no port number, or taken.
    """
    if not wanted:
        return DEFAULT_WEB_PORT if is_free(DEFAULT_WEB_PORT) else free_port(remembered=remembered)
    if not wanted.isdecimal() or not 1 <= int(wanted) <= 65_535:
        raise Problem(f"PORT must be a number from 1 to 65535, not {wanted!r}")
    if not is_free(int(wanted)):
        raise Problem(
            f"PORT={wanted} is taken (or not allowed) on {HOST}: choose another, or leave PORT unset"
        )
    return int(wanted)
