"""What every adapter must do, over real HTTP against a real simulator process; one set of parameters per
dialect.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from apps.carriers.base import (
    Accepted,
    Account,
    ActivateRequest,
    Adapter,
    CallbackForged,
    CarrierMisconfigured,
    CarrierRejected,
    CarrierUnavailable,
    InProgress,
    NotFound,
    OutcomeUnknown,
    QueryRequest,
    Rejected,
    Succeeded,
    TerminateRequest,
)
from apps.carriers.registry import ADAPTERS
from apps.carriers.transport import Transport
from apps.core import clock
from tests.contracts.conftest import CallbackInbox
from tests.simulator import (
    callback_secret_for,
    read_ledger,
    read_state,
    running_simulator,
    secret_for,
    set_knobs,
    wait_for_result,
)

APP_KEY = "contract-suite"


@dataclass(frozen=True)
class Dialect:
    """What the suite must know of a dialect to steer the simulator: its path and a number of its carrier."""

    name: str
    path: str
    first_number: int


DIALECTS = [Dialect(name="unicom", path="/unicom", first_number=17090000000)]

_sequence = itertools.count(1)


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    chosen: Dialect = request.param
    return chosen


MakeAdapter = Callable[..., Adapter]


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
    ) -> Adapter:
        account = Account(
            base_url=f"{base_url}{dialect.path}",
            app_key=app_key,
            secret=secret or secret_for(app_key),
            callback_secret=callback_secret_for(app_key),
            notify_url=inbox.url,
        )
        return ADAPTERS[dialect.name](account=account, exchange=make_transport(total_seconds=total_seconds))

    return make


@pytest.fixture
def adapter(make_adapter: MakeAdapter) -> Adapter:
    return make_adapter()


@pytest.fixture
def make_request(dialect: Dialect) -> Callable[..., ActivateRequest]:
    """A person who does not exist, a fresh number and a fresh SIM whose ICCID ends as wanted."""

    def make(
        *, ending: str = "0000", plan_code: str = "U-FREE-19", reference: str | None = None
    ) -> ActivateRequest:
        n = next(_sequence)
        return ActivateRequest(
            reference=reference or uuid.uuid4().hex,
            number=f"+86{dialect.first_number + n}",
            iccid=f"89860118{n:07d}{ending}",
            imsi=f"46001{n:010d}",
            plan_code=plan_code,
            holder_name="测试·用户",
            document_type="resident_id",
            document_number="110105190001010001",
        )

    return make


MakeRequest = Callable[..., ActivateRequest]


def test_activation_is_accepted_completed_and_told(
    adapter: Adapter, simulator: str, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    request = make_request()
    before = clock.now()

    accepted = adapter.activate(request)
    [callback] = inbox.wait_for(1)
    message = adapter.parse_callback(callback.headers, callback.body, clock.now())

    assert isinstance(accepted, Accepted)
    assert message.reference == request.reference
    assert message.number == request.number
    assert message.outcome == Succeeded(accepted.carrier_reference)
    assert message.carrier_reference == accepted.carrier_reference
    assert abs((message.occurred_at - before).total_seconds()) < 10
    assert adapter.query(QueryRequest(reference=request.reference, number=request.number)) == message.outcome
    [entry] = read_ledger(simulator)
    assert (entry["operation"], entry["reference"], entry["result"], entry["duplicate"]) == (
        "activate",
        request.reference,
        "DONE",
        False,
    )


def test_line_is_closed_again(
    adapter: Adapter, simulator: str, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    opened = make_request()
    adapter.activate(opened)
    wait_for_result(simulator, opened.reference)
    closing = TerminateRequest(
        reference=uuid.uuid4().hex, number=opened.number, iccid=opened.iccid, reason="user_request"
    )

    accepted = adapter.terminate(closing)
    callbacks = inbox.wait_for(2)

    message = adapter.parse_callback(callbacks[1].headers, callbacks[1].body, clock.now())
    assert (message.reference, message.outcome) == (closing.reference, Succeeded(accepted.carrier_reference))
    assert read_state(simulator)["lines"] == {"CLOSED": 1}


def test_closing_a_line_that_is_not_there_is_rejected(
    adapter: Adapter, simulator: str, make_request: MakeRequest
) -> None:
    never_opened = make_request()

    with pytest.raises(CarrierRejected) as rejected:
        adapter.terminate(
            TerminateRequest(
                reference=uuid.uuid4().hex,
                number=never_opened.number,
                iccid=never_opened.iccid,
                reason="user_request",
            )
        )

    assert rejected.value.code == "carrier_line_not_found"
    assert read_ledger(simulator) == []


@pytest.mark.parametrize(
    ("ending", "plan_code", "code"),
    [("9001", "U-FREE-19", "carrier_plan_invalid"), ("0000", "U-OLD-WITHDRAWN", "carrier_plan_invalid")],
)
def test_business_rejection_has_our_code_and_leaves_nothing(
    adapter: Adapter, simulator: str, make_request: MakeRequest, ending: str, plan_code: str, code: str
) -> None:
    request = make_request(ending=ending, plan_code=plan_code)

    with pytest.raises(CarrierRejected) as rejected:
        adapter.activate(request)

    assert rejected.value.code == code
    assert read_ledger(simulator) == []
    assert adapter.query(QueryRequest(reference=request.reference)) == NotFound()


def test_number_in_service_is_rejected(adapter: Adapter, simulator: str, make_request: MakeRequest) -> None:
    first = make_request()
    adapter.activate(first)
    second = make_request()
    again = ActivateRequest(
        reference=second.reference,
        number=first.number,
        iccid=second.iccid,
        imsi=second.imsi,
        plan_code=second.plan_code,
        holder_name=second.holder_name,
        document_type=second.document_type,
        document_number=second.document_number,
    )

    with pytest.raises(CarrierRejected) as rejected:
        adapter.activate(again)

    assert rejected.value.code == "carrier_number_in_use"
    assert len(read_ledger(simulator)) == 1


def test_refusal_after_acceptance_is_told_and_found(
    adapter: Adapter, simulator: str, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    set_knobs(simulator, refuse_rate=1)
    request = make_request()

    accepted = adapter.activate(request)
    [callback] = inbox.wait_for(1)
    message = adapter.parse_callback(callback.headers, callback.body, clock.now())

    assert isinstance(message.outcome, Rejected)
    assert message.outcome.code == "carrier_identity_refused"
    assert message.outcome.carrier_reference == accepted.carrier_reference
    assert adapter.query(QueryRequest(reference=request.reference, number=request.number)) == message.outcome
    assert read_state(simulator)["lines"] == {}


def test_lost_answer_is_found_by_asking(
    make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    adapter = make_adapter(total_seconds=0.4)
    request = make_request(ending="9002")

    with pytest.raises(OutcomeUnknown):
        adapter.activate(request)
    wait_for_result(simulator, request.reference)
    outcome = adapter.query(QueryRequest(reference=request.reference, number=request.number))

    [entry] = read_ledger(simulator)
    assert outcome == Succeeded(entry["order_no"])
    assert inbox.received == []


def test_carrier_that_never_answers_knows_nothing(
    make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest
) -> None:
    adapter = make_adapter(total_seconds=0.4)
    request = make_request(ending="9003")
    started = time.monotonic()

    with pytest.raises(OutcomeUnknown):
        adapter.activate(request)

    assert time.monotonic() - started < 2
    assert adapter.query(QueryRequest(reference=request.reference)) == NotFound()
    assert read_ledger(simulator) == []


@pytest.mark.parametrize("kind", ["hang", "reset", "500"])
def test_every_kind_of_lost_answer_leaves_the_outcome_unknown(
    make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest, kind: str
) -> None:
    set_knobs(simulator, error_rate_after_accept=1, error_after_accept=kind)
    adapter = make_adapter(total_seconds=0.4)
    request = make_request()

    with pytest.raises(OutcomeUnknown):
        adapter.activate(request)

    wait_for_result(simulator, request.reference)
    assert isinstance(adapter.query(QueryRequest(reference=request.reference)), Succeeded)


def test_repeated_reference_is_one_order(
    adapter: Adapter, simulator: str, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    request = make_request()

    first = adapter.activate(request)
    second = adapter.activate(request)

    assert first == second
    assert len(read_ledger(simulator)) == 1
    inbox.wait_for(1)
    assert adapter.activate(request) == first
    assert len(read_ledger(simulator)) == 1


def test_fifty_at_once_with_one_reference_are_one_order(
    adapter: Adapter, simulator: str, make_request: MakeRequest
) -> None:
    request = make_request()
    barrier = threading.Barrier(50)

    def activate(_: int) -> Accepted | Succeeded:
        barrier.wait()
        return adapter.activate(request)

    with ThreadPoolExecutor(50) as threads:
        answers = set(threads.map(activate, range(50)))

    assert len(answers) == 1
    assert len(read_ledger(simulator)) == 1


def test_carrier_without_deduplication_is_seen_in_the_ledger(
    adapter: Adapter, simulator: str, make_request: MakeRequest
) -> None:
    set_knobs(simulator, dedupe=False)
    request = make_request()

    first = adapter.activate(request)
    second = adapter.activate(request)

    assert first != second
    assert [entry["duplicate"] for entry in read_ledger(simulator)] == [False, True]


def test_reference_of_another_order_is_our_mistake(
    adapter: Adapter, simulator: str, make_request: MakeRequest
) -> None:
    request = make_request()
    adapter.activate(request)

    with pytest.raises(CarrierMisconfigured):
        adapter.activate(make_request(reference=request.reference))

    assert len(read_ledger(simulator)) == 1


def test_too_many_calls_says_when_to_come_back(
    adapter: Adapter, simulator: str, make_request: MakeRequest
) -> None:
    request = make_request(ending="9005")

    with pytest.raises(CarrierUnavailable) as unavailable:
        adapter.activate(request)

    assert unavailable.value.retry_after == 1.0
    assert read_ledger(simulator) == []
    assert isinstance(adapter.activate(request), Accepted)


def test_busy_carrier_took_nothing(adapter: Adapter, simulator: str, make_request: MakeRequest) -> None:
    set_knobs(simulator, error_rate_before=1)

    with pytest.raises(CarrierUnavailable) as unavailable:
        adapter.activate(make_request())

    assert unavailable.value.retry_after == 1.0
    assert read_ledger(simulator) == []


def test_nobody_listening_is_unavailable_and_not_unknown(
    make_adapter: MakeAdapter, make_request: MakeRequest
) -> None:
    with running_simulator() as gone:
        adapter = make_adapter(base_url=gone)
        adapter.query(QueryRequest(reference="before-it-goes"))

    with pytest.raises(CarrierUnavailable):
        adapter.activate(make_request())


def test_wrong_secret_is_a_matter_for_staff(
    make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest
) -> None:
    adapter = make_adapter(secret="not-the-secret-of-this-reseller")

    with pytest.raises(CarrierMisconfigured):
        adapter.activate(make_request())
    with pytest.raises(CarrierMisconfigured):
        adapter.query(QueryRequest(reference="anything-at-all"))

    assert read_ledger(simulator) == []


def test_query_lag_says_not_found_and_then_found(
    adapter: Adapter, simulator: str, make_request: MakeRequest
) -> None:
    set_knobs(simulator, query_lag_ms=300)
    request = make_request()
    accepted = adapter.activate(request)

    assert adapter.query(QueryRequest(reference=request.reference)) == NotFound()
    time.sleep(0.35)
    assert adapter.query(QueryRequest(reference=request.reference)) == Succeeded(accepted.carrier_reference)


def test_unfinished_order_is_in_progress(adapter: Adapter, simulator: str, make_request: MakeRequest) -> None:
    set_knobs(simulator, callback_delay_ms=60_000)
    request = make_request()

    accepted = adapter.activate(request)

    assert adapter.query(QueryRequest(reference=request.reference)) == InProgress(accepted.carrier_reference)


def test_order_of_another_reseller_does_not_exist(
    adapter: Adapter, make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest
) -> None:
    request = make_request()
    adapter.activate(request)
    other = make_adapter(app_key="another-reseller")

    assert other.query(QueryRequest(reference=request.reference)) == NotFound()
    wait_for_result(simulator, request.reference)
    with pytest.raises(CarrierRejected):
        other.terminate(
            TerminateRequest(
                reference=uuid.uuid4().hex, number=request.number, iccid=request.iccid, reason="user_request"
            )
        )


def test_duplicate_callbacks_carry_one_event_id(
    adapter: Adapter, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    adapter.activate(make_request(ending="9004"))

    callbacks = inbox.wait_for(3)

    messages = [
        adapter.parse_callback(callback.headers, callback.body, clock.now()) for callback in callbacks
    ]
    assert len(messages) == 3
    assert len(set(messages)) == 1


def test_unconfirmed_callback_comes_again(
    adapter: Adapter, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    inbox.answer = lambda _: 500 if len(inbox.received) == 1 else 200
    adapter.activate(make_request())

    callbacks = inbox.wait_for(2)

    first, second = (
        adapter.parse_callback(callback.headers, callback.body, clock.now()) for callback in callbacks
    )
    assert first == second


def test_forged_callback_is_refused_and_the_true_one_believed(
    adapter: Adapter, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    request = make_request(ending="9007")
    accepted = adapter.activate(request)

    forged, true = inbox.wait_for(2)

    with pytest.raises(CallbackForged):
        adapter.parse_callback(forged.headers, forged.body, clock.now())
    assert adapter.parse_callback(true.headers, true.body, clock.now()).outcome == Succeeded(
        accepted.carrier_reference
    )


def test_late_callback_comes_after_the_order_is_done(
    adapter: Adapter, make_request: MakeRequest, simulator: str, inbox: CallbackInbox
) -> None:
    request = make_request(ending="9006")
    adapter.activate(request)
    wait_for_result(simulator, request.reference)

    assert isinstance(adapter.query(QueryRequest(reference=request.reference)), Succeeded)
    assert inbox.received == []
    inbox.wait_for(1)
