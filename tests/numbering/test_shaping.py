"""Ranges split and merged: numbers keep their state, counts stay true, and claims go on meanwhile."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from apps.core.errors import InvalidTransition, NotFound
from apps.numbering import selectors
from apps.numbering import services as numbering
from apps.numbering.errors import NumberNotAvailable, RangeCrossesHomeArea, RangeInvalid, RangesNotMergeable
from apps.numbering.models import NumberRange, PhoneNumber, RangeStock, StockDay
from apps.numbering.services.stock import fold_stock, note_stock_day
from apps.numbering.states import NumberStatus, RangeStatus
from apps.operators.models import VirtualOperator, WholesaleAgreement
from tests.factories.numbering import SYSTEM, given_range, given_reservation
from tests.factories.operators import given_agreement
from tests.races.threads import at_once
from tests.refusals import refused


@pytest.fixture
def ten_thousand(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now, prefix="1719000")


def split(leased: NumberRange, at: int, now: datetime) -> tuple[NumberRange, NumberRange]:
    return numbering.split_range(actor=SYSTEM, range_uid=leased.uid, at=at, now=now)


def merge(one: NumberRange, other: NumberRange, now: datetime) -> NumberRange:
    return numbering.merge_ranges(actor=SYSTEM, range_uid=one.uid, other_uid=other.uid, now=now)


def states() -> dict[int, int]:
    return dict(PhoneNumber.objects.values_list("number", "status"))


def test_split_moves_numbers_as_they_are(ten_thousand: NumberRange, now: datetime) -> None:
    held = given_reservation(operator=ten_thousand.operator, now=now, number=17190005000)
    for number in (17190002999, 17190003000):
        numbering.take_number(
            actor=SYSTEM,
            operator_id=ten_thousand.operator_id,
            host_carrier_id=ten_thousand.host_carrier_id,
            number=number,
            now=now,
        )
    before = states()
    note_stock_day(now=now)
    lower, upper = split(ten_thousand, 17190003000, now)
    assert (lower.uid, lower.first, lower.last, lower.prefix) == (
        ten_thousand.uid,
        17190000000,
        17190002999,
        "1719000",
    )
    upper.refresh_from_db()
    assert (upper.first, upper.last, upper.prefix, upper.status) == (
        17190003000,
        17190009999,
        "1719000",
        "ACTIVE",
    )
    assert upper.returned_at is None
    for name in ("operator", "agreement", "home_city", "leased_from", "leased_until", "activated_at"):
        assert getattr(upper, name) == getattr(lower, name)
    assert states() == before
    assert PhoneNumber.objects.filter(range=lower).count() == 3000
    assert PhoneNumber.objects.filter(range=upper, number__gte=17190003000).count() == 7000
    assert selectors.list_stock_differences(operator_id=None) == []
    assert {row.range_id: row.available for row in RangeStock.objects.filter(grade=0)} == {
        lower.pk: 2999,
        upper.pk: 6998,
    }
    assert not StockDay.objects.filter(range=lower).exists()
    taken = numbering.take_number(
        actor=SYSTEM,
        operator_id=upper.operator_id,
        host_carrier_id=upper.host_carrier_id,
        reservation_uid=held.uid,
        now=now,
    )
    assert taken.range_id == upper.pk


def test_split_into_single_thousands_and_back(ten_thousand: NumberRange, now: datetime) -> None:
    lower, upper = split(ten_thousand, 17190009000, now)
    assert upper.prefix == "17190009"
    with refused(RangeInvalid):
        split(upper, 17190009000, now)
    lower, middle = split(lower, 17190001000, now)
    assert lower.prefix == "17190000"
    with refused(RangesNotMergeable):
        merge(lower, upper, now)
    merged = merge(merge(lower, middle, now), upper, now)
    assert (merged.uid, merged.first, merged.last, merged.prefix) == (
        ten_thousand.uid,
        17190000000,
        17190009999,
        "1719000",
    )
    assert PhoneNumber.objects.filter(range=merged).count() == 10_000
    assert list(NumberRange.objects.exclude(status=RangeStatus.RETURNED)) == [merged]
    fold_stock()
    assert selectors.list_stock_differences(operator_id=None) == []


@pytest.mark.parametrize("at", [17190000000, 17190010000, 17190003001, 17190003500, 17180009000, 0])
def test_split_only_at_a_thousand_inside(ten_thousand: NumberRange, now: datetime, at: int) -> None:
    with refused(RangeInvalid):
        split(ten_thousand, at, now)
    assert NumberRange.objects.count() == 1


@pytest.mark.parametrize("status", ["PLANNED", "RETURNING"])
def test_plans_and_returns_are_split_and_merged_too(
    operator: VirtualOperator, now: datetime, status: str
) -> None:
    leased = (
        given_planned(operator, now)
        if status == "PLANNED"
        else given_range(operator=operator, now=now, prefix="1719000")
    )
    if status == "RETURNING":
        numbering.begin_return(actor=SYSTEM, range_uid=leased.uid, now=now)
    lower, upper = split(leased, 17190005000, now)
    assert lower.status == upper.status == status
    assert selectors.get_next_range(actor=SYSTEM, leased=lower) == upper
    assert merge(upper, lower, now).size == 10_000


def given_planned(operator: VirtualOperator, now: datetime) -> NumberRange:
    agreement = WholesaleAgreement.objects.get(operator=operator, host_carrier__code="unicom")
    return numbering.plan_range(
        actor=SYSTEM,
        operator=operator,
        agreement=agreement,
        prefix="1719000",
        home_province="广东",
        home_city="深圳",
        leased_from=now.date() + timedelta(days=5),
        leased_until=agreement.valid_until,
        now=now,
    )


def test_what_is_returned_is_not_split(ten_thousand: NumberRange, now: datetime) -> None:
    numbering.begin_return(actor=SYSTEM, range_uid=ten_thousand.uid, now=now)
    numbering.finish_return(actor=SYSTEM, range_uid=ten_thousand.uid, now=now)
    with refused(InvalidTransition):
        split(ten_thousand, 17190005000, now)


def test_merge_adds_up_the_days(ten_thousand: NumberRange, now: datetime) -> None:
    lower, upper = split(ten_thousand, 17190004000, now)
    note_stock_day(now=now - timedelta(days=1))
    numbering.take_number(
        actor=SYSTEM,
        operator_id=upper.operator_id,
        host_carrier_id=upper.host_carrier_id,
        number=upper.first,
        now=now,
    )
    note_stock_day(now=now)
    merged = merge(lower, upper, now)
    days = StockDay.objects.order_by("counted_on").values_list("range", "available", "in_use")
    assert list(days) == [(merged.pk, 10_000, 0), (merged.pk, 9999, 1)]


@pytest.mark.parametrize(
    ("differing", "pointers"),
    [
        ({"leased_until": 299}, ["/leased_until"]),
        ({"leased_from": -29}, ["/leased_from"]),
        ({"monthly_fee": Decimal("0.01")}, ["/monthly_fee"]),
        ({"minimum_use": 1}, ["/minimum_use"]),
        ({"contract_reference": "x"}, ["/contract_reference"]),
        ({"agreement": True}, ["/agreement"]),
        ({"status": True}, ["/status"]),
    ],
)
def test_neighbours_on_other_terms_stay_two(
    operator: VirtualOperator, now: datetime, differing: dict[str, Any], pointers: list[str]
) -> None:
    lower = given_range(operator=operator, now=now, prefix="17190000")
    upper = given_range(operator=operator, now=now, prefix="17190001")
    for name, value in differing.items():
        if name == "status":
            numbering.begin_return(actor=SYSTEM, range_uid=upper.uid, now=now)
        elif name == "agreement":
            newer = given_agreement(operator=operator, host_carrier=lower.host_carrier, now=now)
            NumberRange.objects.filter(pk=upper.pk).update(agreement=newer)
        else:
            day = getattr(upper, name)
            if isinstance(value, int) and name != "minimum_use":
                value = day + timedelta(days=1)
            NumberRange.objects.filter(pk=upper.pk).update(**{name: value})
    with refused(RangesNotMergeable) as caught:
        merge(lower, upper, now)
    assert [error.pointer for error in caught.value.errors] == pointers
    assert PhoneNumber.objects.filter(range=upper).count() == 1000


def test_only_own_neighbours_within_one_ten_thousand_block(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    lower = given_range(operator=operator, now=now, prefix="17190009")
    across = given_range(operator=operator, now=now, prefix="17190010")
    foreign = given_range(operator=other_operator, now=now, prefix="17190008")
    with refused(RangeCrossesHomeArea):
        merge(lower, across, now)
    with refused(RangesNotMergeable):
        merge(lower, foreign, now)
    with refused(RangesNotMergeable):
        merge(lower, lower, now)
    with refused(NotFound):
        selectors.get_next_range(actor=SYSTEM, leased=foreign)
    numbering.begin_return(actor=SYSTEM, range_uid=across.uid, now=now)
    numbering.finish_return(actor=SYSTEM, range_uid=across.uid, now=now)
    with refused(InvalidTransition):
        merge(lower, across, now)
    assert NumberRange.objects.filter(status=RangeStatus.ACTIVE).count() == 2


# --- While numbers are sold -------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_claims_go_on_while_ranges_are_split_and_merged(operator: VirtualOperator, now: datetime) -> None:
    leased = given_range(operator=operator, now=now, prefix="1719000")
    host = leased.host_carrier_id

    def sell() -> list[int]:
        numbers = []
        for _ in range(300):
            number = numbering.take_number(
                actor=SYSTEM, operator_id=operator.pk, host_carrier_id=host, now=now
            )
            numbers.append(number.number)
            fold_stock()
        return numbers

    def shape() -> list[int]:
        for turn in range(8):
            lower, upper = split(leased, 17190001000 + 1000 * turn, now)
            merge(upper, lower, now)
        return []

    results = at_once(sell, sell, sell, shape)
    assert [result for result in results if isinstance(result, Exception)] == []
    sold = [number for numbers in results if isinstance(numbers, list) for number in numbers]
    assert len(sold) == len(set(sold)) == 900
    leased.refresh_from_db()
    assert (leased.first, leased.last, leased.status) == (17190000000, 17190009999, RangeStatus.ACTIVE)
    in_use = PhoneNumber.objects.filter(range=leased, status=NumberStatus.IN_USE)
    assert set(in_use.values_list("number", flat=True)) == set(sold)
    assert PhoneNumber.objects.exclude(range=leased).count() == 0
    assert selectors.list_stock_differences(operator_id=None) == []


@pytest.mark.django_db(transaction=True)
def test_counts_are_not_folded_in_the_middle_of_a_split(operator: VirtualOperator, now: datetime) -> None:
    """Both take counts of several ranges, in different orders: they would wait for each other."""
    leased = given_range(operator=operator, now=now, prefix="1719000")
    with transaction.atomic():
        split(leased, 17190005000, now)
        assert at_once(fold_stock) == [False]
    assert at_once(fold_stock) == [True]


@pytest.mark.django_db(transaction=True)
def test_of_two_splits_at_one_place_one_wins(operator: VirtualOperator, now: datetime) -> None:
    leased = given_range(operator=operator, now=now, prefix="1719000")
    results = at_once(*[lambda: split(leased, 17190005000, now)] * 2)
    assert sorted(type(result).__name__ for result in results) == ["RangeInvalid", "tuple"]
    assert NumberRange.objects.count() == 2


def test_a_range_that_is_sold_out_is_found_again_after_a_split(
    ten_thousand: NumberRange, now: datetime
) -> None:
    """Claims look only where counts say that something is free."""
    PhoneNumber.objects.filter(number__lt=17190005000).update(status=NumberStatus.IN_USE)
    lower, upper = split(ten_thousand, 17190005000, now)
    numbering.begin_return(actor=SYSTEM, range_uid=upper.uid, now=now)
    call = {
        "actor": SYSTEM,
        "operator_id": lower.operator_id,
        "host_carrier_id": lower.host_carrier_id,
        "now": now,
    }
    with refused(NumberNotAvailable):
        numbering.take_number(**call)
    numbering.keep_range(actor=SYSTEM, range_uid=upper.uid, now=now)
    assert numbering.take_number(**call).range_id == upper.pk
