"""Places under the holder limit."""

from __future__ import annotations

from django.db import connection

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines.errors import HolderLimitReached
from apps.lines.models import HolderSlot

# The lowest free place. A concurrent order for the same person waits on the unique constraint, then finds it taken.
_TAKE_SLOT = """
INSERT INTO lines_holderslot (operator_id, fingerprint, slot)
SELECT %(operator)s, %(fingerprint)s, place
FROM generate_series(1, %(limit)s) AS place
WHERE NOT EXISTS (
    SELECT 1 FROM lines_holderslot
    WHERE operator_id = %(operator)s AND fingerprint = %(fingerprint)s AND slot = place
)
ORDER BY place LIMIT 1
ON CONFLICT ON CONSTRAINT holder_slot_unique DO NOTHING
RETURNING id
"""


@operation
def take_holder_slot(*, operator_id: int, fingerprint: bytes, limit: int) -> int:
    """Fills the person's next free place at this operator and returns the slot's key.

    Race-proof by a unique constraint: of any number of orders at once, at most `limit` get a place.
    Source: six-ministry notice of 2016, art. 4 (five cards per person and enterprise); the number is policy.

    :raises HolderLimitReached: when all places are filled.
    """
    parameters: dict[str, int | bytes] = {"operator": operator_id, "fingerprint": fingerprint, "limit": limit}
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
