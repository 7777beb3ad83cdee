"""Another plan, card, number or holder; and who had a number when, transfers included."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import InvalidTransition
from apps.events.models import OutboxEvent
from apps.lines import selectors, services
from apps.lines.errors import PlanNotAvailable
from apps.lines.models import Handover, Line, NumberAssignment, Plan, SimAssignment
from apps.numbering.models import PhoneNumber
from apps.numbering.states import NumberStatus
from apps.operators.models import VirtualOperator
from apps.sims import services as sims
from apps.sims.models import SimCard
from tests.factories.provisioning import SYSTEM, Seller, given_plan
from tests.refusals import refused

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def offer(seller: Seller, **changes: object) -> Plan:
    fields: dict[str, object] = {"code": "P-1", "name": "One", "monthly_fee": Decimal("9.00")}
    return services.offer_plan(
        actor=SYSTEM,
        operator=seller.operator,
        host_carrier=seller.carrier,
        now=seller.now,
        **{**fields, **changes},  # type: ignore[arg-type]
    )


def test_a_plan_is_offered_once_and_its_changes_are_on_record(seller: Seller) -> None:
    plan = offer(seller)
    assert offer(seller).pk == plan.pk
    assert offer(seller, monthly_fee=Decimal("19.00")).monthly_fee == Decimal("19.00")
    trail = AuditEvent.objects.filter(target_id=plan.uid).order_by("id")
    assert [event.after["monthly_fee"] for event in trail] == ["9.00", "19.00"]


def test_which_plan_can_be_ordered(seller: Seller, other_operator: VirtualOperator) -> None:
    actor = Actor.system("x", operator_id=seller.operator.pk)
    plan = offer(seller)
    find = selectors.get_orderable_plan
    for name in (plan.uid, plan.code):
        assert find(actor=actor, operator_id=seller.operator.pk, plan=name) == plan
    theirs = given_plan(operator=other_operator, carrier=seller.carrier, now=seller.now, code="THEIRS")
    Plan.objects.filter(pk=offer(seller, code="OLD").pk).update(is_orderable=False)
    for name in (theirs.uid, "OLD", "NONE", "pln_nonsense"):
        with pytest.raises(PlanNotAvailable):
            find(actor=actor, operator_id=seller.operator.pk, plan=name)
    with pytest.raises(PlanNotAvailable):
        find(
            actor=actor, operator_id=seller.operator.pk, plan=plan.uid, host_carrier_id=seller.carrier.pk + 1
        )


def test_another_plan(seller: Seller, line: Line, now: datetime) -> None:
    plan, before = offer(seller), line.plan
    assert services.change_plan(actor=SYSTEM, line_id=line.pk, plan_id=plan.pk, now=now).plan_id == plan.pk
    told = OutboxEvent.objects.get(type="line.plan_changed")
    assert (told.data["before"], told.data["after"]) == (before.uid, plan.uid)


def test_another_card(seller: Seller, line: Line, now: datetime) -> None:
    old = line.sim_assignments.get().sim
    card = sims.take_sim(
        actor=SYSTEM,
        operator_id=seller.operator.pk,
        host_carrier_id=seller.carrier.pk,
        iccid=seller.another_card(),
        now=now,
    )
    services.change_sim(actor=SYSTEM, line_id=line.pk, sim_id=card.pk, now=now)
    assert dict(SimCard.objects.filter(pk__in=[old.pk, card.pk]).values_list("pk", "status")) == {
        old.pk: "RETIRED",
        card.pk: "BOUND",
    }
    assert SimAssignment.objects.get(line=line, released_at=None).sim == card


def test_another_number(seller: Seller, line: Line, now: datetime) -> None:
    old = line.number_assignments.get().number_id
    new = seller.range.first + 700
    PhoneNumber.objects.filter(pk=new).update(status=NumberStatus.IN_USE)
    services.change_number(actor=SYSTEM, line_id=line.pk, number=new, now=now)
    assert PhoneNumber.objects.get(pk=old).status == NumberStatus.QUARANTINED
    assert NumberAssignment.objects.get(line=line, released_at=None).number_id == new
    assert selectors.get_holdings(line_id=line.pk).number == new


def test_a_pending_line_is_not_changed(seller: Seller, now: datetime) -> None:
    line = seller.order().line
    plan, person = offer(seller), seller.subscriber()
    with refused(InvalidTransition):
        services.change_plan(actor=SYSTEM, line_id=line.pk, plan_id=plan.pk, now=now)
    with refused(InvalidTransition):
        services.transfer_line(actor=SYSTEM, line_id=line.pk, subscriber_id=person.pk, now=now)


# --- who had the number when ----------------------------------------------------------------------------------------
@pytest.fixture
def handed_on(seller: Seller, line: Line, now: datetime) -> tuple[int, list[int]]:
    """A number that its line has had for 100 days, and the line's holders: since then, for 60 and for 20 days."""
    NumberAssignment.objects.filter(line=line).update(assigned_at=now - 100 * DAY)
    holders = [line.subscriber_id]
    for days in (60, 20):
        person = seller.subscriber()
        services.transfer_line(actor=SYSTEM, line_id=line.pk, subscriber_id=person.pk, now=now - days * DAY)
        holders.append(person.pk)
    return line.number_assignments.get().number_id, holders


@pytest.mark.parametrize(
    ("days_ago", "changed"),
    [(150, True), (99, True), (61, True), (59, True), (21, True), (19, False), (0, False)],
)
def test_a_transfer_changes_hands(
    handed_on: tuple[int, list[int]], now: datetime, days_ago: int, changed: bool
) -> None:
    number, _ = handed_on
    assert selectors.has_changed_hands(number=number, since=now - days_ago * DAY) is changed


def test_back_to_the_first_holder_others_had_it_meanwhile(
    seller: Seller, handed_on: tuple[int, list[int]], line: Line, now: datetime
) -> None:
    number, holders = handed_on
    services.transfer_line(actor=SYSTEM, line_id=line.pk, subscriber_id=holders[0], now=now - 10 * DAY)
    assert selectors.has_changed_hands(number=number, since=now - 80 * DAY)
    assert selectors.has_changed_hands(number=number, since=now - 15 * DAY)
    assert not selectors.has_changed_hands(number=number, since=now - 5 * DAY)


def test_every_holder_is_in_its_history(handed_on: tuple[int, list[int]], line: Line, now: datetime) -> None:
    number, holders = handed_on
    found = selectors.list_number_history(actor=SYSTEM, number=number)
    assert [(each.holder.pk, each.since, each.until) for each in found] == [
        (holders[2], now - 20 * DAY, None),
        (holders[1], now - 60 * DAY, now - 20 * DAY),
        (holders[0], now - 100 * DAY, now - 60 * DAY),
    ]
    assert {each.line for each in found} == {line}


def test_what_was_handed_on_before_or_after_the_number_counts_not(
    seller: Seller, line: Line, now: datetime
) -> None:
    """The line had another number when it changed hands, once before this one and once after."""
    person = seller.subscriber()
    first = line.subscriber_id
    NumberAssignment.objects.filter(line=line).update(assigned_at=now - 50 * DAY, released_at=now - 40 * DAY)
    Handover.objects.create(line=line, former_id=first, handed_at=now - 60 * DAY)
    Handover.objects.create(line=line, former_id=person.pk, handed_at=now - 30 * DAY)
    number = line.number_assignments.get().number_id
    (held,) = selectors.list_number_history(actor=SYSTEM, number=number)
    assert (held.holder.pk, held.since, held.until) == (person.pk, now - 50 * DAY, now - 40 * DAY)
