"""HELD orders: going on when the real-name check passes, ending when it fails or takes too long."""

from __future__ import annotations

from datetime import datetime

from apps.carriers import selectors as carriers
from apps.core.actor import Actor
from apps.core.db import serialize_on, use_case
from apps.lines import services as lines
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.orders import announce, start_order, trace
from apps.provisioning.states import OrderStatus
from apps.subscribers import selectors as subscribers
from apps.subscribers.states import Standing


def continue_held_orders(*, actor: Actor, subscriber_ids: list[int], now: datetime) -> int:
    """Looks at every HELD order of these subscribers, each in its own transaction; returns how many moved."""
    held = ServiceOrder.objects.filter(status=OrderStatus.HELD, line__subscriber_id__in=subscriber_ids)
    order_ids = list(held.order_by("id").values_list("id", flat=True))
    return sum(continue_held_order(actor=actor, order_id=order_id, now=now) for order_id in order_ids)


@use_case
def continue_held_order(*, actor: Actor, order_id: int, now: datetime) -> bool:
    """HELD -> IN_PROGRESS when the check has passed, FAILED when it has failed; False when there is no news.

    An order that was accepted goes on although the licence or agreement has ended since: it was lawful when placed.
    """
    serialize_on(f"order:{order_id}")
    order = ServiceOrder.objects.select_related("line").get(pk=order_id)
    if order.status != OrderStatus.HELD:
        return False
    verification = subscribers.get_verification_state(subscriber_id=order.line.subscriber_id, now=now)
    if verification.standing is Standing.PASSED_FRESH:
        locked = ServiceOrder.objects.select_for_update().get(pk=order_id)
        connection = carriers.get_connection(
            operator_id=order.operator_id, host_carrier_id=order.line.host_carrier_id
        )
        start_order(
            actor=actor,
            order=locked,
            connection=connection,
            verification_id=verification.verification_id,
            now=now,
        )
        return True
    if verification.standing in (Standing.FAILED, Standing.EXPIRED):
        _end(actor, order, "identity_not_verified", now)
        return True
    return False


@use_case
def end_held_order(*, actor: Actor, order_id: int, now: datetime) -> bool:
    """HELD past its time -> CANCELLED, everything given back; False when it has moved meanwhile."""
    serialize_on(f"order:{order_id}")
    order = ServiceOrder.objects.get(pk=order_id)
    if order.status != OrderStatus.HELD or order.held_until is None or order.held_until > now:
        return False
    lines.abandon_line(actor=actor, line_id=order.line_id, reason="held_too_long", now=now)
    locked = ServiceOrder.objects.select_for_update().get(pk=order_id)
    before = locked.status
    locked.cancel(reason="held_too_long", now=now)
    trace(actor, locked, "order.cancel", before, now)
    announce(locked, "order.cancelled", now)
    return True


def end_held_orders(*, actor: Actor, now: datetime, limit: int = 500) -> int:
    """Ends up to `limit` orders that were HELD longer than policy allows, and returns how many."""
    due = ServiceOrder.objects.filter(status=OrderStatus.HELD, held_until__lte=now).order_by("held_until")
    return sum(
        end_held_order(actor=actor, order_id=order_id, now=now)
        for order_id in list(due.values_list("id", flat=True)[:limit])
    )


def _end(actor: Actor, order: ServiceOrder, reason: str, now: datetime) -> None:
    lines.abandon_line(actor=actor, line_id=order.line_id, reason=reason, now=now)
    locked = ServiceOrder.objects.select_for_update().get(pk=order.pk)
    before = locked.status
    locked.fail(reason=reason, now=now)
    trace(actor, locked, "order.fail", before, now)
    announce(locked, "order.failed", now)
