"""The one way to write the audit trail."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from apps.core.actor import Actor
from apps.core.db import execute, operation

# By hand and always the same text: it runs several times in every transaction, and is prepared once per connection.
_COLUMNS = """
INSERT INTO audit_auditevent (at, actor_kind, actor_id, actor_label, request_id, trace_id, ip, action, target_type,
    reason, target_id, operator_id, before, after)
"""
_INSERT = (
    f"{_COLUMNS} VALUES (%s, %s, %s, %s, %s, %s, %s::inet, %s, %s, %s, %s, %s::bigint, %s::jsonb, %s::jsonb)"
)
# One JSON text carries a whole chunk: a third of the time that arrays take. Ids rise in the order of the entries.
_INSERT_MANY = f"""
{_COLUMNS}
SELECT %s, %s, %s, %s, %s, %s, %s::inet, %s, %s, %s,
    entry ->> 0, (entry ->> 1)::bigint, nullif(entry -> 2, 'null'), nullif(entry -> 3, 'null')
FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS listed(entry, place)
ORDER BY place
"""  # noqa: S608 - only our own constant is formatted in
# So many that the round trip no longer counts, so few that memory does not.
_CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class Entry:
    """What is particular to one of many rows that one action writes."""

    target_id: str
    operator_id: int | None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


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

    A single statement, which needs no block of its own: this is called in every transaction, often several times.

    `action` is "noun.verb", `target_id` a public id, `before` and `after` hold states and ids, never personal data.
    """
    execute(
        _INSERT,
        (
            *_shared(actor, action, target_type, now, reason),
            target_id,
            operator_id,
            None if before is None else json.dumps(dict(before)),
            None if after is None else json.dumps(dict(after)),
        ),
    )


@operation
def record_many(
    *,
    actor: Actor,
    action: str,
    target_type: str,
    entries: Sequence[Entry],
    now: datetime,
    reason: str = "",
) -> None:
    """`record` for each of the entries, in their order, without a statement per row."""
    shared = _shared(actor, action, target_type, now, reason)
    with connection.cursor() as cursor:
        for start in range(0, len(entries), _CHUNK):
            chunk = [
                (entry.target_id, entry.operator_id, _plain(entry.before), _plain(entry.after))
                for entry in entries[start : start + _CHUNK]
            ]
            cursor.execute(_INSERT_MANY, (*shared, json.dumps(chunk)))


def _shared(
    actor: Actor, action: str, target_type: str, now: datetime, reason: str
) -> tuple[datetime | str | None, ...]:
    if now.tzinfo is None:
        raise ValueError("a moment without a time zone would be taken for UTC")
    return (
        now,
        actor.kind.value,
        actor.id,
        actor.label,
        actor.request_id,
        actor.trace_id,
        actor.ip or None,
        action,
        target_type,
        reason[:500],
    )


def _plain(state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if state is None else dict(state)
