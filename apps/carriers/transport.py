"""The only way from an adapter to the network: one pooled client per connection and process, on one event loop.

Calls are waiting, not computing: the loop runs in a thread of its own and keeps any number of them going
(docs/adr/0007). It sees neither the database nor a transaction.

Every call has a deadline for the whole of it (a carrier that drips one byte a second trips no ordinary read
time-out), a cap on the size of the answer, no redirects, no proxies from the environment, no decompression (so no
bombs), and is made once: only the jobs decide whether there is a next one.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, TypeVar
from urllib.parse import urlsplit

from apps.carriers.base import CarrierUnavailable, OutcomeUnknown, Reply
from apps.carriers.wire import Broken, Wire, connect
from apps.core.db import outside_transaction
from apps.core.faults import faultpoint

P = ParamSpec("P")
R = TypeVar("R")

LARGEST_REPLY = 256 * 1024
CONNECT_SECONDS = 5.0
# Shorter than servers keep idle connections, so that we rarely write into one that is just being closed.
KEEP_IDLE_SECONDS = 4.0
CLOSE_SECONDS = 5.0
SWITCH_SECONDS = 0.0005


# The addresses that the task at work has called, for whoever asks (`noted_calls`).
_noted: contextvars.ContextVar[list[str]] = contextvars.ContextVar("noted")


@contextmanager
def noted_calls() -> Iterator[list[str]]:
    """Notes every call that is tried in it: an adapter that refuses by itself says nothing about its carrier."""
    noted: list[str] = []
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for one whole call, and how many calls may run at once."""

    total_seconds: float
    max_in_flight: int


class Transport:
    """The connections to one carrier. Everything in it happens on the event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._places = asyncio.Semaphore(limits.max_in_flight)
        self._in_flight = 0
        self._idle: dict[_Origin, list[Wire]] = {}
        self._retired = False
        # The steps before the first byte have less than the whole together (a place, then TCP and TLS), so that the
        # deadline never strikes while it is certain that nothing was sent.
        total = limits.total_seconds
        self._place_seconds, self._connect_seconds = total / 4, min(CONNECT_SECONDS, total * 2 / 3)

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Reply:
        """Sends one request and reads the whole answer, or raises; see `base.Exchange`."""
        origin, target = _parts(url)
        if (noted := _noted.get(None)) is not None:
            noted.append(url)
        self._in_flight += 1
        wire = None
        try:
            async with asyncio.timeout(self.limits.total_seconds):
                await self._take_place()
                try:
                    wire = self._take_idle(origin) or await self._connect(origin)
                    head, body = await wire.request(
                        target=target, headers=_written(origin, headers, content), content=content
                    )
                finally:
                    self._places.release()
        except (TimeoutError, Broken) as error:
            raise OutcomeUnknown(f"no whole answer: {str(error) or type(error).__name__}") from error
        finally:
            self._in_flight -= 1
            if wire is not None:
                self._keep(origin, wire)
        faultpoint("send.answered")
        return Reply(
            status=head.status_code,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers},
            body=body,
        )

    def retire(self) -> None:
        """Closes every connection as soon as nobody waits for an answer on it any more."""
        _wait_for(self._retire())

    async def _retire(self) -> None:
        self._retired = True
        for wires in self._idle.values():
            for wire in wires:
                wire.close()
        self._idle.clear()

    async def _take_place(self) -> None:
        try:
            async with asyncio.timeout(self._place_seconds):
                await self._places.acquire()
        except TimeoutError as error:
            raise CarrierUnavailable("no connection of our own was free") from error

    def _take_idle(self, origin: _Origin) -> Wire | None:
        """The one that was used last: the others may grow old and be closed."""
        wires = self._idle.get(origin, [])
        while wires:
            wire = wires.pop()
            if wire.is_reusable and time.monotonic() - wire.idle_since < KEEP_IDLE_SECONDS:
                return wire
            wire.close()
        return None

    async def _connect(self, origin: _Origin) -> Wire:
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await connect(
                    host=origin.host,
                    port=origin.port,
                    tls=_ssl_context() if origin.is_tls else None,
                    make=lambda: Wire(largest=LARGEST_REPLY),
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            raise CarrierUnavailable(f"not connected: {type(error).__name__}") from error

    def _keep(self, origin: _Origin, wire: Wire) -> None:
        if self._retired or not wire.is_reusable:
            wire.close()
        else:
            self._idle.setdefault(origin, []).append(wire)


class _Origin(NamedTuple):
    is_tls: bool
    host: str
    port: int
    # As the Host header has it.
    name: bytes


@functools.lru_cache(maxsize=1024)
def _parts(url: str) -> tuple[_Origin, str]:
    """Where it leads, and what is asked for there."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    if not parts.hostname or not (is_tls or parts.scheme == "http"):
        raise CarrierUnavailable("not connected: no address")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = parts.port or (443 if is_tls else 80)
    return _Origin(is_tls, parts.hostname, port, parts.netloc.encode("ascii")), target


def _written(origin: _Origin, headers: Mapping[str, str], content: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"Host", origin.name),
        (b"Content-Length", b"%d" % len(content)),
        (b"Accept-Encoding", b"identity"),
        (b"User-Agent", b"kaihu"),
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()),
    ]


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """The system's authorities; loading them takes longer than a call, so once per process."""
    return ssl.create_default_context()


# --- what the process shares ---

_shared: dict[int, Transport] = {}
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None
_lock = threading.RLock()


def shared(*, connection_id: int, limits: Limits) -> Transport:
    """This process's client for that carrier connection; another one when its limits were changed."""
    with _lock:
        transport = _shared.get(connection_id)
        if transport is None or transport.limits != limits:
            if transport is not None:
                transport.retire()
            transport = _shared[connection_id] = Transport(limits)
        return transport


def hang_up(connection_ids: Collection[int]) -> None:
    """Closes this process's sockets to those connections, as soon as nobody waits for an answer on them."""
    with _lock:
        unused = [_shared.pop(connection_id) for connection_id in connection_ids if connection_id in _shared]
    for transport in unused:
        transport.retire()


@outside_transaction
def blocking(call: Callable[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> R:
    """Makes one call on the loop and waits for it: for whoever has nothing else to do meanwhile."""
    return _wait_for(call(*args, **kwargs))


@outside_transaction
def loop() -> asyncio.AbstractEventLoop:
    """The event loop of this process, for whoever keeps many calls going."""
    return _running_loop()


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop, _thread
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_run, args=[_loop], name="carrier-calls", daemon=True)
            _thread.start()
        return _loop


def _run(running: asyncio.AbstractEventLoop) -> None:
    # For the whole process: every answer would else wait its five milliseconds for a thread that computes.
    sys.setswitchinterval(SWITCH_SECONDS)
    running.run_forever()
    running.close()


def _wait_for(coroutine: Coroutine[Any, Any, R]) -> R:
    return asyncio.run_coroutine_threadsafe(coroutine, _running_loop()).result()


@atexit.register
def _close() -> None:
    """Leaves no socket open behind."""
    if _loop is None or _thread is None:
        return
    hang_up(list(_shared))
    _loop.call_soon_threadsafe(_loop.stop)
    _thread.join(CLOSE_SECONDS)


def _forget_after_fork() -> None:
    """A child has neither its parent's thread nor any business on its sockets."""
    global _lock, _loop, _thread
    _lock = threading.RLock()
    _loop = _thread = None
    _shared.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
