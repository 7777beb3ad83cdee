"""A simulator and a place for its callbacks, shared by every contract test of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from apps.carriers.transport import Limits, Transport
from tests.simulator import reset, running_simulator, set_knobs


@pytest.fixture(scope="session")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_simulator(ledger=tmp_path_factory.mktemp("carrier") / "ledger.jsonl") as base_url:
        yield base_url


@pytest.fixture
def simulator(simulator_process: str) -> str:
    """The shared simulator, with an empty ledger and hurried knobs."""
    reset(simulator_process)
    set_knobs(simulator_process, latency_ms=0, callback_delay_ms=30, late_by_ms=600)
    return simulator_process


@pytest.fixture
def make_transport() -> Iterator[Callable[..., Transport]]:
    """Transports with the given limits, closed after the test."""
    made: list[Transport] = []

    def make(*, total_seconds: float = 5.0, max_in_flight: int = 600) -> Transport:
        made.append(Transport(Limits(total_seconds=total_seconds, max_in_flight=max_in_flight)))
        return made[-1]

    yield make
    for transport in made:
        transport.retire()


@dataclass(frozen=True)
class Received:
    """One callback as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class CallbackInbox:
    """A tiny HTTP receiver. `answer` says with which status each callback is met."""

    url: str
    received: list[Received] = field(default_factory=list)
    answer: Callable[[Received], int] = lambda _: 200
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def take(self, received: Received) -> int:
        with self._arrived:
            self.received.append(received)
            self._arrived.notify_all()
        return self.answer(received)

    def wait_for(self, count: int, *, seconds: float = 10.0) -> list[Received]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.received) >= count, timeout=seconds), self.received
            return list(self.received)


@pytest.fixture
def inbox() -> Iterator[CallbackInbox]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = box.take(Received(path=self.path, headers=dict(self.headers.items()), body=body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    box = CallbackInbox(url=f"http://127.0.0.1:{server.server_address[1]}/callbacks")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield box
    server.shutdown()
    server.server_close()
