"""What the database refuses, whoever writes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from apps.core.db import violated_constraint
from apps.core.errors import InvalidTransition
from apps.numbering.models import NumberRange, PhoneNumber, Reservation
from apps.numbering.states import NumberStatus, RangeStatus, ReservationStatus
from apps.operators.models import VirtualOperator
from tests.factories.numbering import given_range, given_reservation


@pytest.fixture
def leased(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now, prefix="17199990")


@pytest.fixture
def reservation(leased: NumberRange, operator: VirtualOperator, now: datetime) -> Reservation:
    return given_reservation(operator=operator, now=now, number=leased.first)


def refuses(constraint: str, write: Any) -> None:
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        write()
    assert violated_constraint(caught.value) == constraint


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("number_range_status", {"status": "LOST"}),
        ("number_range_numbers", {"first": 9999999999}),
        ("number_range_numbers", {"last": 27100000999}),
        ("number_range_prefix", {"prefix": "17199991"}),
        ("number_range_prefix", {"prefix": "171000"}),
        ("number_range_prefix", {"prefix": "1719999x"}),
        ("number_range_home", {"home_province": ""}),
        ("number_range_home", {"home_city": ""}),
        ("number_range_term", {"leased_until": "2000-01-01"}),
        ("number_range_numbers", {"digits": 13}),
        ("number_range_terms", {"monthly_fee": "-0.01"}),
        ("number_range_terms", {"minimum_use": 101}),
        ("number_range_status_matches_times", {"activated_at": None}),
        ("number_range_status_matches_times", {"status": RangeStatus.RETURNING}),
        ("number_range_status_matches_times", {"status": RangeStatus.RETURNED}),
    ],
)
def test_range(leased: NumberRange, constraint: str, values: dict[str, Any]) -> None:
    refuses(constraint, lambda: NumberRange.objects.filter(pk=leased.pk).update(**values))


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize(
    ("prefix", "first", "last"),
    [
        ("17199990", 17199990000, 17199990999),
        ("1719999", 17199990000, 17199999999),
        ("17199990", 17199990999, 17199990999),
        ("17199990", 17199990000, 17199990000),
    ],
)
def test_ranges_never_overlap_not_even_of_another_operator(
    leased: NumberRange, other_operator: VirtualOperator, foreign: bool, prefix: str, first: int, last: int
) -> None:
    again = NumberRange(
        operator=other_operator if foreign else leased.operator,
        agreement=leased.agreement,
        host_carrier=leased.host_carrier,
        prefix=prefix,
        first=first,
        last=last,
        home_province="广东",
        home_city="深圳",
        status=RangeStatus.PLANNED,
        leased_from=leased.leased_from,
        leased_until=leased.leased_until,
        created_at=leased.created_at,
    )
    refuses("number_range_no_overlap", again.save)
    again.status = RangeStatus.RETURNED
    again.returned_at = leased.created_at
    again.save()


def test_a_ten_thousand_block_has_one_home(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    other = given_range(operator=operator, now=now, prefix="17199991")
    refuses("number_range_one_home", lambda: NumberRange.objects.filter(pk=other.pk).update(home_city="广州"))
    NumberRange.objects.filter(pk=leased.pk).update(status=RangeStatus.RETURNED, returned_at=now)
    NumberRange.objects.filter(pk=other.pk).update(home_city="广州")


def test_range_keeps_its_numbers(leased: NumberRange, other_operator: VirtualOperator) -> None:
    ranges = NumberRange.objects.filter(pk=leased.pk)
    refuses("phone_number_in_range", lambda: ranges.update(operator=other_operator))
    refuses("phone_number_in_range", lambda: ranges.update(last=leased.last - 1))
    with connection.cursor() as cursor:
        refuses(
            "phone_number_in_range",
            lambda: cursor.execute("DELETE FROM numbering_numberrange WHERE id = %s", [leased.pk]),
        )
    PhoneNumber.objects.filter(number=leased.last).delete()
    ranges.update(last=leased.last - 1)


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("phone_number_status_matches", {"status": 6}),
        ("phone_number_status_matches", {"status": -1}),
        ("phone_number_status_matches", {"status": NumberStatus.RESERVED}),
        ("phone_number_status_matches", {"status": NumberStatus.QUARANTINED}),
        ("phone_number_status_matches", {"status": NumberStatus.WITHHELD}),
        ("phone_number_status_matches", {"withheld_by": 1}),
        ("phone_number_status_matches", {"status": NumberStatus.WITHHELD, "withheld_by": 5}),
    ],
)
def test_number(leased: NumberRange, constraint: str, values: dict[str, Any]) -> None:
    refuses(constraint, lambda: PhoneNumber.objects.filter(number=leased.first).update(**values))


@pytest.mark.parametrize("status", sorted(set(NumberStatus) - {NumberStatus.RESERVED}))
def test_only_a_reserved_number_has_a_reservation(reservation: Reservation, status: NumberStatus) -> None:
    until = reservation.expires_at if status == NumberStatus.QUARANTINED else None
    numbers = PhoneNumber.objects.filter(reservation=reservation)
    refuses("phone_number_status_matches", lambda: numbers.update(status=status, quarantined_until=until))


@pytest.mark.parametrize(
    "status",
    sorted(set(NumberStatus) - {NumberStatus.QUARANTINED, NumberStatus.RESERVED, NumberStatus.WITHHELD}),
)
def test_only_a_quarantined_or_withheld_number_has_an_end_of_quarantine(
    leased: NumberRange, now: datetime, status: NumberStatus
) -> None:
    numbers = PhoneNumber.objects.filter(number=leased.first)
    refuses("phone_number_status_matches", lambda: numbers.update(status=status, quarantined_until=now))


def test_number_stays_in_its_range_and_with_its_operator(
    leased: NumberRange, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    other = given_range(operator=operator, now=now)
    number = PhoneNumber.objects.filter(number=leased.first)
    refuses("phone_number_in_range", lambda: number.update(operator=other_operator))
    refuses("phone_number_in_range", lambda: number.update(range=other))
    refuses("phone_number_in_range", lambda: number.update(range=0))
    refuses("phone_number_in_range", lambda: number.update(number=17999999999))
    for values in (
        {"number": 17199991000, "range_id": leased.pk, "operator_id": operator.pk},
        {"number": 17999999999, "range_id": 0, "operator_id": operator.pk},
    ):
        refuses("phone_number_in_range", lambda values=values: PhoneNumber.objects.create(**values))
    PhoneNumber.objects.filter(number=leased.first).delete()
    wrong = PhoneNumber(number=leased.first, range=leased, operator=other_operator)
    refuses("phone_number_in_range", lambda: wrong.save(force_insert=True))


def test_a_number_exists_once(leased: NumberRange, operator: VirtualOperator) -> None:
    twice = PhoneNumber(number=leased.first, range=leased, operator=operator)
    refuses("numbering_phonenumber_pkey", lambda: twice.save(force_insert=True))


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("reservation_status", {"status": "LOST", "closed_at": "2026-01-01T00:00:00Z"}),
        ("reservation_closed_at", {"status": ReservationStatus.RELEASED}),
        ("reservation_closed_at", {"closed_at": "2026-01-01T00:00:00Z"}),
        ("reservation_has_numbers", {"numbers": []}),
        ("reservation_term", {"expires_at": "2000-01-01T00:00:00Z"}),
    ],
)
def test_reservation(reservation: Reservation, constraint: str, values: dict[str, Any]) -> None:
    refuses(constraint, lambda: Reservation.objects.filter(pk=reservation.pk).update(**values))


def test_verbs_refuse_what_the_table_does_not_have(
    leased: NumberRange, reservation: Reservation, now: datetime
) -> None:
    reserved = PhoneNumber.objects.get(number=leased.first)
    for verb in (
        lambda: reserved.reserve(reservation),
        lambda: reserved.quarantine(until=now),
        reserved.return_unused,
    ):
        with pytest.raises(InvalidTransition):
            verb()
    reserved.take()
    reserved.quarantine(until=now + timedelta(days=1))
    for verb in (reserved.take, reserved.return_unused, lambda: reserved.reserve(reservation)):
        with pytest.raises(InvalidTransition):
            verb()
    reserved.refresh_from_db()
    assert (reserved.status, reserved.reservation) == (NumberStatus.QUARANTINED, None)


def test_a_closed_reservation_is_not_closed_again(reservation: Reservation, now: datetime) -> None:
    Reservation.objects.close([reservation], ReservationStatus.RELEASED, now=now)
    for status in (ReservationStatus.CONSUMED, ReservationStatus.EXPIRED, ReservationStatus.RELEASED):
        with pytest.raises(InvalidTransition):
            Reservation.objects.close([reservation], status, now=now)
    with pytest.raises(InvalidTransition):
        reservation.require_open()
