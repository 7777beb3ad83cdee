"""How results are told where the carrier calls back, well or badly; over real HTTP."""

from __future__ import annotations

import pytest

from apps.carriers.base import CallbackForged, CallbackMessage, QueryRequest, Rejected, Succeeded
from apps.core import clock
from tests.carriers.conftest import Blocking
from tests.contracts.conftest import (
    DIALECTS,
    CallbackInbox,
    MakeAdapter,
    MakeRequest,
    Received,
    closing,
    settled,
)
from tests.simulator import read_state, set_knobs, wait_for_result

pytestmark = pytest.mark.parametrize(
    "dialect", [dialect for dialect in DIALECTS if dialect.calls_back], ids=lambda dialect: dialect.name
)


def _read(adapter: Blocking, callback: Received) -> CallbackMessage:
    return adapter.parse_callback(callback.headers, callback.body, clock.now())


def test_the_end_of_every_order_is_told(
    adapter: Blocking, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    opened = make_request()
    before = clock.now()
    first = adapter.activate(opened)
    told = _read(adapter, inbox.wait_for(1)[0])
    closed = closing(opened)
    second = adapter.terminate(closed)
    told_again = _read(adapter, inbox.wait_for(2)[1])

    assert (told.reference, told.number, told.carrier_reference) == (
        opened.reference,
        opened.number,
        first.carrier_reference,
    )
    assert told.outcome == Succeeded(first.carrier_reference) == settled(adapter, opened)
    assert abs((told.occurred_at - before).total_seconds()) < 10
    assert (told_again.reference, told_again.outcome) == (
        closed.reference,
        Succeeded(second.carrier_reference),
    )
    assert told_again.event_id != told.event_id


def test_a_refusal_is_told(
    adapter: Blocking, simulator: str, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    set_knobs(simulator, refuse_rate=1)
    request = make_request()
    adapter.activate(request)

    message = _read(adapter, inbox.wait_for(1)[0])

    assert isinstance(message.outcome, Rejected)
    assert message.outcome.code == "carrier_identity_refused"
    assert settled(adapter, request) == message.outcome


def test_a_lost_answer_is_not_told_either(
    make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    request = make_request(ending="9002")
    with pytest.raises(Exception, match="no whole answer"):
        make_adapter(total_seconds=0.3).activate(request)

    wait_for_result(simulator, request.reference)

    assert inbox.received == []


@pytest.mark.parametrize("kind", ["forged", "stale"])
def test_what_comes_ahead_of_the_truth_is_not_believed(
    adapter: Blocking, simulator: str, make_request: MakeRequest, inbox: CallbackInbox, kind: str
) -> None:
    set_knobs(simulator, callbacks=kind)
    accepted = adapter.activate(make_request())

    wrong, true = inbox.wait_for(2)

    with pytest.raises(CallbackForged):
        _read(adapter, wrong)
    assert _read(adapter, true).outcome == Succeeded(accepted.carrier_reference)


def test_a_signed_callback_may_name_somebody_elses_order(
    adapter: Blocking,
    make_adapter: MakeAdapter,
    simulator: str,
    make_request: MakeRequest,
    inbox: CallbackInbox,
) -> None:
    """The adapter cannot know; whoever applies it must look the reference up among this connection's jobs."""
    theirs = make_request()
    make_adapter(app_key="another-reseller").activate(theirs)
    inbox.wait_for(1)
    set_knobs(simulator, callbacks="foreign")
    ours = make_request()
    adapter.activate(ours)

    _, foreign, true = inbox.wait_for(3)

    assert _read(adapter, foreign).reference == theirs.reference
    assert isinstance(_read(adapter, foreign).outcome, Rejected)
    assert _read(adapter, true).reference == ours.reference


def test_an_early_callback_comes_before_the_answer(
    adapter: Blocking, simulator: str, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    set_knobs(simulator, callbacks="early")

    accepted = adapter.activate(make_request())

    [callback] = inbox.received
    assert _read(adapter, callback).outcome == Succeeded(accepted.carrier_reference)


def test_shuffled_callbacks_come_out_of_order(
    adapter: Blocking, simulator: str, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    set_knobs(simulator, callbacks="shuffled", late_by_ms=400, seed=11)
    requests = [make_request(reference=f"shuffled-{n:04d}") for n in range(12)]
    for request in requests:
        adapter.activate(request)

    told = [_read(adapter, callback).reference for callback in inbox.wait_for(12)]

    ordered = [request.reference for request in requests]
    assert sorted(told) == ordered
    assert told != ordered


def test_mixed_callbacks_are_of_every_kind(
    adapter: Blocking, simulator: str, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    set_knobs(simulator, callbacks="mixed", late_by_ms=50, callback_delay_ms=0)
    for _ in range(60):
        adapter.activate(make_request())
    inbox.wait_for(60)

    counts = read_state(simulator)["counts"]

    assert all(counts.get(f"callbacks_{kind}", 0) > 0 for kind in ("forged", "stale", "foreign"))


def test_duplicate_callbacks_carry_one_event_id(
    adapter: Blocking, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    adapter.activate(make_request(ending="9004"))

    callbacks = inbox.wait_for(3)

    messages = [
        adapter.parse_callback(callback.headers, callback.body, clock.now()) for callback in callbacks
    ]
    assert len(messages) == 3
    assert len(set(messages)) == 1


def test_unconfirmed_callback_comes_again(
    adapter: Blocking, make_request: MakeRequest, inbox: CallbackInbox
) -> None:
    inbox.answer = lambda _: 500 if len(inbox.received) == 1 else 200
    adapter.activate(make_request())

    callbacks = inbox.wait_for(2)

    first, second = (
        adapter.parse_callback(callback.headers, callback.body, clock.now()) for callback in callbacks
    )
    assert first == second


def test_forged_callback_is_refused_and_the_true_one_believed(
    adapter: Blocking, make_request: MakeRequest, inbox: CallbackInbox
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
    adapter: Blocking, make_request: MakeRequest, simulator: str, inbox: CallbackInbox
) -> None:
    request = make_request(ending="9006")
    adapter.activate(request)
    wait_for_result(simulator, request.reference)

    assert isinstance(adapter.query(QueryRequest(reference=request.reference)), Succeeded)
    assert inbox.received == []
    inbox.wait_for(1)
