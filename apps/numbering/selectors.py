"""Reading ranges, numbers and reservations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import BigIntegerField, ExpressionWrapper, F, QuerySet, TextField, Value
from django.db.models.functions import Cast

from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.core.public_ids import get_by_uid
from apps.numbering.models import NumberRange, PhoneNumber, Reservation
from apps.numbering.numbers import DIGITS
from apps.numbering.states import NumberGrade, RangeStatus


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


def list_sellable_numbers(*, actor: Actor, wanted: NumberFilter, now: datetime) -> QuerySet[PhoneNumber, Any]:
    """Free numbers of ranges that may be sold from now, as dicts with `number grade carrier home_city`, unordered.

    Nothing that cannot be sold is in it: no reserved, used, quarantined or withheld number, none of a range whose lease
    or agreement is not in force.
    """
    ranges = NumberRange.objects.visible_to(actor).selling(now=now)
    if wanted.carrier is not None:
        ranges = ranges.filter(host_carrier__code=wanted.carrier)
    if wanted.city is not None:
        ranges = ranges.filter(home_city=wanted.city)
    numbers = PhoneNumber.objects.visible_to(actor).available().filter(range__in=ranges)
    if wanted.grade is not None:
        numbers = numbers.filter(grade=wanted.grade)
    if wanted.prefix is not None:
        unit = 10 ** (DIGITS - len(wanted.prefix))
        low = int(wanted.prefix) * unit
        numbers = numbers.filter(number__range=(low, low + unit - 1))
    if wanted.suffix is not None:
        modulus = Value(10 ** len(wanted.suffix), output_field=BigIntegerField())
        tail = ExpressionWrapper(F("number") % modulus, output_field=BigIntegerField())
        numbers = numbers.alias(tail=tail).filter(tail=int(wanted.suffix))
    if wanted.contains is not None:
        numbers = numbers.alias(digits=Cast("number", TextField())).filter(digits__contains=wanted.contains)
    if wanted.exclude_digit is not None:
        digits = Cast("number", TextField())
        numbers = numbers.alias(all_digits=digits).exclude(all_digits__contains=wanted.exclude_digit)
    return numbers.values(
        "number", "grade", carrier=F("range__host_carrier__code"), home_city=F("range__home_city")
    )


def get_number(*, actor: Actor, number: int) -> PhoneNumber:
    """The number with its range and host carrier.

    :raises NotFound: not leased by anybody, or by another operator.
    """
    found = (
        PhoneNumber.objects.visible_to(actor).select_related("range__host_carrier").filter(pk=number).first()
    )
    if found is None:
        raise NotFound
    return found


def get_number_for_update(*, number: int, operator_id: int | None = None) -> PhoneNumber | None:
    """Locks the number's row; its range and agreement come along unlocked. None when unknown or not that operator's."""
    numbers = PhoneNumber.objects.filter(pk=number)
    if operator_id is not None:
        numbers = numbers.filter(operator_id=operator_id)
    return numbers.select_for_update(of=("self",)).select_related("range__agreement").first()


def get_holding_reservation_for_update(*, number: int, operator_id: int) -> Reservation | None:
    """Locks the reservation that seems to hold the number; look at the locked number before relying on it."""
    holding = PhoneNumber.objects.filter(pk=number, operator_id=operator_id).values("reservation")
    return Reservation.objects.filter(pk__in=holding).select_for_update().first()


def get_next_reserved_for_update(*, reservation: Reservation, host_carrier_id: int) -> PhoneNumber | None:
    """Locks the lowest number that the reservation still holds at that host carrier."""
    return (
        PhoneNumber.objects.filter(reservation=reservation, range__host_carrier_id=host_carrier_id)
        .select_for_update(of=("self",))
        .select_related("range__agreement")
        .order_by("number")
        .first()
    )


def has_reserved(*, reservation: Reservation) -> bool:
    return PhoneNumber.objects.filter(reservation=reservation).exists()


def get_reservation(*, actor: Actor, uid: str) -> Reservation:
    """:raises NotFound: malformed, unknown, or another operator's."""
    return get_by_uid(Reservation.objects.visible_to(actor), uid)


def get_reservation_for_update(*, actor: Actor, uid: str) -> Reservation:
    """Locks the row. Lock order inside this app: reservation before its numbers.

    :raises NotFound: malformed, unknown, or another operator's.
    """
    return get_by_uid(Reservation.objects.visible_to(actor).select_for_update(), uid)


def list_ranges(*, actor: Actor) -> QuerySet[NumberRange]:
    return NumberRange.objects.visible_to(actor).select_related("operator", "host_carrier", "agreement")


def has_range(*, actor: Actor, operator_id: int, prefix: str) -> bool:
    """Whether the operator holds exactly this block (not returned)."""
    ranges = NumberRange.objects.visible_to(actor).filter(operator_id=operator_id, prefix=prefix)
    return ranges.exclude(status=RangeStatus.RETURNED).exists()
