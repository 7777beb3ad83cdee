"""Rules of pretty numbers and their terms: the catalogue, own rules, grades of numbers, what they cost."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden, NotFound
from apps.numbering import selectors
from apps.numbering import services as numbering
from apps.numbering.errors import (
    GradePatternInvalid,
    GradePolicyExists,
    GradePolicyInvalid,
    GradePriorityTaken,
    GradeRuleInvalid,
    GradeRulesExist,
)
from apps.numbering.management import seeding
from apps.numbering.models import GradedTail, GradePolicy, GradeRule, NumberRange, PhoneNumber
from apps.numbering.services.materialise import create_numbers, grade_numbers
from apps.numbering.states import NumberGrade, NumberStatus
from apps.operators.errors import AlreadyEnded
from apps.operators.management import seeding as operators
from apps.operators.management.seeding import SeedInvalid
from apps.operators.models import VirtualOperator
from tests.factories.numbering import SYSTEM, given_partner, given_range, given_terms
from tests.numbering import naive
from tests.refusals import refused

SEEDS = Path(settings.BASE_DIR) / "seeds"


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


TABLE = rows_of(Path(__file__).parent / "grades.csv")
GRADES = {grade.label: grade for grade in NumberGrade}


@pytest.fixture
def catalogue(db: None, system: Actor, now: datetime) -> dict[str, int]:
    return seeding.load(folder=SEEDS, actor=system, now=now)


def given_rule(*, now: datetime, operator: VirtualOperator | None = None, **fields: Any) -> GradeRule:
    values: dict[str, Any] = {
        "name": "rule",
        "pattern": "AAA",
        "priority": 100,
        "grade": NumberGrade.GOLD,
        "actor": SYSTEM,
    }
    return numbering.add_grade_rule(operator=operator, now=now, **{**values, **fields})


def grades_of(leased: NumberRange) -> dict[int, int]:
    """Of the numbers that have one, by their last four digits."""
    pretty = PhoneNumber.objects.filter(range=leased).exclude(grade=NumberGrade.ORDINARY)
    return {number % 10_000: grade for number, grade in pretty.values_list("number", "grade")}


# --- The catalogue that ships ---------------------------------------------------------------------------------------
def test_seventy_numbers_and_their_grades(
    catalogue: dict[str, int], operator: VirtualOperator, now: datetime
) -> None:
    assert len({row["number"] for row in TABLE}) == len(TABLE) >= 70
    for prefix in {row["number"][:8] for row in TABLE}:
        given_range(operator=operator, now=now, prefix=prefix)
    found = dict(PhoneNumber.objects.values_list("number", "grade"))
    wrong = {
        row["number"]: (NumberGrade(found[int(row["number"])]).label, row["grade"], row["why"])
        for row in TABLE
        if found[int(row["number"])] != GRADES[row["grade"]]
    }
    assert wrong == {}
    assert {row["grade"] for row in TABLE} == set(GRADES)


def believed(number: int, rules: list[GradeRule]) -> int:
    """The grade of a number, rule by rule, highest priority first."""
    for rule in rules:
        if naive.matches(rule.pattern, rule.without, str(number)[-naive.reach(rule.pattern) :]):
            return rule.grade
    return NumberGrade.ORDINARY


@pytest.mark.parametrize("prefix", ["1712345", "1711985", "17188887", "1718888"])
def test_every_number_of_a_range_has_the_grade_that_the_rules_say(
    catalogue: dict[str, int], operator: VirtualOperator, now: datetime, prefix: str
) -> None:
    leased = given_range(operator=operator, now=now, prefix=prefix)
    rules = list(GradeRule.objects.order_by("-priority"))
    numbers = dict(PhoneNumber.objects.filter(range=leased).values_list("number", "grade"))
    assert len(numbers) == leased.size
    assert numbers == {number: believed(number, rules) for number in numbers}


def test_numbers_of_machines_are_graded_too(
    catalogue: dict[str, int], operator: VirtualOperator, now: datetime
) -> None:
    """13 digits, and a range that is neither a whole block nor a tenth of one."""
    leased = given_range(operator=operator, now=now)
    first = 1_719_988_880_000
    machines = NumberRange.objects.create(
        operator=operator,
        agreement=leased.agreement,
        host_carrier=leased.host_carrier,
        digits=13,
        prefix="1719988880",
        first=first + 250,
        last=first + 987,
        home_province="广东",
        home_city="深圳",
        status="ACTIVE",
        leased_from=leased.leased_from,
        leased_until=leased.leased_until,
        created_at=now,
        activated_at=now,
    )
    create_numbers(machines)
    rules = list(GradeRule.objects.order_by("-priority"))
    numbers = dict(PhoneNumber.objects.filter(range=machines).values_list("number", "grade"))
    assert len(numbers) == 738
    assert numbers == {number: believed(number, rules) for number in numbers}
    assert len(set(numbers.values())) >= 4


def test_the_catalogue_loads_once_and_leaves_alone_what_staff_retired(
    catalogue: dict[str, int], system: Actor, now: datetime
) -> None:
    rules = rows_of(SEEDS / "grade_rules.csv")
    assert catalogue == {"grade_rules.csv": len(rules)}
    retired = GradeRule.objects.get(name="Birthday")
    numbering.retire_grade_rule(actor=system, rule_uid=retired.uid, reason="too many", now=now)
    assert seeding.load(folder=SEEDS, actor=system, now=now) == {"grade_rules.csv": 0}
    assert GradeRule.objects.filter(retired_at=None).count() == len(rules) - 1


def test_a_bad_row_of_a_seed_is_named(db: None, system: Actor, now: datetime, tmp_path: Path) -> None:
    (tmp_path / "grade_rules.csv").write_text(
        "name,pattern,without,priority,grade,source_note\nthree,AAA,,1,gold,x\nfour,aaaa,,2,gold,x\n"
    )
    with refused(SeedInvalid) as caught:
        seeding.load(folder=tmp_path, actor=system, now=now)
    assert "grade_rules.csv, line 3: GradePatternInvalid" in str(caught.value)


# --- Rules ----------------------------------------------------------------------------------------------------------
def test_a_rule_is_spelled_out(operator: VirtualOperator, now: datetime) -> None:
    rule = given_rule(now=now, operator=operator, pattern="AAB", without="4", source_note="we like it")
    tails = GradedTail.objects.filter(rule=rule)
    assert tails.count() == 72
    assert {tail.length for tail in tails} == {3}
    assert min(tails.values_list("tail", flat=True)) == 1  # 001
    audit = AuditEvent.objects.get(target_id=rule.uid)
    assert (audit.action, audit.operator_id, audit.reason) == ("grade_rule.add", operator.pk, "we like it")
    assert audit.after == {
        "pattern": "AAB",
        "without": "4",
        "priority": 100,
        "grade": "gold",
        "endings": 72,
    }


def test_the_highest_priority_wins_whatever_it_says(operator: VirtualOperator, now: datetime) -> None:
    given_rule(now=now, operator=operator, pattern="888", priority=10, grade=NumberGrade.DIAMOND)
    given_rule(now=now, operator=operator, pattern="AAA", priority=20, grade=NumberGrade.BRONZE)
    given_rule(now=now, operator=operator, pattern="0000", priority=30, grade=NumberGrade.ORDINARY)
    given_rule(now=now, operator=operator, pattern="7", priority=5, grade=NumberGrade.SILVER)
    leased = given_range(operator=operator, now=now, prefix="17188000")
    sevens = dict.fromkeys(range(7, 1000, 10), NumberGrade.SILVER)
    threes = dict.fromkeys(range(111, 1000, 111), NumberGrade.BRONZE)
    assert grades_of(leased) == sevens | threes


def test_own_rules_replace_the_catalogue_and_others_keep_it(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    given_rule(now=now, pattern="888")
    own = given_rule(now=now, operator=operator, pattern="999")
    assert grades_of(given_range(operator=operator, now=now, prefix="17188000")) == {999: 3}
    assert grades_of(given_range(operator=other_operator, now=now, prefix="17188010")) == {888: 3}
    numbering.retire_grade_rule(actor=SYSTEM, rule_uid=own.uid, reason="", now=now)
    assert grades_of(given_range(operator=operator, now=now, prefix="17188020")) == {888: 3}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"pattern": "aaa"}, GradePatternInvalid),
        ({"pattern": "ABCDEFG"}, GradePatternInvalid),
        ({"name": "  "}, GradeRuleInvalid),
        ({"name": "x" * 65}, GradeRuleInvalid),
        ({"priority": 0}, GradeRuleInvalid),
        ({"priority": 10_001}, GradeRuleInvalid),
        ({"priority": 7}, GradePriorityTaken),
    ],
)
def test_a_rule_that_cannot_be(
    operator: VirtualOperator, now: datetime, fields: dict[str, Any], error: type[Exception]
) -> None:
    given_rule(now=now, operator=operator, priority=7)
    with refused(error):
        given_rule(now=now, operator=operator, **fields)
    assert (GradeRule.objects.count(), GradedTail.objects.count()) == (1, 10)


def test_a_priority_is_taken_within_one_list_of_rules_only(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    for owner in (None, operator, other_operator):
        given_rule(now=now, operator=owner)
        with refused(GradePriorityTaken):
            given_rule(now=now, operator=owner)
    retired = GradeRule.objects.get(operator=operator)
    numbering.retire_grade_rule(actor=SYSTEM, rule_uid=retired.uid, reason="", now=now)
    given_rule(now=now, operator=operator)


def test_who_may(
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    operator_admin: Actor,
    platform_admin: Actor,
    now: datetime,
) -> None:
    of_catalogue = given_rule(now=now, actor=platform_admin)
    mine = given_rule(now=now, operator=operator, actor=operator_admin)
    theirs = given_rule(now=now, operator=other_operator, actor=platform_admin)
    for actor, owner, error in (
        (operator_admin, None, Forbidden),
        (operator_admin, other_operator, NotFound),
        (given_partner(operator=operator), operator, Forbidden),
    ):
        with refused(error):
            given_rule(now=now, operator=owner, actor=actor, priority=1)
    for actor, rule, error in (
        (operator_admin, of_catalogue, NotFound),
        (operator_admin, theirs, NotFound),
        (given_partner(operator=operator), mine, Forbidden),
    ):
        with refused(error):
            numbering.retire_grade_rule(actor=actor, rule_uid=rule.uid, reason="", now=now)
    for actor, error in ((operator_admin, NotFound), (given_partner(operator=other_operator), Forbidden)):
        with refused(error):
            numbering.adopt_catalogue(actor=actor, operator=other_operator, now=now)
        with refused(error):
            numbering.start_regrade(actor=actor, operator=other_operator, now=now)
    assert GradeRule.objects.filter(retired_at=None).count() == 3


def test_retire(operator: VirtualOperator, now: datetime) -> None:
    rule = given_rule(now=now, operator=operator)
    numbering.retire_grade_rule(actor=SYSTEM, rule_uid=rule.uid, reason="dull", now=now)
    rule.refresh_from_db()
    assert rule.retired_at == now
    assert GradedTail.objects.count() == 0
    assert AuditEvent.objects.get(action="grade_rule.retire").reason == "dull"
    with refused(AlreadyEnded):
        numbering.retire_grade_rule(actor=SYSTEM, rule_uid=rule.uid, reason="", now=now)


def test_adopting_copies_the_catalogue_and_changes_no_grade(
    catalogue: dict[str, int], operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    leased = given_range(operator=operator, now=now, prefix="1718888")
    tails = GradedTail.objects.count()
    adopted = numbering.adopt_catalogue(actor=operator_admin, operator=operator, now=now)
    assert len(adopted) == catalogue["grade_rules.csv"]
    assert GradedTail.objects.count() == 2 * tails
    assert {rule.operator_id for rule in GradeRule.objects.in_force(operator_id=operator.pk)} == {operator.pk}
    assert grade_numbers(leased) == 0
    with refused(GradeRulesExist):
        numbering.adopt_catalogue(actor=operator_admin, operator=operator, now=now)
    assert AuditEvent.objects.get(action="grade_catalogue.adopt").after == {"rules": len(adopted)}


def test_a_block_that_comes_back_is_graded_by_who_leases_it_now(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    given_rule(now=now, operator=operator, pattern="888")
    given_rule(now=now, operator=other_operator, pattern="999")
    old = given_range(operator=operator, now=now, prefix="17188000")
    PhoneNumber.objects.filter(range=old, number__lt=old.last).update(status=NumberStatus.RETURNED)
    PhoneNumber.objects.filter(number=old.last).delete()
    NumberRange.objects.filter(pk=old.pk).update(status="RETURNED", returned_at=now)
    assert grades_of(given_range(operator=other_operator, now=now, prefix="17188000")) == {999: 3}


def test_grading_costs_two_statements_more_however_many_rules(
    catalogue: dict[str, int], operator: VirtualOperator, now: datetime
) -> None:
    """The rules, and nothing per number or rule."""
    with CaptureQueriesContext(connection) as captured:
        given_range(operator=operator, now=now)
    about = [query["sql"] for query in captured if "numbering_grade" in query["sql"]]
    assert len(about) == 2


# --- Terms ----------------------------------------------------------------------------------------------------------
def test_the_latest_terms_that_have_begun_count(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    given_terms(operator=operator, now=now)
    given_terms(operator=operator, now=now, grade=NumberGrade.SILVER, deposit=Decimal(50))
    given_terms(operator=operator, now=now, deposit=Decimal(900), valid_from=now + timedelta(days=1))
    given_terms(operator=other_operator, now=now, deposit=Decimal(1))

    def deposits(at: datetime) -> dict[NumberGrade, Decimal]:
        terms = selectors.get_terms(operator_id=operator.pk, now=at)
        return {grade: policy.deposit for grade, policy in terms.items()}

    assert deposits(now - timedelta(seconds=1)) == {}
    assert deposits(now) == {NumberGrade.GOLD: 400, NumberGrade.SILVER: 50}
    assert deposits(now + timedelta(days=1)) == {NumberGrade.GOLD: 900, NumberGrade.SILVER: 50}
    audits = AuditEvent.objects.filter(target_id=f"{operator.code}/gold").order_by("id")
    assert [audit.after["deposit"] for audit in audits] == ["400.00", "900"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"grade": NumberGrade.ORDINARY}, "/grade"),
        ({"deposit": Decimal("-0.01")}, "/deposit"),
        ({"deposit": Decimal("0.001")}, "/deposit"),
        ({"deposit": Decimal(10_000_001)}, "/deposit"),
        ({"min_monthly_spend": Decimal(-1)}, "/min_monthly_spend"),
        ({"months": -1}, "/months"),
        ({"months": 241}, "/months"),
        ({"valid_from": timedelta(seconds=-1)}, "/valid_from"),
    ],
)
def test_terms_that_cannot_be(
    operator: VirtualOperator, now: datetime, fields: dict[str, Any], pointer: str
) -> None:
    if "valid_from" in fields:
        fields = {"valid_from": now + fields["valid_from"]}
    with refused(GradePolicyInvalid) as caught:
        given_terms(operator=operator, now=now, **fields)
    assert [each.pointer for each in caught.value.errors] == [pointer]
    assert GradePolicy.objects.count() == 0


def test_terms_twice_from_one_moment(operator: VirtualOperator, now: datetime) -> None:
    given_terms(operator=operator, now=now)
    with refused(GradePolicyExists):
        given_terms(operator=operator, now=now, deposit=Decimal(1))
    assert GradePolicy.objects.get().deposit == 400


def test_who_may_set_terms(
    operator: VirtualOperator, other_operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    given_terms(operator=operator, now=now, actor=operator_admin)
    for actor, owner, error in (
        (operator_admin, other_operator, NotFound),
        (given_partner(operator=operator), operator, Forbidden),
    ):
        with refused(error):
            given_terms(operator=owner, now=now, actor=actor, grade=NumberGrade.SILVER)
    assert GradePolicy.objects.count() == 1


def test_terms_of_the_demonstration(db: None, system: Actor, now: datetime) -> None:
    """Once per grade and tenant; what was set again since stays."""
    for folder in (SEEDS, SEEDS / "demo"):
        operators.load(folder=folder, actor=system, now=now)
    assert seeding.load(folder=SEEDS / "demo", actor=system, now=now) == {"grade_policies.csv": 30}
    assert set(GradePolicy.objects.values_list("operator__code", flat=True)) >= {"alibaba", "alibaba-test"}
    assert seeding.load(folder=SEEDS / "demo", actor=system, now=now) == {"grade_policies.csv": 0}
