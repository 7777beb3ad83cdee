"""Which numbers are pretty, and what they cost: rules and terms, added and retired, never changed."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, connection, transaction

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation, serialize_on, violated_constraint
from apps.core.errors import FieldError, Forbidden, NotFound
from apps.core.public_ids import get_by_uid
from apps.numbering.errors import (
    GradePolicyExists,
    GradePolicyInvalid,
    GradePriorityTaken,
    GradeRuleInvalid,
    GradeRulesExist,
)
from apps.numbering.grading import expand, length_of
from apps.numbering.models import GradedTail, GradePolicy, GradeRule
from apps.numbering.services.regrading import start_regrade, start_regrades
from apps.numbering.services.single import MANAGE_NUMBERS
from apps.numbering.states import NumberGrade
from apps.operators.errors import AlreadyEnded
from apps.operators.models import VirtualOperator

_ADD_TAILS = """
INSERT INTO numbering_gradedtail (rule_id, length, tail) SELECT %s, %s, unnest(%s::int[])
"""
_COPY_TAILS = """
INSERT INTO numbering_gradedtail (rule_id, length, tail)
SELECT %s, t.length, t.tail FROM numbering_gradedtail AS t WHERE t.rule_id = %s
"""

_PRIORITIES = range(1, 10_001)
_MOST_MONEY = Decimal(10_000_000)
_MONTHS = range(241)


@operation
def add_grade_rule(
    *,
    actor: Actor,
    operator: VirtualOperator | None,
    name: str,
    pattern: str,
    priority: int,
    grade: NumberGrade,
    now: datetime,
    without: str = "",
    source_note: str = "",
) -> GradeRule:
    """Numbers that end like `pattern` (see numbering/grading.py) have that grade, unless a rule of higher priority
    matches; free ones get it soon. Without an operator: a rule of the catalogue, for all who have no own rules.

    An operator's first own rule ends what the catalogue says for it: `adopt_catalogue` copies it first.

    :raises Forbidden: without the right numbering.manage, or the catalogue by anybody but platform staff.
    :raises NotFound: another operator's business. :raises GradeRuleInvalid: :raises GradePatternInvalid:
    :raises GradePriorityTaken:
    """
    _require(actor, operator)
    found = []
    if not name.strip() or len(name) > 64:
        found.append(FieldError("/name", "invalid", "1 to 64 characters."))
    if priority not in _PRIORITIES:
        found.append(FieldError("/priority", "out_of_bounds", "From 1 to 10,000; the highest counts."))
    if found:
        raise GradeRuleInvalid(errors=found)
    tails = expand(pattern, without)
    rule = GradeRule(
        operator=operator,
        name=name.strip(),
        pattern=pattern,
        without=without,
        priority=priority,
        grade=grade,
        source_note=source_note[:300],
        created_at=now,
    )
    _insert(rule)
    with connection.cursor() as cursor:
        cursor.execute(_ADD_TAILS, [rule.pk, length_of(pattern), [int(tail) for tail in tails]])
    audit.record(
        actor=actor,
        action="grade_rule.add",
        target_type="grade_rule",
        target_id=rule.uid,
        operator_id=rule.operator_id,
        after={
            "pattern": pattern,
            "without": without,
            "priority": priority,
            "grade": NumberGrade(grade).label,
            "endings": len(tails),
        },
        reason=source_note,
        now=now,
    )
    _regrade(actor, operator, now)
    return rule


@operation
def retire_grade_rule(*, actor: Actor, rule_uid: str, reason: str, now: datetime) -> GradeRule:
    """The rule no longer counts; free numbers soon have the grade that the others give them.

    An operator that retires its last own rule is back at the catalogue.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: unknown, another operator's, or one of the
    catalogue for anybody but platform staff. :raises AlreadyEnded: retired before.
    """
    actor.require(MANAGE_NUMBERS)
    rules = GradeRule.objects.visible_to(actor).select_for_update(of=("self",)).select_related("operator")
    rule = get_by_uid(rules, rule_uid)
    if rule.retired_at is not None:
        raise AlreadyEnded("This rule was retired before.")
    rule.retire(now=now)
    # What it meant is written in its pattern; spelled out it would only take room.
    GradedTail.objects.filter(rule=rule).delete()
    audit.record(
        actor=actor,
        action="grade_rule.retire",
        target_type="grade_rule",
        target_id=rule.uid,
        operator_id=rule.operator_id,
        before={"retired_at": None},
        after={"retired_at": now.isoformat()},
        reason=reason,
        now=now,
    )
    _regrade(actor, rule.operator, now)
    return rule


@operation
def adopt_catalogue(*, actor: Actor, operator: VirtualOperator, now: datetime) -> list[GradeRule]:
    """Copies the catalogue into rules of the operator's own, to start from; no grade changes by that.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: another operator's business.
    :raises GradeRulesExist: it has own rules.
    """
    _require(actor, operator)
    serialize_on(f"numbering.adopt_catalogue:{operator.pk}")
    if GradeRule.objects.filter(operator=operator, retired_at=None).exists():
        raise GradeRulesExist
    catalogue = GradeRule.objects.filter(operator=None, retired_at=None).order_by("-priority")
    adopted = []
    for listed in catalogue:
        rule = GradeRule(
            operator=operator,
            name=listed.name,
            pattern=listed.pattern,
            without=listed.without,
            priority=listed.priority,
            grade=listed.grade,
            source_note=listed.source_note,
            created_at=now,
        )
        _insert(rule)
        with connection.cursor() as cursor:
            cursor.execute(_COPY_TAILS, [rule.pk, listed.pk])
        adopted.append(rule)
    audit.record(
        actor=actor,
        action="grade_catalogue.adopt",
        target_type="operator",
        target_id=operator.uid,
        operator_id=operator.pk,
        after={"rules": len(adopted)},
        now=now,
    )
    return adopted


@operation
def set_grade_policy(
    *,
    actor: Actor,
    operator: VirtualOperator,
    grade: NumberGrade,
    deposit: Decimal,
    min_monthly_spend: Decimal,
    months: int,
    now: datetime,
    valid_from: datetime | None = None,
) -> GradePolicy:
    """What the operator asks for numbers of that grade, in CNY, from now on or from that later moment.

    Numbers that are reserved or used keep the terms they were reserved at.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: another operator's business.
    :raises GradePolicyInvalid: amounts or months out of bounds, the past, or ordinary numbers, all listed.
    :raises GradePolicyExists: a version starts at that very moment.
    """
    _require(actor, operator)
    starts = valid_from or now
    _check_terms(grade, deposit, min_monthly_spend, months, starts, now)
    policy = GradePolicy(
        operator=operator,
        grade=grade,
        deposit=deposit,
        min_monthly_spend=min_monthly_spend,
        months=months,
        valid_from=starts,
        created_at=now,
    )
    try:
        with transaction.atomic():
            policy.save(force_insert=True)
    except IntegrityError as error:
        if violated_constraint(error) == "grade_policy_version":
            raise GradePolicyExists from None
        raise
    audit.record(
        actor=actor,
        action="grade_policy.set",
        target_type="grade_policy",
        target_id=policy_name(policy=policy),
        operator_id=operator.pk,
        after={
            "deposit": str(deposit),
            "min_monthly_spend": str(min_monthly_spend),
            "months": months,
            "valid_from": starts.isoformat(),
        },
        now=now,
    )
    return policy


def policy_name(*, policy: GradePolicy) -> str:
    """What the audit trail calls the terms of an operator's grade, all versions alike."""
    return f"{policy.operator.code}/{NumberGrade(policy.grade).label}"


def _require(actor: Actor, operator: VirtualOperator | None) -> None:
    actor.require(MANAGE_NUMBERS)
    if operator is None:
        if actor.operator_id is not None:
            raise Forbidden("The catalogue belongs to the platform.")
    elif not actor.sees(operator.pk):
        raise NotFound


def _check_terms(
    grade: NumberGrade,
    deposit: Decimal,
    min_monthly_spend: Decimal,
    months: int,
    starts: datetime,
    now: datetime,
) -> None:
    found = []
    if grade == NumberGrade.ORDINARY:
        found.append(FieldError("/grade", "invalid", "Ordinary numbers cost nothing extra."))
    for name, amount in (("deposit", deposit), ("min_monthly_spend", min_monthly_spend)):
        if not 0 <= amount <= _MOST_MONEY or amount != round(amount, 2):
            found.append(FieldError(f"/{name}", "out_of_bounds", f"CNY from 0 to {_MOST_MONEY:,}."))
    if months not in _MONTHS:
        found.append(FieldError("/months", "out_of_bounds", f"From 0 to {_MONTHS[-1]}."))
    if starts < now:
        found.append(FieldError("/valid_from", "in_past", "Now or later."))
    if found:
        raise GradePolicyInvalid(errors=found)


def _insert(rule: GradeRule) -> None:
    try:
        with transaction.atomic():
            rule.save(force_insert=True)
    except IntegrityError as error:
        if violated_constraint(error) == "grade_rule_priority":
            raise GradePriorityTaken from None
        raise


def _regrade(actor: Actor, operator: VirtualOperator | None, now: datetime) -> None:
    if operator is None:
        start_regrades(actor=actor, now=now, only_catalogue=True)
    else:
        start_regrade(actor=actor, operator=operator, now=now)
