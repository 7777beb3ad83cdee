"""Reading rules of pretty numbers and what their grades cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db.models import Q, QuerySet

from apps.core.actor import Actor
from apps.numbering.models import BulkRun, GradePolicy, GradeRule
from apps.numbering.states import BulkKind, NumberGrade


def get_terms(*, operator_id: int, now: datetime) -> Mapping[NumberGrade, GradePolicy]:
    """What the operator asks for each grade at this moment; a grade without an entry costs nothing extra. One query."""
    policies = (
        GradePolicy.objects.filter(operator_id=operator_id, valid_from__lte=now)
        .order_by("grade", "-valid_from")
        .distinct("grade")
    )
    return {NumberGrade(policy.grade): policy for policy in policies}


def list_grade_rules(*, actor: Actor) -> QuerySet[GradeRule]:
    """The actor's operator's rules and the catalogue, retired ones too; for platform staff all. Unordered."""
    rules = GradeRule.objects.select_related("operator")
    return (
        rules if actor.operator_id is None else rules.filter(Q(operator=actor.operator_id) | Q(operator=None))
    )


def list_grade_policies(*, actor: Actor) -> QuerySet[GradePolicy]:
    """All versions that the actor may see, past and future ones too, unordered."""
    return GradePolicy.objects.visible_to(actor).select_related("operator")


def has_own_grade_rules(*, operator_id: int) -> bool:
    """Whether the operator has rules in force, so that the catalogue does not count for it."""
    return GradeRule.objects.filter(operator_id=operator_id, retired_at=None).exists()


def list_regrades(*, actor: Actor, operator_id: int) -> QuerySet[BulkRun]:
    """Runs that graded the operator's numbers again, unordered."""
    return BulkRun.objects.visible_to(actor).filter(operator_id=operator_id, kind=BulkKind.REGRADE)
