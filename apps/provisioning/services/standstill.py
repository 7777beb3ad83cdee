"""Stopping a line, which for the operator and the authorities must not wait for what somebody else has ordered."""

from __future__ import annotations

from datetime import datetime

from apps.core.actor import Actor, ActorKind
from apps.core.db import operation
from apps.lines import selectors as line_selectors
from apps.lines.states import LIVE_LINE, SuspensionCause, SuspensionKind
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.cancelling import make_way
from apps.provisioning.services.order_types import suspension

# Why an order ended that stood in the way.
SUSPENDED = "line_suspended"


@operation
def place_suspension_order(
    *,
    actor: Actor,
    line: str,
    kind: SuspensionKind,
    reason: SuspensionCause,
    note: str = "",
    external_id: str = "",
    now: datetime,
) -> ServiceOrder:
    """`suspension.place_suspension_order`, with its refusals; for all but partners no order that waits is an obstacle.

    A transfer or change of card that waits for its real-name check is CANCELLED: on a line that the operator keeps
    still it could not be carried out anyway. A partner that suspends the line itself must cancel it first.

    :raises LineHasOpenOrder: for staff too, while the carrier is at something: that ends soon, or staff resolve it.
    """
    if actor.kind is not ActorKind.PARTNER:
        found = line_selectors.get_line(actor=actor, uid=line)
        if found.status in LIVE_LINE:
            make_way(actor=actor, line_id=found.pk, reason=SUSPENDED, now=now)
    return suspension.place_suspension_order(
        actor=actor, line=line, kind=kind, reason=reason, note=note, external_id=external_id, now=now
    )
