"""Giving rows their places in the hash chains, some seconds after they were committed.

Writers never wait for the chains: they insert, and this runs behind them in the order of the ids. No row may turn up
before one that is sealed already, but ids are given out before the commit. So we need an id up to which nobody can add
a row any more, and get one like this.

Whoever inserts first takes ROW EXCLUSIVE on the table, then the id from its sequence, and keeps the lock until the
transaction has ended. (The sequence has no cache, which would keep ids beyond that.) A transaction that may still add a
row with an id up to the sequence's last value is therefore among those that hold the lock when we look *after* reading
that value. Once they have all ended, which a later round asks and none waits for, every row up to there is visible or
will never exist.
"""

from __future__ import annotations

import json
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper

from apps.audit.chain import DIGEST, GENESIS, link
from apps.core.db import use_case
from apps.core.faults import faultpoint

# Behind a long table whose statistics lag, the planner would sort all that is due for the first few of it.
_LOCK = """
SELECT pg_try_advisory_xact_lock(hashtextextended('audit.seal', 0)),
    set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true)
"""
_LAST_ID = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM audit_auditevent_id_seq"
# Our own transaction adds no row while it seals. Prepared transactions have no process.
_WRITERS = """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation = 'audit_auditevent'::regclass AND mode = 'RowExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND pid IS DISTINCT FROM pg_backend_pid()
"""
_HORIZON = "SELECT up_to, writers FROM audit_sealhorizon WHERE id = 1"
_MOVE_HORIZON = """
INSERT INTO audit_sealhorizon (id, up_to, writers) VALUES (1, %s, %s)
ON CONFLICT (id) DO UPDATE SET up_to = excluded.up_to, writers = excluded.writers
"""
_DUE = f"""
SELECT event.id, event.operator_id, {DIGEST}
FROM audit_auditevent AS event
WHERE event.id > (SELECT coalesce(max(audit_event_id), 0) FROM audit_auditseal) AND event.id <= %s
ORDER BY event.id LIMIT %s
"""  # noqa: S608 - only our own constant is formatted in
_HEADS = """
SELECT head.* FROM unnest(%s::bigint[]) AS chain(operator_id) CROSS JOIN LATERAL (
    SELECT operator_id, sequence, hash FROM audit_auditseal
    WHERE operator_id = chain.operator_id ORDER BY sequence DESC LIMIT 1
) AS head
UNION ALL (
    SELECT operator_id, sequence, hash FROM audit_auditseal
    WHERE operator_id IS NULL ORDER BY sequence DESC LIMIT 1
)
"""
_APPEND = """
INSERT INTO audit_auditseal (audit_event_id, operator_id, sequence, previous_hash, hash)
SELECT (seal ->> 0)::bigint, (seal ->> 1)::bigint, (seal ->> 2)::bigint,
    decode(seal ->> 3, 'hex'), decode(seal ->> 4, 'hex')
FROM jsonb_array_elements(%s::jsonb) AS seal
"""


@use_case
def seal(*, limit: int = 5_000) -> int:
    """Seals the next rows, at most `limit`, and returns how many; 0 when none is due or somebody else is sealing.

    All or nothing, and where to go on stands in the seals themselves: safe to kill, and to run twice at once.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LOCK)
        locked, *_ = cursor.fetchone()
        due = _due(cursor, limit) if locked else []
        if due:
            _append(cursor, due)
            faultpoint("seal.before_commit")
    return len(due)


def _due(cursor: CursorWrapper, limit: int) -> list[Any]:
    cursor.execute(_HORIZON)
    up_to, writers = cursor.fetchone() or (0, [])
    while not _any_writes(cursor, writers):
        # Each statement sees what was committed when it began: all that those writers left.
        cursor.execute(_DUE, [up_to, limit])
        due: list[Any] = cursor.fetchall()
        if due:
            return due
        cursor.execute(_LAST_ID)
        [last_id] = cursor.fetchone()
        if last_id == up_to:
            break
        up_to, writers = last_id, sorted(_writers(cursor))
        cursor.execute(_MOVE_HORIZON, [up_to, writers])
    return []


def _any_writes(cursor: CursorWrapper, writers: list[str]) -> bool:
    return bool(writers) and not _writers(cursor).isdisjoint(writers)


def _writers(cursor: CursorWrapper) -> set[str]:
    cursor.execute(_WRITERS)
    return {row[0] for row in cursor.fetchall()}


def _append(cursor: CursorWrapper, due: list[Any]) -> None:
    cursor.execute(_HEADS, [sorted({operator_id for _, operator_id, _ in due if operator_id is not None})])
    heads = {operator_id: (sequence, bytes(hash)) for operator_id, sequence, hash in cursor.fetchall()}
    seals = []
    for event_id, operator_id, digest in due:
        last, previous = heads.get(operator_id, (0, GENESIS))
        sequence = last + 1
        hash = link(digest=bytes(digest), previous=previous, sequence=sequence)
        heads[operator_id] = sequence, hash
        seals.append((event_id, operator_id, sequence, previous.hex(), hash.hex()))
    cursor.execute(_APPEND, [json.dumps(seals)])
