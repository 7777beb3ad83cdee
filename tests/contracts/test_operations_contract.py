"""Every operation on a line, for every dialect: what it does to the carrier's own table, and when it is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from apps.carriers.base import (
    Accepted,
    ActivateRequest,
    CarrierLine,
    CarrierMisconfigured,
    CarrierRejected,
    ChangeNumberRequest,
    ChangePlanRequest,
    ChangeSimRequest,
    LineRequest,
    LinesRequest,
    LineState,
    OutcomeUnknown,
    Rejected,
    ResumeRequest,
    Succeeded,
    SuspendRequest,
    TerminateRequest,
    TransferRequest,
)
from tests.carriers.conftest import Blocking
from tests.contracts.conftest import Dialect, MakeAdapter, MakeRequest, closing, settled
from tests.simulator import read_ledger, read_state, set_knobs

Make = Callable[[LineRequest, ActivateRequest], LineRequest]


def _on(line: LineRequest, operation: type[LineRequest], **changes: Any) -> LineRequest:
    return operation(reference=uuid.uuid4().hex, number=line.number, iccid=line.iccid, **changes)


def _transfer(line: LineRequest, **changes: Any) -> LineRequest:
    holder = {
        "holder_name": "新·用户 <&>",
        "document_type": "resident_id",
        "document_number": "110105190001010002",
    }
    return _on(line, TransferRequest, **holder | changes)


# Operation: an order of it on a line in service; what is new comes from a second, unused request.
OPERATIONS: dict[str, Make] = {
    "suspend": lambda line, spare: _on(line, SuspendRequest, kind="one_way"),
    "change_sim": lambda line, spare: _on(line, ChangeSimRequest, new_iccid=spare.iccid, new_imsi=spare.imsi),
    "change_number": lambda line, spare: _on(line, ChangeNumberRequest, new_number=spare.number),
    "change_plan": lambda line, spare: _on(line, ChangePlanRequest, plan_code="U-MORE-59"),
    "transfer": lambda line, spare: _transfer(line),
    "terminate": lambda line, spare: closing(line),
}
EVERY = {**OPERATIONS, "resume": lambda line, spare: _on(line, ResumeRequest)}

every_operation = pytest.mark.parametrize("operation", sorted(EVERY))
changing = pytest.mark.parametrize("operation", sorted(OPERATIONS))


def send(adapter: Blocking, request: LineRequest) -> Accepted | Succeeded:
    match request:
        case SuspendRequest():
            return adapter.suspend(request)
        case ResumeRequest():
            return adapter.resume(request)
        case ChangeSimRequest():
            return adapter.change_sim(request)
        case ChangeNumberRequest():
            return adapter.change_number(request)
        case ChangePlanRequest():
            return adapter.change_plan(request)
        case TransferRequest():
            return adapter.transfer(request)
        case TerminateRequest():
            return adapter.terminate(request)
    raise AssertionError(request)


def carry_out(adapter: Blocking, request: LineRequest) -> None:
    answer = send(adapter, request)
    assert settled(adapter, request, answer) == Succeeded(answer.carrier_reference)


@pytest.fixture
def line(adapter: Blocking, make_request: MakeRequest) -> ActivateRequest:
    """A line in service."""
    request = make_request()
    settled(adapter, request, adapter.activate(request))
    return request


@pytest.fixture
def spare(make_request: MakeRequest) -> ActivateRequest:
    """A number and a card that no line has."""
    return make_request()


def test_a_whole_life(
    adapter: Blocking, line: ActivateRequest, spare: ActivateRequest, simulator: str
) -> None:
    def at_the_carrier() -> CarrierLine:
        [only] = adapter.list_lines(LinesRequest()).lines
        return only

    assert at_the_carrier() == CarrierLine(line.number, line.iccid, LineState.ACTIVE, "U-FREE-19")
    carry_out(adapter, _on(line, SuspendRequest, kind="one_way"))
    assert at_the_carrier().state is LineState.SUSPENDED_ONE_WAY
    carry_out(adapter, _on(line, SuspendRequest, kind="two_way"))
    assert at_the_carrier().state is LineState.SUSPENDED_TWO_WAY
    carry_out(adapter, _on(line, ResumeRequest))
    assert at_the_carrier().state is LineState.ACTIVE
    carry_out(adapter, _on(line, ChangePlanRequest, plan_code="U-MORE-59"))
    carry_out(adapter, _on(line, ChangeSimRequest, new_iccid=spare.iccid, new_imsi=spare.imsi))
    line = ActivateRequest(**{**_fields(line), "iccid": spare.iccid})
    assert at_the_carrier() == CarrierLine(line.number, spare.iccid, LineState.ACTIVE, "U-MORE-59")
    carry_out(adapter, _on(line, ChangeNumberRequest, new_number=spare.number))
    line = ActivateRequest(**{**_fields(line), "number": spare.number})
    assert at_the_carrier() == CarrierLine(spare.number, spare.iccid, LineState.ACTIVE, "U-MORE-59")
    carry_out(adapter, _transfer(line))
    carry_out(adapter, closing(line))
    assert at_the_carrier() == CarrierLine(spare.number, spare.iccid, LineState.TERMINATED, "U-MORE-59")
    assert [entry["operation"] for entry in read_ledger(simulator)] == [
        "activate",
        "suspend",
        "suspend",
        "resume",
        "change_plan",
        "change_sim",
        "change_number",
        "transfer",
        "terminate",
    ]


def _fields(request: ActivateRequest) -> dict[str, Any]:
    names = (
        "reference",
        "number",
        "iccid",
        "imsi",
        "plan_code",
        "holder_name",
        "document_type",
        "document_number",
    )
    return {name: getattr(request, name) for name in names}


@every_operation
def test_a_line_that_is_not_there_is_not_found(
    adapter: Blocking, make_request: MakeRequest, spare: ActivateRequest, simulator: str, operation: str
) -> None:
    with pytest.raises(CarrierRejected) as rejected:
        send(adapter, EVERY[operation](make_request(), spare))

    assert rejected.value.code == "carrier_line_not_found"
    assert read_ledger(simulator) == []


@every_operation
def test_a_line_with_another_card_or_of_another_reseller_is_not_found(
    adapter: Blocking,
    make_adapter: MakeAdapter,
    line: ActivateRequest,
    spare: ActivateRequest,
    operation: str,
) -> None:
    other_card = ActivateRequest(**{**_fields(line), "iccid": spare.iccid})
    for who, what in ((adapter, other_card), (make_adapter(app_key="another-reseller"), line)):
        with pytest.raises(CarrierRejected) as rejected:
            send(who, EVERY[operation](what, spare))
        assert rejected.value.code == "carrier_line_not_found"


@every_operation
def test_a_closed_line_is_closed(
    adapter: Blocking, line: ActivateRequest, spare: ActivateRequest, operation: str
) -> None:
    carry_out(adapter, closing(line))

    with pytest.raises(CarrierRejected) as rejected:
        send(adapter, EVERY[operation](line, spare))

    assert rejected.value.code == "carrier_line_closed"


@every_operation
def test_one_order_at_a_time_on_a_line(
    make_adapter: MakeAdapter,
    adapter: Blocking,
    dialect: Dialect,
    line: ActivateRequest,
    spare: ActivateRequest,
    simulator: str,
    operation: str,
) -> None:
    set_knobs(simulator, callback_delay_ms=60_000)
    first = _on(line, ChangePlanRequest, plan_code="U-LESS-9")
    if dialect.answers_when_done:
        with pytest.raises(OutcomeUnknown):
            send(make_adapter(total_seconds=0.2), first)
    else:
        send(adapter, first)

    with pytest.raises(CarrierRejected) as rejected:
        send(adapter, EVERY[operation](line, spare))

    assert rejected.value.code == "carrier_line_busy"


@pytest.mark.parametrize(
    ("before", "again"),
    [
        ([], lambda line: _on(line, ResumeRequest)),
        (["one_way"], lambda line: _on(line, SuspendRequest, kind="one_way")),
        (["two_way"], lambda line: _on(line, SuspendRequest, kind="two_way")),
    ],
    ids=["resume", "one_way", "two_way"],
)
def test_what_is_so_already_is_said_to_be(
    adapter: Blocking, line: ActivateRequest, before: list[str], again: Callable[[LineRequest], LineRequest]
) -> None:
    for kind in before:
        carry_out(adapter, _on(line, SuspendRequest, kind=kind))

    with pytest.raises(CarrierRejected) as rejected:
        send(adapter, again(line))

    assert rejected.value.code == "carrier_line_already_so"


def test_a_suspension_can_be_eased(adapter: Blocking, line: ActivateRequest) -> None:
    carry_out(adapter, _on(line, SuspendRequest, kind="two_way"))
    carry_out(adapter, _on(line, SuspendRequest, kind="one_way"))

    assert adapter.list_lines(LinesRequest()).lines[0].state is LineState.SUSPENDED_ONE_WAY


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (lambda line, other: _on(line, ChangeSimRequest, new_iccid=other.iccid), "carrier_sim_in_use"),
        (
            lambda line, other: _on(line, ChangeSimRequest, new_iccid="89860118009999999001"),
            "carrier_sim_invalid",
        ),
        (
            lambda line, other: _on(line, ChangeNumberRequest, new_number=other.number),
            "carrier_number_in_use",
        ),
        (
            lambda line, other: _on(line, ChangeNumberRequest, new_number="+8613900000001"),
            "carrier_number_invalid",
        ),
        (
            lambda line, other: _on(line, ChangeNumberRequest, new_number=line.number[:-6] + "999001"),
            "carrier_number_invalid",
        ),
        (lambda line, other: _on(line, ChangePlanRequest, plan_code="X-WITHDRAWN"), "carrier_plan_invalid"),
    ],
    ids=["sim in use", "magic sim", "number in use", "number of another carrier", "magic number", "plan"],
)
def test_what_the_carrier_cannot_give_is_refused(
    adapter: Blocking,
    line: ActivateRequest,
    make_request: MakeRequest,
    order: Callable[[LineRequest, LineRequest], LineRequest],
    code: str,
) -> None:
    other = make_request()
    settled(adapter, other, adapter.activate(other))

    with pytest.raises(CarrierRejected) as rejected:
        send(adapter, order(line, other))

    assert rejected.value.code == code


@pytest.mark.parametrize("operation", ["change_sim", "change_number"])
def test_what_a_line_gave_up_is_free_again(
    adapter: Blocking,
    line: ActivateRequest,
    spare: ActivateRequest,
    make_request: MakeRequest,
    operation: str,
) -> None:
    carry_out(adapter, OPERATIONS[operation](line, spare))
    fresh = make_request()
    given_up = {"iccid": line.iccid} if operation == "change_sim" else {"number": line.number}

    again = ActivateRequest(**{**_fields(fresh), **given_up})

    assert isinstance(settled(adapter, again, adapter.activate(again)), Succeeded)


def test_the_new_holders_document_has_to_have_a_code(
    adapter: Blocking, line: ActivateRequest, simulator: str
) -> None:
    with pytest.raises(CarrierRejected) as rejected:
        send(adapter, _transfer(line, document_type="library_card"))

    assert rejected.value.code == "document_type_not_accepted_by_carrier"
    assert len(read_ledger(simulator)) == 1


@pytest.mark.parametrize(
    "request_",
    [
        lambda line: _on(line, SuspendRequest, kind="three_way"),
        lambda line: closing(line, reason="boredom"),
        lambda line: _on(line, ChangeNumberRequest, new_number="17090001234"),
    ],
    ids=["kind", "reason", "number"],
)
def test_what_has_no_word_in_the_dialect_is_our_mistake_and_not_sent(
    adapter: Blocking,
    line: ActivateRequest,
    simulator: str,
    request_: Callable[[LineRequest], LineRequest],
) -> None:
    calls = read_state(simulator)["counts"]["calls"]

    with pytest.raises(CarrierMisconfigured):
        send(adapter, request_(line))

    assert read_state(simulator)["counts"]["calls"] == calls


@changing
def test_the_same_reference_again_changes_nothing(
    adapter: Blocking, line: ActivateRequest, spare: ActivateRequest, simulator: str, operation: str
) -> None:
    request = OPERATIONS[operation](line, spare)
    first = send(adapter, request)
    settled(adapter, request, first)

    again = send(adapter, request)

    assert again.carrier_reference == first.carrier_reference
    assert len(read_ledger(simulator)) == 2


@changing
def test_a_lost_answer_is_found_by_asking(
    make_adapter: MakeAdapter,
    line: ActivateRequest,
    spare: ActivateRequest,
    simulator: str,
    operation: str,
) -> None:
    set_knobs(simulator, error_rate_after_accept=1, error_after_accept="reset")
    adapter = make_adapter(total_seconds=0.4)
    request = OPERATIONS[operation](line, spare)

    with pytest.raises(OutcomeUnknown):
        send(adapter, request)

    assert isinstance(settled(adapter, request), Succeeded)
    assert len(read_ledger(simulator)) == 2


@pytest.mark.parametrize("operation", ["change_sim", "change_number", "change_plan", "transfer"])
def test_a_refusal_after_acceptance_leaves_the_line_as_it_was(
    adapter: Blocking,
    dialect: Dialect,
    line: ActivateRequest,
    spare: ActivateRequest,
    simulator: str,
    operation: str,
) -> None:
    set_knobs(simulator, refuse_rate=1)
    request = OPERATIONS[operation](line, spare)
    if dialect.answers_when_done:
        with pytest.raises(CarrierRejected):
            send(adapter, request)
    else:
        send(adapter, request)

    assert isinstance(settled(adapter, request), Rejected)
    assert adapter.list_lines(LinesRequest()).lines == (
        CarrierLine(line.number, line.iccid, LineState.ACTIVE, line.plan_code),
    )
    set_knobs(simulator, refuse_rate=0)
    carry_out(adapter, EVERY[operation](line, spare))


def test_a_reference_names_one_order(adapter: Blocking, line: ActivateRequest, simulator: str) -> None:
    request = _on(line, ChangePlanRequest, plan_code="U-MORE-59")
    carry_out(adapter, request)
    other = ChangePlanRequest(
        reference=request.reference, number=line.number, iccid=line.iccid, plan_code="U-LESS-9"
    )

    with pytest.raises(CarrierMisconfigured):
        adapter.change_plan(other)
    with pytest.raises(CarrierMisconfigured):
        adapter.terminate(closing(line, reference=request.reference))

    assert len(read_ledger(simulator)) == 2
