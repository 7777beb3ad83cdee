"""Leased ranges and reservations."""

from __future__ import annotations

import itertools
from datetime import date, datetime, timedelta
from typing import Any

from apps.core.actor import Actor, ActorKind
from apps.numbering import services as numbering
from apps.numbering.models import NumberRange, PhoneNumber, Reservation
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
        prefix=prefix or f"{ACCESS_CODES[carrier]}{next(_blocks):05d}",
        home_province=province,
        home_city=city,
        leased_from=leased_from or china_date(now) - timedelta(days=30),
        leased_until=leased_until or china_date(now) + timedelta(days=300),
        now=now,
    )


def given_few_numbers(*, operator: VirtualOperator, now: datetime, free: int, **fields: Any) -> NumberRange:
    """A range of which only the first `free` numbers can be had; the rest is withheld."""
    leased = given_range(operator=operator, now=now, **fields)
    PhoneNumber.objects.filter(number__range=(leased.first + free, leased.last)).update(status=4)
    return leased


def given_partner(*, operator: VirtualOperator) -> Actor:
    """A partner app of the operator, as far as services can see it."""
    name = f"app-{next(_people)}"
    return Actor(kind=ActorKind.PARTNER, id=name, label=name, operator_id=operator.pk)


def given_reservation(
    *, operator: VirtualOperator, now: datetime, actor: Actor = SYSTEM, **wish: Any
) -> Reservation:
    return numbering.reserve(actor=actor, operator_id=operator.pk, now=now, **wish)
