"""What every adapter must do, over real HTTP against a real simulator process; one set of parameters per
dialect.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from apps.carriers.adapters import mobile, telecom, unicom
from apps.carriers.base import (
    Accepted,
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
)
from apps.core import clock
from tests.carriers.conftest import Blocking
from tests.contracts.conftest import Dialect, MakeAdapter, MakeRequest, closing, settled
from tests.simulator import read_ledger, read_state, running_simulator, set_knobs, wait_for_result

DOCUMENT_TYPES = {
    "unicom": unicom.DOCUMENT_TYPES,
    "mobile": mobile.DOCUMENT_TYPES,
    "telecom": telecom.DOCUMENT_TYPES,
}


def test_activation_is_taken_and_carried_out(
    adapter: Blocking, dialect: Dialect, simulator: str, make_request: MakeRequest
) -> None:
    request = make_request()

    answer = adapter.activate(request)

    assert isinstance(answer, Succeeded if dialect.answers_when_done else Accepted)
    assert settled(adapter, request, answer) == Succeeded(answer.carrier_reference)
    [entry] = read_ledger(simulator)
    shown = ("dialect", "operation", "reference", "number", "iccid", "plan", "result", "duplicate")
    assert tuple(entry[name] for name in shown) == (
        dialect.name,
        "activate",
        request.reference,
        request.number.removeprefix("+86"),
        request.iccid,
        request.plan_code,
        "DONE",
        False,
    )


def test_line_is_closed_again(adapter: Blocking, simulator: str, make_request: MakeRequest) -> None:
    opened = make_request()
    settled(adapter, opened, adapter.activate(opened))
    request = closing(opened)

    answer = adapter.terminate(request)

    assert settled(adapter, request, answer) == Succeeded(answer.carrier_reference)
    assert read_state(simulator)["lines"] == {"CLOSED": 1}


def test_a_closed_number_can_be_sold_again(adapter: Blocking, make_request: MakeRequest) -> None:
    first = make_request()
    settled(adapter, first, adapter.activate(first))
    request = closing(first)
    settled(adapter, request, adapter.terminate(request))

    again = make_request(number=first.number, iccid=first.iccid)

    assert isinstance(settled(adapter, again, adapter.activate(again)), Succeeded)


@pytest.mark.parametrize("document_type", sorted(unicom.DOCUMENT_TYPES))
def test_every_kind_of_document_is_taken_or_refused_before_anything_is_sent(
    adapter: Blocking, dialect: Dialect, simulator: str, make_request: MakeRequest, document_type: str
) -> None:
    request = make_request(document_type=document_type)

    if DOCUMENT_TYPES[dialect.name][document_type] is not None:
        adapter.activate(request)
        assert len(read_ledger(simulator)) == 1
        return
    with pytest.raises(CarrierRejected) as rejected:
        adapter.activate(request)

    assert rejected.value.code == "document_type_not_accepted_by_carrier"
    assert read_state(simulator)["carriers"][dialect.name]["counts"].get("calls", 0) == 0


def test_closing_a_line_that_is_not_there_is_rejected(
    adapter: Blocking, simulator: str, make_request: MakeRequest
) -> None:
    with pytest.raises(CarrierRejected) as rejected:
        adapter.terminate(closing(make_request()))

    assert rejected.value.code == "carrier_line_not_found"
    assert read_ledger(simulator) == []


@pytest.mark.parametrize(
    ("ending", "plan_code", "code"),
    [("9001", "U-FREE-19", "carrier_plan_invalid"), ("0000", "U-OLD-WITHDRAWN", "carrier_plan_invalid")],
)
def test_business_rejection_has_our_code_and_leaves_nothing(
    adapter: Blocking, simulator: str, make_request: MakeRequest, ending: str, plan_code: str, code: str
) -> None:
    request = make_request(ending=ending, plan_code=plan_code)

    with pytest.raises(CarrierRejected) as rejected:
        adapter.activate(request)

    assert rejected.value.code == code
    assert read_ledger(simulator) == []
    assert adapter.query(QueryRequest(reference=request.reference)) == NotFound()


def test_number_in_service_is_rejected(adapter: Blocking, simulator: str, make_request: MakeRequest) -> None:
    first = make_request()
    adapter.activate(first)
    again = make_request(number=first.number)

    with pytest.raises(CarrierRejected) as rejected:
        adapter.activate(again)

    assert rejected.value.code == "carrier_number_in_use"
    assert len(read_ledger(simulator)) == 1


def test_refusal_after_acceptance_is_found(
    adapter: Blocking, dialect: Dialect, simulator: str, make_request: MakeRequest
) -> None:
    set_knobs(simulator, refuse_rate=1)
    request = make_request()

    if dialect.answers_when_done:
        with pytest.raises(CarrierRejected) as rejected:
            adapter.activate(request)
        assert rejected.value.code == "carrier_identity_refused"
    else:
        adapter.activate(request)

    outcome = settled(adapter, request)
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.carrier_reference) == (
        "carrier_identity_refused",
        read_ledger(simulator)[0]["order_no"],
    )
    assert read_state(simulator)["lines"] == {}


def test_lost_answer_is_found_by_asking(
    make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest
) -> None:
    adapter = make_adapter(total_seconds=0.4)
    request = make_request(ending="9002")

    with pytest.raises(OutcomeUnknown):
        adapter.activate(request)
    wait_for_result(simulator, request.reference)
    outcome = adapter.query(QueryRequest(reference=request.reference, number=request.number))

    [entry] = read_ledger(simulator)
    assert outcome == Succeeded(entry["order_no"])


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


def test_repeated_reference_is_one_order(
    adapter: Blocking, simulator: str, make_request: MakeRequest
) -> None:
    request = make_request()

    first = adapter.activate(request)
    second = adapter.activate(request)

    assert first == second
    settled(adapter, request, first)
    assert adapter.activate(request) == first
    assert len(read_ledger(simulator)) == 1


def test_fifty_at_once_with_one_reference_are_one_order(
    adapter: Blocking, simulator: str, make_request: MakeRequest
) -> None:
    request = make_request()
    barrier = threading.Barrier(50)

    def activate(_: int) -> Accepted | Succeeded:
        barrier.wait()
        return adapter.activate(request)

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(activate, range(50)))

    assert len({answer.carrier_reference for answer in answers}) == 1
    assert len(read_ledger(simulator)) == 1


def test_carrier_without_deduplication_is_seen_in_the_ledger(
    adapter: Blocking, simulator: str, make_request: MakeRequest
) -> None:
    set_knobs(simulator, dedupe=False)
    request = make_request()

    first = adapter.activate(request)
    second = adapter.activate(request)

    assert first != second
    assert [entry["duplicate"] for entry in read_ledger(simulator)] == [False, True]


def test_reference_of_another_order_is_our_mistake(
    adapter: Blocking, simulator: str, make_request: MakeRequest
) -> None:
    request = make_request()
    adapter.activate(request)

    with pytest.raises(CarrierMisconfigured):
        adapter.activate(make_request(reference=request.reference))

    assert len(read_ledger(simulator)) == 1


def test_too_many_calls_says_when_to_come_back(
    adapter: Blocking, simulator: str, make_request: MakeRequest
) -> None:
    request = make_request(ending="9005")

    with pytest.raises(CarrierUnavailable) as unavailable:
        adapter.activate(request)

    assert unavailable.value.retry_after == 1.0
    assert read_ledger(simulator) == []
    assert isinstance(adapter.activate(request), Accepted | Succeeded)


def test_busy_carrier_took_nothing(adapter: Blocking, simulator: str, make_request: MakeRequest) -> None:
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
    adapter: Blocking, simulator: str, make_request: MakeRequest
) -> None:
    set_knobs(simulator, query_lag_ms=300)
    request = make_request()
    accepted = adapter.activate(request)

    assert adapter.query(QueryRequest(reference=request.reference)) == NotFound()
    time.sleep(0.35)
    assert adapter.query(QueryRequest(reference=request.reference)) == Succeeded(accepted.carrier_reference)


def test_unfinished_order_is_in_progress(
    make_adapter: MakeAdapter, dialect: Dialect, simulator: str, make_request: MakeRequest
) -> None:
    set_knobs(simulator, callback_delay_ms=60_000)
    adapter = make_adapter(total_seconds=0.4)
    request = make_request()
    if dialect.answers_when_done:
        with pytest.raises(OutcomeUnknown):
            adapter.activate(request)
    else:
        adapter.activate(request)

    # The same reference again: taken before, and not through.
    accepted = adapter.activate(request)

    assert isinstance(accepted, Accepted)
    assert adapter.query(QueryRequest(reference=request.reference)) == InProgress(accepted.carrier_reference)
    assert len(read_ledger(simulator)) == 1


def test_order_of_another_reseller_does_not_exist(
    adapter: Blocking, make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest
) -> None:
    request = make_request()
    adapter.activate(request)
    other = make_adapter(app_key="another-reseller")

    assert other.query(QueryRequest(reference=request.reference)) == NotFound()
    wait_for_result(simulator, request.reference)
    with pytest.raises(CarrierRejected):
        other.terminate(closing(request))


def test_who_sends_no_callbacks_is_never_believed_one(adapter: Blocking, dialect: Dialect) -> None:
    for body in (b"", b"{}", b"<response/>"):
        with pytest.raises(CallbackForged):
            adapter.parse_callback({}, body, clock.now())


def test_a_magic_number_is_refused_at_once(
    adapter: Blocking, simulator: str, make_request: MakeRequest
) -> None:
    with pytest.raises(CarrierRejected) as rejected:
        adapter.activate(make_request(number_ending="999001"))

    assert rejected.value.code == "carrier_number_invalid"
    assert read_ledger(simulator) == []


def test_a_magic_number_is_refused_later(
    adapter: Blocking, dialect: Dialect, make_request: MakeRequest
) -> None:
    request = make_request(number_ending="999008")
    if dialect.answers_when_done:
        with pytest.raises(CarrierRejected):
            adapter.activate(request)
    else:
        adapter.activate(request)

    outcome = settled(adapter, request)

    assert isinstance(outcome, Rejected)
    assert outcome.code == "carrier_identity_refused"


@pytest.mark.parametrize("ending", ["999002", "999009"])
def test_magic_numbers_whose_answer_is_lost(
    make_adapter: MakeAdapter, make_request: MakeRequest, ending: str
) -> None:
    adapter = make_adapter(total_seconds=0.4)
    request = make_request(number_ending=ending)

    with pytest.raises(OutcomeUnknown):
        adapter.activate(request)

    assert isinstance(settled(adapter, request), Succeeded)
