"""Places under the holder limit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines.errors import HolderLimitReached
from apps.lines.models import HolderSlot
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.subscribers import selectors as subscribers
from apps.subscribers.models import Subscriber
from apps.subscribers.states import SubscriberKind

# The lowest free place. A concurrent order for the same person waits on the unique constraint, then finds it taken. The
# count matters only after policy has lowered the limit under what somebody holds.
_TAKE_SLOT = """
INSERT INTO lines_holderslot (operator_id, fingerprint, slot)
SELECT %(operator)s, %(first)s, place
FROM generate_series(1, %(limit)s) AS place
WHERE NOT EXISTS (
    SELECT 1 FROM lines_holderslot
    WHERE operator_id = %(operator)s AND fingerprint = ANY(%(all)s) AND slot = place
) AND %(limit)s > (
    SELECT count(*) FROM lines_holderslot WHERE operator_id = %(operator)s AND fingerprint = ANY(%(all)s)
)
ORDER BY place LIMIT 1
ON CONFLICT ON CONSTRAINT holder_slot_unique DO NOTHING
RETURNING id
"""


@operation
def take_place_of(*, actor: Actor, person: Subscriber, now: datetime) -> int | None:
    """Fills the next free place of the person whose line it will be; its key, or None where no limit holds.

    Policies `holder.limit` and `holder.organizations_limited`. What counts is the person, not the document: places
    taken under any document of theirs count together, and all are taken under the first one they ever showed.

    :raises HolderLimitReached: when all places are filled.
    """
    found = policies.get_many(
        operator_id=person.operator_id,
        keys=(PolicyKey.HOLDER_LIMIT, PolicyKey.ORGANIZATIONS_LIMITED),
        now=now,
    )
    if person.kind == SubscriberKind.ORGANIZATION and not found[PolicyKey.ORGANIZATIONS_LIMITED]:
        return None
    return take_holder_slot(
        operator_id=person.operator_id,
        fingerprints=subscribers.get_holder_fingerprints(subscriber_id=person.pk),
        limit=found[PolicyKey.HOLDER_LIMIT],
    )


@operation
def take_holder_slot(*, operator_id: int, fingerprints: Sequence[bytes], limit: int) -> int:
    """Fills the person's next free place at this operator and returns the slot's key.

    `fingerprints` are those of all their documents, always with the same one first. Race-proof by a unique constraint:
    of any number of orders at once, at most `limit` get a place.
    Source: six-ministry notice of 2016, art. 4 (five cards per person and enterprise); the number is policy.

    :raises HolderLimitReached: when all places are filled.
    """
    parameters: dict[str, Any] = {
        "operator": operator_id,
        "first": fingerprints[0],
        "all": list(fingerprints),
        "limit": limit,
    }
    # Each lost race means that somebody else filled a place, so there are at most `limit` of them.
    for _ in range(limit + 1):
        with connection.cursor() as cursor:
            cursor.execute(_TAKE_SLOT, parameters)
            row = cursor.fetchone()
        if row is not None:
            return int(row[0])
    raise HolderLimitReached


@operation
def promise_holder_slot(*, actor: Actor, slot_id: int, line_id: int) -> None:
    """Keeps a place that the caller has just taken for a line that is being transferred to the person."""
    HolderSlot.objects.filter(pk=slot_id, line=None).update(coming_line_id=line_id)


@operation
def release_promised_slot(*, actor: Actor, line_id: int) -> None:
    """The line is not transferred after all: the place is free again."""
    HolderSlot.objects.filter(coming_line_id=line_id).delete()
