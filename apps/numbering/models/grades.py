"""Which numbers are pretty, and what they cost."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q

from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.numbering.states import NumberGrade
from apps.operators.models import VirtualOperator


class GradeRuleQuerySet(TenantQuerySet["GradeRule"]):
    def in_force(self, *, operator_id: int) -> Self:
        """The operator's own rules; the catalogue that ships with the system when it has none."""
        live = self.filter(retired_at=None)
        own = live.filter(operator_id=operator_id)
        return live.filter(Q(operator_id=operator_id) | (Q(operator_id=None) & ~Q(models.Exists(own))))


class GradeRule(models.Model):
    """Numbers whose last digits look like `pattern` have that grade, unless a rule of higher priority says otherwise.

    Rules are added and retired, never changed. Without an operator: the catalogue for all who have no own rules.
    How patterns are written: numbering/grading.py.
    """

    uid = PublicIdField(prefix="grr")
    operator = models.ForeignKey(VirtualOperator, null=True, on_delete=models.PROTECT)
    name = models.CharField(max_length=64)
    pattern = models.CharField(max_length=16)
    # Digits that the matched part must not have: in China a 4 spoils most patterns.
    without = models.CharField(max_length=10, blank=True, default="")
    priority = models.SmallIntegerField()
    grade = models.SmallIntegerField(choices=NumberGrade)
    source_note = models.CharField(max_length=300)
    created_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)

    objects = GradeRuleQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["operator", "priority"],
                condition=Q(retired_at=None),
                nulls_distinct=False,
                name="grade_rule_priority",
            ),
            models.CheckConstraint(condition=Q(grade__in=NumberGrade.values), name="grade_rule_grade"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.pattern})"

    def retire(self, *, now: datetime) -> None:
        self.retired_at = now
        self.save(update_fields=["retired_at"])


class GradedTail(models.Model):
    """One ending that a rule's pattern means, spelled out when the rule is made, so that grading is a join."""

    rule = models.ForeignKey(GradeRule, on_delete=models.CASCADE, db_index=False)
    # How many digits the ending has, and which, as a number.
    length = models.SmallIntegerField()
    tail = models.IntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule", "length", "tail"], name="graded_tail_once"),
            models.CheckConstraint(
                condition=Q(length__gte=1, length__lte=8, tail__gte=0), name="graded_tail_length"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tail:0{self.length}d}"


class GradePolicy(models.Model):
    """What an operator asks for a grade, from a moment on. Rows are added, never changed; the latest counts."""

    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, db_index=False)
    grade = models.SmallIntegerField(choices=NumberGrade)
    # CNY.
    deposit = models.DecimalField(max_digits=10, decimal_places=2)
    min_monthly_spend = models.DecimalField(max_digits=10, decimal_places=2)
    # For how many months the holder is bound to that spend.
    months = models.SmallIntegerField()
    valid_from = models.DateTimeField()
    created_at = models.DateTimeField()

    objects = TenantQuerySet["GradePolicy"].as_manager()

    class Meta:
        verbose_name_plural = "grade policies"
        constraints = [
            models.UniqueConstraint(fields=["operator", "grade", "valid_from"], name="grade_policy_version"),
            models.CheckConstraint(
                condition=Q(deposit__gte=0, min_monthly_spend__gte=0, months__gte=0, months__lte=240),
                name="grade_policy_amounts",
            ),
            models.CheckConstraint(condition=Q(grade__in=NumberGrade.values), name="grade_policy_grade"),
        ]

    def __str__(self) -> str:
        return f"grade {self.grade} from {self.valid_from}"
