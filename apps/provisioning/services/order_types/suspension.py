"""Reasons why a line stands still: the carrier hears of one only when it changes how still the line is."""

from __future__ import annotations

from datetime import datetime

from apps.core.actor import Actor, ActorKind
from apps.core.db import operation
from apps.core.errors import Forbidden
from apps.lines import selectors as line_selectors
from apps.lines import services as lines
from apps.lines.errors import LineDetached, SuspensionAlreadyPlaced
from apps.lines.services import By
from apps.lines.states import (
    GRAVE,
    LIVE_LINE,
    SuspensionCause,
    SuspensionKind,
    SuspensionOwner,
    strongest,
)
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.opening import complete, lock_free, require_right, start, write_down
from apps.provisioning.services.order_types.shape import OrderKind
from apps.provisioning.states import OrderType
from apps.subscribers import selectors as subscribers
from apps.subscribers.states import DemandStatus

_OWNERS = {
    ActorKind.PARTNER: SuspensionOwner.PARTNER,
    ActorKind.STAFF: SuspensionOwner.OPERATOR,
}
# What the carrier says when the line is as still, or as little, as we ask for.
_ALREADY_SO = frozenset({"carrier_line_already_so"})


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
    """Adds a reason why the line stands still; COMPLETED at once where it stands as still already.

    A caller may give the same reason for both kinds (first one-way, then two-way), but each only once. Suspected fraud,
    orders of authorities and verifying again are the operator's business and need the right lines.suspend.

    :raises NotFound: no such line of this operator. :raises Forbidden: not for this caller to decide.
    :raises LineNotActive: it is pending or terminated. :raises LineHasOpenOrder: another order for it is open.
    :raises SuspensionAlreadyPlaced: the caller has suspended it so, for that. :raises CarrierNotConnected:
    """
    _require(actor, reason)
    if actor.kind is ActorKind.PARTNER and reason in GRAVE:
        raise Forbidden
    found = line_selectors.get_line(actor=actor, uid=line)
    locked = lock_free(found.pk, LIVE_LINE)
    if line_selectors.has_suspension(line_id=locked.pk, cause=reason, kind=kind, placed_by=actor.id):
        raise SuspensionAlreadyPlaced
    order = write_down(
        actor=actor,
        line=locked,
        order_type=OrderType.SUSPEND,
        external_id=external_id,
        request_reason=reason.lower(),
        suspension_kind=kind,
        note=note,
        now=now,
    )
    if strongest(locked.suspension_kind, kind) == locked.suspension_kind:
        _place(actor, order, now)
        complete(actor=actor, order=order, now=now)
    else:
        start(actor=actor, order=order, now=now)
    return order


@operation
def place_resumption_order(
    *, actor: Actor, line: str, reason: SuspensionCause, note: str = "", external_id: str = "", now: datetime
) -> ServiceOrder:
    """Lifts the reasons that stand there for this cause; the line runs again when none is left.

    A partner lifts what its own app placed, the system likewise, staff whatever they have the right for and no demand
    of a re-verification stands behind. While other reasons keep the line as still as it is, the order is COMPLETED at
    once; where they keep it less still, the carrier is told that.

    :raises NotFound: no such line of this operator. :raises Forbidden: staff without the right.
    :raises LineNotActive: it is pending or terminated. :raises LineHasOpenOrder: another order for it is open.
    :raises SuspensionNotFound: nothing stands there for this cause.
    :raises SuspensionNotYours: something does, but somebody else placed it. :raises CarrierNotConnected:
    :raises LineDetached: it is nobody's, and may not run before somebody has registered for it.
    """
    _require(actor, reason)
    found = line_selectors.get_line(actor=actor, uid=line)
    locked = lock_free(found.pk, LIVE_LINE)
    if locked.detached_at is not None and reason is SuspensionCause.REVERIFICATION:
        raise LineDetached
    left = line_selectors.get_kind_without(
        line_id=locked.pk, cause=reason, owner=_owner(actor.kind, reason), actor_id=actor.id
    )
    order = write_down(
        actor=actor,
        line=locked,
        order_type=OrderType.RESUME,
        external_id=external_id,
        request_reason=reason.lower(),
        suspension_kind=left,
        note=note,
        now=now,
    )
    if left == locked.suspension_kind:
        _lift(actor, order, now)
        complete(actor=actor, order=order, now=now)
    else:
        asks_for = OrderType.RESUME if left is None else OrderType.SUSPEND
        start(actor=actor, order=order, asks_for=asks_for, now=now)
    return order


def _require(actor: Actor, reason: SuspensionCause) -> None:
    require_right(actor, "lines.suspend" if reason in GRAVE else "orders.place")


def _place(actor: Actor, order: ServiceOrder, now: datetime) -> None:
    lines.place_suspension(
        actor=actor,
        line_id=order.line_id,
        kind=SuspensionKind(str(order.suspension_kind)),
        cause=_cause(order),
        by=_by(order),
        note=order.note,
        words=_words(order),
        now=now,
    )


def _lift(actor: Actor, order: ServiceOrder, now: datetime) -> None:
    lines.lift_suspensions(actor=actor, line_id=order.line_id, cause=_cause(order), by=_by(order), now=now)


def _cause(order: ServiceOrder) -> SuspensionCause:
    return SuspensionCause(order.request_reason.upper())


def _by(order: ServiceOrder) -> By:
    """Who placed the order: the carrier's answer is written down by somebody else."""
    owner = _owner(ActorKind(order.placed_by_kind), _cause(order))
    return By(order.placed_by, order.placed_by_label, owner)


def _owner(kind: ActorKind, cause: SuspensionCause) -> SuspensionOwner:
    owner = _OWNERS.get(kind, SuspensionOwner.SYSTEM)
    if owner is SuspensionOwner.OPERATOR and cause is SuspensionCause.REGULATOR:
        return SuspensionOwner.REGULATOR
    return owner


def _words(order: ServiceOrder) -> tuple[str, str] | None:
    """What the person is told by the demand that placed the order, if one did."""
    if _cause(order) is not SuspensionCause.REVERIFICATION or order.placed_by_kind != ActorKind.SYSTEM:
        return None
    status = DemandStatus(str(order.suspension_kind))
    return subscribers.get_demand_words(demand_uid=order.placed_by, status=status)


SUSPEND = OrderKind(complete=_place, already_so=_ALREADY_SO)
RESUME = OrderKind(complete=_lift, already_so=_ALREADY_SO)
