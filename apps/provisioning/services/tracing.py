"""The audit row and the event of one step of an order."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.events import services as events
from apps.provisioning.models import ServiceOrder


def trace(
    actor: Actor, order: ServiceOrder, action: str, before: str | None, now: datetime, note: str = ""
) -> None:
    """The audit row; the timeline of an order is made of these."""
    after: dict[str, Any] = {"status": order.status}
    if order.reason:
        after["reason"] = order.reason
    audit.record(
        actor=actor,
        action=action,
        target_type="order",
        target_id=order.uid,
        operator_id=order.operator_id,
        before={"status": before} if before else None,
        after=after,
        reason=note,
        now=now,
    )


def announce(actor: Actor, order: ServiceOrder, event_type: str, before: str | None, now: datetime) -> None:
    """The event that partners hear of the same step."""
    data = {
        "order": order.uid,
        "line": order.line.uid,
        "type": order.type.lower(),
        "before": before,
        "status": order.status,
    }
    if order.reason:
        data["reason"] = order.reason
    events.publish(
        type=event_type, operator_id=order.operator_id, subject=order.uid, data=data, actor=actor, now=now
    )
