"""The only way from an adapter to the network: one pooled client per connection and process.

Every call has a deadline for the whole of it (a carrier that drips one byte a second trips no ordinary read
time-out), a cap on the size of the answer, no redirects, no proxies from the environment, and no
decompression (so no bombs).
"""

from __future__ import annotations

import functools
import os
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpcore2

from apps.carriers.base import CarrierUnavailable, OutcomeUnknown, Reply
from apps.core.db import outside_transaction

LARGEST_REPLY = 256 * 1024
CONNECT_SECONDS = 5.0
# Shorter than servers keep idle connections, so that we rarely write into one that is just being closed.
KEEP_IDLE_SECONDS = 4.0

# Not a byte of the request was written when one of these is raised.
_NOTHING_SENT = (
    httpcore2.ConnectError,
    httpcore2.ConnectTimeout,
    httpcore2.PoolTimeout,
    httpcore2.UnsupportedProtocol,
)
_BROKEN = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError)


class _Deadline(threading.local):
    """When the call of this thread must be over (monotonic seconds)."""

    at: float | None = None

    def left(self, limit: float | None) -> float:
        """Seconds this step may take; zero or less when the time is used up."""
        remaining = float("inf") if self.at is None else self.at - time.monotonic()
        return min(remaining, remaining if limit is None else limit)


_deadline = _Deadline()


class _Stream(httpcore2.NetworkStream):
    """A connection whose every step ends at the deadline of the calling thread."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _deadline.left(timeout)
        if left <= 0:
            raise httpcore2.ReadTimeout("the time for the whole call is used up")
        return self._inner.read(max_bytes, left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = _deadline.left(timeout)
        if left <= 0:
            raise httpcore2.WriteTimeout("the time for the whole call is used up")
        self._inner.write(buffer, left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        left = _deadline.left(timeout)
        if left <= 0:
            raise httpcore2.ConnectTimeout("the time for the whole call is used up")
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore2.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        left = _deadline.left(timeout)
        if left <= 0:
            raise httpcore2.ConnectTimeout("the time for the whole call is used up")
        return _Stream(super().connect_tcp(host, port, left, local_address, socket_options))


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for one whole call, and how many calls may run at once."""

    total_seconds: float
    max_in_flight: int


class Transport:
    """A pool of connections to one carrier; safe to share between threads."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._in_flight = 0
        self._retired = False
        self._pool = httpcore2.ConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=limits.max_in_flight,
            max_keepalive_connections=limits.max_in_flight,
            keepalive_expiry=KEEP_IDLE_SECONDS,
            network_backend=_Backend(),
        )

    @outside_transaction
    def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Reply:
        """Sends one request and reads the whole answer, or raises; see `base.Exchange`."""
        total = self.limits.total_seconds
        # Waiting for a connection of our own may not eat the time in which the carrier is to answer.
        timeouts = {"connect": min(CONNECT_SECONDS, total), "read": total, "write": total, "pool": total / 4}
        with self._lock:
            self._in_flight += 1
        _deadline.at = time.monotonic() + total
        sent = [("Accept-Encoding", "identity"), ("User-Agent", "kaihu"), *headers.items()]
        try:
            with self._pool.stream(
                "POST",
                url,
                headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent],
                content=content,
                extensions={"timeout": timeouts},
            ) as response:
                return Reply(
                    status=response.status,
                    headers={
                        name.decode("latin-1").lower(): value.decode("latin-1")
                        for name, value in response.headers
                    },
                    body=_read(response),
                )
        except _NOTHING_SENT as error:
            raise CarrierUnavailable(f"not connected: {type(error).__name__}") from error
        except _BROKEN as error:
            raise OutcomeUnknown(f"no whole answer: {type(error).__name__}") from error
        finally:
            _deadline.at = None
            with self._lock:
                self._in_flight -= 1
            self._close_when_done()

    def retire(self) -> None:
        """Closes the pool as soon as no thread waits for an answer on it any more."""
        self._retired = True
        self._close_when_done()

    def _close_when_done(self) -> None:
        with self._lock:
            if self._retired and self._in_flight == 0:
                self._pool.close()


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """The system's authorities; loading them takes longer than a call, so once per process."""
    return httpcore2.default_ssl_context()


def _read(response: httpcore2.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > LARGEST_REPLY:
            raise OutcomeUnknown(f"the answer is larger than {LARGEST_REPLY} bytes")
    return bytes(body)


_shared: dict[int, Transport] = {}
_lock = threading.Lock()


def shared(*, connection_id: int, limits: Limits) -> Transport:
    """This process's client for that carrier connection; another one when its limits were changed."""
    with _lock:
        transport = _shared.get(connection_id)
        if transport is None or transport.limits != limits:
            if transport is not None:
                transport.retire()
            transport = _shared[connection_id] = Transport(limits)
        return transport


def _forget_after_fork() -> None:
    """A child must not speak on its parent's sockets."""
    global _lock
    _lock = threading.Lock()
    _shared.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
