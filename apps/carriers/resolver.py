"""Names of carriers' machines, looked up on the event loop without anybody waiting for somebody else's.

The loop's own way looks up all names in one small pool of threads: one carrier whose name servers hang would fill it
and stop every other. Here each name has at most one thread at a time, whoever waits for it, and is known for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass, field

KNOWN_SECONDS = 30.0

Addresses = tuple[str, ...]


@dataclass(slots=True)
class _Lookup:
    """One under way, or its result."""

    answer: asyncio.Future[Addresses]
    known_until: float = field(default=float("inf"))


# Touched on the event loop only.
_lookups: dict[tuple[str, int], _Lookup] = {}


async def resolve(host: str, port: int) -> Addresses:
    """The host's addresses, in the order in which to try them. Whoever gives up waiting disturbs nobody else.

    :raises OSError: it has none, as far as can be found out now. :raises UnicodeError: it is no name.
    """
    key = (host, port)
    lookup = _lookups.get(key)
    if lookup is None or time.monotonic() >= lookup.known_until:
        lookup = _lookups[key] = _Lookup(asyncio.get_running_loop().create_future())
        threading.Thread(target=_look_up, args=[key, lookup], name="carrier-name", daemon=True).start()
    return await asyncio.shield(lookup.answer)


def _look_up(key: tuple[str, int], lookup: _Lookup) -> None:
    host, port = key
    found: Addresses = ()
    error: Exception | None = None
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = tuple(dict.fromkeys(str(row[4][0]) for row in rows))
    except Exception as raised:  # whatever it is, those who wait must hear of it
        error = raised
    # The process may have ended its loop meanwhile.
    with contextlib.suppress(RuntimeError):
        lookup.answer.get_loop().call_soon_threadsafe(_settle, key, lookup, found, error)


def _settle(key: tuple[str, int], lookup: _Lookup, found: Addresses, error: Exception | None) -> None:
    if error is None and found:
        lookup.known_until = time.monotonic() + KNOWN_SECONDS
        lookup.answer.set_result(found)
        return
    # A failure is not remembered.
    if _lookups.get(key) is lookup:
        del _lookups[key]
    lookup.answer.set_exception(error or OSError("the name has no address"))
    # Those who waited may have given up; then nobody misses it.
    lookup.answer.exception()


os.register_at_fork(after_in_child=_lookups.clear)
