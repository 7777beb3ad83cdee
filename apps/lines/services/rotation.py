"""Rotation of the key of the blind indexes, for the half of it that holder slots depend on."""

from __future__ import annotations

from django.db import connection

from apps.core import keyring
from apps.core.db import operation
from apps.core.resealing import Batch, made_with
from apps.lines.models import HolderSlot
from apps.subscribers import services as subscribers

_MOVE_SLOTS = """
UPDATE lines_holderslot AS slot SET fingerprint = moved.new
FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[]) AS moved(operator_id, old, new)
WHERE slot.operator_id = moved.operator_id AND slot.fingerprint = moved.old
"""


@operation
def reindex_holders(*, after: int, limit: int) -> Batch:
    """The next documents and the holder slots of the same people under the current index key, in one transaction.

    So the places of one person always stand under one fingerprint, and the limit counts them all.
    """
    batch, changes = subscribers.reindex_documents(after=after, limit=limit)
    if changes:
        columns = zip(*((change.operator_id, change.old, change.new) for change in changes), strict=True)
        with connection.cursor() as cursor:
            cursor.execute(_MOVE_SLOTS, [list(column) for column in columns])
    return batch


def count_slots_to_move() -> int:
    """How many holder slots stand under another index key than the current one."""
    [name, _], *_ = keyring.ring().index
    return HolderSlot.objects.exclude(made_with("fingerprint", name)).count() if name else 0
