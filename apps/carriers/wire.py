"""One HTTP/1.1 connection on the event loop: a request out, a whole answer in, and again while it is kept alive.

h11 reads and writes the protocol; nothing here knows limits, time or carriers.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from typing import cast

import h11

from apps.carriers.resolver import resolve
from apps.core.faults import faultpoint


class Broken(Exception):
    """The connection ended, or spoke something else, before the answer was whole."""


class Wire(asyncio.Protocol):
    """For one request at a time. `largest` bytes of answer are read, no more."""

    def __init__(self, *, largest: int) -> None:
        self._largest = largest
        self._h11 = h11.Connection(h11.CLIENT)
        self._transport: asyncio.Transport | None = None  # until it is made
        self._answer: asyncio.Future[tuple[h11.Response, bytes]] | None = None
        self._head: h11.Response | None = None
        self._body = bytearray()
        self.idle_since = 0.0

    @property
    def is_reusable(self) -> bool:
        """Whether another request may be written."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and self._h11.our_state is h11.IDLE

    async def request(
        self, *, target: str, headers: Sequence[tuple[bytes, bytes]], content: bytes
    ) -> tuple[h11.Response, bytes]:
        """POSTs, and waits for the whole answer. Whoever gives up waiting has to close.

        :raises Broken: it may have been read on the other side, or not.
        """
        if self._transport is None or not self.is_reusable:
            raise Broken("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._head, self._body = None, bytearray()
        request = h11.Request(method="POST", target=target, headers=list(headers))
        parts = (request, h11.Data(data=content), h11.EndOfMessage())
        self._transport.write(b"".join(self._h11.send(part) or b"" for part in parts))
        faultpoint("send.written")
        return await self._answer

    def close(self) -> None:
        """At once; who waits is told."""
        if self._transport is not None:
            self._transport.abort()

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            # Nobody has asked for anything.
            self.close()
            return
        self._read(data)

    def eof_received(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._read(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection was lost")

    def _read(self, data: bytes) -> None:
        try:
            self._h11.receive_data(data)
            while True:
                event = self._h11.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                if isinstance(event, h11.Response):
                    self._head = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > self._largest:
                        self._fail(f"the answer is larger than {self._largest} bytes")
                        return
                elif isinstance(event, h11.EndOfMessage):
                    self._finish()
                    return
                elif isinstance(event, h11.ConnectionClosed):
                    self._fail("the connection was closed")
                    return
        except h11.RemoteProtocolError:
            self._fail("the answer is not HTTP")

    def _finish(self) -> None:
        # What comes behind the answer belongs to nobody: such a connection is not kept.
        if self._h11.our_state is self._h11.their_state is h11.DONE and not self._h11.trailing_data[0]:
            self._h11.start_next_cycle()
            self.idle_since = time.monotonic()
        else:
            self.close()
        if self._head is not None and self._answer is not None and not self._answer.done():
            self._answer.set_result((self._head, bytes(self._body)))

    def _fail(self, why: str) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Broken(why))


async def connect(*, host: str, port: int, tls: ssl.SSLContext | None, make: Callable[[], Wire]) -> Wire:
    """:raises OSError: nobody there, or TLS failed (ssl.SSLError is one): not a byte of a request was written."""
    loop = asyncio.get_running_loop()
    failed: OSError | None = None
    for address in await resolve(host, port):
        try:
            _, wire = await loop.create_connection(
                make, address, port, ssl=tls, server_hostname=host if tls else None
            )
        except OSError as error:
            failed = error
        else:
            return wire
    raise failed or OSError("no address")
