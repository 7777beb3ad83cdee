"""Orders on one line against each other, whoever starts together: one is taken, and nothing leaks."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from functools import partial

import pytest

from apps.core.actor import Actor, ActorKind
from apps.lines.errors import HolderLimitReached
from apps.lines.models import HolderSlot, Line
from apps.numbering.models import PhoneNumber
from apps.numbering.states import NumberStatus
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.errors import LineHasOpenOrder
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.provisioning.services import Effective, NumberWish
from apps.sims.models import SimCard
from tests.factories.provisioning import SYSTEM, Seller, given_seller
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    return given_seller(operator=operator, now=now)


def kinds(results: object) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)  # type: ignore[attr-defined]


def test_one_order_of_all_is_taken_and_the_others_leave_nothing(seller: Seller) -> None:
    line = seller.active_line()
    iccid, plan = seller.another_card(), seller.another_plan().uid
    heirs = [seller.subscriber().uid for _ in range(2)]
    results = at_once(
        *[partial(seller.ask, "suspend", line)] * 2,
        partial(seller.ask, "change_sim", line, iccid=iccid),
        partial(seller.ask, "change_number", line),
        partial(seller.ask, "change_plan", line, plan=plan),
        *[partial(seller.ask, "transfer", line, subscriber=heir) for heir in heirs],
        partial(seller.ask, "terminate", line),
    )
    assert kinds(results) == {"ServiceOrder": 1, LineHasOpenOrder.__name__: 7}
    (order,) = [result for result in results if isinstance(result, ServiceOrder)]
    assert ActivationJob.objects.filter(line=line, finished_at=None).get().order_id == order.pk
    took = {
        "CHANGE_SIM": SimCard.objects.filter(status="RESERVED").count(),
        "CHANGE_NUMBER": PhoneNumber.objects.filter(status=NumberStatus.IN_USE).count() - 1,
        "TRANSFER": HolderSlot.objects.count() - 1,
    }
    assert took == {type: int(type == order.type) for type in took}


def test_two_lines_for_the_last_place_of_one_heir(seller: Seller) -> None:
    heir = seller.subscriber()
    for _ in range(4):
        seller.order(subscriber=heir)
    lines = [seller.active_line(), seller.active_line()]
    results = at_once(
        *[partial(seller.ask, "transfer", line, subscriber=heir.uid) for line in lines],
        partial(seller.order, subscriber=heir),
    )
    assert kinds(results) == {"ServiceOrder": 1, HolderLimitReached.__name__: 2}
    fingerprint = heir.documents.get().fingerprint
    assert HolderSlot.objects.filter(fingerprint=fingerprint).count() == 5


def test_two_lines_for_one_card_and_one_number(seller: Seller) -> None:
    lines = [seller.active_line(), seller.active_line()]
    iccid = seller.another_card()
    results = at_once(*[partial(seller.ask, "change_sim", line, iccid=iccid) for line in lines])
    assert kinds(results) == {"ServiceOrder": 1, "SimNotAvailable": 1}
    lines = [seller.active_line(), seller.active_line()]
    wish = NumberWish(number=seller.range.first + 900)
    results = at_once(*[partial(seller.ask, "change_number", line, wish=wish) for line in lines])
    assert kinds(results) == {"ServiceOrder": 1, "NumberNotAvailable": 1}


def test_a_day_that_comes_while_it_is_cancelled(seller: Seller) -> None:
    for _ in range(4):
        order = seller.ask("change_plan", seller.active_line(), effective=Effective.NEXT_MONTH)
        at = order.due_at
        results = at_once(
            partial(services.cancel_order, actor=SYSTEM, order=order.uid, now=seller.now),
            partial(services.start_scheduled_orders, actor=SYSTEM, now=at),
            partial(services.start_scheduled_orders, actor=SYSTEM, now=at),
        )
        order.refresh_from_db()
        # Started and then cancelled, or cancelled before: nobody has claimed the job in between.
        assert (order.status, order.reason) == ("CANCELLED", "cancelled_by_system"), results
        assert order.jobs.count() <= 1
        assert not ActivationJob.objects.filter(order=order, finished_at=None).exists()


def test_a_resumption_never_overtakes_a_suspension(seller: Seller, operator: VirtualOperator) -> None:
    """Two callers, each with a reason of its own: after both have had their way, the line is what the reasons say."""
    one, two = (
        Actor(kind=ActorKind.PARTNER, id=name, label=name, operator_id=operator.pk) for name in ("one", "two")
    )
    for _ in range(4):
        line = seller.suspended_line(actor=one)
        results = at_once(
            partial(seller.ask, "resume", line, actor=one),
            partial(seller.ask, "suspend", line, actor=two),
        )
        for order in line.orders.filter(finished_at=None):
            seller.done(order)
        line = Line.objects.get(pk=line.pk)
        stands = line.suspensions.filter(lifted_at=None).exists()
        assert (line.status == "SUSPENDED") is stands, results
