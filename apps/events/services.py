"""Publishing events, and relaying them to their consumers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apps.core import dispatch
from apps.core.actor import Actor
from apps.core.db import operation, use_case
from apps.events import consumers
from apps.events.models import OutboxEvent


@operation
def publish(
    *,
    type: str,
    operator_id: int,
    subject: str,
    data: Mapping[str, Any],
    now: datetime,
    actor: Actor | None = None,
) -> OutboxEvent:
    """Adds the event in the caller's transaction. `data` is thin: ids and states, never names or identity numbers.

    From `actor` come the ids of request and trace, nothing else: who it was stands in the audit and is nobody's news.
    An event that nobody inside listens to is already relayed: partners read it from the log.
    """
    listeners = consumers.of(type)
    event = OutboxEvent.objects.create(
        type=type,
        operator_id=operator_id,
        subject=subject,
        data=dict(data),
        request_id=actor.request_id if actor else "",
        trace_id=actor.trace_id if actor else "",
        occurred_at=now,
        relayed_at=None if listeners else now,
    )
    if listeners:
        dispatch.after_commit("events.relay")
    return event


@use_case
def relay(*, now: datetime, limit: int = 500) -> int:
    """Hands waiting events to their consumers' tasks, oldest first, and returns how many.

    The messages go out after the commit that marks the events: one lost in between is made good by the consumers' own
    sweepers, since an event is news and the rows are the truth.
    """
    waiting = list(
        OutboxEvent.objects.select_for_update(skip_locked=True).filter(relayed_at=None).order_by("id")[:limit]
    )
    for event in waiting:
        for task_name in consumers.of(event.type):
            dispatch.after_commit(task_name, event_id=event.uid, subject=event.subject)
    OutboxEvent.objects.filter(pk__in=[event.pk for event in waiting]).update(relayed_at=now)
    return len(waiting)
