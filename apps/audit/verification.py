"""Walking the hash chains and comparing every seal with its row; reads only, beside writers and sealer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection

from apps.audit.chain import DIGEST, GENESIS, link

_CHAINS = """
SELECT DISTINCT operator_id FROM audit_auditevent UNION SELECT DISTINCT operator_id FROM audit_auditseal
ORDER BY operator_id NULLS FIRST
"""
# Of a chain: the seals up to its present head, and the rows that have none.
_SEALS = f"""
SELECT seal.sequence, seal.audit_event_id, seal.previous_hash, seal.hash, event.operator_id, {DIGEST}, event.id IS NULL
FROM audit_auditseal AS seal LEFT JOIN audit_auditevent AS event ON event.id = seal.audit_event_id
WHERE seal.operator_id {{of_chain}} AND seal.sequence > %(after)s AND seal.sequence <= %(up_to)s
ORDER BY seal.sequence LIMIT 5000
"""  # noqa: S608 - only our own constants are formatted in
_UNSEALED = """
SELECT count(*), min(event.id)
FROM audit_auditevent AS event
WHERE event.operator_id {of_chain} AND event.id > %(after)s AND event.id <= %(up_to)s
    AND NOT EXISTS (SELECT FROM audit_auditseal WHERE audit_event_id = event.id)
"""
_SEALED_UP_TO = "SELECT coalesce(max(audit_event_id), 0) FROM audit_auditseal"
_LAST_ROW = "SELECT coalesce(max(id), 0) FROM audit_auditevent"
_LAST_ID = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM audit_auditevent_id_seq"


@dataclass(frozen=True, slots=True)
class Fault:
    """The first place where a chain does not hold."""

    audit_event_id: int
    what: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What was found. `sequence` and `head` are those of the last seal before the fault, or of the last one."""

    operator_id: int | None
    sequence: int
    head: bytes
    # Rows so new that they have no seal yet.
    waiting: int
    fault: Fault | None


def list_chains() -> list[int | None]:
    """The operators that have rows or seals, None for the platform."""
    with connection.cursor() as cursor:
        cursor.execute(_CHAINS)
        return [row[0] for row in cursor.fetchall()]


def verify(*, operator_id: int | None, expected: Mapping[int, bytes]) -> Chain:
    """Recomputes one chain from its first row to its present end.

    `expected` has heads that somebody noted, by sequence: without one, rows that were cut off the end together with
    their seals are not missed.
    """
    # In this order: the sealer and writers go on, and what they add meanwhile must not look like something wrong.
    sealed_up_to, last_row, last_id = _number(_SEALED_UP_TO), _number(_LAST_ROW), _number(_LAST_ID)
    sequence, head, event_id = 0, GENESIS, 0
    faults: list[Fault] = []
    for seal in _seals(operator_id):
        what = _fault(seal, operator_id, sequence, head, event_id)
        if what is None and seal[0] in expected and expected[seal[0]] != seal[3]:
            what = "its seal is not the head that was noted"
        if what is not None:
            faults.append(Fault(seal[1], what))
            break
        sequence, event_id, _, head, *_ = seal
    else:
        if expected and max(expected) > sequence:
            faults.append(
                Fault(event_id, f"the chain ends with it, before place {max(expected)} that was noted")
            )
    unsealed, first = _unsealed(operator_id, after=-(2**63), up_to=sealed_up_to)
    if unsealed:
        faults.append(Fault(first, "it has no seal though later rows have: put in, or its seal removed"))
    foreign, first = _unsealed(operator_id, after=max(last_id, sealed_up_to), up_to=last_row)
    if foreign:
        faults.append(Fault(first, "the database never gave out its id: put in"))
    waiting, _ = _unsealed(operator_id, after=sealed_up_to, up_to=min(last_row, last_id))
    return Chain(
        operator_id=operator_id,
        sequence=sequence,
        head=head,
        waiting=waiting,
        fault=min(faults, key=lambda fault: fault.audit_event_id, default=None),
    )


def _fault(seal: Any, operator_id: int | None, sequence: int, head: bytes, event_id: int) -> str | None:
    """What is wrong with a seal, or with its row, behind an end of the chain that was right."""
    place, sealed_id, previous, hash, owner, digest, removed = seal
    if place != sequence + 1:
        return f"the seal before its own, at place {sequence + 1}, was removed"
    if removed:
        return "the row was removed"
    if previous != head or sealed_id <= event_id:
        return "its seal does not follow the one before: changed, or put elsewhere"
    if owner != operator_id or link(digest=digest, previous=previous, sequence=place) != hash:
        return "the row, or its seal, was changed"
    return None


def _seals(operator_id: int | None) -> Iterator[Any]:
    after = 0
    # A short range, so that no plan sorts the whole chain; an open one only to find what is behind a gap.
    while rows := (
        _rows(_SEALS, operator_id, after=after, up_to=after + 5000)
        or _rows(_SEALS, operator_id, after=after, up_to=2**63 - 1)
    ):
        yield from rows
        after = rows[-1][0]


def _unsealed(operator_id: int | None, *, after: int, up_to: int) -> Any:
    return _rows(_UNSEALED, operator_id, after=after, up_to=up_to)[0]


def _rows(statement: str, operator_id: int | None, **parameters: int) -> list[Any]:
    of_chain = "IS NULL" if operator_id is None else "= %(operator)s"
    with connection.cursor() as cursor:
        cursor.execute(statement.format(of_chain=of_chain), {"operator": operator_id, **parameters})
        rows: list[Any] = cursor.fetchall()
    return rows


def _number(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        [number] = cursor.fetchone()
    return int(number)
