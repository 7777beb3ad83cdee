"""The end of a line."""

from __future__ import annotations

from datetime import datetime

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines import selectors as line_selectors
from apps.lines import services as lines
from apps.lines.states import LIVE_LINE
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.opening import cancel_scheduled, lock_free, require_right, start, write_down
from apps.provisioning.services.order_types.shape import OrderKind
from apps.provisioning.states import OrderType


@operation
def place_termination_order(
    *, actor: Actor, line: str, reason: str, note: str = "", external_id: str = "", now: datetime
) -> ServiceOrder:
    """Asks the host carrier to end a live line; when it has, the number goes into quarantine and the slot is free.

    Allowed after the licence or agreement has ended: running lines must be able to leave.

    :raises NotFound: no such line of this operator. :raises Forbidden: staff without the right lines.terminate.
    :raises LineNotActive: it is pending or terminated.
    :raises LineHasOpenOrder: another order for it is open. :raises CarrierNotConnected:
    """
    require_right(actor, "lines.terminate")
    found = line_selectors.get_line(actor=actor, uid=line)
    order = write_down(
        actor=actor,
        line=lock_free(found.pk, LIVE_LINE),
        order_type=OrderType.TERMINATE,
        external_id=external_id,
        request_reason=reason,
        note=note,
        now=now,
    )
    start(actor=actor, order=order, now=now)
    return order


def _complete(actor: Actor, order: ServiceOrder, now: datetime) -> None:
    lines.terminate_line(actor=actor, line_id=order.line_id, reason=order.request_reason, now=now)
    cancel_scheduled(actor=actor, line_id=order.line_id, reason="line_terminated", now=now)


# A line that the carrier has closed already has what it wanted.
KIND = OrderKind(complete=_complete, already_so=frozenset({"carrier_line_closed"}))
