"""Grading free numbers again when rules have changed: range by range, killable, and by one worker at a time."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import Any

import pytest
from django.db import connection, transaction

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden
from apps.numbering import services as numbering
from apps.numbering.models import BulkRow, BulkRun, GradeRule, NumberRange, PhoneNumber, RangeStock
from apps.numbering.states import BulkStatus, NumberGrade, NumberStatus
from apps.operators.models import VirtualOperator
from tests.factories.numbering import SYSTEM, given_range, given_reservation
from tests.races.threads import at_once
from tests.refusals import refused


def given_rule(*, operator: VirtualOperator | None, now: datetime, **fields: Any) -> GradeRule:
    """888 is gold, unless said otherwise."""
    values: dict[str, Any] = {"name": "r", "pattern": "888", "priority": 100, "grade": NumberGrade.GOLD}
    return numbering.add_grade_rule(actor=SYSTEM, operator=operator, now=now, **{**values, **fields})


def running(operator: VirtualOperator) -> BulkRun:
    return BulkRun.objects.get(operator=operator, status=BulkStatus.RUNNING)


def finish(operator: VirtualOperator, now: datetime) -> None:
    assert numbering.continue_regrade(run_id=running(operator).pk, now=now) is False


def grade_of(leased: NumberRange, ending: int) -> int:
    return PhoneNumber.objects.get(number=leased.first + ending).grade


def until_somebody_waits() -> None:
    """For a lock that this transaction holds; a test that hangs would say less than one that fails."""
    deadline = time.monotonic() + 30
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
    raise AssertionError("nobody waits")


def test_a_new_rule_grades_what_is_free(operator: VirtualOperator, now: datetime) -> None:
    ranges = [given_range(operator=operator, now=now) for _ in range(3)]
    given_rule(operator=operator, now=now)
    run = running(operator)
    assert (run.total, run.done, run.asked_by) == (3, 0, SYSTEM.id)
    assert {grade_of(leased, 888) for leased in ranges} == {NumberGrade.ORDINARY}
    finish(operator, now)
    run.refresh_from_db()
    assert (run.status, run.total, run.done, run.ended_at) == ("COMPLETED", 3, 3, now)
    assert {grade_of(leased, 888) for leased in ranges} == {NumberGrade.GOLD}
    assert BulkRow.objects.count() == 0
    actions = AuditEvent.objects.filter(target_id=run.uid).order_by("id")
    assert [event.action for event in actions] == ["regrade.start", "regrade.complete"]


def test_a_retired_rule_lets_go(operator: VirtualOperator, now: datetime) -> None:
    given_rule(operator=operator, now=now, pattern="88", priority=1, grade=NumberGrade.BRONZE)
    rule = given_rule(operator=operator, now=now)
    finish(operator, now)
    leased = given_range(operator=operator, now=now)
    assert grade_of(leased, 888) == NumberGrade.GOLD
    numbering.retire_grade_rule(actor=SYSTEM, rule_uid=rule.uid, reason="", now=now)
    finish(operator, now)
    assert grade_of(leased, 888) == NumberGrade.BRONZE


@pytest.mark.parametrize(
    ("status", "extra"),
    [
        (NumberStatus.IN_USE, {}),
        (NumberStatus.QUARANTINED, {"quarantined_until": True}),
        (NumberStatus.WITHHELD, {"withheld_by": 2}),
    ],
)
def test_what_is_not_free_keeps_its_grade_until_it_is(
    operator: VirtualOperator, now: datetime, status: NumberStatus, extra: dict[str, Any]
) -> None:
    leased = given_range(operator=operator, now=now)
    number = PhoneNumber.objects.filter(number=leased.first + 888)
    number.update(
        status=status, **{name: value if value is not True else now for name, value in extra.items()}
    )
    given_rule(operator=operator, now=now)
    finish(operator, now)
    assert grade_of(leased, 888) == NumberGrade.ORDINARY
    number.update(status=NumberStatus.AVAILABLE, quarantined_until=None, withheld_by=None)
    # The night after.
    assert numbering.start_regrades(actor=SYSTEM, now=now) == 1
    finish(operator, now)
    assert grade_of(leased, 888) == NumberGrade.GOLD


def test_a_reserved_number_keeps_its_grade(operator: VirtualOperator, now: datetime) -> None:
    leased = given_range(operator=operator, now=now)
    reservation = given_reservation(operator=operator, now=now, number=leased.first + 888)
    given_rule(operator=operator, now=now)
    finish(operator, now)
    assert grade_of(leased, 888) == NumberGrade.ORDINARY
    numbering.release_reservation(actor=SYSTEM, reservation_uid=reservation.uid, now=now)
    numbering.start_regrade(actor=SYSTEM, operator=operator, now=now)
    finish(operator, now)
    assert grade_of(leased, 888) == NumberGrade.GOLD


def versions() -> dict[int, str]:
    """Where each row lies: an update moves it, even one that changes nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT number, ctid::text FROM numbering_phonenumber")
        return dict(cursor.fetchall())


def test_only_what_differs_is_written_and_counts_follow(operator: VirtualOperator, now: datetime) -> None:
    leased = given_range(operator=operator, now=now)
    given_rule(operator=operator, now=now, pattern="8", grade=NumberGrade.SILVER)
    before = versions()
    finish(operator, now)
    after = versions()
    assert {number for number in before if before[number] != after[number]} == {
        leased.first + ending for ending in range(8, 1000, 10)
    }
    numbering.start_regrade(actor=SYSTEM, operator=operator, now=now)
    finish(operator, now)
    assert versions() == after
    numbering.fold_stock()
    counts = dict(RangeStock.objects.filter(range=leased).values_list("grade", "available"))
    assert counts == {NumberGrade.ORDINARY: 900, NumberGrade.SILVER: 100}
    assert numbering.repair_stock(actor=SYSTEM, operator_id=operator.pk, now=now) == 0


def test_it_goes_on_where_it_was_left(operator: VirtualOperator, now: datetime) -> None:
    ranges = [given_range(operator=operator, now=now) for _ in range(5)]
    given_rule(operator=operator, now=now)
    run = running(operator)
    assert numbering.continue_regrade(run_id=run.pk, now=now, limit=2) is True
    run.refresh_from_db()
    assert (run.status, run.done, run.total) == ("RUNNING", 2, 5)
    assert [grade_of(leased, 888) for leased in ranges] == [3, 3, 0, 0, 0]
    assert numbering.continue_regrade(run_id=run.pk, now=now) is False
    assert [grade_of(leased, 888) for leased in ranges] == [3] * 5
    # Over is over.
    assert numbering.continue_regrade(run_id=run.pk, now=now) is False
    assert AuditEvent.objects.filter(action="regrade.complete").count() == 1


def test_rules_that_change_meanwhile_make_it_begin_again(operator: VirtualOperator, now: datetime) -> None:
    ranges = [given_range(operator=operator, now=now) for _ in range(3)]
    given_rule(operator=operator, now=now)
    run = running(operator)
    numbering.continue_regrade(run_id=run.pk, now=now, limit=2)
    given_rule(operator=operator, now=now, pattern="999", priority=1)
    assert (running(operator), running(operator).done, running(operator).total) == (run, 0, 3)
    finish(operator, now)
    assert [(grade_of(leased, 888), grade_of(leased, 999)) for leased in ranges] == [(3, 3)] * 3


def test_ranges_that_are_leased_split_and_merged_meanwhile(operator: VirtualOperator, now: datetime) -> None:
    lower, upper = (
        given_range(operator=operator, now=now, prefix=prefix) for prefix in ("17188000", "17188001")
    )
    whole = given_range(operator=operator, now=now, prefix="1718900")
    given_rule(operator=operator, now=now)
    run = running(operator)
    numbering.continue_regrade(run_id=run.pk, now=now, limit=1)
    assert (grade_of(lower, 888), grade_of(upper, 888)) == (NumberGrade.GOLD, NumberGrade.ORDINARY)
    numbering.merge_ranges(actor=SYSTEM, range_uid=lower.uid, other_uid=upper.uid, now=now)
    numbering.split_range(actor=SYSTEM, range_uid=whole.uid, at=whole.first + 5000, now=now)
    finish(operator, now)
    run.refresh_from_db()
    assert (run.status, run.total, run.done) == ("COMPLETED", 4, 4)
    grades = {grade_of(upper, 888), *(grade_of(whole, ending) for ending in range(888, 10_000, 1000))}
    assert grades == {NumberGrade.GOLD}


def test_numbers_that_another_operator_leases_now_are_not_touched(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    old = given_range(operator=operator, now=now, prefix="17188000")
    given_rule(operator=operator, now=now)
    PhoneNumber.objects.filter(range=old).update(status=NumberStatus.RETURNED)
    NumberRange.objects.filter(pk=old.pk).update(status="RETURNED", returned_at=now)
    given_range(operator=other_operator, now=now, prefix="17188000")
    finish(operator, now)
    assert grade_of(old, 888) == NumberGrade.ORDINARY


def test_a_rule_of_the_catalogue_concerns_those_without_own_rules(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    for each in (operator, other_operator):
        given_range(operator=each, now=now)
    given_rule(operator=other_operator, now=now, pattern="999")
    finish(other_operator, now)
    given_rule(operator=None, now=now)
    assert [run.operator for run in BulkRun.objects.filter(status=BulkStatus.RUNNING)] == [operator]


def test_an_operator_regrades_its_own_only(
    operator: VirtualOperator, other_operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    for each in (operator, other_operator):
        given_range(operator=each, now=now)
    assert numbering.start_regrades(actor=operator_admin, now=now) == 1
    assert BulkRun.objects.get().operator == operator
    with refused(Forbidden):
        numbering.start_regrades(
            actor=Actor(kind=operator_admin.kind, id="x", label="x", operator_id=None), now=now
        )


@pytest.mark.django_db(transaction=True)
def test_two_workers_do_the_work_once(operator: VirtualOperator, now: datetime) -> None:
    ranges = [given_range(operator=operator, now=now) for _ in range(6)]
    given_rule(operator=operator, now=now)
    run = running(operator)

    def work() -> int:
        calls = 1
        while numbering.continue_regrade(run_id=run.pk, now=now):
            calls += 1
        return calls

    results = at_once(work, work, work)
    assert all(isinstance(result, int) for result in results), results
    run.refresh_from_db()
    assert (run.status, run.done, run.total) == ("COMPLETED", 6, 6)
    assert [grade_of(leased, 888) for leased in ranges] == [3] * 6
    assert AuditEvent.objects.filter(action="regrade.complete").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_number_that_is_being_taken_keeps_its_grade(operator: VirtualOperator, now: datetime) -> None:
    """Who sells it has locked it before: grading waits, looks again, and lets it be."""
    leased = given_range(operator=operator, now=now)
    given_rule(operator=operator, now=now)
    run = running(operator)
    with transaction.atomic():
        taken = numbering.take_number(
            actor=SYSTEM,
            operator_id=operator.pk,
            host_carrier_id=leased.host_carrier_id,
            number=leased.first + 888,
            now=now,
        )
        outcome: list[object] = []
        worker = threading.Thread(
            target=lambda: outcome.extend(at_once(lambda: numbering.continue_regrade(run_id=run.pk, now=now)))
        )
        worker.start()
        until_somebody_waits()
    worker.join(timeout=30)
    assert outcome == [False]
    taken.refresh_from_db()
    assert (taken.status, taken.grade) == (NumberStatus.IN_USE, NumberGrade.ORDINARY)
