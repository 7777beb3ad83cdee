"""Changes of plan from next month: they wait, are in nobody's way, run by themselves, and can be cancelled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apps.carriers import services as carriers
from apps.operators.models import VirtualOperator
from apps.provisioning import selectors, services
from apps.provisioning.errors import LineHasOpenOrder
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services import Effective
from apps.provisioning.services.order_types.change_plan import first_of_next_month
from apps.provisioning.services.waiting import start_scheduled_order
from tests.factories.provisioning import SYSTEM, Seller, given_seller
from tests.refusals import refused

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("now", "first"),
    [
        # In China it is the last evening of the month, or already the first morning of the next.
        (datetime(2026, 1, 31, 15, 59, tzinfo=UTC), datetime(2026, 1, 31, 16, tzinfo=UTC)),
        (datetime(2026, 1, 31, 16, 0, tzinfo=UTC), datetime(2026, 2, 28, 16, tzinfo=UTC)),
        (datetime(2026, 11, 10, tzinfo=UTC), datetime(2026, 11, 30, 16, tzinfo=UTC)),
        (datetime(2026, 12, 10, tzinfo=UTC), datetime(2026, 12, 31, 16, tzinfo=UTC)),
    ],
)
def test_a_month_begins_at_midnight_in_china(now: datetime, first: datetime) -> None:
    assert first_of_next_month(now) == first


@pytest.fixture
def waiting(seller: Seller) -> ServiceOrder:
    return seller.ask("change_plan", seller.active_line(), effective=Effective.NEXT_MONTH)


def start(now: datetime) -> int:
    return services.start_scheduled_orders(actor=SYSTEM, now=now)


def test_it_runs_on_its_day_and_not_before(seller: Seller, waiting: ServiceOrder) -> None:
    assert (waiting.status, waiting.jobs.count()) == ("ACKNOWLEDGED", 0)
    assert waiting.due_at == first_of_next_month(seller.now)
    assert start(waiting.due_at - timedelta(seconds=1)) == 0
    assert start(waiting.due_at) == 1
    assert start(waiting.due_at) == 0
    assert seller.done(waiting).status == "COMPLETED"
    assert ServiceOrder.objects.get(pk=waiting.pk).line.plan_id == waiting.new_plan_id


def test_it_is_in_no_other_orders_way(seller: Seller, waiting: ServiceOrder) -> None:
    line = waiting.line
    order = seller.ask("suspend", line)
    # Its day comes while that order is still open: it goes on waiting, and holds up nobody behind it.
    assert selectors.list_scheduled_orders_due(now=waiting.due_at, limit=10) == []
    assert start(waiting.due_at) == 0
    # Nor when that order came after somebody had looked.
    assert not start_scheduled_order(actor=SYSTEM, order_id=waiting.pk, now=waiting.due_at)
    seller.done(order)
    assert start(waiting.due_at) == 1


def test_a_line_has_at_most_one(seller: Seller, waiting: ServiceOrder) -> None:
    for effective in Effective:
        with refused(LineHasOpenOrder):
            seller.ask("change_plan", waiting.line, plan=seller.plan.uid, effective=effective)


def test_it_can_be_cancelled(seller: Seller, waiting: ServiceOrder) -> None:
    services.cancel_order(actor=SYSTEM, order=waiting.uid, now=seller.now)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.reason) == ("CANCELLED", "cancelled_by_system")
    assert start(waiting.due_at) == 0
    assert seller.ask("change_plan", waiting.line).status == "IN_PROGRESS"


@pytest.mark.parametrize(
    ("type", "reason"), [("terminate", "line_terminated"), ("transfer", "line_transferred")]
)
def test_it_ends_with_the_line_or_its_holder(
    seller: Seller, waiting: ServiceOrder, type: str, reason: str
) -> None:
    seller.done(seller.ask(type, waiting.line))
    waiting.refresh_from_db()
    assert (waiting.status, waiting.reason) == ("CANCELLED", reason)


def test_one_without_a_connection_holds_up_no_other(
    seller: Seller, waiting: ServiceOrder, other_operator: VirtualOperator
) -> None:
    other = given_seller(operator=other_operator, now=seller.now)
    behind = other.ask("change_plan", other.active_line(), effective=Effective.NEXT_MONTH)
    seller.connection.disconnect(now=seller.now)
    assert start(waiting.due_at) == 1
    behind.refresh_from_db()
    assert behind.status == "IN_PROGRESS"


def test_who_is_not_connected_is_in_nobodys_way(
    seller: Seller, waiting: ServiceOrder, other_operator: VirtualOperator
) -> None:
    other = given_seller(operator=other_operator, now=seller.now)
    behind = other.ask("change_plan", other.active_line(), effective=Effective.NEXT_MONTH)
    carriers.disconnect(actor=SYSTEM, connection_uid=seller.connection.uid, reason="moved", now=seller.now)
    assert waiting.due_at is not None
    ServiceOrder.objects.filter(pk=waiting.pk).update(due_at=waiting.due_at - timedelta(seconds=1))
    assert services.start_scheduled_orders(actor=SYSTEM, now=waiting.due_at, limit=1) == 1
    behind.refresh_from_db()
    assert behind.status == "IN_PROGRESS"
