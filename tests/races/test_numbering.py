"""Many hands on the same numbers: real threads, real transactions, released by a barrier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from apps.audit.models import AuditEvent
from apps.core.errors import DomainError
from apps.events.models import OutboxEvent
from apps.numbering import services as numbering
from apps.numbering.errors import NumberNotAvailable, ReservationExpired
from apps.numbering.models import NumberRange, PhoneNumber, Reservation
from apps.numbering.states import NumberStatus
from apps.operators.models import VirtualOperator, WholesaleAgreement
from tests.factories.numbering import SYSTEM, given_few_numbers, given_range, given_reservation
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 10


def codes(results: Sequence[Any]) -> Counter[str]:
    return Counter(_code(result) for result in results)


def _code(result: Any) -> str:
    if isinstance(result, DomainError):
        return result.code
    return repr(result) if isinstance(result, Exception) else "ok"


def take(leased: NumberRange, now: datetime, **wish: Any) -> PhoneNumber:
    return numbering.take_number(
        actor=SYSTEM, operator_id=leased.operator_id, host_carrier_id=leased.host_carrier_id, now=now, **wish
    )


@pytest.mark.parametrize("by_number", [False, True], ids=["next free", "that number"])
def test_the_last_number_goes_to_one(operator: VirtualOperator, now: datetime, by_number: bool) -> None:
    leased = given_few_numbers(operator=operator, now=now, free=1)
    wish = {"number": leased.first} if by_number else {}
    for _ in range(ROUNDS):
        results = at_once(*[lambda: take(leased, now, **wish)] * 2)
        assert codes(results) == {"ok": 1, "number_not_available": 1}
        numbering.return_unused_number(actor=SYSTEM, number=leased.first, now=now)
    assert AuditEvent.objects.filter(action="number.take").count() == ROUNDS


def test_while_the_last_number_is_being_taken_others_do_not_wait(
    operator: VirtualOperator, now: datetime
) -> None:
    leased = given_few_numbers(operator=operator, now=now, free=1)
    with transaction.atomic():
        take(leased, now)
        (result,) = at_once(lambda: take(leased, now))
        assert isinstance(result, NumberNotAvailable)


def test_eight_threads_take_two_hundred_each(operator: VirtualOperator, now: datetime) -> None:
    ranges = [given_range(operator=operator, now=now) for _ in range(2)]

    def take_many() -> list[int]:
        return [take(ranges[0], now).number for _ in range(200)]

    results = at_once(*[take_many] * 8)
    taken = [number for numbers in results for number in numbers]
    assert len(taken) == len(set(taken)) == 1600
    in_use = PhoneNumber.objects.filter(status=NumberStatus.IN_USE)
    assert set(in_use.values_list("number", flat=True)) == set(taken)
    assert PhoneNumber.objects.filter(status=NumberStatus.AVAILABLE).count() == 400


def test_reserving_in_bulk_never_shares_a_number(operator: VirtualOperator, now: datetime) -> None:
    given_few_numbers(operator=operator, now=now, free=30)
    given_few_numbers(operator=operator, now=now, free=30)
    results = at_once(*[lambda: given_reservation(operator=operator, now=now, quantity=20)] * 4)
    made = [result for result in results if isinstance(result, Reservation)]
    # Three could be served; a fourth that held some locked while it looked may have cost another one its numbers.
    assert 1 <= len(made) <= 3
    numbers = [number for reservation in made for number in reservation.numbers]
    assert len(set(numbers)) == len(numbers) == 20 * len(made)
    assert PhoneNumber.objects.filter(status=NumberStatus.RESERVED).count() == len(numbers)
    assert Reservation.objects.count() == len(made)


def test_reserve_against_take(operator: VirtualOperator, now: datetime) -> None:
    leased = given_few_numbers(operator=operator, now=now, free=1)
    for _ in range(ROUNDS):
        results = at_once(
            lambda: given_reservation(operator=operator, now=now, number=leased.first),
            lambda: take(leased, now, number=leased.first),
        )
        reserved, taken = results
        row = PhoneNumber.objects.get(number=leased.first)
        if isinstance(reserved, Reservation):
            # The system may use anybody's reservation, so taking may have come second and used this one up.
            if isinstance(taken, PhoneNumber):
                assert Reservation.objects.get(pk=reserved.pk).status == "CONSUMED"
            else:
                assert (taken.code, row.reservation) == ("number_not_available", reserved)
                numbering.release_reservation(actor=SYSTEM, reservation_uid=reserved.uid, now=now)
                continue
        else:
            assert reserved.code == "number_not_available"
        assert (row.status, row.reservation) == (NumberStatus.IN_USE, None)
        numbering.return_unused_number(actor=SYSTEM, number=leased.first, now=now)
    assert not Reservation.objects.filter(status="ACTIVE").exists()


def test_take_against_expiry(operator: VirtualOperator, now: datetime) -> None:
    leased = given_few_numbers(operator=operator, now=now, free=1)
    over = now + timedelta(seconds=60)
    for _ in range(ROUNDS):
        reservation = given_reservation(operator=operator, now=now, ttl_seconds=60)
        taken, expired = at_once(
            partial(take, leased, now, reservation_uid=reservation.uid),
            partial(numbering.expire_reservations, actor=SYSTEM, now=over, limit=10),
        )
        reservation.refresh_from_db()
        row = PhoneNumber.objects.get(number=leased.first)
        if isinstance(taken, PhoneNumber):
            assert (expired, reservation.status, row.status) == (0, "CONSUMED", NumberStatus.IN_USE)
            numbering.return_unused_number(actor=SYSTEM, number=leased.first, now=now)
        else:
            assert isinstance(taken, ReservationExpired)
            assert (expired, reservation.status, row.status) == (1, "EXPIRED", NumberStatus.AVAILABLE)
    endings = AuditEvent.objects.filter(action__in=["reservation.consume", "reservation.expire"])
    assert endings.count() == ROUNDS


def test_expiry_passes_by_what_somebody_works_on(operator: VirtualOperator, now: datetime) -> None:
    given_range(operator=operator, now=now)
    busy, idle = (given_reservation(operator=operator, now=now, ttl_seconds=60) for _ in range(2))
    over = now + timedelta(seconds=60)
    with transaction.atomic():
        Reservation.objects.select_for_update().get(pk=busy.pk)
        (expired,) = at_once(lambda: numbering.expire_reservations(actor=SYSTEM, now=over, limit=10))
        assert expired == 1
    assert list(Reservation.objects.filter(status="EXPIRED")) == [idle]
    assert numbering.expire_reservations(actor=SYSTEM, now=over, limit=10) == 1


def test_two_sweepers_share_the_work(operator: VirtualOperator, now: datetime) -> None:
    given_range(operator=operator, now=now)
    for _ in range(20):
        given_reservation(operator=operator, now=now, ttl_seconds=60)
    over = now + timedelta(seconds=60)

    def sweep() -> int:
        return numbering.expire_reservations(actor=SYSTEM, now=over, limit=10)

    assert sum(at_once(sweep, sweep)) + sweep() == 20
    assert OutboxEvent.objects.filter(type="number.released").count() == 20


def test_released_twice_at_once_is_released_once(operator: VirtualOperator, now: datetime) -> None:
    given_range(operator=operator, now=now)
    reservation = given_reservation(operator=operator, now=now, quantity=5)
    results = at_once(
        *[lambda: numbering.release_reservation(actor=SYSTEM, reservation_uid=reservation.uid, now=now)] * 3
    )
    assert codes(results) == {"ok": 1, "invalid_transition": 2}
    assert OutboxEvent.objects.filter(type="number.released").count() == 1


def test_one_reservation_used_by_many_at_once(operator: VirtualOperator, now: datetime) -> None:
    leased = given_range(operator=operator, now=now)
    reservation = given_reservation(operator=operator, now=now, quantity=6)
    results = at_once(*[lambda: take(leased, now, reservation_uid=reservation.uid)] * 8)
    taken = [result.number for result in results if isinstance(result, PhoneNumber)]
    assert sorted(taken) == reservation.numbers
    assert codes(results) == {"ok": 6, "reservation_closed": 2}
    reservation.refresh_from_db()
    assert reservation.status == "CONSUMED"
    assert AuditEvent.objects.filter(action="reservation.consume").count() == 1


def test_one_block_is_leased_to_one(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    results = at_once(
        lambda: given_range(operator=operator, now=now, prefix="17177000"),
        lambda: given_range(operator=other_operator, now=now, prefix="1717700"),
    )
    assert codes(results) == {"ok": 1, "range_overlap": 1}
    (leased,) = NumberRange.objects.all()
    assert PhoneNumber.objects.count() == leased.last - leased.first + 1
    assert set(PhoneNumber.objects.values_list("operator", flat=True)) == {leased.operator_id}
    assert WholesaleAgreement.objects.get(pk=leased.agreement_id).operator_id == leased.operator_id
