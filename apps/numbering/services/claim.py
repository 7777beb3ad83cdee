"""The claim of the next free number: one statement, written by hand, because everything sold goes through it.

It starts at a random point inside a random one of the operator's ranges, goes up to the range's end, then from the
range's start to that point, then on to the next range. So callers neither queue behind each other at the head of an
index nor wade through the dead entries that earlier claims left there, and a number is found whenever there is one that
nobody else holds locked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from apps.numbering.models import NumberRange, PhoneNumber
from apps.numbering.states import NumberGrade, NumberStatus, RangeStatus
from apps.operators.calendar import china_date


@dataclass(frozen=True, slots=True)
class NumberCriteria:
    """What the next free number must be like; `suffix` is digits counted from the end, None means any."""

    city: str | None = None
    suffix: str | None = None
    grade: NumberGrade = NumberGrade.ORDINARY


# The conditions on ranges say the same as NumberRangeQuerySet.selling; a test compares the two.
_PICK = f"""
WITH lease AS MATERIALIZED (
    SELECT r.id, r.home_province, r.home_city, r.first, r.last,
        r.first + floor(random() * (r.last - r.first + 1))::bigint AS start
    FROM numbering_numberrange AS r
    JOIN operators_wholesaleagreement AS a ON a.id = r.agreement_id
    WHERE r.operator_id = %(operator)s::bigint
        AND r.status = '{RangeStatus.ACTIVE.value}'
        AND r.leased_from <= %(today)s::date AND r.leased_until > %(today)s::date
        AND a.valid_from <= %(today)s::date AND a.valid_until > %(today)s::date
        AND (a.terminated_at IS NULL OR a.terminated_at > %(now)s::timestamptz)
        AND (%(host)s::bigint IS NULL OR r.host_carrier_id = %(host)s::bigint)
        AND (%(city)s::text IS NULL OR r.home_city = %(city)s::text)
    ORDER BY random()
), free AS MATERIALIZED (
    SELECT found.number
    FROM lease
    CROSS JOIN LATERAL (VALUES (lease.start, lease.last), (lease.first, lease.start - 1)) AS stretch(low, high)
    CROSS JOIN LATERAL (
        SELECT p.number
        FROM numbering_phonenumber AS p
        WHERE p.operator_id = %(operator)s::bigint
            AND p.status = {NumberStatus.AVAILABLE.value}
            AND p.number BETWEEN stretch.low AND stretch.high
            AND p.grade = %(grade)s::smallint
            AND mod(p.number, %(modulus)s::bigint) = %(tail)s::bigint
        ORDER BY p.number
        LIMIT %(quantity)s::bigint
        FOR UPDATE SKIP LOCKED
    ) AS found
    LIMIT %(quantity)s::bigint
)"""  # noqa: S608 - only our own constants are formatted in

_TAKE = f"""{_PICK}
UPDATE numbering_phonenumber AS n
SET status = {NumberStatus.IN_USE.value}
FROM free, lease
WHERE n.number = free.number AND n.range_id = lease.id
RETURNING n.number, n.range_id, n.operator_id, n.reservation_id, n.quarantined_until, n.status, n.grade,
    lease.id, lease.home_province, lease.home_city
"""  # noqa: S608

# All or nothing: with too few free numbers the update touches none.
_RESERVE = f"""{_PICK}, booking AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('numbering_reservation', 'id')) AS id
    WHERE (SELECT count(*) FROM free) = %(quantity)s::bigint
)
UPDATE numbering_phonenumber AS n
SET status = {NumberStatus.RESERVED.value}, reservation_id = booking.id
FROM free, booking
WHERE n.number = free.number
RETURNING n.number, n.reservation_id
"""  # noqa: S608

_COLUMNS = ("number", "range_id", "operator_id", "reservation_id", "quarantined_until", "status", "grade")
_RANGE_COLUMNS = ("id", "home_province", "home_city")


def take_next(
    *, operator_id: int, host_carrier_id: int, criteria: NumberCriteria, now: datetime
) -> PhoneNumber | None:
    """AVAILABLE -> IN_USE for one free number at that host carrier, or None when there is none to be had.

    Its range comes along with its home area; the range's other columns are read when asked for.
    """
    rows = _execute(_TAKE, operator_id, host_carrier_id, criteria, 1, now)
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
    rows = _execute(_RESERVE, operator_id, host_carrier_id, criteria, quantity, now)
    if not rows:
        return None
    return rows[0][1], sorted(row[0] for row in rows)


def _execute(
    statement: str,
    operator_id: int,
    host_carrier_id: int | None,
    criteria: NumberCriteria,
    quantity: int,
    now: datetime,
) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            {
                "operator": operator_id,
                "host": host_carrier_id,
                "city": criteria.city,
                "grade": criteria.grade.value,
                "modulus": 10 ** len(criteria.suffix or ""),
                "tail": int(criteria.suffix or "0"),
                "quantity": quantity,
                "today": china_date(now),
                "now": now,
            },
        )
        rows: list[Any] = cursor.fetchall()
        return rows
