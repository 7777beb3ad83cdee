"""Publishing events, and relaying them to their consumers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from apps.core import dispatch
from apps.core.actor import Actor
from apps.core.db import execute, operation, use_case
from apps.core.faults import faultpoint
from apps.core.public_ids import new_uuid7
from apps.events import consumers
from apps.events.models import OutboxEvent

# By hand and always the same text: whatever changes something runs it, and it is prepared once per connection.
_COLUMNS = """
INSERT INTO events_outboxevent (type, request_id, trace_id, occurred_at, relayed_at, uid, subject, operator_id, data)
"""
_INSERT = f"{_COLUMNS} VALUES (%s, %s, %s, %s, %s, %s::uuid, %s, %s::bigint, %s::jsonb) RETURNING id"
# One JSON text carries a whole chunk: a third of the time that arrays take. Ids rise in the order of the entries.
_INSERT_MANY = f"""
{_COLUMNS}
SELECT %s, %s, %s, %s::timestamptz, %s::timestamptz,
    (entry ->> 0)::uuid, entry ->> 1, (entry ->> 2)::bigint, entry -> 3
FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS listed(entry, place)
ORDER BY place
"""  # noqa: S608 - only our own constant is formatted in
# So many that the round trip no longer counts, so few that memory does not.
_CHUNK = 2_000
_UID = OutboxEvent._meta.get_field("uid")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is particular to one of many events of a type."""

    subject: str
    operator_id: int
    data: Mapping[str, Any]


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
    event = OutboxEvent(
        type=type,
        operator_id=operator_id,
        subject=subject,
        data=dict(data),
        request_id=actor.request_id if actor else "",
        trace_id=actor.trace_id if actor else "",
        occurred_at=now,
        relayed_at=_relayed_at(type, now),
    )
    [[event.pk]] = execute(
        _INSERT,
        (
            type,
            event.request_id,
            event.trace_id,
            now,
            event.relayed_at,
            _UID.get_prep_value(event.uid),
            subject,
            operator_id,
            json.dumps(event.data),
        ),
    )
    event._state.adding = False
    event._state.db = connection.alias
    return event


@operation
def publish_many(*, type: str, entries: Sequence[Entry], actor: Actor | None, now: datetime) -> None:
    """`publish` for each of the entries, in their order, without a statement per row and with one nudge for all."""
    if not entries:
        return
    shared = (
        type,
        actor.request_id if actor else "",
        actor.trace_id if actor else "",
        now,
        _relayed_at(type, now),
    )
    with connection.cursor() as cursor:
        for start in range(0, len(entries), _CHUNK):
            chunk = [
                (new_uuid7().hex, entry.subject, entry.operator_id, dict(entry.data))
                for entry in entries[start : start + _CHUNK]
            ]
            cursor.execute(_INSERT_MANY, (*shared, json.dumps(chunk)))


def _relayed_at(type: str, now: datetime) -> datetime | None:
    """None when somebody inside listens: then the relay is nudged after the commit."""
    if now.tzinfo is None:
        raise ValueError("a moment without a time zone would be taken for UTC")
    if not consumers.of(type):
        return now
    dispatch.after_commit("events.relay")
    return None


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
    if waiting:
        faultpoint("relay.before_commit")
    return len(waiting)
