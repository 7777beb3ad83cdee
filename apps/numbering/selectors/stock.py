"""How many numbers there are in which state, by the counts that triggers keep, and how long what is free will last.

The truth of the counts is RangeStock plus StockChange, read in one statement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import reduce
from typing import Any

from django.db import connection

from apps.core.actor import Actor
from apps.numbering.states import NumberGrade, NumberStatus, RangeStatus
from apps.operators.calendar import china_date

# Days that a forecast looks back.
FORECAST_DAYS = 28
# Beyond, a forecast says nothing.
_FAR = 10_000

_STATES = tuple(status.name.lower() for status in NumberStatus)
_NAMES = ", ".join(_STATES)
_SUMS = ", ".join(f"sum(each.{name})::bigint" for name in _STATES)


def _each(where: str) -> str:
    return f"""(
    SELECT range_id, operator_id, grade, {_NAMES} FROM numbering_rangestock WHERE {where}
    UNION ALL
    SELECT range_id, operator_id, grade, {_NAMES} FROM numbering_stockchange WHERE {where}
) AS each"""  # noqa: S608 - only our own constants are formatted in


_OF_RANGES = f"""
SELECT each.range_id, each.grade, {_SUMS}
FROM {_each("range_id = ANY(%(ranges)s::bigint[])")}
GROUP BY each.range_id, each.grade ORDER BY each.range_id, each.grade
"""  # noqa: S608

# Ranges that are leased, be it on the way back.
_LIVE = f"r.status IN ('{RangeStatus.ACTIVE.value}', '{RangeStatus.RETURNING.value}')"
_MINE = "(%(operator)s::bigint IS NULL OR operator_id = %(operator)s::bigint)"

_TOTALS = f"""
SELECT h.code, each.grade, {_SUMS}
FROM {_each(_MINE)}
JOIN numbering_numberrange AS r ON r.id = each.range_id AND {_LIVE}
JOIN operators_hostcarrier AS h ON h.id = r.host_carrier_id
GROUP BY h.code, each.grade ORDER BY h.code, each.grade
"""  # noqa: S608

# The fullest of all, or those that lack most, in percent of their numbers, of what their contract wants.
_BY_FILL = f"""
SELECT r.id, {_SUMS}
FROM {_each(_MINE)}
JOIN numbering_numberrange AS r ON r.id = each.range_id AND {_LIVE}
GROUP BY r.id
HAVING %(all)s::bool OR sum(each.in_use) * 100 < r.minimum_use * (r.last - r.first + 1)
ORDER BY CASE
    WHEN %(all)s::bool THEN -sum(each.in_use)::float / (r.last - r.first + 1)
    ELSE sum(each.in_use)::float / (r.last - r.first + 1) - r.minimum_use / 100.0
END, r.id
LIMIT %(limit)s::int
"""  # noqa: S608

# By how many a day the free numbers became fewer, each range's between its own first and last noted day of the time
# looked back to: a range that is new, or has become another one, is no change of what the others had.
_DECLINES = """
SELECT {what}, sum(own.fewer)
FROM (
    SELECT d.range_id, d.grade,
        ((array_agg(d.available ORDER BY d.counted_on))[1]
            - (array_agg(d.available ORDER BY d.counted_on DESC))[1])::float
            / (max(d.counted_on) - min(d.counted_on)) AS fewer
    FROM numbering_stockday AS d
    WHERE d.counted_on > %(since)s::date AND {where}
    GROUP BY d.range_id, d.grade
    HAVING max(d.counted_on) > min(d.counted_on)
) AS own
{joined}
GROUP BY 1
"""
_RANGE_DECLINES = _DECLINES.format(
    what="own.range_id", joined="", where="d.range_id = ANY(%(ranges)s::bigint[])"
)
_TOTAL_DECLINES = _DECLINES.format(
    what="h.code || ' ' || own.grade",
    joined=f"JOIN numbering_numberrange AS r ON r.id = own.range_id AND {_LIVE}"
    " JOIN operators_hostcarrier AS h ON h.id = r.host_carrier_id",
    where=_MINE,
)

# The numbers as they are beside the counts as they are said to be, in one snapshot. Parameter operator, None for all.
DIFFERENCES = f"""
WITH counted AS (
    SELECT range_id, operator_id, grade,
        {", ".join(f"(count(*) FILTER (WHERE status = {s.value}))::int AS {s.name.lower()}" for s in NumberStatus)}
    FROM numbering_phonenumber
    WHERE {_MINE}
    GROUP BY range_id, operator_id, grade
), said AS (
    SELECT range_id, operator_id, grade, {", ".join(f"sum({name})::int AS {name}" for name in _STATES)}
    FROM {_each(_MINE)}
    GROUP BY range_id, operator_id, grade
)
SELECT range_id, operator_id, grade,
    {", ".join(f"coalesce(counted.{name}, 0) - coalesce(said.{name}, 0) AS {name}" for name in _STATES)}
FROM counted FULL JOIN said USING (range_id, operator_id, grade)
WHERE ({", ".join(f"coalesce(counted.{name}, 0)" for name in _STATES)})
    <> ({", ".join(f"coalesce(said.{name}, 0)" for name in _STATES)})
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers per state."""

    available: int = 0
    reserved: int = 0
    in_use: int = 0
    quarantined: int = 0
    withheld: int = 0
    # Back with the host carrier: not among `total`.
    returned: int = 0

    @property
    def total(self) -> int:
        return self.available + self.reserved + self.in_use + self.quarantined + self.withheld

    @property
    def fill(self) -> float:
        """The share that is in use, from 0 to 1."""
        return self.in_use / self.total if self.total else 0.0

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in _STATES}

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name) + getattr(other, name) for name in _STATES))


def added_up(counts: Iterable[Counts]) -> Counts:
    return reduce(Counts.__add__, counts, Counts())


@dataclass(frozen=True, slots=True)
class Stock:
    """The numbers of a range: of each grade that it has, and when the last free one will be gone as things go."""

    grades: Mapping[NumberGrade, Counts] = field(default_factory=dict)
    exhausted_on: date | None = None

    @property
    def all(self) -> Counts:
        return added_up(self.grades.values())


@dataclass(frozen=True, slots=True)
class StockTotal:
    """The numbers of a grade (None: of all) at one host carrier, over all ranges."""

    carrier: str
    grade: NumberGrade | None
    counts: Counts
    exhausted_on: date | None


@dataclass(frozen=True, slots=True)
class StockDifference:
    """How many more numbers there are than the counts say."""

    range_id: int
    operator_id: int
    grade: NumberGrade
    more: Counts


def get_stock(*, range_ids: Collection[int], now: datetime) -> dict[int, Stock]:
    """The stock of each of these ranges, which the caller may see; an empty one when it has no numbers. Two queries for
    any number of ranges."""
    grades: dict[int, dict[NumberGrade, Counts]] = {key: {} for key in range_ids}
    for key, grade, *counts in _rows(_OF_RANGES, ranges=list(range_ids)):
        if any(counts):
            grades[key][NumberGrade(grade)] = Counts(*counts)
    declines = _declines(_RANGE_DECLINES, now, ranges=list(range_ids))
    return {
        key: Stock(found, _exhausted_on(added_up(found.values()), declines.get(key), now))
        for key, found in grades.items()
    }


def list_stock_totals(*, actor: Actor, now: datetime) -> list[StockTotal]:
    """Per host carrier and grade, and per host carrier, over the leased ranges that the actor may see."""
    counted: dict[str, dict[NumberGrade, Counts]] = {}
    for carrier, grade, *counts in _rows(_TOTALS, operator=actor.operator_id):
        if any(counts):
            counted.setdefault(carrier, {})[NumberGrade(grade)] = Counts(*counts)
    declines = _declines(_TOTAL_DECLINES, now, operator=actor.operator_id)
    totals = []
    for carrier, grades in counted.items():
        own = {grade: declines.get(f"{carrier} {grade.value}") for grade in grades}
        known = [decline for decline in own.values() if decline is not None]
        every = added_up(grades.values())
        totals.append(
            StockTotal(carrier, None, every, _exhausted_on(every, sum(known) if known else None, now))
        )
        totals += [
            StockTotal(carrier, grade, counts, _exhausted_on(counts, own[grade], now))
            for grade, counts in grades.items()
        ]
    return totals


def list_range_ids_by_fill(*, actor: Actor, limit: int) -> list[int]:
    """The fullest leased ranges that the actor may see."""
    return [row[0] for row in _rows(_BY_FILL, operator=actor.operator_id, all=True, limit=limit)]


def list_range_ids_below_minimum(*, actor: Actor, limit: int) -> list[int]:
    """Leased ranges of which less is in use than the contract wants, the furthest below first."""
    return [row[0] for row in _rows(_BY_FILL, operator=actor.operator_id, all=False, limit=limit)]


def list_stock_differences(*, operator_id: int | None) -> list[StockDifference]:
    """Where the counts are wrong, of the operator's numbers or of all; reads every number."""
    return [
        StockDifference(range_id, owner, NumberGrade(grade), Counts(*more))
        for range_id, owner, grade, *more in _rows(DIFFERENCES, operator=operator_id)
    ]


def _declines(statement: str, now: datetime, **parameters: Any) -> dict[Any, float]:
    """Numbers a day; nothing about what has not two noted days at least."""
    return dict(_rows(statement, since=china_date(now) - timedelta(days=FORECAST_DAYS), **parameters))


def _exhausted_on(counts: Counts, decline: float | None, now: datetime) -> date | None:
    """None when what is free does not become fewer, or not within a foreseeable time."""
    if decline is None or decline <= 0 or (days := counts.available / decline) > _FAR:
        return None
    return china_date(now) + timedelta(days=int(days))


def _rows(statement: str, **parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[Any] = cursor.fetchall()
    return rows
