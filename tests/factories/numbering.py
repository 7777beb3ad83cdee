"""Leased ranges and reservations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from apps.core.actor import Actor, ActorKind
from apps.numbering import services as numbering
from apps.numbering.models import (
    BulkRun,
    EarlyRelease,
    GradePolicy,
    GradeRule,
    NumberRange,
    PhoneNumber,
    Reservation,
)
from apps.numbering.states import NumberGrade
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator, WholesaleAgreement

SYSTEM = Actor.system("tests")
# Access codes that tests.factories.operators registers. Blocks of other factories begin elsewhere.
ACCESS_CODES = {"unicom": "171", "mobile": "165", "telecom": "162"}
_blocks = itertools.count(1)
_people = itertools.count(1)


def given_range(
    *,
    operator: VirtualOperator,
    now: datetime,
    carrier: str = "unicom",
    prefix: str = "",
    province: str = "广东",
    city: str = "深圳",
    leased_from: date | None = None,
    leased_until: date | None = None,
) -> NumberRange:
    """A thousand free numbers (or ten thousand, with a prefix of 7 digits), leased for a year around now."""
    agreement = WholesaleAgreement.objects.get(operator=operator, host_carrier__code=carrier)
    return numbering.lease_range(
        actor=SYSTEM,
        operator=operator,
        agreement=agreement,
        # A ten-thousand block each, since a block has one home area.
        prefix=prefix or f"{ACCESS_CODES[carrier]}{next(_blocks):04d}0",
        home_province=province,
        home_city=city,
        leased_from=leased_from or china_date(now) - timedelta(days=30),
        leased_until=leased_until or china_date(now) + timedelta(days=300),
        now=now,
    )


def given_few_numbers(*, operator: VirtualOperator, now: datetime, free: int, **fields: Any) -> NumberRange:
    """A range of which only the first `free` numbers can be had; the rest is withheld."""
    leased = given_range(operator=operator, now=now, **fields)
    PhoneNumber.objects.filter(number__range=(leased.first + free, leased.last)).update(
        status=4, withheld_by=4
    )
    return leased


def given_partner(*, operator: VirtualOperator) -> Actor:
    """A partner app of the operator, as far as services can see it."""
    name = f"app-{next(_people)}"
    return Actor(kind=ActorKind.PARTNER, id=name, label=name, operator_id=operator.pk)


def given_reservation(
    *, operator: VirtualOperator, now: datetime, actor: Actor = SYSTEM, **wish: Any
) -> Reservation:
    return numbering.reserve(actor=actor, operator_id=operator.pk, now=now, **wish)


def given_rule(*, operator: VirtualOperator | None, now: datetime, **fields: Any) -> GradeRule:
    """Three of a kind at the end is gold, unless said otherwise."""
    values: dict[str, Any] = {
        "name": "rule",
        "pattern": "AAA",
        "priority": 100,
        "grade": NumberGrade.GOLD,
    }
    return numbering.add_grade_rule(actor=SYSTEM, operator=operator, now=now, **{**values, **fields})


def given_terms(
    *, operator: VirtualOperator, now: datetime, actor: Actor = SYSTEM, **fields: Any
) -> GradePolicy:
    """A gold number costs 400 and binds to 89 a month for two years, unless said otherwise."""
    values: dict[str, Any] = {
        "grade": NumberGrade.GOLD,
        "deposit": Decimal("400.00"),
        "min_monthly_spend": Decimal("89.00"),
        "months": 24,
    }
    return numbering.set_grade_policy(actor=actor, operator=operator, now=now, **{**values, **fields})


def given_quarantined(*, leased: NumberRange, now: datetime, offset: int = 0) -> int:
    """A number of the range that had a holder until now."""
    number: int = leased.first + offset
    numbering.take_number(
        actor=SYSTEM,
        operator_id=leased.operator_id,
        host_carrier_id=leased.host_carrier_id,
        number=number,
        now=now,
    )
    numbering.quarantine_number(actor=SYSTEM, number=number, now=now)
    return number


def given_early_release(*, leased: NumberRange, now: datetime, actor: Actor = SYSTEM) -> EarlyRelease:
    """Somebody's wish to end the quarantine of the range's first number."""
    number = given_quarantined(leased=leased, now=now)
    return numbering.request_early_release(actor=actor, number=number, reason="porting back", now=now)


def given_import(*, operator: VirtualOperator, now: datetime, rows: Sequence[str] = ("171x",)) -> BulkRun:
    """A file of leases that somebody has looked at; with no rows given, one that is not valid."""
    header = "carrier,prefix,home_province,home_city,leased_from,leased_until"
    return numbering.preview_leases(
        actor=SYSTEM,
        operator=operator,
        file_name="leases.csv",
        content="\n".join((header, *(f"unicom,{row}" for row in rows))).encode(),
        now=now,
    )
