"""What may be sold now, range by range: the conditions, and lists of sellable numbers.

Statements here and in services.claim walk an operator's ranges one after the other and look into each through the
key. That is a plan the database cannot get wrong: it stays fast just after millions of rows were loaded and before
statistics know of them, and it reads only ranges that may be sold.

A search does only so much work. The counts say which ranges have something free and roughly how much; which of it can
have the wanted digits is worked out before anything is read (digits.py). Of each range either the few candidates are
looked up or all of it is read through, free or not, whichever is less; of a grade above the ordinary only the numbers
of that grade are read. When that was enough for one request, the page ends early, between two ranges, and says how far
it came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple, Self

from django.db import connection

from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.numbering.models import PhoneNumber
from apps.numbering.numbers import BLOCK
from apps.numbering.selectors.digits import Digits, between
from apps.numbering.states import NumberGrade, NumberStatus, RangeStatus
from apps.operators.calendar import china_date

# Conditions on numbering_numberrange AS r; parameters operator, today, now.
SELLING = f"""
    r.operator_id = %(operator)s::bigint
    AND r.status = '{RangeStatus.ACTIVE.value}'
    AND r.leased_from <= %(today)s::date AND r.leased_until > %(today)s::date
    AND r.agreement_id = ANY(ARRAY(
        SELECT a.id FROM operators_wholesaleagreement AS a
        WHERE a.operator_id = %(operator)s::bigint
            AND a.valid_from <= %(today)s::date AND a.valid_until > %(today)s::date
            AND (a.terminated_at IS NULL OR a.terminated_at > %(now)s::timestamptz)
    ))"""  # noqa: S608 - only our own constant is formatted in

# Numbers with a wanted ending are counted out, not searched for: a range of 10,000 has ten that end in 888.
# Parameters low and high are columns of the enclosing query, tail and modulus (a power of ten) are parameters.
CANDIDATES = """generate_series(
    {low} + mod(mod(%(tail)s::bigint - {low}, %(modulus)s::bigint) + %(modulus)s::bigint, %(modulus)s::bigint),
    {high},
    %(modulus)s::bigint
)"""


def ending(suffix: str | None) -> dict[str, int]:
    """Parameters of CANDIDATES: numbers that end in these digits."""
    return {"modulus": 10 ** len(suffix or ""), "tail": int(suffix or "0")}


@dataclass(frozen=True, slots=True)
class NumberFilter:
    """What a list of numbers is narrowed to; None means anything. Digits are text, so that leading zeros count.

    `prefix` is counted from the leading 1, `suffix` from the end; `contains` and `exclude_digit` look at all digits.
    """

    carrier: str | None = None
    grade: NumberGrade | None = None
    city: str | None = None
    prefix: str | None = None
    suffix: str | None = None
    contains: str | None = None
    exclude_digit: str | None = None

    @property
    def digits(self) -> Digits:
        return Digits(self.prefix, self.suffix, self.contains, self.exclude_digit)


# What one request may look at, in units of one row read through (0.1 to 0.3 us).
WORK = 100_000
# What finding a place by its key costs (3 us): one candidate, or the beginning of what is read through.
LOOK_UP = 25
# What one row found by its grade costs (0.7 us): they lie scattered over the table. Of a grade that is not rare the
# planner may rather read the whole range by its key; it is charged with that.
SCATTERED = 4
RARE = 100
# Ranges that one request looks at the counts of: at first a few, since mostly those suffice.
RANGES = 2_048
FIRST_RANGES, _MORE = 16, 16
# Exact counts may take their time: some tenths of a second.
COUNT_WORK = 10 * WORK

# Ranges that may be sold and whose digits do not rule them out, ascending, up to a number of them; and how many of each
# have the wanted grade, free (`fitting`) and in all. Those with nothing free are left out, but never the last: it says
# how far the list came. The change table: nothing was free at the last fold, but something was given back since.
_LEASES = f"""
SELECT lease.first, lease.last, lease.carrier, lease.home_city, lease.nth, stock.fitting, stock.of_grade
FROM (
    SELECT r.id, r.first, r.last, h.code AS carrier, r.home_city, row_number() OVER (ORDER BY r.first) AS nth
    FROM numbering_numberrange AS r
    JOIN operators_hostcarrier AS h ON h.id = r.host_carrier_id
    WHERE {SELLING}
        AND r.first >= %(floor)s::bigint AND r.last >= %(low)s::bigint AND r.first <= %(high)s::bigint
        AND (%(carrier)s::text IS NULL OR h.code = %(carrier)s::text)
        AND (%(city)s::text IS NULL OR r.home_city = %(city)s::text)
        AND (%(heads)s::text[] IS NULL OR (r.first / {BLOCK})::text LIKE ANY (%(heads)s::text[]))
        AND (%(without)s::text IS NULL OR strpos((r.first / {BLOCK})::text, %(without)s::text) = 0)
    ORDER BY r.first
    LIMIT %(ranges)s::bigint
) AS lease
CROSS JOIN LATERAL (
    SELECT coalesce(sum(s.available), 0)::int AS fitting,
        coalesce(sum(s.available + s.reserved + s.in_use + s.quarantined + s.withheld), 0)::int AS of_grade
    FROM numbering_rangestock AS s
    WHERE s.range_id = lease.id AND (%(grade)s::smallint IS NULL OR s.grade = %(grade)s::smallint)
) AS stock
WHERE stock.fitting > 0 OR lease.nth = %(ranges)s::bigint OR lease.id = ANY(ARRAY(
    SELECT DISTINCT c.range_id FROM numbering_stockchange AS c
    WHERE c.operator_id = %(operator)s::bigint AND c.available > 0
        AND (%(grade)s::smallint IS NULL OR c.grade = %(grade)s::smallint)
))
ORDER BY lease.first"""  # noqa: S608 - only our own constants are formatted in


def _free(grade: NumberGrade | None) -> str:
    """The grade is spelt out: a plan for any grade could not use the index of graded numbers."""
    of_grade = "" if grade is None else f"AND p.grade = {grade.value:d}"
    return f"p.status = {NumberStatus.AVAILABLE.value} {of_grade} AND p.operator_id = %(operator)s::bigint"


# Of each place: the whole of it read through, or its candidates looked up.
_FIND = """
SELECT found.number, found.grade, place.nth::int - 1
FROM unnest(%(lows)s::bigint[], %(highs)s::bigint[], %(starts)s::int[], %(stops)s::int[])
    WITH ORDINALITY AS place(low, high, start, stop, nth)
CROSS JOIN LATERAL (
    (SELECT p.number, p.grade
    FROM numbering_phonenumber AS p
    WHERE place.stop = 0 AND {free}
        AND p.number BETWEEN place.low AND place.high
        AND (%(suffix)s::text IS NULL OR p.number::text LIKE %(suffix)s::text)
        AND (%(contains)s::text IS NULL OR p.number::text LIKE %(contains)s::text)
        AND (%(without)s::text IS NULL OR strpos(p.number::text, %(without)s::text) = 0)
    ORDER BY p.number
    LIMIT %(limit)s::bigint)
    UNION ALL
    (SELECT hit.number, hit.grade
    FROM unnest((%(candidates)s::bigint[])[place.start:place.stop]) AS candidate(number)
    CROSS JOIN LATERAL (
        SELECT p.number, p.grade
        FROM numbering_phonenumber AS p
        WHERE {free} AND p.number = candidate.number
        LIMIT 1
    ) AS hit
    WHERE place.stop > 0)
) AS found
LIMIT %(limit)s::bigint"""

_COUNT_FOUND = f"SELECT count(*) FROM ({_FIND}) AS listed"  # noqa: S608

# Without conditions on single digits: by the counts, all in one snapshot. Only of a range that the prefix cuts in two
# (of one block, therefore) numbers are counted.
_COUNT = """
SELECT coalesce(sum(CASE WHEN lease.whole THEN stock.free ELSE counted.free END), 0)
FROM (
    SELECT r.id, greatest(r.first, span.low) AS low, least(r.last, span.high) AS high,
        r.first >= span.low AND r.last <= span.high AS whole
    FROM unnest(%(lows)s::bigint[], %(highs)s::bigint[]) AS span(low, high)
    JOIN numbering_numberrange AS r ON r.last >= span.low AND r.first <= span.high
    JOIN operators_hostcarrier AS h ON h.id = r.host_carrier_id
    WHERE {selling}
        AND (%(carrier)s::text IS NULL OR h.code = %(carrier)s::text)
        AND (%(city)s::text IS NULL OR r.home_city = %(city)s::text)
) AS lease
LEFT JOIN (
    SELECT each.range_id, sum(each.available) AS free
    FROM (
        SELECT range_id, operator_id, grade, available FROM numbering_rangestock
        UNION ALL
        SELECT range_id, operator_id, grade, available FROM numbering_stockchange
    ) AS each
    WHERE each.operator_id = %(operator)s::bigint
        AND (%(grade)s::smallint IS NULL OR each.grade = %(grade)s::smallint)
    GROUP BY each.range_id
) AS stock ON lease.whole AND stock.range_id = lease.id
LEFT JOIN LATERAL (
    SELECT count(*) AS free
    FROM numbering_phonenumber AS p
    WHERE NOT lease.whole AND {free} AND p.number BETWEEN lease.low AND lease.high
) AS counted ON TRUE"""


class _Place(NamedTuple):
    """The part of a range that matters, and what looking there costs and may bring."""

    low: int
    high: int
    carrier: str
    home_city: str
    # None: all of it is read through.
    candidates: Sequence[int] | None
    work: int
    expected: float


class Numbers(list[dict[str, Any]]):
    """A page; `reached`: all numbers up to there were looked at and the work was enough, None: it ends for itself."""

    reached: int | None = None


@dataclass(frozen=True, slots=True)
class SellableNumbers:
    """Sellable numbers in ascending order, as dicts with `number grade carrier home_city`.

    Offers what `core.api.pagination` asks of a queryset. Ranges never overlap and are walked in ascending order, so
    their numbers come in ascending order too.
    """

    operator_id: int
    wanted: NumberFilter
    now: datetime
    after: int = 0
    digits: Digits = field(init=False)

    model = PhoneNumber

    def __post_init__(self) -> None:
        object.__setattr__(self, "digits", self.wanted.digits)

    def filter(self, *, number__gt: int) -> Self:
        return replace(self, after=number__gt)

    def order_by(self, key: str) -> Self:
        if key != "number":
            raise ValueError("sellable numbers come in the order of the number")
        return self

    def __getitem__(self, window: slice) -> Numbers:
        """The first ones; fewer than asked for, with `reached`, when they are too far apart for one request."""
        limit, work, found = window.stop, WORK, Numbers()
        batch: list[_Place] = []
        expected, patience = 0.0, 1
        for place in self._places(RANGES):
            if isinstance(place, int):
                found.reached = place
                break
            if work < place.work and work < WORK:
                found.reached = place.low - 1
                break
            batch.append(place)
            work -= place.work
            expected += place.expected
            if work <= 0 or expected >= (limit - len(found)) * patience:
                found += self._find(batch, limit - len(found))
                # What was expected is not there (an ending that the grade never has): ask for more at a time.
                batch, expected, patience = [], 0.0, patience * 4
                if len(found) >= limit:
                    return found
        if batch:
            found += self._find(batch, limit - len(found))
        if len(found) >= limit:
            found.reached = None
        return found

    def count(self) -> int | None:
        """How many there are; None when they could only be counted by looking at too many numbers."""
        if self.digits.contradict:
            return 0
        if not self.digits.are_many:
            lows, highs = zip(*self.digits.spans(), strict=True)
            return self._number_of(_COUNT, {"lows": list(lows), "highs": list(highs)})
        batch, work = [], COUNT_WORK
        for place in self._places(RANGES * 10):
            if isinstance(place, int) or (work := work - place.work) < 0:
                return None
            batch.append(place)
        return self._number_of(_COUNT_FOUND, {**_laid_out(batch), "limit": None}) if batch else 0

    def _number_of(self, statement: str, parameters: dict[str, Any]) -> int:
        with connection.cursor() as cursor:
            cursor.execute(self._spelt(statement), {**self._parameters(), **parameters})
            return int(cursor.fetchone()[0])

    def _places(self, most: int) -> Iterator[_Place | int]:
        """Where there may be matching numbers, ascending; at last, after `most` ranges, how far that was."""
        if self.digits.contradict:
            return
        ranges = min(FIRST_RANGES, most)
        for low, high in self.digits.spans():
            low = max(low, self.after + 1)
            while low <= high:
                reached = None
                for first, last, carrier, home_city, nth, fitting, of_grade in self._leases(
                    low, high, ranges
                ):
                    if place := self._place(
                        max(first, low), min(last, high), carrier, home_city, fitting, of_grade
                    ):
                        yield place
                    if nth == ranges:
                        reached = last
                if reached is None:
                    break
                low, most = reached + 1, most - ranges
                if most <= 0:
                    yield reached
                    return
                ranges = min(ranges * _MORE, most)

    def _leases(self, low: int, high: int, ranges: int) -> list[Any]:
        parameters = {
            **self._parameters(),
            "low": low,
            "high": high,
            # No range begins in an earlier block than it ends.
            "floor": low // BLOCK * BLOCK,
            "heads": self.digits.heads(),
            "ranges": ranges,
        }
        with connection.cursor() as cursor:
            cursor.execute(_LEASES, parameters)
            leases: list[Any] = cursor.fetchall()
        return leases

    def _place(
        self, low: int, high: int, carrier: str, home_city: str, fitting: int, of_grade: int
    ) -> _Place | None:
        """What of a range is worth looking at. The counts are of the last fold: good enough to choose a way."""
        fitting, span = max(fitting, 1), high - low + 1
        block = low // BLOCK
        tails = self.digits.tails(str(block))
        reading = LOOK_UP + span
        if self.wanted.grade:
            reading = LOOK_UP + max(min(of_grade, span) * SCATTERED, min(span, of_grade * RARE))
        if tails is None:
            return _Place(low, high, carrier, home_city, None, reading, fitting)
        tails = between(tails, low, high)
        if not tails:
            return None
        looking_up = LOOK_UP * len(tails)
        expected = fitting * len(tails) / span
        if looking_up > reading:
            return _Place(low, high, carrier, home_city, None, reading, expected)
        candidates = [block * BLOCK + tail for tail in tails]
        return _Place(low, high, carrier, home_city, candidates, looking_up, expected)

    def _find(self, places: list[_Place], limit: int) -> list[dict[str, Any]]:
        with connection.cursor() as cursor:
            cursor.execute(self._spelt(_FIND), {**self._parameters(), **_laid_out(places), "limit": limit})
            return [
                {
                    "number": number,
                    "grade": grade,
                    "carrier": places[nth].carrier,
                    "home_city": places[nth].home_city,
                }
                for number, grade, nth in cursor.fetchall()
            ]

    def _spelt(self, statement: str) -> str:
        return statement.format(free=_free(self.wanted.grade), selling=SELLING)

    def _parameters(self) -> dict[str, Any]:
        wanted = self.wanted
        return {
            "operator": self.operator_id,
            "today": china_date(self.now),
            "now": self.now,
            "carrier": wanted.carrier,
            "city": wanted.city,
            "grade": None if wanted.grade is None else wanted.grade.value,
            "suffix": None if wanted.suffix is None else f"%{wanted.suffix}",
            "contains": None if wanted.contains is None else f"%{wanted.contains}%",
            "without": wanted.exclude_digit,
        }


def _laid_out(places: list[_Place]) -> dict[str, list[int]]:
    """Parameters of _FIND: the candidates of all places one after the other, and from where to where each has its own
    (0 and 0: none, it is read through)."""
    candidates: list[int] = []
    starts, stops = [], []
    for place in places:
        if place.candidates is None:
            starts.append(0)
            stops.append(0)
        else:
            starts.append(len(candidates) + 1)
            candidates += place.candidates
            stops.append(len(candidates))
    return {
        "lows": [place.low for place in places],
        "highs": [place.high for place in places],
        "starts": starts,
        "stops": stops,
        "candidates": candidates,
    }


def list_sellable_numbers(
    *, actor: Actor, operator_id: int, wanted: NumberFilter, now: datetime
) -> SellableNumbers:
    """Free numbers that may be sold now. No reserved, used, quarantined or withheld number is among them, and none of a
    range whose lease or agreement is not in force.

    :raises NotFound: another operator's business.
    """
    if not actor.sees(operator_id):
        raise NotFound
    return SellableNumbers(operator_id=operator_id, wanted=wanted, now=now)
