"""Orders of reconciliation: the carrier is asked to make a line what it is here already, or we see that it has ended.

Ordinary orders with ordinary jobs, so the line's queue, the attempt protocol, the timeline and the events hold for
them too. When one ends nothing changes here, whichever way it ends.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines import selectors as line_selectors
from apps.lines.models import Line
from apps.lines.states import LIVE_LINE, LineStatus
from apps.provisioning.errors import DiscrepancyNotRepairable
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.opening import (
    complete,
    lock_free,
    require_free,
    require_right,
    start,
    write_down,
)
from apps.provisioning.services.order_types import KINDS
from apps.provisioning.services.order_types.shape import OrderKind, takes_nothing
from apps.provisioning.states import OrderType

# Why a line ends that the carrier has ended.
ENDED_THERE = "ended_at_carrier"


@operation
def place_restoring_order(
    *, actor: Actor, line_id: int, asks_for: OrderType, number: int, iccid: str, note: str, now: datetime
) -> ServiceOrder:
    """Asks the carrier for what the line is here: its kind of suspension, card, number, plan, or that it has ended.

    `number` and `iccid` are what the carrier has in it. No verification and no papers are asked for: whatever needed
    them was checked when the line became what it is here.

    :raises Forbidden: staff without orders.place; without lines.terminate where the line has ended.
    :raises LineHasOpenOrder: :raises CarrierNotConnected: :raises LineNotActive: it has ended here.
    :raises DiscrepancyNotRepairable: there is nothing to ask for.
    """
    ends = asks_for is OrderType.TERMINATE
    require_right(actor, "lines.terminate" if ends else "orders.place")
    line = lock_free(line_id, list(LineStatus) if ends else LIVE_LINE)
    order_type, brings = _brings(line, asks_for, number)
    order = write_down(
        actor=actor, line=line, order_type=order_type, restores_iccid=iccid, note=note, now=now, **brings
    )
    start(actor=actor, order=order, number=number, now=now)
    return order


def _brings(line: Line, asks_for: OrderType, number: int) -> tuple[OrderType, dict[str, Any]]:
    """:raises DiscrepancyNotRepairable: the line has none of that."""
    has = line_selectors.get_holdings(line_id=line.pk)
    match asks_for:
        case OrderType.SUSPEND | OrderType.RESUME:
            asked = OrderType.SUSPEND if line.suspension_kind else OrderType.RESUME
            return asked, {"suspension_kind": line.suspension_kind}
        case OrderType.CHANGE_PLAN:
            return asks_for, {"new_plan_id": line.plan_id}
        case OrderType.CHANGE_SIM if has.sim_id is not None:
            return asks_for, {"new_sim_id": has.sim_id}
        case OrderType.CHANGE_NUMBER if has.number is not None:
            return asks_for, {"new_number_id": has.number}
        case OrderType.TERMINATE if not line_selectors.is_in_use(number=number):
            return asks_for, {"request_reason": _why_ended(line)}
    raise DiscrepancyNotRepairable


def _why_ended(line: Line) -> str:
    """As whoever ended it said, in a word that carriers take."""
    ended = ServiceOrder.objects.filter(line=line, type=OrderType.TERMINATE).exclude(
        request_reason__in=("", ENDED_THERE)
    )
    return ended.order_by("-id").values_list("request_reason", flat=True).first() or "user_request"


@operation
def record_end(*, actor: Actor, line_id: int, note: str, now: datetime) -> ServiceOrder:
    """The carrier has ended the line: an order that is COMPLETED at once ends it here too.

    :raises Forbidden: staff without lines.terminate. :raises LineHasOpenOrder: :raises LineNotActive: it is not live.
    """
    require_right(actor, "lines.terminate")
    line = Line.objects.get(pk=line_id)
    require_free(line, LIVE_LINE)
    # From here on one_open_order_per_line keeps everybody else away; the line itself is locked after what it holds.
    order = write_down(
        actor=actor,
        line=line,
        order_type=OrderType.TERMINATE,
        request_reason=ENDED_THERE,
        note=note,
        now=now,
    )
    KINDS[OrderType.TERMINATE].complete(actor, order, now)
    complete(actor=actor, order=order, now=now)
    return order


def _changes_nothing(actor: Actor, order: ServiceOrder, now: datetime) -> None:
    """The line is that already."""


_RESTORING = {
    # An unknown line is no news: it was the carrier's view that differed.
    order_type: dataclasses.replace(kind, complete=_changes_nothing, undo=takes_nothing, needs_line=False)
    for order_type, kind in KINDS.items()
}


def kind_of(order: ServiceOrder) -> OrderKind:
    """What the end of this order means."""
    return (_RESTORING if order.is_restoring else KINDS)[order.type]
