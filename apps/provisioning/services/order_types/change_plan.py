"""Another plan for a line, now or from the first of next month."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines import selectors as line_selectors
from apps.lines import services as lines
from apps.lines.errors import PlanUnchanged
from apps.lines.states import LIVE_LINE
from apps.operators.calendar import CHINA
from apps.provisioning.errors import LineHasOpenOrder
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.opening import lock_free, require_right, start, write_down
from apps.provisioning.services.order_types.papers import needs_papers, require_papers
from apps.provisioning.services.order_types.shape import OrderKind
from apps.provisioning.states import OrderType


class Effective(StrEnum):
    NOW = "now"
    NEXT_MONTH = "next_month"


@operation
def place_plan_change_order(
    *,
    actor: Actor,
    line: str,
    plan: str,
    effective: Effective = Effective.NOW,
    external_id: str = "",
    now: datetime,
) -> ServiceOrder:
    """Asks the carrier for the other plan, or lets the order wait for next month.

    One that waits is in no other order's way, may be cancelled, and ends when the line does; a line has at most one.

    :raises NotFound: no such line of this operator. :raises Forbidden: staff without orders.place.
    :raises LineNotActive: it is pending or terminated.
    :raises LineHasOpenOrder: another order for it is open, or another change of plan waits.
    :raises PlanNotAvailable: not to be had on this line's carrier. :raises PlanUnchanged: it has that plan.
    :raises LicenceNotValid, AgreementNotValid: only where policy demands papers for it. :raises CarrierNotConnected:
    """
    require_right(actor, "orders.place")
    found = line_selectors.get_line(actor=actor, uid=line)
    locked = lock_free(found.pk, LIVE_LINE)
    if ServiceOrder.objects.scheduled().filter(line=locked).exists():
        raise LineHasOpenOrder
    wanted = line_selectors.get_orderable_plan(
        actor=actor, operator_id=locked.operator_id, host_carrier_id=locked.host_carrier_id, plan=plan
    )
    if wanted.pk == locked.plan_id:
        raise PlanUnchanged
    if needs_papers(order_type=OrderType.CHANGE_PLAN, operator_id=locked.operator_id, now=now):
        require_papers(operator_id=locked.operator_id, host_carrier_id=locked.host_carrier_id, now=now)
    order = write_down(
        actor=actor,
        line=locked,
        order_type=OrderType.CHANGE_PLAN,
        external_id=external_id,
        new_plan=wanted,
        due_at=first_of_next_month(now) if effective is Effective.NEXT_MONTH else None,
        now=now,
    )
    if order.due_at is None:
        start(actor=actor, order=order, now=now)
    return order


def first_of_next_month(now: datetime) -> datetime:
    """Midnight in China."""
    today = now.astimezone(CHINA)
    year, month = divmod(today.year * 12 + today.month, 12)
    return datetime(year, month + 1, 1, tzinfo=CHINA)


def _complete(actor: Actor, order: ServiceOrder, now: datetime) -> None:
    assert order.new_plan_id is not None  # noqa: S101 - constraint order_new_plan
    lines.change_plan(actor=actor, line_id=order.line_id, plan_id=order.new_plan_id, now=now)


KIND = OrderKind(complete=_complete)
