"""Names of carriers' machines: one that cannot be looked up holds nobody else back."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from apps.carriers import resolver, transport
from apps.carriers.base import CarrierUnavailable
from apps.carriers.transport import Transport, blocking
from tests.carriers.conftest import RawCarrier, http


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often which name was; `hanging.example` hangs, `quick.example` is this machine."""
    counted: Counter[str] = Counter()
    go, real = threading.Event(), socket.getaddrinfo

    def look_up(host: str, *args: object, **more: object) -> object:
        counted[host] += 1
        if host == "hanging.example":
            go.wait(30)
        if host != "quick.example":
            raise socket.gaierror("temporary failure")
        return real("127.0.0.1", *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    resolver._lookups.clear()
    yield counted
    go.set()
    resolver._lookups.clear()


def at(host: str, carrier: RawCarrier) -> str:
    return f"http://{host}:{carrier.url.rpartition(':')[2]}/"


def test_a_name_that_hangs_stops_no_other_carrier(
    looked_up: Counter[str], make_transport: Callable[..., Transport], raw_carrier: RawCarrier
) -> None:
    raw_carrier.handler = lambda sock, request: sock.sendall(http(b"{}"))
    bad, good = make_transport(max_in_flight=64), make_transport(total_seconds=10.0)
    calls = [
        asyncio.run_coroutine_threadsafe(
            bad.post("http://hanging.example/", content=b"{}", headers={}), transport.loop()
        )
        for _ in range(40)
    ]
    for call in calls:
        assert isinstance(call.exception(timeout=30), CarrierUnavailable)
    assert looked_up == {"hanging.example": 1}, "however many wait for it"

    url = at("quick.example", raw_carrier)
    assert blocking(good.post, url, content=b"{}", headers={}).status == 200


def test_a_name_is_known_for_a_while(
    looked_up: Counter[str],
    make_transport: Callable[..., Transport],
    raw_carrier: RawCarrier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw_carrier.handler = lambda sock, request: sock.sendall(http(b"{}", headers=("Connection: close",)))
    url = at("quick.example", raw_carrier)
    for _ in range(3):
        blocking(make_transport(total_seconds=10.0).post, url, content=b"{}", headers={})
    assert looked_up["quick.example"] == 1
    for lookup in resolver._lookups.values():
        lookup.known_until = 0.0
    blocking(make_transport(total_seconds=10.0).post, url, content=b"{}", headers={})
    assert looked_up["quick.example"] == 2


def test_a_failure_is_not_remembered(
    looked_up: Counter[str], make_transport: Callable[..., Transport]
) -> None:
    for _ in range(2):
        with pytest.raises(CarrierUnavailable):
            blocking(
                make_transport(total_seconds=10.0).post, "http://nobody.example/", content=b"", headers={}
            )
    assert looked_up["nobody.example"] == 2
