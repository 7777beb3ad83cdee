"""The wire under the adapters: whatever the other side does, a call ends in time and says what is known."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import transaction

from apps.carriers import transport
from apps.carriers.base import CarrierUnavailable, OutcomeUnknown, Reply
from apps.carriers.transport import LARGEST_REPLY, Limits, Transport, blocking
from tests.carriers.conftest import Blocking, RawCarrier, http

TOTAL = 0.5


Post = Callable[..., Reply]
MakeTransport = Callable[..., Transport]


@pytest.fixture
def post(make_transport: MakeTransport) -> Post:
    def send(url: str, *, total_seconds: float = TOTAL) -> Reply:
        return Blocking(make_transport(total_seconds=total_seconds)).post(
            url, content=b"{}", headers={"X-Test": "1"}
        )

    return send


def _answer(content: bytes) -> Callable[[socket.socket, bytes], None]:
    return lambda sock, request: sock.sendall(content)


def test_a_whole_answer_comes_back_as_it_is(post: Post, raw_carrier: RawCarrier) -> None:
    raw_carrier.handler = _answer(http(b'{"a":1}', status="418 Teapot", headers=("X-Thing: Value",)))

    reply = post(f"{raw_carrier.url}/gateway?x=1")

    assert (reply.status, reply.body, reply.headers["x-thing"]) == (418, b'{"a":1}', "Value")
    [request] = raw_carrier.requests
    assert request.startswith(b"POST /gateway?x=1 HTTP/1.1\r\n")
    assert request.lower().count(b"\r\nhost:") == 1
    assert b"accept-encoding: identity" in request.lower()


def test_nobody_listens(post: Post) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(CarrierUnavailable):
        post(f"http://127.0.0.1:{port}/")


def test_a_name_that_does_not_resolve_was_never_called(post: Post) -> None:
    with pytest.raises(CarrierUnavailable):
        post("http://carrier.invalid/", total_seconds=5)


def test_tls_that_fails_was_never_called(post: Post, raw_carrier: RawCarrier) -> None:
    with pytest.raises(CarrierUnavailable):
        post(raw_carrier.url.replace("http://", "https://"))


def test_no_free_connection_of_our_own_sends_nothing(
    make_transport: MakeTransport, raw_carrier: RawCarrier
) -> None:
    release = threading.Event()

    def answer_when_told(sock: socket.socket, request: bytes) -> None:
        release.wait(5)
        sock.sendall(http(b"{}"))

    raw_carrier.handler = answer_when_told
    shared = Blocking(make_transport(total_seconds=4.0, max_in_flight=1))
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(shared.post, raw_carrier.url, content=b"{}", headers={})
        while not raw_carrier.requests:
            time.sleep(0.01)

        with pytest.raises(CarrierUnavailable):
            shared.post(raw_carrier.url, content=b"{}", headers={})

        release.set()
        assert first.result().body == b"{}"
    assert len(raw_carrier.requests) == 1


def _drip(sock: socket.socket, content: bytes, *, head: bytes = b"") -> None:
    sock.sendall(head)
    for position in range(len(content)):
        sock.sendall(content[position : position + 1])
        time.sleep(0.05)


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(lambda sock, request: time.sleep(3), id="silence"),
        pytest.param(lambda sock, request: None, id="closes"),
        pytest.param(
            lambda sock, request: sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            ),
            id="reset",
        ),
        pytest.param(lambda sock, request: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Le"), id="half a head"),
        pytest.param(lambda sock, request: sock.sendall(http(b"{}" * 50)[:-1]), id="half a body"),
        pytest.param(lambda sock, request: sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), id="another protocol"),
        pytest.param(lambda sock, request: _drip(sock, http(b"{}" * 500)), id="drips the head"),
        pytest.param(
            lambda sock, request: _drip(sock, b"x" * 500, head=http(b"x" * 500)[:-500]),
            id="drips the body",
        ),
        pytest.param(
            lambda sock, request: _drip(sock, b"HTTP/1.1 100 Continue\r\n\r\n" * 500), id="never comes to it"
        ),
    ],
)
def test_no_whole_answer_in_time(
    post: Post, raw_carrier: RawCarrier, handler: Callable[[socket.socket, bytes], None]
) -> None:
    raw_carrier.handler = handler
    started = time.monotonic()

    with pytest.raises(OutcomeUnknown):
        post(raw_carrier.url)

    assert time.monotonic() - started < TOTAL + 0.5
    assert len(raw_carrier.requests) == 1


def test_ten_megabytes_are_not_read(post: Post, raw_carrier: RawCarrier) -> None:
    sent = []

    def flood(sock: socket.socket, request: bytes) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10485760\r\n\r\n")
        for _ in range(160):
            sock.sendall(b" " * 65536)
            sent.append(65536)

    raw_carrier.handler = flood

    with pytest.raises(OutcomeUnknown, match="larger"):
        post(raw_carrier.url, total_seconds=10)

    assert sum(sent) < 10 * 1024 * 1024


def test_the_largest_answer_is_still_read(post: Post, raw_carrier: RawCarrier) -> None:
    raw_carrier.handler = _answer(http(b" " * LARGEST_REPLY))

    assert len(post(raw_carrier.url, total_seconds=5).body) == LARGEST_REPLY


def test_redirects_are_answers_and_not_followed(post: Post, raw_carrier: RawCarrier) -> None:
    raw_carrier.handler = _answer(
        http(b"", status="302 Found", headers=(f"Location: {raw_carrier.url}/elsewhere",))
    )

    assert post(raw_carrier.url).status == 302
    assert len(raw_carrier.requests) == 1


def test_connections_are_kept_and_shared_per_connection() -> None:
    limits = Limits(total_seconds=1.0, max_in_flight=8)

    first = transport.shared(connection_id=-1, limits=limits)

    assert transport.shared(connection_id=-1, limits=Limits(total_seconds=1.0, max_in_flight=8)) is first
    assert transport.shared(connection_id=-2, limits=limits) is not first
    changed = transport.shared(connection_id=-1, limits=Limits(total_seconds=2.0, max_in_flight=8))
    assert changed is not first
    assert changed.limits.total_seconds == 2.0


def test_a_forked_child_starts_with_sockets_of_its_own() -> None:
    parents = transport.shared(connection_id=-3, limits=Limits(total_seconds=1.0, max_in_flight=8))
    read_end, write_end = os.pipe()

    child = os.fork()
    if child == 0:
        own = transport.shared(connection_id=-3, limits=Limits(total_seconds=1.0, max_in_flight=8))
        os.write(write_end, b"own" if own is not parents else b"shared")
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(read_end, 10) == b"own"
    os.close(read_end)
    os.close(write_end)


@pytest.mark.django_db
def test_the_network_is_not_called_inside_a_transaction(post: Post, raw_carrier: RawCarrier) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="must not run inside a transaction"):
        post(raw_carrier.url)

    assert raw_carrier.requests == []


def test_changed_limits_close_the_old_sockets_when_their_calls_are_over(raw_carrier: RawCarrier) -> None:
    release = threading.Event()

    def answer_when_told(sock: socket.socket, request: bytes) -> None:
        release.wait(5)
        sock.sendall(http(b"{}"))

    raw_carrier.handler = answer_when_told
    old = transport.shared(connection_id=-4, limits=Limits(total_seconds=4.0, max_in_flight=1))
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(blocking, old.post, raw_carrier.url, content=b"{}", headers={})
        while not raw_carrier.requests:
            time.sleep(0.01)

        new = transport.shared(connection_id=-4, limits=Limits(total_seconds=5.0, max_in_flight=1))

        release.set()
        assert call.result().body == b"{}"
    assert new is not old
    assert transport.shared(connection_id=-4, limits=Limits(total_seconds=5.0, max_in_flight=1)) is new
