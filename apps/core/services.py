"""The life of the sealing keys: made, made current, replaced, retired. Whoever calls these audits them.

New keys are known before they are used: a process looks at the table every KAIHU_KEYRING_SECONDS, so `settled` says
when every process must have seen a change, and every transaction that began without it has ended.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from apps.core import keyring
from apps.core.db import database_now, operation, serialize_on
from apps.core.models import KeyPurpose, KeyStatus, SealingKey

# A process reads the ring, then seals; what lies between is far below this.
_MARGIN = timedelta(seconds=1)
_OLDER_TRANSACTIONS = """
SELECT EXISTS (
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
        AND xact_start < %s
)
"""


@operation
def make_next_key(*, purpose: KeyPurpose, now: datetime) -> SealingKey:
    """A new key that everybody may know and nobody uses yet; the one there is, when there is one already."""
    serialize_on("core.sealingkey")
    waiting = SealingKey.objects.filter(purpose=purpose, status=KeyStatus.NEXT).first()
    if waiting is not None:
        return waiting
    taken = {*SealingKey.objects.values_list("name", flat=True)}
    taken |= {name.rstrip(b"\0").decode() for name in keyring.parse_keys(settings.KAIHU_DATA_KEYS)}
    names = (f"{purpose[0].lower()}{number:03}" for number in range(1, 1000))
    name = next(name for name in names if name not in taken)
    return SealingKey.objects.create(
        name=name,
        purpose=purpose,
        status=KeyStatus.NEXT,
        wrapped=keyring.wrap(os.urandom(32), name=name, purpose=purpose),
        created_at=now,
        changed_at=now,
    )


@operation
def promote_next_key(*, purpose: KeyPurpose, now: datetime) -> SealingKey | None:
    """NEXT becomes CURRENT and what was current OLD, in one step; None when there is no NEXT (any more)."""
    serialize_on("core.sealingkey")
    keys = {row.status: row for row in SealingKey.objects.select_for_update().filter(purpose=purpose)}
    coming, current = keys.get(KeyStatus.NEXT), keys.get(KeyStatus.CURRENT)
    if coming is None:
        return None
    if current is not None:
        current.supersede(now=now)
    coming.promote(now=now)
    return coming


@operation
def retire_old_keys(*, names: Sequence[str], now: datetime) -> list[SealingKey]:
    """OLD becomes RETIRED, for those of these names that still are; the caller has seen that nothing uses them.

    A retired key still opens what a process that was asleep all the time may yet write; it makes and finds nothing.
    """
    serialize_on("core.sealingkey")
    rows = list(SealingKey.objects.select_for_update().filter(name__in=names, status=KeyStatus.OLD))
    for row in rows:
        row.retire(now=now)
    return rows


@operation
def rewrap_keys() -> int:
    """Wraps every key by the first master key of KAIHU_DATA_KEYS, so that the others can be taken off; how many."""
    serialize_on("core.sealingkey")
    rows = [
        row
        for row in SealingKey.objects.select_for_update()
        if not keyring.is_wrapped_by_first_master(bytes(row.wrapped))
    ]
    for row in rows:
        key = keyring.unwrap(bytes(row.wrapped), name=row.name, purpose=row.purpose)
        row.rewrap(keyring.wrap(key, name=row.name, purpose=row.purpose))
    return len(rows)


def keys_in_use() -> list[SealingKey]:
    """All but the retired ones."""
    return list(SealingKey.objects.exclude(status=KeyStatus.RETIRED).order_by("id"))


def settled(*, since: datetime) -> bool:
    """Whether everybody has seen what changed then: rings are newer, and older transactions have ended."""
    seen_by_all_at = since + timedelta(seconds=settings.KAIHU_KEYRING_SECONDS) + _MARGIN
    if database_now() < seen_by_all_at:
        return False
    with connection.cursor() as cursor:
        cursor.execute(_OLDER_TRANSACTIONS, [seen_by_all_at])
        [older] = cursor.fetchone()
    return not older
