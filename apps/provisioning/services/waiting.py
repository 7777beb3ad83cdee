"""Orders that wait, for a real-name check or for their day: going on by themselves, or ending."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from django.db.models import Q

from apps.carriers.errors import CarrierNotConnected
from apps.core.actor import Actor
from apps.core.db import serialize_on, use_case
from apps.lines import selectors as line_selectors
from apps.lines.models import Line
from apps.lines.states import LIVE_LINE
from apps.provisioning import selectors
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.opening import standing_of_check, start
from apps.provisioning.services.outcomes import end_order
from apps.provisioning.states import OrderStatus, OrderType
from apps.subscribers import selectors as subscribers
from apps.subscribers.states import Standing

logger = logging.getLogger(__name__)

_NO_LONGER = {Standing.FAILED: "identity_not_verified", Standing.EXPIRED: "identity_expired"}


def continue_held_orders(*, actor: Actor, subscriber_ids: Sequence[int], now: datetime) -> int:
    """Looks at every HELD order of these subscribers, or for lines that they are going to use, each in its own
    transaction; returns how many moved.
    """
    used = line_selectors.list_lines_used_by(user_ids=subscriber_ids)
    to_be_used = ServiceOrder.objects.filter(status=OrderStatus.HELD).filter(
        Q(new_user_id__in=subscriber_ids) | Q(line_id__in=used)
    )
    order_ids = sorted(
        {
            *ServiceOrder.objects.held_for(subscriber_ids).values_list("id", flat=True),
            *to_be_used.values_list("id", flat=True),
        }
    )
    return _each(order_ids, lambda order_id: continue_held_order(actor=actor, order_id=order_id, now=now))


@use_case
def continue_held_order(*, actor: Actor, order_id: int, now: datetime) -> bool:
    """HELD -> IN_PROGRESS when the check has passed, FAILED when it has failed; False when there is no news.

    Whether the licence or agreement has ended since is looked at before the first send (`papers.get_bite`). While its
    operator is not connected to the carrier it stays HELD.
    """
    serialize_on(f"order:{order_id}")
    order = ServiceOrder.objects.with_person().select_related("line", "verification").get(pk=order_id)
    if order.status != OrderStatus.HELD:
        return False
    verification_id, standing = _standing(order, now)
    if reason := _NO_LONGER.get(standing):
        end_order(actor=actor, order_id=order_id, status=OrderStatus.FAILED, reason=reason, now=now)
        return True
    if standing is not Standing.PASSED_FRESH:
        return False
    return _start(actor, order_id, verification_id, now)


def _standing(order: ServiceOrder, now: datetime) -> tuple[int | None, Standing]:
    """The check that counts for the order, and how it is: the one it names, or else its person's latest.

    Once that has passed, it is as the latest of whoever is going to use the line of an organization.
    """
    if order.verification is not None:
        counting, standing = order.verification_id, standing_of_check(order.verification, now)
    else:
        latest = subscribers.get_verification_state(subscriber_id=order.person, now=now)  # type: ignore[attr-defined]
        counting, standing = latest.verification_id, latest.standing
    user_id = _coming_user_id(order)
    if standing is Standing.PASSED_FRESH and user_id is not None:
        standing = subscribers.get_verification_state(subscriber_id=user_id, now=now).standing
    return counting, standing


def _coming_user_id(order: ServiceOrder) -> int | None:
    if order.type == OrderType.TRANSFER:
        return order.new_user_id
    return line_selectors.get_user_id(line_id=order.line_id) if order.type == OrderType.ACTIVATE else None


def _start(actor: Actor, order_id: int, verification_id: int | None, now: datetime) -> bool:
    """False while the operator is not connected to the carrier."""
    order = ServiceOrder.objects.select_for_update(of=("self",)).select_related("line").get(pk=order_id)
    try:
        start(actor=actor, order=order, verification_id=verification_id, now=now)
    except CarrierNotConnected:
        return False
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


def start_scheduled_orders(*, actor: Actor, now: datetime, limit: int = 500) -> int:
    """Starts up to `limit` orders whose day has come and in whose way no other order stands; returns how many moved."""
    order_ids = selectors.list_scheduled_orders_due(now=now, limit=limit)
    return _each(order_ids, lambda order_id: start_scheduled_order(actor=actor, order_id=order_id, now=now))


@use_case
def start_scheduled_order(*, actor: Actor, order_id: int, now: datetime) -> bool:
    """ACKNOWLEDGED -> IN_PROGRESS on its day, CANCELLED when the line has ended; False when it waits or has moved.

    What was accepted is carried out although the plan may have been withdrawn since; papers are looked at before the
    first send (`papers.get_bite`).
    """
    serialize_on(f"order:{order_id}")
    order = ServiceOrder.objects.get(pk=order_id)
    if not order.is_scheduled or order.due_at is None or order.due_at > now:
        return False
    line = Line.objects.select_for_update().get(pk=order.line_id)
    if ServiceOrder.objects.open().filter(line=line).exists():
        return False
    if line.status not in LIVE_LINE:
        end_order(
            actor=actor, order_id=order_id, status=OrderStatus.CANCELLED, reason="line_not_active", now=now
        )
        return True
    return _start(actor, order_id, None, now)


def _each(order_ids: Sequence[int], step: Callable[[int], bool]) -> int:
    """One order that cannot be dealt with must not hold up those behind it."""
    moved = 0
    for order_id in order_ids:
        try:
            moved += step(order_id)
        except Exception:
            logger.exception("held order not dealt with", extra={"order_key": order_id})
    return moved
