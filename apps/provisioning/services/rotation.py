"""Rotating the keys of personal data while everything runs: here, because this app knows every table that holds any.

make     a NEXT data key and a NEXT index key; wait until every process knows them
promote  they are CURRENT: what is written from here on is under them, what is looked for is looked for under both
move     every sealed column, and documents together with their holder slots, batch by batch
retire   when every process writes with the new keys, and a last look finds nothing under the old ones

Where it is stands in the table of keys and in the rows. Killed at any point, it goes on when it is called again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from apps.audit import services as audit
from apps.carriers import services as carriers
from apps.core import keyring
from apps.core import services as keys
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.models import KeyPurpose, KeyStatus, SealingKey
from apps.core.resealing import Batch
from apps.lines import services as lines
from apps.subscribers import services as subscribers

BATCH = 500
# Rounds that move nothing although something is left: rows that do not open, or a transaction that never ends.
_PATIENCE = 10

Mover = Callable[..., Batch]


class RotationStuck(Exception):
    """Rows are left that cannot be moved; the log names those that do not open."""


def rotate_keys(
    *,
    actor: Actor,
    clock: Callable[[], datetime],
    pause: Callable[[float], None],
    tell: Callable[[str], None],
    batch: int = BATCH,
) -> list[str]:
    """Finishes the rotation that was begun, or does a whole new one; returns the names of the keys now current.

    `tell` hears how far it is. :raises RotationStuck: rows that do not open keep an old key in use.
    """
    keyring.forget()
    if rewrapped := keys.rewrap_keys():
        tell(f"{rewrapped} keys wrapped by the first master key")
    if not _is_unfinished():
        _make(actor=actor, now=clock())
    coming = [key for key in keys.keys_in_use() if key.status == KeyStatus.NEXT]
    if coming:
        _settle(max(key.changed_at for key in coming), pause, tell, "know the new keys")
        _promote(actor=actor, now=clock())
    keyring.forget()
    _move(pause, tell, batch)
    in_use = keys.keys_in_use()
    current = [key for key in in_use if key.status == KeyStatus.CURRENT]
    _settle(max(key.changed_at for key in current), pause, tell, "write with the new keys")
    # What the last writers with the old keys have left.
    _move(pause, tell, batch)
    _retire(
        actor=actor, names=[key.name for key in in_use if key.status == KeyStatus.OLD], now=clock(), tell=tell
    )
    keyring.forget()
    return [key.name for key in current]


def count_rows_to_move() -> dict[str, int]:
    """What is not yet under the current keys, by kind; only what there is."""
    left = {
        **subscribers.count_people_to_move(),
        "holder slots": lines.count_slots_to_move(),
        "carrier secrets": carriers.count_secrets_to_move(),
    }
    return {kind: count for kind, count in left.items() if count}


def _is_unfinished() -> bool:
    statuses = {key.status for key in keys.keys_in_use()}
    if statuses & {KeyStatus.NEXT, KeyStatus.OLD}:
        return True
    return KeyStatus.CURRENT in statuses and bool(count_rows_to_move())


def _move(pause: Callable[[float], None], tell: Callable[[str], None], batch: int) -> None:
    idle = 0
    while left := count_rows_to_move():
        tell("to move: " + ", ".join(f"{count:,} {kind}" for kind, count in left.items()))
        moved = 0
        for kind, mover in _movers():
            moved += _move_all(kind, mover, tell, batch)
        idle = 0 if moved else idle + 1
        if idle == _PATIENCE:
            raise RotationStuck(", ".join(f"{count} {kind}" for kind, count in left.items()))
        if not moved:
            pause(1.0)


def _movers() -> list[tuple[str, Mover]]:
    def of(table: str) -> Mover:
        return lambda *, after, limit: subscribers.reseal_people(table=table, after=after, limit=limit)

    return [
        ("holders", lines.reindex_holders),
        ("who stands for them", subscribers.reindex_representatives),
        ("listed people", subscribers.reindex_watch_list),
        *((table, of(table)) for table in subscribers.SEALED),
        ("carrier secrets", carriers.reseal_secrets),
    ]


def _move_all(kind: str, mover: Mover, tell: Callable[[str], None], batch: int) -> int:
    """Through the table once, a transaction per batch."""
    moved, after = 0, 0
    while (done := mover(after=after, limit=batch)).last is not None:
        moved, after = moved + done.moved, done.last
        tell(f"{kind}: {moved:,} moved")
    return moved


def _settle(since: datetime, pause: Callable[[float], None], tell: Callable[[str], None], what: str) -> None:
    if not keys.settled(since=since):
        tell(f"waiting until all processes {what}")
    while not keys.settled(since=since):
        pause(0.2)


@operation
def _make(*, actor: Actor, now: datetime) -> None:
    for purpose in KeyPurpose:
        _audit(actor, "sealing_key.make", keys.make_next_key(purpose=purpose, now=now), None, now)


@operation
def _promote(*, actor: Actor, now: datetime) -> None:
    for purpose in KeyPurpose:
        if key := keys.promote_next_key(purpose=purpose, now=now):
            _audit(actor, "sealing_key.promote", key, KeyStatus.NEXT, now)


@operation
def _retire(*, actor: Actor, names: list[str], now: datetime, tell: Callable[[str], None]) -> None:
    for key in keys.retire_old_keys(names=names, now=now):
        _audit(actor, "sealing_key.retire", key, KeyStatus.OLD, now)
        tell(f"{key.name} retired: nothing uses it")


def _audit(actor: Actor, action: str, key: SealingKey, before: str | None, now: datetime) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="sealing_key",
        target_id=key.name,
        operator_id=None,
        before={"status": before} if before else None,
        after={"status": key.status, "purpose": key.purpose},
        now=now,
    )
