"""The operator and the authorities stop a line whatever waits for it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.core.actor import Actor, ActorKind
from apps.core.errors import Forbidden
from apps.lines.models import HolderSlot, Line
from apps.lines.states import SuspensionCause, SuspensionKind
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.provisioning import services
from apps.provisioning.errors import LineHasOpenOrder
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.jobs import Unknown
from apps.sims.models import SimCard
from apps.subscribers.errors import IdentityExpired
from tests.factories.accounts import given_user
from tests.factories.operators import given_policy
from tests.factories.provisioning import SYSTEM, Seller, decide
from tests.factories.subscribers import given_subscriber, given_verification
from tests.refusals import refused

pytestmark = pytest.mark.django_db

TWO_WAY = SuspensionKind.TWO_WAY
REGULATOR, LOST = SuspensionCause.REGULATOR, SuspensionCause.LOST


def stop(seller: Seller, line: Line, actor: Actor, reason: SuspensionCause = REGULATOR) -> ServiceOrder:
    return services.place_suspension_order(
        actor=actor, line=line.uid, kind=TWO_WAY, reason=reason, now=seller.now
    )


def held_transfer(seller: Seller, line: Line) -> ServiceOrder:
    person = given_subscriber(operator=seller.operator, now=seller.now)
    order = seller.ask("transfer", line, subscriber=person.uid)
    assert order.status == "HELD"
    return order


def held_sim_change(seller: Seller, line: Line) -> ServiceOrder:
    check = given_verification(subscriber=line.subscriber, now=seller.now)
    order = seller.ask("change_sim", line, verification=check.uid)
    assert order.status == "HELD"
    return order


@pytest.fixture
def compliance(operator: VirtualOperator, seller: Seller) -> Actor:
    """May suspend and not order."""
    return actor_of_user(given_user(role=Role.COMPLIANCE, operator=operator, now=seller.now))


@pytest.mark.parametrize("waiting", [held_transfer, held_sim_change])
@pytest.mark.parametrize("who", ["compliance", "system"])
def test_what_waits_for_a_check_makes_way(
    seller: Seller, compliance: Actor, waiting: object, who: str
) -> None:
    line = seller.active_line()
    before = HolderSlot.objects.count()
    stock = SimCard.objects.filter(status="IN_STOCK").count()
    blocking = waiting(seller, line)  # type: ignore[operator]
    order = stop(seller, line, compliance if who == "compliance" else SYSTEM)
    blocking.refresh_from_db()
    assert (blocking.status, blocking.reason) == ("CANCELLED", "line_suspended")
    # Everything it had taken is free again (the card that the test added stays in stock).
    assert HolderSlot.objects.count() == before
    assert SimCard.objects.filter(status="IN_STOCK").count() >= stock
    assert not SimCard.objects.filter(status="RESERVED").exists()
    assert seller.done(order).status == "COMPLETED"
    line.refresh_from_db()
    assert (line.status, line.suspension_kind) == ("SUSPENDED", "TWO_WAY")


def test_the_check_that_passes_then_brings_nothing_back(seller: Seller, compliance: Actor) -> None:
    line = seller.active_line()
    holder = line.subscriber_id
    blocking = held_transfer(seller, line)
    stop(seller, line, compliance)
    assert blocking.new_holder is not None
    decide(blocking.new_holder, seller.now)
    assert (
        services.continue_held_orders(actor=SYSTEM, subscriber_ids=[blocking.new_holder.pk], now=seller.now)
        == 0
    )
    assert Line.objects.get(pk=line.pk).subscriber_id == holder


def test_what_is_on_its_way_does_not(seller: Seller, compliance: Actor) -> None:
    """It ends in seconds; and who would cancel a termination to suspend the line?"""
    line = seller.active_line()
    blocking = seller.ask("terminate", line)
    with refused(LineHasOpenOrder):
        stop(seller, line, compliance)
    assert ServiceOrder.objects.get(pk=blocking.pk).status == "IN_PROGRESS"


def test_what_the_carrier_may_be_at_does_not(seller: Seller, compliance: Actor) -> None:
    line = seller.active_line()
    blocking = seller.ask("change_plan", line)
    (claim,) = seller.claim()
    for _ in range(2):
        with refused(LineHasOpenOrder):
            stop(seller, line, compliance)
        seller.record(claim, Unknown("carrier_outcome_unknown", "timed out"))
    assert ServiceOrder.objects.get(pk=blocking.pk).status == "IN_PROGRESS"


def test_a_partner_cancels_first(seller: Seller) -> None:
    line = seller.active_line()
    partner = Actor(kind=ActorKind.PARTNER, id="app_1", label="app", operator_id=seller.operator.pk)
    blocking = held_transfer(seller, line)
    with refused(LineHasOpenOrder):
        stop(seller, line, partner, LOST)
    services.cancel_order(actor=partner, order=blocking.uid, now=seller.now)
    assert stop(seller, line, partner, LOST).status == "IN_PROGRESS"


def test_who_may_not_suspend_cancels_nothing(seller: Seller, operator: VirtualOperator) -> None:
    line = seller.active_line()
    blocking = held_transfer(seller, line)
    engineer = actor_of_user(given_user(role=Role.ENGINEER, operator=operator, now=seller.now))
    with refused(Forbidden):
        stop(seller, line, engineer)
    assert ServiceOrder.objects.get(pk=blocking.pk).status == "HELD"


# --- the check that a change of card names --------------------------------------------------------------------------
@pytest.mark.parametrize(("hours", "taken"), [(0, True), (23, True), (25, False)])
def test_a_change_of_card_needs_a_check_made_for_it(seller: Seller, hours: int, taken: bool) -> None:
    """A check that is good for a month proves that the holder was there then, not that they ask for another card."""
    line = seller.active_line()
    card = seller.another_card()
    later = seller.now + timedelta(hours=hours)
    if taken:
        assert seller.ask("change_sim", line, iccid=card, now=later).status == "IN_PROGRESS"
    else:
        with refused(IdentityExpired):
            seller.ask("change_sim", line, iccid=card, now=later)
        assert not SimCard.objects.filter(status="RESERVED").exists()


def test_how_old_it_may_be_is_policy(seller: Seller) -> None:
    line = seller.active_line()
    card = seller.another_card()
    given_policy(key=PolicyKey.SIM_CHANGE_CHECK_HOURS, value=1, now=seller.now, operator=seller.operator)
    with refused(IdentityExpired):
        seller.ask("change_sim", line, iccid=card, now=seller.now + timedelta(hours=2))


def test_an_old_check_that_is_still_undecided_does_not_do_either(seller: Seller) -> None:
    line = seller.active_line()
    check = given_verification(subscriber=line.subscriber, now=seller.now)
    card = seller.another_card()
    with refused(IdentityExpired):
        seller.ask(
            "change_sim", line, iccid=card, verification=check.uid, now=seller.now + timedelta(hours=25)
        )
