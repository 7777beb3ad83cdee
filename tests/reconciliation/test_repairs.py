"""What happens when staff decide: one by one, in bulk, too late, without the right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from apps.accounts.actors import actor_of_staff, actor_of_user
from apps.accounts.models import User
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.carriers.base import CarrierLine, LineState, Rejected, Succeeded
from apps.core.actor import Actor
from apps.core.errors import Forbidden, InvalidTransition, NotFound
from apps.lines import selectors as lines
from apps.lines.models import Line, NumberAssignment, SimAssignment
from apps.numbering.models import PhoneNumber
from apps.numbering.numbers import to_e164
from apps.numbering.states import NumberStatus
from apps.operators import services as operators
from apps.operators.models import Licence, VirtualOperator
from apps.provisioning import selectors, services
from apps.provisioning.errors import (
    DecisionReasonMissing,
    DiscrepanciesChanged,
    DiscrepancyNotRepairable,
    DiscrepancyOutdated,
    LineHasOpenOrder,
)
from apps.provisioning.models import ActivationJob, Discrepancy, ServiceOrder
from apps.provisioning.services import carrier_requests
from apps.provisioning.states import DiscrepancyKind
from tests.factories.accounts import given_user
from tests.factories.provisioning import SYSTEM, Seller
from tests.reconciliation.conftest import View, as_the_carrier_has, at_rest
from tests.refusals import refused

pytestmark = pytest.mark.django_db

OTHER_CARD = "89860119999999999999"


@pytest.fixture
def user(operator: VirtualOperator, now: datetime) -> User:
    return given_user(role=Role.OPERATOR_ADMIN, operator=operator, now=now)


@pytest.fixture
def staff(user: User) -> Actor:
    return actor_of_user(user)


def listed(seller: Seller, line: Line, **changes: object) -> Discrepancy:
    at_rest(seller)
    View.of(seller).change(line, **changes).reconcile()
    return Discrepancy.objects.latest("id")


def accept(actor: Actor, discrepancy: Discrepancy, now: datetime) -> Discrepancy:
    return services.accept_discrepancy(
        actor=actor, discrepancy=discrepancy.uid, reason="agreed with the carrier", now=now
    )


def request_of(seller: Seller, order: ServiceOrder) -> Any:
    """What the worker would send for it."""
    (claim,) = seller.claim()
    assert claim.order_id == order.pk
    fittings = lines.get_fittings(line_ids=[claim.line_id])[claim.line_id]
    facts = selectors.get_sending_facts(order_ids=[order.pk])[order.pk]
    assert facts.identity_holds
    request = carrier_requests.build(claim, fittings, facts, None)
    assert seller.record(claim, Succeeded("UC-9"))
    return request


def snapshot(line: Line) -> tuple[object, ...]:
    line.refresh_from_db()
    return (
        line.status,
        line.suspension_kind,
        line.plan_id,
        list(line.suspensions.values_list("id", "lifted_at")),
        list(NumberAssignment.objects.filter(line=line).values_list("number_id", "released_at")),
        list(SimAssignment.objects.filter(line=line).values_list("sim__iccid", "sim__status", "released_at")),
        sorted(PhoneNumber.objects.exclude(status=NumberStatus.AVAILABLE).values_list("number", "status")),
    )


@pytest.mark.parametrize(
    ("changes", "sends"),
    [
        ({"state": LineState.SUSPENDED_TWO_WAY}, "ResumeRequest"),
        ({"iccid": OTHER_CARD}, "ChangeSimRequest"),
        ({"plan_code": "OTHER"}, "ChangePlanRequest"),
        ({"number": "+8617099999999"}, "ChangeNumberRequest"),
    ],
)
@pytest.mark.parametrize("answer", ["yes", "no"])
def test_the_carrier_is_asked_for_what_we_have(
    seller: Seller, staff: Actor, changes: dict[str, Any], sends: str, answer: str
) -> None:
    """And nothing changes here, whatever it answers: not the number, not the card, not a reason."""
    line = seller.active_line()
    before, has = snapshot(line), as_the_carrier_has(line)
    discrepancy = accept(staff, listed(seller, line, **changes), seller.now)
    order = discrepancy.order
    assert order is not None
    assert (discrepancy.status, order.status, order.placed_by) == ("REPAIRED", "IN_PROGRESS", staff.id)
    if answer == "no":
        seller.answer(order, Rejected("carrier_number_invalid", "no"))
        assert ServiceOrder.objects.get(pk=order.pk).status == "FAILED"
    else:
        request = request_of(seller, order)
        assert type(request).__name__ == sends
        assert request.number == changes.get("number", has.number)
        assert request.iccid == changes.get("iccid", has.iccid)
        for asked, ours in (
            ("new_iccid", has.iccid),
            ("new_number", has.number),
            ("plan_code", has.plan_code),
        ):
            assert getattr(request, asked, ours) == ours
        assert ServiceOrder.objects.get(pk=order.pk).status == "COMPLETED"
    assert snapshot(line) == before
    audit = AuditEvent.objects.get(action="discrepancy.accept")
    assert (audit.reason, audit.actor_id, audit.after["order"]) == (
        "agreed with the carrier",
        staff.id,
        order.uid,
    )


def test_a_stopped_line_is_stopped_there_as_it_is_here(seller: Seller, staff: Actor) -> None:
    line = seller.suspended_line()
    before = snapshot(line)
    order = accept(staff, listed(seller, line, state=LineState.ACTIVE), seller.now).order
    assert order is not None
    request = request_of(seller, order)
    assert (type(request).__name__, request.kind) == ("SuspendRequest", "two_way")
    assert snapshot(line) == before


@pytest.mark.parametrize("kind", ["ENDED_THERE", "MISSING_THERE"])
def test_what_the_carrier_has_ended_ends_here(seller: Seller, staff: Actor, kind: str) -> None:
    line = seller.active_line()
    number = NumberAssignment.objects.get(line=line).number_id
    seller.ask("change_plan", line, effective=services.Effective.NEXT_MONTH)
    at_rest(seller)
    seen = View.of(seller, line) if kind == "MISSING_THERE" else View.of(seller)
    seen.change(line, state=LineState.TERMINATED).reconcile()
    discrepancy = Discrepancy.objects.get()
    assert discrepancy.kind == kind
    order = accept(staff, discrepancy, seller.now).order
    assert order is not None
    line.refresh_from_db()
    assert (line.status, order.status, order.type) == ("TERMINATED", "COMPLETED", "TERMINATE")
    assert PhoneNumber.objects.get(pk=number).status == NumberStatus.QUARANTINED
    assert not ActivationJob.objects.filter(order=order).exists(), "there is nothing to ask the carrier"
    assert ServiceOrder.objects.get(type="CHANGE_PLAN").status == "CANCELLED"


def test_what_lives_on_there_is_ended_there(seller: Seller, staff: Actor) -> None:
    line = seller.active_line()
    row = as_the_carrier_has(line)
    seller.done(seller.ask("terminate", line, reason="fraud"))
    at_rest(seller)
    View.of(seller).add(row).reconcile()
    before = snapshot(line)
    order = accept(staff, Discrepancy.objects.get(), seller.now).order
    assert order is not None
    request = request_of(seller, order)
    assert (type(request).__name__, request.number, request.reason) == (
        "TerminateRequest",
        row.number,
        "fraud",
    )
    assert snapshot(line) == before


def test_a_number_that_somebody_has_again_is_not_ended_there(seller: Seller, staff: Actor) -> None:
    line, other = seller.active_line(), seller.active_line()
    row = as_the_carrier_has(line)
    number = NumberAssignment.objects.get(line=line).number_id
    seller.done(seller.ask("terminate", line))
    at_rest(seller)
    View.of(seller).add(row).reconcile()
    NumberAssignment.objects.filter(line=other).update(number=number)
    with refused(DiscrepancyNotRepairable):
        accept(staff, Discrepancy.objects.get(), seller.now)


def test_an_unknown_line_s_number_is_kept_from_sale(
    seller: Seller, staff: Actor, other_operator: VirtualOperator
) -> None:
    ours = seller.range.first + 900
    stranger = CarrierLine(to_e164(ours), OTHER_CARD, LineState.ACTIVE, "X")
    foreign = CarrierLine("+8617098888888", OTHER_CARD[:-1] + "8", LineState.ACTIVE, "X")
    View.of(seller).add(stranger).add(foreign).reconcile()
    done = accept(staff, Discrepancy.objects.get(number=ours), seller.now)
    assert (done.status, done.order) == ("REPAIRED", None)
    assert PhoneNumber.objects.get(pk=ours).status == NumberStatus.WITHHELD
    with refused(NotFound):
        accept(staff, Discrepancy.objects.get(number=17098888888), seller.now)


# --- too late, or not theirs to decide ------------------------------------------------------------------------------
def change_plan_meanwhile(seller: Seller, line: Line) -> None:
    seller.done(seller.ask("change_plan", line))


def open_an_order(seller: Seller, line: Line) -> None:
    seller.ask("suspend", line)


def let_time_pass(seller: Seller, line: Line) -> None:
    Discrepancy.objects.update(seen_at=seller.now - timedelta(hours=49))


@pytest.mark.parametrize(
    ("meanwhile", "error"),
    [
        (change_plan_meanwhile, DiscrepancyOutdated),
        (let_time_pass, DiscrepancyOutdated),
        (open_an_order, LineHasOpenOrder),
    ],
)
@pytest.mark.parametrize("changes", [{"state": LineState.TERMINATED}, {"iccid": OTHER_CARD}])
def test_what_has_changed_since_is_not_repaired(
    seller: Seller,
    staff: Actor,
    meanwhile: Callable[[Seller, Line], None],
    error: type[Exception],
    changes: dict[str, Any],
) -> None:
    line = seller.active_line()
    discrepancy = listed(seller, line, **changes)
    meanwhile(seller, line)
    with refused(error):
        accept(staff, discrepancy, seller.now)
    discrepancy.refresh_from_db()
    assert discrepancy.status == "OPEN"


def test_what_was_there_and_back_is_not_repaired(seller: Seller, staff: Actor) -> None:
    line = seller.active_line()
    at_rest(seller)
    found = listed(seller, line, state=LineState.TERMINATED)
    # The carrier carries two orders out on it: it lives there.
    seller.done(seller.ask("suspend", line))
    seller.done(seller.ask("resume", line))
    with refused(DiscrepancyOutdated):
        accept(staff, found, seller.now)
    line.refresh_from_db()
    assert line.status == "ACTIVE"
    at_rest(seller)
    # What ended well before the page was asked for stands on it.
    accept(staff, found, seller.now)
    line.refresh_from_db()
    assert line.status == "TERMINATED"


def test_what_a_repair_has_changed_is_looked_at_again_first(seller: Seller, staff: Actor) -> None:
    line = seller.active_line()
    at_rest(seller)
    View.of(seller).change(line, iccid=OTHER_CARD, plan_code="OTHER").reconcile()
    of_card, of_plan = (Discrepancy.objects.get(kind=kind) for kind in ("SIM", "PLAN"))
    seller.done(accept(staff, of_card, seller.now).order)
    with refused(DiscrepancyOutdated):
        accept(staff, of_plan, seller.now)


def test_decided_once(seller: Seller, staff: Actor) -> None:
    discrepancy = accept(staff, listed(seller, seller.active_line(), plan_code="A"), seller.now)
    for decide in (services.accept_discrepancy, services.ignore_discrepancy, services.reopen_discrepancy):
        with refused(InvalidTransition):
            decide(actor=staff, discrepancy=discrepancy.uid, reason="again", now=seller.now)


def test_ignored_and_looked_at_again(seller: Seller, staff: Actor) -> None:
    discrepancy = listed(seller, seller.active_line(), plan_code="A")
    with refused(DecisionReasonMissing):
        services.ignore_discrepancy(actor=staff, discrepancy=discrepancy.uid, reason=" ", now=seller.now)
    services.ignore_discrepancy(actor=staff, discrepancy=discrepancy.uid, reason="ticket 7", now=seller.now)
    discrepancy.refresh_from_db()
    assert (discrepancy.status, discrepancy.reason, discrepancy.decided_by) == (
        "IGNORED",
        "ticket 7",
        staff.id,
    )
    services.reopen_discrepancy(actor=staff, discrepancy=discrepancy.uid, reason="no answer", now=seller.now)
    assert Discrepancy.objects.get().status == "OPEN"
    trail = AuditEvent.objects.filter(target_id=discrepancy.uid).order_by("id")
    assert list(trail.values_list("action", "reason")) == [
        ("discrepancy.ignore", "ticket 7"),
        ("discrepancy.reopen", "no answer"),
    ]


@pytest.mark.parametrize(
    ("role", "changes", "error"),
    [
        (Role.SUPPORT, {"plan_code": "A"}, Forbidden),
        (Role.COMPLIANCE, {"plan_code": "A"}, Forbidden),
        # May reconcile, but not order.
        (Role.ENGINEER, {"plan_code": "A"}, Forbidden),
        (Role.ENGINEER, {"state": LineState.TERMINATED}, Forbidden),
    ],
)
def test_who_may_accept(
    seller: Seller, operator: VirtualOperator, role: Role, changes: dict[str, Any], error: type[Exception]
) -> None:
    actor = actor_of_user(given_user(role=role, operator=operator, now=seller.now))
    discrepancy = listed(seller, seller.active_line(), **changes)
    with refused(error):
        accept(actor, discrepancy, seller.now)


def test_another_operators_does_not_exist(seller: Seller, other_operator: VirtualOperator) -> None:
    discrepancy = listed(seller, seller.active_line(), plan_code="A")
    actor = actor_of_user(given_user(role=Role.OPERATOR_ADMIN, operator=other_operator, now=seller.now))
    for decide in (services.accept_discrepancy, services.ignore_discrepancy, services.reopen_discrepancy):
        with refused(NotFound):
            decide(actor=actor, discrepancy=discrepancy.uid, reason="x", now=seller.now)
    with refused(NotFound):
        services.start_reconciliation(actor=actor, connection=seller.connection.uid, now=seller.now)


def test_repairs_need_no_papers(seller: Seller, staff: Actor) -> None:
    """The card was put in, the number given, while they were valid."""
    discrepancy = listed(seller, seller.active_line(), number="+8617099999999")
    licence = Licence.objects.get(operator=seller.operator)
    operators.revoke_licence(actor=SYSTEM, licence_uid=licence.uid, reason="test", now=seller.now)
    assert accept(staff, discrepancy, seller.now).status == "REPAIRED"


# --- in bulk --------------------------------------------------------------------------------------------------------
def accept_all(actor: Actor, kind: str, count: int, now: datetime) -> int:
    run = Discrepancy.objects.latest("id").run
    return services.accept_discrepancies(
        actor=actor, run=run.uid, kind=DiscrepancyKind(kind), count=count, reason="all of them", now=now
    )


def repair(now: datetime) -> int:
    return services.repair_accepted(actor=SYSTEM, actor_of=actor_of_staff, clock=lambda: now)


@pytest.mark.django_db(transaction=True)
def test_all_of_a_kind(seller: Seller, staff: Actor) -> None:
    both = [seller.active_line() for _ in range(3)]
    at_rest(seller)
    seen = View.of(seller).change(both[0], plan_code="A").change(both[1], plan_code="A")
    seen.change(both[2], state=LineState.TERMINATED).reconcile()
    with pytest.raises(DiscrepanciesChanged):
        accept_all(staff, "PLAN", 3, seller.now)
    assert accept_all(staff, "PLAN", 2, seller.now) == 2
    # One of the lines moves before the workers come to it.
    seller.ask("suspend", both[1])
    assert repair(seller.now) == 2
    assert repair(seller.now) == 0
    states = dict(Discrepancy.objects.values_list("line_id", "status"))
    assert states == {both[0].pk: "REPAIRED", both[1].pk: "OPEN", both[2].pk: "OPEN"}
    came_back = Discrepancy.objects.get(line=both[1])
    assert came_back.error_code == "line_has_open_order"
    order = ServiceOrder.objects.get(restores_iccid__gt="")
    assert (order.line, order.placed_by, order.note) == (both[0], staff.id, "all of them")


@pytest.mark.django_db(transaction=True)
def test_who_has_left_repairs_nothing(seller: Seller, user: User, staff: Actor) -> None:
    listed(seller, seller.active_line(), plan_code="A")
    accept_all(staff, "PLAN", 1, seller.now)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert repair(seller.now) == 1
    back = Discrepancy.objects.get()
    assert (back.status, back.error_code) == ("OPEN", "forbidden")
    assert not ServiceOrder.objects.exclude(type="ACTIVATE").exists()


def test_what_is_being_repaired_is_left_alone_by_the_next_run(seller: Seller, staff: Actor) -> None:
    line = seller.active_line()
    listed(seller, line, plan_code="A")
    accept_all(staff, "PLAN", 1, seller.now)
    View.of(seller).change(line, plan_code="B").reconcile()
    kept = Discrepancy.objects.get()
    assert (kept.status, kept.theirs["plan"]) == ("ACCEPTED", "A")
