"""Cancelling orders, as far as the carrier was not told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from apps.core.actor import Actor, ActorKind
from apps.core.db import operation, serialize_on
from apps.provisioning.errors import OrderNotCancellable
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.provisioning.selectors import get_order
from apps.provisioning.services.opening import require_right
from apps.provisioning.services.outcomes import end_order
from apps.provisioning.states import OPEN_ORDER, FailureKind, JobStatus, OrderStatus


@operation
def cancel_order(
    *,
    actor: Actor,
    order: str,
    now: datetime,
    reason: str = "",
    precondition: Callable[[ServiceOrder], None] | None = None,
) -> ServiceOrder:
    """Cancels what the carrier has certainly not been told of, and gives back everything it took.

    That includes a dead letter that was never sent, and what waits for a later day. `precondition` is called with the
    order once nobody else can move it, and may refuse.

    :raises NotFound: no such order of this operator. :raises Forbidden: staff without the right orders.place.
    :raises OrderNotCancellable: it is finished, or a job may have reached the carrier.
    """
    require_right(actor, "orders.place")
    found = get_order(actor=actor, uid=order)
    serialize_on(f"order:{found.pk}")
    current = get_order(actor=actor, uid=order)
    if precondition is not None:
        precondition(current)
    if not (current.status in OPEN_ORDER or current.is_scheduled):
        raise OrderNotCancellable
    if not all(_is_unknown_to_carrier(job) for job in current.jobs.all()):
        raise OrderNotCancellable
    code = {ActorKind.PARTNER: "cancelled_by_partner", ActorKind.STAFF: "cancelled_by_staff"}.get(
        actor.kind, "cancelled_by_system"
    )
    ended = end_order(
        actor=actor, order_id=found.pk, status=OrderStatus.CANCELLED, reason=code, note=reason, now=now
    )
    for job in ActivationJob.objects.select_for_update().filter(order=ended).order_by("pk"):
        # A worker may have claimed it since we looked: then the carrier may know, and the order is not cancellable.
        if not _is_unknown_to_carrier(job):
            raise OrderNotCancellable
        job.fail(
            kind=FailureKind.CANCELLED,
            code="order_cancelled",
            detail="Cancelled before it was sent.",
            now=now,
        )
    return ended


@operation
def make_way(*, actor: Actor, line_id: int, reason: str, now: datetime) -> None:
    """Cancels an order of the line that waits for a real-name check, for something that must not wait days for it."""
    waiting = ServiceOrder.objects.filter(line_id=line_id, status=OrderStatus.HELD).first()
    if waiting is None:
        return
    serialize_on(f"order:{waiting.pk}")
    if ServiceOrder.objects.get(pk=waiting.pk).status == OrderStatus.HELD:
        end_order(actor=actor, order_id=waiting.pk, status=OrderStatus.CANCELLED, reason=reason, now=now)


def _is_unknown_to_carrier(job: ActivationJob) -> bool:
    return job.told_at is None and (job.status == JobStatus.QUEUED or job.is_dead_letter)
