"""Giving a range back: nothing is sold, what lives stops it, of two people one wins, and anybody may lease it next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import InvalidTransition, NotFound
from apps.numbering import selectors
from apps.numbering import services as numbering
from apps.numbering.errors import NumberNotAvailable, RangeNotEmpty
from apps.numbering.models import NumberRange, PhoneNumber
from apps.numbering.services.stock import fold_stock
from apps.numbering.states import NumberStatus, RangeStatus, ReleaseStatus, WithheldBy
from apps.operators.models import VirtualOperator
from tests.factories.numbering import SYSTEM, given_quarantined, given_range, given_reservation
from tests.races.threads import at_once
from tests.refusals import refused


@pytest.fixture
def leased(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now)


def step(verb: Any, leased: NumberRange, now: datetime) -> NumberRange:
    done: NumberRange = verb(actor=SYSTEM, range_uid=leased.uid, now=now)
    return done


def take(leased: NumberRange, now: datetime, **wish: Any) -> PhoneNumber:
    return numbering.take_number(
        actor=SYSTEM, operator_id=leased.operator_id, host_carrier_id=leased.host_carrier_id, now=now, **wish
    )


def test_nothing_of_it_is_sold_until_it_is_kept(leased: NumberRange, now: datetime) -> None:
    held = given_reservation(operator=leased.operator, now=now, number=leased.first)
    step(numbering.begin_return, leased, now)
    for wish in ({}, {"number": leased.first + 1}, {"reservation_uid": held.uid}):
        with refused(NumberNotAvailable):
            take(leased, now, **wish)
    for wish in ({}, {"number": leased.first + 1}):
        with refused(NumberNotAvailable):
            given_reservation(operator=leased.operator, now=now, **wish)
    step(numbering.keep_range, leased, now)
    leased.refresh_from_db()
    assert (leased.status, leased.returning_at) == (RangeStatus.ACTIVE, None)
    take(leased, now, reservation_uid=held.uid)
    assert list(
        AuditEvent.objects.filter(target_id=leased.uid).order_by("id").values_list("action", flat=True)
    ) == [
        "range.lease",
        "range.begin_return",
        "range.keep",
    ]


def test_what_lives_stops_the_return_and_is_listed(leased: NumberRange, now: datetime) -> None:
    held = given_reservation(operator=leased.operator, now=now, number=leased.first)
    used, left = take(leased, now, number=leased.first + 1), take(leased, now, number=leased.first + 2)
    numbering.quarantine_number(actor=SYSTEM, number=left.number, now=now)
    refused_by_carrier = take(leased, now, number=leased.first + 3)
    numbering.withhold_number(actor=SYSTEM, number=refused_by_carrier.number, reason="taken", now=now)

    plan = selectors.plan_return(actor=SYSTEM, leased=leased, now=now)
    assert plan.counts == {"AVAILABLE": 996, "RESERVED": 1, "IN_USE": 1, "QUARANTINED": 1, "WITHHELD": 1}
    assert [number.number for number in plan.living] == [leased.first, leased.first + 1, leased.first + 2]
    assert not plan.is_ready
    step(numbering.begin_return, leased, now)
    with refused(RangeNotEmpty, counts={"RESERVED": 1, "IN_USE": 1, "QUARANTINED": 1}):
        step(numbering.finish_return, leased, now)
    assert PhoneNumber.objects.filter(status=NumberStatus.RETURNED).count() == 0

    later = now + timedelta(days=91)
    numbering.release_reservation(actor=SYSTEM, reservation_uid=held.uid, now=now)
    numbering.return_unused_number(actor=SYSTEM, number=used.number, now=now)
    assert numbering.end_quarantines(actor=SYSTEM, now=later, limit=10) == 1
    assert selectors.plan_return(actor=SYSTEM, leased=leased, now=later).is_ready
    step(numbering.finish_return, leased, later)
    leased.refresh_from_db()
    assert (leased.status, leased.returned_at) == (RangeStatus.RETURNED, later)
    rows = PhoneNumber.objects.values_list("status", "withheld_by", "quarantined_until").distinct()
    assert list(rows) == [(NumberStatus.RETURNED, None, None)]
    row = AuditEvent.objects.get(action="range.finish_return")
    assert row.before == {"status": "RETURNING", "numbers": {"AVAILABLE": 999, "WITHHELD": 1}}
    assert selectors.list_stock_differences(operator_id=None) == []


@pytest.mark.parametrize("by", WithheldBy)
def test_a_return_is_no_way_round_police_and_fraud(
    leased: NumberRange, now: datetime, by: WithheldBy
) -> None:
    """One person could return the range, lease it again and sell the number, which nobody released."""
    numbering.withhold_number(actor=SYSTEM, number=leased.first, by=by, reason="asked for", now=now)
    kept = by in (WithheldBy.POLICE, WithheldBy.FRAUD)
    plan = selectors.plan_return(actor=SYSTEM, leased=leased, now=now)
    assert plan.is_ready is not kept
    step(numbering.begin_return, leased, now)
    if kept:
        assert [number.number for number in plan.living] == [leased.first]
        with refused(RangeNotEmpty, counts={"WITHHELD": 1}):
            step(numbering.finish_return, leased, now)
        numbering.release_withheld_number(actor=SYSTEM, number=leased.first, reason="released", now=now)
    step(numbering.finish_return, leased, now)
    assert PhoneNumber.objects.get(number=leased.first).status == NumberStatus.RETURNED


def test_nor_round_a_quarantine(leased: NumberRange, now: datetime) -> None:
    number = given_quarantined(leased=leased, now=now)
    numbering.withhold_number(actor=SYSTEM, number=number, reason="odd calls", now=now)
    step(numbering.begin_return, leased, now)
    with refused(RangeNotEmpty, counts={"WITHHELD": 1}):
        step(numbering.finish_return, leased, now + timedelta(days=89))
    step(numbering.finish_return, leased, now + timedelta(days=91))


def test_the_plan_lists_a_hundred_and_not_those_of_others(
    leased: NumberRange, other_operator: VirtualOperator, now: datetime
) -> None:
    PhoneNumber.objects.filter(range=leased).update(status=NumberStatus.IN_USE)
    plan = selectors.plan_return(actor=SYSTEM, leased=leased, now=now)
    assert (len(plan.living), plan.counts) == (100, {"IN_USE": 1000})
    with refused(NotFound):
        selectors.plan_return(actor=Actor.system("x", operator_id=other_operator.pk), leased=leased, now=now)


def test_a_returned_block_is_leased_again_by_anybody(
    leased: NumberRange, other_operator: VirtualOperator, now: datetime
) -> None:
    step(numbering.begin_return, leased, now)
    step(numbering.finish_return, leased, now)
    again = given_range(operator=other_operator, now=now, prefix=leased.prefix, city="广州")
    assert take(again, now).range_id == again.pk
    assert PhoneNumber.objects.filter(range=again).count() == 1000
    fold_stock()
    assert selectors.list_stock_differences(operator_id=None) == []


@pytest.mark.parametrize(
    ("before", "verb"),
    [
        ((), numbering.keep_range),
        ((), numbering.finish_return),
        ((numbering.begin_return,), numbering.begin_return),
        ((numbering.begin_return, numbering.finish_return), numbering.begin_return),
        ((numbering.begin_return, numbering.finish_return), numbering.keep_range),
        ((numbering.begin_return, numbering.finish_return), numbering.finish_return),
    ],
)
def test_steps_out_of_turn(leased: NumberRange, now: datetime, before: tuple[Any, ...], verb: Any) -> None:
    for each in before:
        step(each, leased, now)
    with refused(InvalidTransition):
        step(verb, leased, now)


def test_returning_costs_the_same_however_many_numbers(
    operator: VirtualOperator, now: datetime, django_assert_max_num_queries: Any
) -> None:
    leased = given_range(operator=operator, now=now, prefix="1719000")
    step(numbering.begin_return, leased, now)
    with django_assert_max_num_queries(12):
        step(numbering.finish_return, leased, now)


# --- At the same moment -----------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", [numbering.begin_return, numbering.finish_return])
def test_of_two_people_who_return_it_one_wins(operator: VirtualOperator, now: datetime, verb: Any) -> None:
    leased = given_range(operator=operator, now=now)
    if verb is numbering.finish_return:
        step(numbering.begin_return, leased, now)
    results = at_once(*[lambda: step(verb, leased, now)] * 2)
    assert sorted(type(result).__name__ for result in results) == ["InvalidTransition", "NumberRange"]


@pytest.mark.django_db(transaction=True)
def test_a_number_that_somebody_is_taking_stops_the_return(operator: VirtualOperator, now: datetime) -> None:
    """It is free when the return looks; the return waits for its lock and looks again."""
    leased = given_range(operator=operator, now=now)
    step(numbering.begin_return, leased, now)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            PhoneNumber.objects.get(number=leased.first + 7).take()
            returning = pool.submit(lambda: at_once(lambda: step(numbering.finish_return, leased, now)))
            until_somebody_waits()
        (result,) = returning.result(timeout=30)
    assert isinstance(result, RangeNotEmpty)
    assert result.fields["counts"] == {"IN_USE": 1}
    leased.refresh_from_db()
    assert leased.status == RangeStatus.RETURNING
    assert PhoneNumber.objects.filter(status=NumberStatus.AVAILABLE).count() == 999


def until_somebody_waits() -> None:
    """Until a transaction waits for a lock of another one."""
    for _ in range(1000):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
            cursor.execute("SELECT pg_sleep(0.01)")
    raise AssertionError("nobody waits")


def test_what_was_asked_about_a_quarantine_does_not_outlive_the_return(
    leased: NumberRange, other_operator: VirtualOperator, now: datetime
) -> None:
    number = take(leased, now).number
    numbering.quarantine_number(actor=SYSTEM, number=number, now=now)
    wish = numbering.request_early_release(actor=SYSTEM, number=number, reason="asked for", now=now)
    numbering.withhold_number(actor=SYSTEM, number=number, by=WithheldBy.CARRIER, reason="case", now=now)
    step(numbering.begin_return, leased, now)
    step(numbering.finish_return, leased, now + timedelta(days=91))
    wish.refresh_from_db()
    assert wish.status == ReleaseStatus.REJECTED

    again = given_range(operator=other_operator, now=now, prefix=leased.prefix)
    numbering.take_number(
        actor=SYSTEM,
        operator_id=other_operator.pk,
        host_carrier_id=again.host_carrier_id,
        number=number,
        now=now,
    )
    numbering.quarantine_number(actor=SYSTEM, number=number, now=now)
    numbering.request_early_release(actor=SYSTEM, number=number, reason="theirs", now=now)


def test_ranges_of_before_the_rule_of_one_home_can_still_be_given_back(
    operator: VirtualOperator, now: datetime
) -> None:
    one = given_range(operator=operator, now=now, prefix="17199990")
    other = given_range(operator=operator, now=now, prefix="17199991")
    # A table with deferred checks pending cannot be altered.
    settle = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED"
    with connection.cursor() as cursor:
        cursor.execute(settle)
        cursor.execute("ALTER TABLE numbering_numberrange DISABLE TRIGGER number_range_one_home")
        cursor.execute("UPDATE numbering_numberrange SET home_city = '广州' WHERE id = %s", [other.pk])
        cursor.execute(settle)
        cursor.execute("ALTER TABLE numbering_numberrange ENABLE TRIGGER number_range_one_home")
    for leased in (one, other):
        step(numbering.begin_return, leased, now)
        step(numbering.finish_return, leased, now)
