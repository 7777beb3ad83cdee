"""HELD orders: going on when the real-name check passes, ending when it fails or takes too long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from apps.carriers import selectors as carriers
from apps.carriers.errors import CarrierNotConnected
from apps.core.actor import Actor
from apps.core.db import serialize_on, use_case
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.orders import start_order
from apps.provisioning.services.outcomes import end_order
from apps.provisioning.states import OrderStatus
from apps.subscribers import selectors as subscribers
from apps.subscribers.states import Standing

logger = logging.getLogger(__name__)

_NO_LONGER = {Standing.FAILED: "identity_not_verified", Standing.EXPIRED: "identity_expired"}


def continue_held_orders(*, actor: Actor, subscriber_ids: Sequence[int], now: datetime) -> int:
    """Looks at every HELD order of these subscribers, each in its own transaction; returns how many moved."""
    held = ServiceOrder.objects.filter(status=OrderStatus.HELD, line__subscriber_id__in=subscriber_ids)
    order_ids = list(held.order_by("id").values_list("id", flat=True))
    return _each(order_ids, lambda order_id: continue_held_order(actor=actor, order_id=order_id, now=now))


@use_case
def continue_held_order(*, actor: Actor, order_id: int, now: datetime) -> bool:
    """HELD -> IN_PROGRESS when the check has passed, FAILED when it has failed; False when there is no news.

    An order that was accepted goes on although the licence or agreement has ended since: it was lawful when placed.
    While its operator is not connected to the carrier it stays HELD.
    """
    serialize_on(f"order:{order_id}")
    order = ServiceOrder.objects.select_related("line").get(pk=order_id)
    if order.status != OrderStatus.HELD:
        return False
    verification = subscribers.get_verification_state(subscriber_id=order.line.subscriber_id, now=now)
    if reason := _NO_LONGER.get(verification.standing):
        end_order(actor=actor, order_id=order_id, status=OrderStatus.FAILED, reason=reason, now=now)
        return True
    if verification.standing is not Standing.PASSED_FRESH:
        return False
    try:
        connection = carriers.get_connection(
            operator_id=order.operator_id, host_carrier_id=order.line.host_carrier_id
        )
    except CarrierNotConnected:
        return False
    start_order(
        actor=actor,
        order=ServiceOrder.objects.select_for_update().get(pk=order_id),
        connection=connection,
        verification_id=verification.verification_id,
        now=now,
    )
    return True


def end_held_orders(*, actor: Actor, now: datetime, limit: int = 500) -> int:
    """Ends up to `limit` orders that were HELD longer than policy allows, and returns how many."""
    due = ServiceOrder.objects.filter(status=OrderStatus.HELD, held_until__lte=now).order_by("held_until")
    order_ids = list(due.values_list("id", flat=True)[:limit])
    return _each(order_ids, lambda order_id: end_held_order(actor=actor, order_id=order_id, now=now))


@use_case
def end_held_order(*, actor: Actor, order_id: int, now: datetime) -> bool:
    """HELD past its time -> CANCELLED, everything given back; False when it has moved meanwhile."""
    serialize_on(f"order:{order_id}")
    order = ServiceOrder.objects.get(pk=order_id)
    if order.status != OrderStatus.HELD or order.held_until is None or order.held_until > now:
        return False
    end_order(actor=actor, order_id=order_id, status=OrderStatus.CANCELLED, reason="held_too_long", now=now)
    return True


def _each(order_ids: Sequence[int], step: Callable[[int], bool]) -> int:
    """One order that cannot be dealt with must not hold up those behind it."""
    moved = 0
    for order_id in order_ids:
        try:
            moved += step(order_id)
        except Exception:
            logger.exception("held order not dealt with", extra={"order_key": order_id})
    return moved
