"""What may be sold now, range by range: the conditions, and lists of sellable numbers.

Statements here and in services.claim walk an operator's ranges one after the other and look into each through the
partial index of free numbers. That is a plan the database cannot get wrong: it stays fast just after millions of rows
were loaded and before statistics know of them, and it reads only ranges that may be sold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from django.db import connection

from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.numbering.models import PhoneNumber
from apps.numbering.numbers import DIGITS
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


_WANTED = """
    AND (%(grade)s::smallint IS NULL OR p.grade = %(grade)s::smallint)
    AND (%(contains)s::text IS NULL OR p.number::text LIKE %(contains)s::text)
    AND (%(excluded)s::text IS NULL OR p.number::text NOT LIKE %(excluded)s::text)"""

_ANY_ENDING = f"""
    SELECT p.number, p.grade
    FROM numbering_phonenumber AS p
    WHERE p.operator_id = %(operator)s::bigint
        AND p.status = {NumberStatus.AVAILABLE.value}
        AND p.number BETWEEN lease.low AND lease.high
        {_WANTED}
    ORDER BY p.number
    LIMIT %(limit)s::bigint"""  # noqa: S608 - only our own constants are formatted in

_THAT_ENDING = f"""
    SELECT hit.number, hit.grade
    FROM {CANDIDATES.format(low="lease.low", high="lease.high")} AS candidate(number)
    CROSS JOIN LATERAL (
        SELECT p.number, p.grade
        FROM numbering_phonenumber AS p
        WHERE p.operator_id = %(operator)s::bigint
            AND p.status = {NumberStatus.AVAILABLE.value}
            AND p.number = candidate.number
            {_WANTED}
        LIMIT 1
    ) AS hit
    LIMIT %(limit)s::bigint"""  # noqa: S608


def _list(found: str) -> str:
    return f"""
SELECT found.number, found.grade, lease.carrier, lease.home_city
FROM (
    SELECT greatest(r.first, %(low)s::bigint) AS low, least(r.last, %(high)s::bigint) AS high,
        h.code AS carrier, r.home_city
    FROM numbering_numberrange AS r
    JOIN operators_hostcarrier AS h ON h.id = r.host_carrier_id
    WHERE {SELLING}
        AND r.last >= %(low)s::bigint AND r.first <= %(high)s::bigint
        AND (%(carrier)s::text IS NULL OR h.code = %(carrier)s::text)
        AND (%(city)s::text IS NULL OR r.home_city = %(city)s::text)
    ORDER BY r.first
) AS lease
CROSS JOIN LATERAL ({found}) AS found
LIMIT %(limit)s::bigint"""  # noqa: S608


_LIST = _list(_ANY_ENDING)
_LIST_ENDING = _list(_THAT_ENDING)
_COLUMNS = ("number", "grade", "carrier", "home_city")


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

    model = PhoneNumber

    def filter(self, *, number__gt: int) -> Self:
        return replace(self, after=number__gt)

    def order_by(self, key: str) -> Self:
        if key != "number":
            raise ValueError("sellable numbers come in the order of the number")
        return self

    def __getitem__(self, window: slice) -> list[dict[str, Any]]:
        with connection.cursor() as cursor:
            cursor.execute(*self._statement(limit=window.stop))
            return [dict(zip(_COLUMNS, row, strict=True)) for row in cursor.fetchall()]

    def count(self) -> int:
        statement, parameters = self._statement(limit=None)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM ({statement}) AS listed", parameters)  # noqa: S608
            return int(cursor.fetchone()[0])

    def _statement(self, *, limit: int | None) -> tuple[str, dict[str, Any]]:
        wanted = self.wanted
        unit = 10 ** (DIGITS - len(wanted.prefix or ""))
        low = int(wanted.prefix or "0") * unit
        parameters = {
            "operator": self.operator_id,
            "today": china_date(self.now),
            "now": self.now,
            "low": max(low, self.after + 1),
            "high": low + unit - 1,
            "carrier": wanted.carrier,
            "city": wanted.city,
            "grade": None if wanted.grade is None else wanted.grade.value,
            "contains": None if wanted.contains is None else f"%{wanted.contains}%",
            "excluded": None if wanted.exclude_digit is None else f"%{wanted.exclude_digit}%",
            "limit": limit,
        }
        if wanted.suffix is None:
            return _LIST, parameters
        return _LIST_ENDING, {**parameters, **ending(wanted.suffix)}


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
