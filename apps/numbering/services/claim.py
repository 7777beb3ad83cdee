"""The claim of the next free number: one statement, written by hand, because everything sold goes through it.

It starts at a random point inside a random one of the operator's ranges, goes up to the range's end, then from the
range's start to that point, then on to the next range. So callers neither queue behind each other at the head of an
index nor wade through the dead entries that earlier claims left there, and a number is found whenever there is one that
nobody else holds locked.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from apps.numbering.models import NumberRange, PhoneNumber
from apps.numbering.selectors.selling import CANDIDATES, SELLING, ending
from apps.numbering.states import NumberGrade, NumberStatus
from apps.operators.calendar import china_date


@dataclass(frozen=True, slots=True)
class NumberCriteria:
    """What the next free number must be like; `suffix` is digits counted from the end, None means any."""

    city: str | None = None
    suffix: str | None = None
    grade: NumberGrade = NumberGrade.ORDINARY


def _pick(limit: str, found: str) -> str:
    """`free`: the numbers found, with the home area of their range, locked."""
    ranges = f"""
        SELECT r.id, r.home_province, r.home_city, r.first, r.last,
            r.first + floor(%(fraction)s::float * (r.last - r.first + 1))::bigint AS start
        FROM numbering_numberrange AS r
        WHERE {SELLING}
            AND (%(host)s::bigint IS NULL OR r.host_carrier_id = %(host)s::bigint)
            AND (%(city)s::text IS NULL OR r.home_city = %(city)s::text)"""  # noqa: S608 - only our own constants
    return f"""
WITH free AS MATERIALIZED (
    SELECT found.number, lease.id AS range_id, lease.home_province, lease.home_city
    FROM (
        ({ranges} AND r.draw >= %(draw)s::float ORDER BY r.draw)
        UNION ALL
        ({ranges} AND r.draw < %(draw)s::float ORDER BY r.draw)
    ) AS lease
    CROSS JOIN LATERAL (VALUES (lease.start, lease.last), (lease.first, lease.start - 1)) AS stretch(low, high)
    CROSS JOIN LATERAL ({found}) AS found
    LIMIT {limit}
)"""  # noqa: S608 - only our own constants


def _any_ending(limit: str) -> str:
    return f"""
        SELECT p.number
        FROM numbering_phonenumber AS p
        WHERE p.operator_id = %(operator)s::bigint
            AND p.status = {NumberStatus.AVAILABLE.value}
            AND p.number BETWEEN stretch.low AND stretch.high
            AND p.grade = %(grade)s::smallint
        ORDER BY p.number
        LIMIT {limit}
        FOR UPDATE SKIP LOCKED"""  # noqa: S608 - only our own constants


_THAT_ENDING = f"""
        SELECT hit.number
        FROM {CANDIDATES.format(low="stretch.low", high="stretch.high")} AS candidate(number)
        CROSS JOIN LATERAL (
            SELECT p.number
            FROM numbering_phonenumber AS p
            WHERE p.operator_id = %(operator)s::bigint
                AND p.status = {NumberStatus.AVAILABLE.value}
                AND p.number = candidate.number
                AND p.grade = %(grade)s::smallint
            LIMIT 1
            FOR UPDATE SKIP LOCKED
        ) AS hit"""  # noqa: S608 - only our own constants

_TAKE_PICKED = f"""
UPDATE numbering_phonenumber AS n
SET status = {NumberStatus.IN_USE.value}
FROM free
WHERE n.number = free.number
RETURNING n.number, n.range_id, n.operator_id, n.reservation_id, n.quarantined_until, n.status, n.grade,
    free.range_id, free.home_province, free.home_city
"""  # noqa: S608 - only our own constants

# All or nothing: with too few free numbers the update touches none.
_RESERVE_PICKED = f""", booking AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('numbering_reservation', 'id')) AS id
    WHERE (SELECT count(*) FROM free) = %(quantity)s::bigint
)
UPDATE numbering_phonenumber AS n
SET status = {NumberStatus.RESERVED.value}, reservation_id = booking.id
FROM free, booking
WHERE n.number = free.number
RETURNING n.number, n.reservation_id
"""  # noqa: S608 - only our own constants

_TAKE = _pick("1", _any_ending("1")) + _TAKE_PICKED
_TAKE_ENDING = _pick("1", _THAT_ENDING) + _TAKE_PICKED
_RESERVE = _pick("%(quantity)s::bigint", _any_ending("%(quantity)s::bigint")) + _RESERVE_PICKED
_RESERVE_ENDING = _pick("%(quantity)s::bigint", _THAT_ENDING) + _RESERVE_PICKED

_COLUMNS = ("number", "range_id", "operator_id", "reservation_id", "quarantined_until", "status", "grade")
_RANGE_COLUMNS = ("id", "home_province", "home_city")


def take_next(
    *, operator_id: int, host_carrier_id: int, criteria: NumberCriteria, now: datetime
) -> PhoneNumber | None:
    """AVAILABLE -> IN_USE for one free number at that host carrier, or None when there is none to be had.

    Its range comes along with its home area; the range's other columns are read when asked for.
    """
    statement = _TAKE if criteria.suffix is None else _TAKE_ENDING
    rows = _execute(statement, operator_id, host_carrier_id, criteria, {}, now)
    if not rows:
        return None
    own = len(_COLUMNS)
    number = PhoneNumber.from_db(connection.alias, _COLUMNS, rows[0][:own])
    number.range = NumberRange.from_db(connection.alias, _RANGE_COLUMNS, rows[0][own:])
    return number


def reserve_next(
    *, operator_id: int, host_carrier_id: int | None, criteria: NumberCriteria, quantity: int, now: datetime
) -> tuple[int, list[int]] | None:
    """AVAILABLE -> RESERVED for `quantity` free numbers, or None and nothing changed when there are fewer.

    Returns the key of the reservation that the caller must insert before the transaction ends (the foreign key is
    checked only then), and the numbers, ascending.
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
) -> list[Any]:
    if criteria.suffix is not None:
        parameters = {**parameters, **ending(criteria.suffix)}
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            {
                "operator": operator_id,
                "host": host_carrier_id,
                "city": criteria.city,
                "grade": criteria.grade.value,
                "draw": random.random(),  # noqa: S311 - spreads load, guards nothing
                "fraction": random.random(),  # noqa: S311
                "today": china_date(now),
                "now": now,
                **parameters,
            },
        )
        rows: list[Any] = cursor.fetchall()
        return rows
