"""Keeping the counts of numbers: fold what changed, count again what is doubted, note each day for forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation, use_case
from apps.core.errors import NotFound
from apps.numbering.selectors.stock import DIFFERENCES, FORECAST_DAYS
from apps.numbering.services.single import MANAGE_NUMBERS
from apps.numbering.states import NumberStatus
from apps.operators.calendar import china_date

# Daily counts are kept for what forecasts look back to, and some days more for whoever asks why one changed.
DAYS_KEPT = 2 * FORECAST_DAYS

_STATES = tuple(status.name.lower() for status in NumberStatus)
_NAMES = ", ".join(_STATES)

# Without a limit or an order: whatever is there is read once from front to back, dead rows included, which is what is
# cheap when an old snapshot keeps them from being vacuumed.
_FOLD = f"""
WITH change AS (
    DELETE FROM numbering_stockchange AS c
    WHERE %(ranges)s::bigint[] IS NULL OR c.range_id = ANY(%(ranges)s::bigint[])
    RETURNING c.range_id, c.operator_id, c.grade, {", ".join(f"c.{name}" for name in _STATES)}
)
INSERT INTO numbering_rangestock AS s (range_id, operator_id, grade, {_NAMES})
SELECT range_id, max(operator_id), grade, {", ".join(f"sum({name})::int" for name in _STATES)}
FROM change GROUP BY range_id, grade ORDER BY range_id, grade
ON CONFLICT (range_id, grade) DO UPDATE SET
    operator_id = excluded.operator_id, {", ".join(f"{name} = s.{name} + excluded.{name}" for name in _STATES)}
"""  # noqa: S608 - only our own constants are formatted in

# What is missing is added like any other change: what others do at the same time is not lost.
_REPAIR = f"""
INSERT INTO numbering_stockchange (range_id, operator_id, grade, {_NAMES}) {DIFFERENCES}
RETURNING range_id
"""

_NOTE_DAY = """
INSERT INTO numbering_stockday (range_id, operator_id, grade, counted_on, available, in_use)
SELECT each.range_id, max(each.operator_id), each.grade, %(day)s::date, sum(each.available), sum(each.in_use)
FROM (
    SELECT range_id, operator_id, grade, available, in_use FROM numbering_rangestock
    UNION ALL
    SELECT range_id, operator_id, grade, available, in_use FROM numbering_stockchange
) AS each
JOIN numbering_numberrange AS r ON r.id = each.range_id AND r.status <> 'RETURNED'
GROUP BY each.range_id, each.grade
ON CONFLICT (range_id, grade, counted_on) DO UPDATE SET
    available = excluded.available, in_use = excluded.in_use
"""


@operation
def fold_stock() -> bool:
    """Adds the changes so far to the counts; the sums stay what they are. False when somebody else is at it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended('numbering.fold', 0))")
        if not cursor.fetchone()[0]:
            return False
        cursor.execute(_FOLD, {"ranges": None})
    return True


@operation
def fold_ranges(*, range_ids: Sequence[int]) -> None:
    """The same for some ranges, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(_FOLD, {"ranges": list(range_ids)})


@use_case
def repair_stock(*, actor: Actor, operator_id: int | None, now: datetime) -> int:
    """Counts all numbers of the operator (None: of all) and sets right what was wrong; returns how many counts were.

    Reads every row: for doubts, not for every day.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: not only the actor's own operator.
    """
    actor.require(MANAGE_NUMBERS)
    if not actor.sees(operator_id):
        raise NotFound
    with connection.cursor() as cursor:
        cursor.execute(_REPAIR, {"operator": operator_id})
        wrong = len(cursor.fetchall())
    if wrong:
        audit.record(
            actor=actor,
            action="stock.repair",
            target_type="stock",
            target_id="all" if operator_id is None else str(operator_id),
            operator_id=operator_id,
            after={"counts": wrong},
            now=now,
        )
    return wrong


@use_case
def note_stock_day(*, now: datetime) -> None:
    """Keeps today's counts (China's day); the last of a day counts. Days older than DAYS_KEPT are forgotten."""
    today = china_date(now)
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_DAY, {"day": today})
        cursor.execute(
            "DELETE FROM numbering_stockday WHERE counted_on < %s", [today - timedelta(days=DAYS_KEPT)]
        )
