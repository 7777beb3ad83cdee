"""The one way to write the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.db import operation


@operation
def record(
    *,
    actor: Actor,
    action: str,
    target_type: str,
    target_id: str,
    operator_id: int | None,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Adds one row in the caller's transaction, so that a change and its trace are there together or not at all.

    `action` is "noun.verb", `target_id` a public id, `before` and `after` hold states and ids, never personal data.
    """
    AuditEvent.objects.create(
        at=now,
        operator_id=operator_id,
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_label=actor.label,
        request_id=actor.request_id,
        trace_id=actor.trace_id,
        ip=actor.ip,
        action=action,
        target_type=target_type,
        target_id=target_id,
        before=dict(before) if before is not None else None,
        after=dict(after) if after is not None else None,
        reason=reason[:500],
    )
