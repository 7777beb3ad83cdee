"""A carrier that answers byte for byte what a test wants, on a real socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, TypeVar

import pytest
from django.db import transaction

from apps.carriers.transport import Limits, Transport, blocking

E = TypeVar("E", bound=Exception)
Handler = Callable[[socket.socket, bytes], None]


class Blocking:
    """Adapter or transport, for tests that make one call and wait for it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return partial(blocking, found) if iscoroutinefunction(found) else found


@pytest.fixture
def make_transport() -> Iterator[Callable[..., Transport]]:
    """Transports with the given limits, closed after the test."""
    made: list[Transport] = []

    def make(*, total_seconds: float = 0.5, max_in_flight: int = 4) -> Transport:
        made.append(Transport(Limits(total_seconds=total_seconds, max_in_flight=max_in_flight)))
        return made[-1]

    yield make
    for transport in made:
        transport.retire()


class RawCarrier:
    """Reads one request per connection and leaves the rest to `handler`; keeps what it was sent."""

    def __init__(self) -> None:
        self.handler: Handler = lambda sock, request: None
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                chunk = sock.recv(65536)
                if not chunk:
                    return
                request += chunk
            head, _, body = request.partition(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            while len(body) < length:
                body += sock.recv(65536)
            self.requests.append(head + b"\r\n\r\n" + body)
            self.handler(sock, body)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextlib.contextmanager
def refused(error: type[E], match: str | None = None) -> Iterator[pytest.ExceptionInfo[E]]:
    """As `pytest.raises` around one service call that is the outermost transaction: what it wrote is rolled back."""
    with pytest.raises(error, match=match) as info, transaction.atomic():
        yield info


@pytest.fixture
def raw_carrier() -> Iterator[RawCarrier]:
    carrier = RawCarrier()
    yield carrier
    carrier.close()


def http(
    body: bytes,
    *,
    status: str = "200 OK",
    content_type: str = "application/json",
    headers: tuple[str, ...] = (),
) -> bytes:
    """A whole HTTP answer in bytes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += ["Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
