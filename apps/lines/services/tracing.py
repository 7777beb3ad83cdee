"""The audit row and the event of one step of a line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.events import services as events
from apps.lines.models import Line


def record(
    actor: Actor,
    line: Line,
    action: str,
    now: datetime,
    *,
    before: Mapping[str, str | bool | None] | None,
    after: Mapping[str, str | bool | None],
    reason: str = "",
) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="line",
        target_id=line.uid,
        operator_id=line.operator_id,
        before=before,
        after=after,
        reason=reason,
        now=now,
    )


def publish(
    actor: Actor, line: Line, event_type: str, now: datetime, *, before: str, after: str, **more: str | None
) -> None:
    events.publish(
        type=event_type,
        operator_id=line.operator_id,
        subject=line.uid,
        data={"line": line.uid, "before": before, "after": after, **more},
        actor=actor,
        now=now,
    )
