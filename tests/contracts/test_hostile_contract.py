"""What every adapter makes of a carrier that misbehaves: never a success that is none, never a resend unasked."""

from __future__ import annotations

import time

import pytest

from apps.carriers.base import (
    CarrierUnavailable,
    InProgress,
    LinesRequest,
    NotFound,
    OutcomeUnknown,
    QueryRequest,
    Succeeded,
)
from tests.contracts.conftest import Dialect, MakeAdapter, MakeRequest, settled
from tests.simulator import read_ledger, read_state, set_knobs

AFTER = [
    "hang",
    "reset",
    "500",
    "502",
    "html",
    "half",
    "huge",
    "drip",
    "wrong_number",
    "wrong_reference",
    "unknown_word",
]
BEFORE = {
    "busy": CarrierUnavailable,
    "rate_limited": CarrierUnavailable,
    "500": OutcomeUnknown,
    "reset": OutcomeUnknown,
    "hang": OutcomeUnknown,
}


@pytest.mark.parametrize("kind", AFTER)
def test_a_spoilt_answer_to_an_order_leaves_the_outcome_unknown(
    make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest, kind: str
) -> None:
    set_knobs(simulator, error_rate_after_accept=1, error_after_accept=kind)
    request = make_request()
    started = time.monotonic()

    with pytest.raises(OutcomeUnknown):
        make_adapter(total_seconds=0.3).activate(request)

    assert time.monotonic() - started < 2
    assert isinstance(settled(make_adapter(), request), Succeeded)
    assert len(read_ledger(simulator)) == 1
    assert read_state(simulator)["counts"][f"spoilt: {kind}"] == 1


@pytest.mark.parametrize("kind", AFTER)
def test_a_spoilt_answer_to_a_question_is_no_answer(
    make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest, kind: str
) -> None:
    adapter = make_adapter()
    request = make_request()
    settled(adapter, request, adapter.activate(request))
    set_knobs(simulator, query_error_rate=1, query_error=kind)

    with pytest.raises(OutcomeUnknown):
        make_adapter(total_seconds=0.3).query(
            QueryRequest(reference=request.reference, number=request.number)
        )


@pytest.mark.parametrize("kind", sorted(BEFORE))
def test_what_was_not_taken_is_unavailable_only_when_the_carrier_says_so(
    make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest, kind: str
) -> None:
    set_knobs(simulator, error_rate_before=1, error_before=kind)
    request = make_request()

    with pytest.raises(BEFORE[kind]):
        make_adapter(total_seconds=0.3).activate(request)

    assert make_adapter().query(QueryRequest(reference=request.reference)) == NotFound()
    assert read_ledger(simulator) == []


@pytest.mark.parametrize("kind", sorted(BEFORE))
def test_an_outage_closes_every_door_and_ends(
    make_adapter: MakeAdapter, simulator: str, make_request: MakeRequest, kind: str
) -> None:
    set_knobs(simulator, outage_ms=60_000, outage_as=kind)
    adapter = make_adapter(total_seconds=0.2 if kind == "hang" else 5.0)
    request = make_request()

    for call in (
        lambda: adapter.activate(request),
        lambda: adapter.query(QueryRequest(reference=request.reference)),
        lambda: adapter.list_lines(LinesRequest()),
    ):
        with pytest.raises(BEFORE[kind]):
            call()

    assert read_ledger(simulator) == []
    set_knobs(simulator, outage_ms=0)
    adapter = make_adapter()
    assert isinstance(settled(adapter, request, adapter.activate(request)), Succeeded)


def test_outages_come_and_go(make_adapter: MakeAdapter, simulator: str) -> None:
    set_knobs(simulator, outage_ms=200, outage_every_ms=400)
    adapter = make_adapter()
    seen: list[bool] = []
    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        try:
            adapter.query(QueryRequest(reference="is-anybody-there"))
            up = True
        except CarrierUnavailable:
            up = False
        if seen[-1:] != [up]:
            seen.append(up)
        time.sleep(0.01)

    assert seen[:4] == [False, True, False, True]


def test_more_calls_a_second_than_allowed_are_turned_away(make_adapter: MakeAdapter, simulator: str) -> None:
    set_knobs(simulator, calls_per_second=5)
    adapter = make_adapter()
    answers = []
    for _ in range(30):
        try:
            answers.append(adapter.query(QueryRequest(reference="is-anybody-there")))
        except CarrierUnavailable as unavailable:
            answers.append(unavailable.retry_after)

    # Thirty calls take less than two seconds, so at most three windows of five let some through.
    assert 5 <= answers.count(NotFound()) <= 15
    assert 1.0 in answers


def test_knobs_of_one_carrier_leave_the_others_alone(
    make_adapter: MakeAdapter, dialect: Dialect, simulator: str, make_request: MakeRequest
) -> None:
    others = [name for name in ("unicom", "mobile", "telecom") if name != dialect.name]
    for name in others:
        set_knobs(simulator, carrier=name, outage_ms=60_000)
    adapter = make_adapter()
    request = make_request()

    assert isinstance(settled(adapter, request, adapter.activate(request)), Succeeded)
    for name, state in read_state(simulator)["carriers"].items():
        assert state["entries"] == (1 if name == dialect.name else 0)


def test_slow_calls_are_slow_at_their_rate(make_adapter: MakeAdapter, simulator: str) -> None:
    set_knobs(simulator, slow_rate=0.5, slow_ms=300, seed=3)
    adapter = make_adapter(total_seconds=0.15)
    answers = []
    for n in range(14):
        try:
            answers.append(type(adapter.query(QueryRequest(reference=f"question-{n:04d}"))))
        except OutcomeUnknown as unknown:
            answers.append(type(unknown))

    assert 2 <= answers.count(NotFound) <= 12
    assert answers.count(NotFound) + answers.count(OutcomeUnknown) == 14
    assert InProgress not in answers
