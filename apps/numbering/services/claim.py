"""The claim of the next free number: one statement, written by hand, because everything sold goes through it.

An operator's ranges with something free stand in a random order. A claim starts at one of the first few of them, at a
random point inside, goes up to the range's end, then from its start to that point, then on to the next range. So
callers do not queue behind each other at the head of an index; what is written stays together in a few ranges, however
many there are; what earlier claims left behind lies in those few too, and stays with each range that is used up. A
number is found whenever there is one that nobody else holds locked. Measured: docs/adr/0005.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from apps.core.db import execute
from apps.numbering.models import NumberRange, PhoneNumber
from apps.numbering.numbers import BLOCK
from apps.numbering.selectors.selling import CANDIDATES, SELLING, ending
from apps.numbering.services.stock import fold_stock
from apps.numbering.states import NumberGrade, NumberStatus
from apps.operators.calendar import china_date


@dataclass(frozen=True, slots=True)
class NumberCriteria:
    """What the next free number must be like; `suffix` is digits counted from the end, None means any."""

    city: str | None = None
    suffix: str | None = None
    grade: NumberGrade = NumberGrade.ORDINARY


# Ranges that claims spread over. More make callers meet less often, fewer keep what is written together.
OPEN_RANGES = 8
# Numbers that one claim of a certain ending may look at, 3 us each; there may be none of the kind in the whole country.
LOOKS = 20_000

# Ranges with something free, from one of the first few on; then those that had nothing free at the last fold and of
# which something was given back since. Together: all in which there can be a free number.
_PLACES = """
            (SELECT s.range_id FROM numbering_rangestock AS s
            WHERE s.operator_id = %(operator)s::bigint AND s.grade = %(grade)s::smallint AND s.has_free
            ORDER BY s.draw OFFSET %(skipped)s::bigint)
            UNION ALL
            (SELECT s.range_id FROM numbering_rangestock AS s
            WHERE s.operator_id = %(operator)s::bigint AND s.grade = %(grade)s::smallint AND s.has_free
            ORDER BY s.draw LIMIT %(skipped)s::bigint)
            UNION ALL
            (SELECT DISTINCT c.range_id FROM numbering_stockchange AS c
            WHERE c.operator_id = %(operator)s::bigint AND c.grade = %(grade)s::smallint AND c.available > 0
                AND NOT EXISTS (
                    SELECT FROM numbering_rangestock AS s
                    WHERE s.range_id = c.range_id AND s.grade = c.grade AND s.has_free
                ))"""


_LEASE = f"""
            SELECT r.id, r.home_province, r.home_city, r.first, r.last,
                r.first + floor(%(fraction)s::float * (r.last - r.first + 1))::bigint AS start
            FROM numbering_numberrange AS r
            WHERE r.id = place.range_id AND {SELLING}
                AND (%(host)s::bigint IS NULL OR r.host_carrier_id = %(host)s::bigint)
                AND (%(city)s::text IS NULL OR r.home_city = %(city)s::text)
            LIMIT 1"""  # noqa: S608 - only our own constants

_LEASES = f"""
        SELECT lease.*, row_number() OVER () AS nth
        FROM ({_PLACES}
        ) AS place
        CROSS JOIN LATERAL ({_LEASE}
        ) AS lease"""  # noqa: S608

# From a random range on, and no more of them than LOOKS allow. Where fewer numbers have the grade than the ending
# (`candidates` in ten thousand), they are found by their grade.
_LEASES_FOR_ENDING = f"""
        SELECT near.*, 0 AS nth
        FROM (
            SELECT lease.*, size.looks, size.looks < %(candidates)s::bigint AS by_grade,
                sum(size.looks) OVER (ORDER BY place.draw < %(draw)s::float, place.draw) AS looked
            FROM (
                SELECT s.range_id, s.draw,
                    s.available + s.reserved + s.in_use + s.quarantined + s.withheld AS of_grade
                FROM numbering_rangestock AS s
                WHERE s.operator_id = %(operator)s::bigint AND s.grade = %(grade)s::smallint AND (
                    s.has_free OR s.range_id IN (
                        SELECT c.range_id FROM numbering_stockchange AS c
                        WHERE c.operator_id = %(operator)s::bigint AND c.grade = %(grade)s::smallint
                            AND c.available > 0
                    )
                )
            ) AS place
            CROSS JOIN LATERAL ({_LEASE}
            ) AS lease
            CROSS JOIN LATERAL (
                SELECT CASE WHEN %(grade)s::smallint > 0
                    THEN least(place.of_grade, %(candidates)s::bigint) ELSE %(candidates)s::bigint
                END AS looks
            ) AS size
        ) AS near
        WHERE near.looked - near.looks < %(looks)s::bigint
        ORDER BY near.looked"""  # noqa: S608


def _pick(limit: str, found: str, leases: str) -> str:
    """`free`: the numbers found, with the home area of their range, locked."""
    return f"""
WITH free AS MATERIALIZED (
    SELECT found.number, leased.id AS range_id, leased.home_province, leased.home_city, leased.nth
    FROM ({leases}
    ) AS leased
    CROSS JOIN LATERAL (VALUES (leased.start, leased.last), (leased.first, leased.start - 1)) AS stretch(low, high)
    CROSS JOIN LATERAL ({found}) AS found
    LIMIT {limit}
)"""  # noqa: S608 - only our own constants


def _any_ending(limit: str) -> str:
    return f"""
        SELECT p.number
        FROM numbering_phonenumber AS p
        WHERE p.status = {NumberStatus.AVAILABLE.value}
            AND p.number BETWEEN stretch.low AND stretch.high
            AND p.grade = %(grade)s::smallint
            AND p.operator_id = %(operator)s::bigint
        ORDER BY p.number
        LIMIT {limit}
        FOR UPDATE SKIP LOCKED"""  # noqa: S608 - only our own constants


def _that_ending(limit: str) -> str:
    return f"""
        SELECT hit.number
        FROM {CANDIDATES.format(low="stretch.low", high="stretch.high")} AS candidate(number)
        CROSS JOIN LATERAL (
            SELECT p.number
            FROM numbering_phonenumber AS p
            WHERE p.status = {NumberStatus.AVAILABLE.value}
                AND p.number = candidate.number
                AND p.grade = %(grade)s::smallint
                AND p.operator_id = %(operator)s::bigint
            LIMIT 1
            FOR UPDATE SKIP LOCKED
        ) AS hit
        WHERE NOT leased.by_grade
        UNION ALL
        SELECT graded.number
        FROM (
            SELECT p.number
            FROM numbering_phonenumber AS p
            WHERE leased.by_grade
                AND p.status = {NumberStatus.AVAILABLE.value}
                AND p.number BETWEEN stretch.low AND stretch.high
                -- Said twice: a plan for any grade can use the index of graded numbers only because of the second.
                AND p.grade = %(grade)s::smallint AND p.grade > 0
                AND p.number %% %(modulus)s::bigint = %(tail)s::bigint
                AND p.operator_id = %(operator)s::bigint
            ORDER BY p.number
            LIMIT {limit}
            FOR UPDATE SKIP LOCKED
        ) AS graded"""  # noqa: S608 - only our own constants


_TAKE_PICKED = f"""
UPDATE numbering_phonenumber AS n
SET status = {NumberStatus.IN_USE.value}
FROM free
WHERE n.number = free.number
RETURNING n.number, n.range_id, n.operator_id, n.reservation_id, n.quarantined_until, n.status, n.grade,
    free.range_id, free.home_province, free.home_city, free.nth
"""  # noqa: S608 - only our own constants

# All or nothing: with too few free numbers the update touches none. An array, so that the numbers are looked up by key
# even by a plan that does not know how few they are.
_RESERVE_PICKED = f""", booking AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('numbering_reservation', 'id')) AS id
    WHERE (SELECT count(*) FROM free) = %(quantity)s::bigint
)
UPDATE numbering_phonenumber AS n
SET status = {NumberStatus.RESERVED.value}, reservation_id = booking.id
FROM booking
WHERE n.number = ANY(ARRAY(SELECT free.number FROM free))
RETURNING n.number, n.reservation_id, (SELECT max(free.nth) FROM free)
"""  # noqa: S608 - only our own constants

_SEVERAL = "%(quantity)s::bigint"
_TAKE = _pick("1", _any_ending("1"), _LEASES) + _TAKE_PICKED
_TAKE_ENDING = _pick("1", _that_ending("1"), _LEASES_FOR_ENDING) + _TAKE_PICKED
_RESERVE = _pick(_SEVERAL, _any_ending(_SEVERAL), _LEASES) + _RESERVE_PICKED
_RESERVE_ENDING = _pick(_SEVERAL, _that_ending(_SEVERAL), _LEASES_FOR_ENDING) + _RESERVE_PICKED

_COLUMNS = ("number", "range_id", "operator_id", "reservation_id", "quarantined_until", "status", "grade")
_RANGE_COLUMNS = ("id", "home_province", "home_city")


def take_next(
    *, operator_id: int, host_carrier_id: int, criteria: NumberCriteria, now: datetime
) -> PhoneNumber | None:
    """AVAILABLE -> IN_USE for one free number at that host carrier, or None when there is none to be had.

    With a suffix None may also mean that there was none among the LOOKS numbers that were looked at, which are others
    each time.

    Its range comes along with its home area; the range's other columns are read when asked for.
    """
    statement = _TAKE if criteria.suffix is None else _TAKE_ENDING
    rows = _execute(statement, operator_id, host_carrier_id, criteria, {}, now)
    if not rows:
        return None
    if rows[0][-1] > 1 and criteria.suffix is None:
        # A range was used up before its count said so: from now on the count says so, and nobody looks there in vain.
        fold_stock()
    own = len(_COLUMNS)
    number = PhoneNumber.from_db(connection.alias, _COLUMNS, rows[0][:own])
    number.range = NumberRange.from_db(connection.alias, _RANGE_COLUMNS, rows[0][own:-1])
    return number


def reserve_next(
    *, operator_id: int, host_carrier_id: int | None, criteria: NumberCriteria, quantity: int, now: datetime
) -> tuple[int, list[int]] | None:
    """AVAILABLE -> RESERVED for `quantity` free numbers, or None and nothing changed when there are fewer.

    Returns the key of the reservation that the caller must insert before the transaction ends (a trigger looks for it
    only then), and the numbers, ascending.
    """
    statement = _RESERVE if criteria.suffix is None else _RESERVE_ENDING
    rows = _execute(statement, operator_id, host_carrier_id, criteria, {"quantity": quantity}, now)
    if not rows:
        return None
    return rows[0][1], sorted(row[0] for row in rows)


def _execute(
    statement: str,
    operator_id: int,
    host_carrier_id: int | None,
    criteria: NumberCriteria,
    parameters: dict[str, Any],
    now: datetime,
) -> list[tuple[Any, ...]]:
    if criteria.suffix is not None:
        wanted = ending(criteria.suffix)
        parameters = {
            **parameters,
            **wanted,
            "candidates": max(1, BLOCK // wanted["modulus"]),
            "looks": LOOKS,
            "draw": random.random(),  # noqa: S311 - spreads load, guards nothing
        }
    return execute(
        statement,
        {
            "operator": operator_id,
            "host": host_carrier_id,
            "city": criteria.city,
            "grade": criteria.grade.value,
            "skipped": random.randrange(OPEN_RANGES),  # noqa: S311 - spreads load, guards nothing
            "fraction": random.random(),  # noqa: S311
            "today": china_date(now),
            "now": now,
            **parameters,
        },
    )
