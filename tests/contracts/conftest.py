"""What the contract suite knows of each dialect, a simulator and a place for its callbacks, shared by a whole run."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from apps.carriers.base import (
    Accepted,
    Account,
    ActivateRequest,
    InProgress,
    LineRequest,
    Outcome,
    QueryRequest,
    Succeeded,
    TerminateRequest,
)
from apps.carriers.registry import ADAPTERS
from apps.carriers.transport import Limits, Transport
from tests.carriers.conftest import Blocking
from tests.simulator import callback_secret_for, reset, running_simulator, secret_for, set_knobs

APP_KEY = "contract-suite"


@dataclass(frozen=True)
class Dialect:
    """What the suite must know of a dialect: a resale number of that carrier, and how results come."""

    name: str
    first_number: int
    calls_back: bool = False
    answers_when_done: bool = False


# A new carrier is one line here.
DIALECTS = [
    Dialect(name="unicom", first_number=17090000000, calls_back=True),
    Dialect(name="mobile", first_number=17030000000, answers_when_done=True),
    Dialect(name="telecom", first_number=17000000000),
]

_sequence = itertools.count(1)


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    chosen: Dialect = request.param
    return chosen


MakeAdapter = Callable[..., Blocking]


@pytest.fixture
def make_adapter(
    dialect: Dialect, simulator: str, inbox: CallbackInbox, make_transport: Callable[..., Transport]
) -> MakeAdapter:
    def make(
        *,
        base_url: str = simulator,
        app_key: str = APP_KEY,
        secret: str | None = None,
        total_seconds: float = 5.0,
    ) -> Blocking:
        account = Account(
            base_url=f"{base_url}/{dialect.name}",
            app_key=app_key,
            secret=secret or secret_for(app_key),
            callback_secret=callback_secret_for(app_key),
            notify_url=inbox.url,
        )
        exchange = make_transport(total_seconds=total_seconds)
        return Blocking(ADAPTERS[dialect.name](account=account, exchange=exchange))

    return make


@pytest.fixture
def adapter(make_adapter: MakeAdapter) -> Blocking:
    return make_adapter()


MakeRequest = Callable[..., ActivateRequest]


@pytest.fixture
def make_request(dialect: Dialect) -> MakeRequest:
    """A person who does not exist, a fresh number and a fresh SIM that end as wanted."""

    def make(*, ending: str = "0000", number_ending: str | None = None, **changes: Any) -> ActivateRequest:
        n = next(_sequence)
        national = str(dialect.first_number + n)
        if number_ending is not None:
            national = national[: -len(number_ending)] + number_ending
        values: dict[str, Any] = {
            "reference": uuid.uuid4().hex,
            "number": f"+86{national}",
            "iccid": f"898601180{n:07d}{ending}",
            "imsi": f"46001{n:010d}",
            "plan_code": "U-FREE-19",
            "holder_name": "测试·用户",
            "document_type": "resident_id",
            "document_number": "110105190001010001",
        }
        return ActivateRequest(**values | changes)

    return make


def closing(line: LineRequest, **changes: Any) -> TerminateRequest:
    """An order to close that line."""
    values: dict[str, Any] = {
        "reference": uuid.uuid4().hex,
        "number": line.number,
        "iccid": line.iccid,
        "reason": "user_request",
    }
    return TerminateRequest(**values | changes)


def settled(
    adapter: Blocking,
    request: LineRequest,
    answer: Accepted | Succeeded | None = None,
    *,
    seconds: float = 5.0,
) -> Outcome:
    """What became of the order, asked for until the carrier is through with it; the order number stays one."""
    until = time.monotonic() + seconds
    while True:
        outcome = adapter.query(QueryRequest(reference=request.reference, number=request.number))
        if not isinstance(outcome, InProgress):
            if answer is not None:
                assert outcome.carrier_reference == answer.carrier_reference
            return outcome
        assert time.monotonic() < until, "still in progress"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_simulator(ledger=tmp_path_factory.mktemp("carrier") / "ledger.jsonl") as base_url:
        yield base_url


@pytest.fixture
def simulator(simulator_process: str) -> str:
    """The shared simulator, with an empty ledger and hurried knobs."""
    reset(simulator_process)
    set_knobs(simulator_process, latency_ms=0, callback_delay_ms=20, late_by_ms=600)
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
    """What came to one address. `answer` says with which status each callback is met."""

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


@pytest.fixture(scope="session")
def post_office() -> Iterator[tuple[str, dict[str, CallbackInbox]]]:
    """One HTTP receiver for all tests; its base url, and who gets what comes to which path."""
    boxes: dict[str, CallbackInbox] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            box = boxes.get(self.path)
            received = Received(path=self.path, headers=dict(self.headers.items()), body=body)
            self.send_response(box.take(received) if box else 410)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", boxes
    server.shutdown()
    server.server_close()


@pytest.fixture
def inbox(post_office: tuple[str, dict[str, CallbackInbox]]) -> CallbackInbox:
    """What carriers tell this test."""
    base_url, boxes = post_office
    path = f"/callbacks/{uuid.uuid4().hex}"
    boxes[path] = CallbackInbox(url=base_url + path)
    return boxes[path]
