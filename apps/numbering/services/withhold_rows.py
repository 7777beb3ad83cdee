"""Rows of a file of numbers that the host carrier, the police or fraud control wants kept from sale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.numbering.bulk_file import MAX_ROWS, Columns, FileRow
from apps.numbering.errors import BulkFileTooLarge
from apps.numbering.models import BulkRun
from apps.numbering.numbers import MalformedNumber, parse_e164, to_e164
from apps.numbering.states import NumberStatus, WithheldBy

COLUMNS = Columns(
    {
        "number": "number",
        "号码": "number",
        "first": "first",
        "last": "last",
        "withheldby": "withheld_by",
        "reason": "reason",
        "原因": "reason",
    },
    (frozenset({"number", "first"}), frozenset({"withheld_by"}), frozenset({"reason"})),
)
# In one file: every number gets its own row in the audit trail.
MAX_NUMBERS = MAX_ROWS

_FREE = (NumberStatus.AVAILABLE, NumberStatus.QUARANTINED)
_WANTED = """
FROM unnest(%(lines)s::int[], %(firsts)s::bigint[], %(lasts)s::bigint[]) AS wanted(line, first, last)
CROSS JOIN LATERAL generate_series(wanted.first, wanted.last) AS each(number)
"""
# One look-up by key per number, whatever the planner believes of 60 million rows.
_FOUND = f"""
SELECT wanted.line, p.status, count(*)
{_WANTED}
LEFT JOIN LATERAL (
    SELECT n.status FROM numbering_phonenumber AS n
    WHERE n.number = each.number AND n.operator_id = %(operator)s::bigint
    LIMIT 1
) AS p ON true
GROUP BY wanted.line, p.status
"""  # noqa: S608 - only our own constants are formatted in
# Ascending, as everywhere; what somebody took while we waited for its lock is no longer among them.
_LOCK = f"""
SELECT wanted.line, p.number, p.status, p.range_id
{_WANTED}
CROSS JOIN LATERAL (
    SELECT n.number, n.status, n.range_id FROM numbering_phonenumber AS n
    WHERE n.number = each.number AND n.operator_id = %(operator)s::bigint
        AND n.status IN ({", ".join(str(status.value) for status in _FREE)})
    LIMIT 1
    FOR UPDATE
) AS p
"""  # noqa: S608
_WITHHOLD = f"""
UPDATE numbering_phonenumber AS n
SET status = {NumberStatus.WITHHELD.value}, withheld_by = held.withheld_by
FROM unnest(%s::bigint[], %s::smallint[]) AS held(number, withheld_by)
WHERE n.number = held.number
"""  # noqa: S608


@dataclass(slots=True)
class WithholdRow:
    row: FileRow
    first: int
    last: int
    by: WithheldBy
    reason: str

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def check(*, operator_id: int, rows: Sequence[FileRow], now: datetime) -> list[WithholdRow]:
    """Adds to each row what is wrong with it; returns those with which nothing is, ascending by number.

    :raises BulkFileTooLarge: more than MAX_NUMBERS numbers.
    """
    found = [wish for row in rows if (wish := _read(row)) is not None]
    found.sort(key=lambda wish: (wish.first, wish.row.line))
    if sum(wish.size for wish in found) > MAX_NUMBERS:
        raise BulkFileTooLarge(f"At most {MAX_NUMBERS} numbers; make several files of it.")
    furthest: WithholdRow | None = None
    for wish in found:
        if furthest is not None and wish.first <= furthest.last:
            wish.row.refuse("number", "repeated", f"Also in line {furthest.row.line}.")
        if furthest is None or wish.last > furthest.last:
            furthest = wish
    _check_numbers(operator_id, found)
    return [wish for wish in found if not wish.row.errors]


def withhold(
    *, run: BulkRun, wishes: Sequence[WithholdRow], actor: Actor, now: datetime
) -> list[WithholdRow]:
    """Withholds the numbers of each row of which all are free or quarantined; returns the rows that somebody spoilt
    since they were checked, untouched."""
    by_line = {wish.row.line: wish for wish in wishes}
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, _parameters(run.operator_id, wishes))
        held = cursor.fetchall()
    counts = dict.fromkeys(by_line, 0)
    for line, *_ in held:
        counts[line] += 1
    whole = {line for line, count in counts.items() if count == by_line[line].size}
    kept = [(by_line[line], number, status) for line, number, status, _ in held if line in whole]
    with connection.cursor() as cursor:
        cursor.execute(_WITHHOLD, [[number for _, number, _ in kept], [wish.by.value for wish, _, _ in kept]])
    _record(run, kept, actor, now)
    return [wish for line, wish in by_line.items() if line not in whole]


def _record(run: BulkRun, kept: Sequence[tuple[WithholdRow, int, int]], actor: Actor, now: datetime) -> None:
    """One audit row per number, grouped by reason, which is shared by a whole statement."""
    by_reason: dict[str, list[audit.Entry]] = {}
    for wish, number, status in kept:
        after = {"status": NumberStatus.WITHHELD.name, "withheld_by": wish.by.label, "run": run.uid}
        before = {"status": NumberStatus(status).name}
        entry = audit.Entry(to_e164(number), run.operator_id, before=before, after=after)
        by_reason.setdefault(wish.reason, []).append(entry)
    for reason, entries in by_reason.items():
        audit.record_many(
            actor=actor,
            action="number.withhold",
            target_type="phone_number",
            entries=entries,
            reason=reason,
            now=now,
        )


def _read(row: FileRow) -> WithholdRow | None:
    fields = row.fields
    if fields.get("number"):
        if fields.get("first") or fields.get("last"):
            row.refuse("number", "invalid", "Either a number, or a first and a last one.")
        first = last = _number(row, "number")
    else:
        first, last = _number(row, "first"), _number(row, "last")
    if first and last and (last < first or last - first >= MAX_NUMBERS):
        row.refuse("last", "invalid", f"Not below the first, and at most {MAX_NUMBERS} numbers.")
    words = {by.label: by for by in WithheldBy}
    by = words.get(fields.get("withheld_by", "").lower())
    if by is None:
        row.refuse("withheld_by", "invalid", f"One of {', '.join(words)}.")
    reason = fields.get("reason", "")
    if not reason or len(reason) > 500:
        row.refuse("reason", "invalid", "Say why, in at most 500 characters.")
    if row.errors or not first or not last or by is None:
        return None
    return WithholdRow(row, first, last, by, reason)


def _number(row: FileRow, column: str) -> int:
    try:
        return parse_e164(row.fields.get(column, ""))
    except MalformedNumber as error:
        row.refuse(column, "invalid", str(error))
        return 0


def _check_numbers(operator_id: int, wishes: Sequence[WithholdRow]) -> None:
    by_line = {wish.row.line: wish for wish in wishes}
    with connection.cursor() as cursor:
        cursor.execute(_FOUND, _parameters(operator_id, wishes))
        for line, status, count in cursor.fetchall():
            wish = by_line[line]
            column = "number" if wish.first == wish.last else "first"
            if status is None or status == NumberStatus.RETURNED:
                wish.row.refuse(column, "not_found", f"{count} of {wish.size}: no number of this operator.")
            elif status not in _FREE:
                name = NumberStatus(status).name
                wish.row.refuse(column, "number_not_available", f"{count} of {wish.size}: {name}.")


def _parameters(operator_id: int, wishes: Sequence[WithholdRow]) -> dict[str, Any]:
    return {
        "operator": operator_id,
        "lines": [wish.row.line for wish in wishes],
        "firsts": [wish.first for wish in wishes],
        "lasts": [wish.last for wish in wishes],
    }
