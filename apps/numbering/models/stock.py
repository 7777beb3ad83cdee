"""How many numbers are in which state: kept by triggers on the numbers (migration 0004), never counted.

Every statement that changes numbers adds rows to StockChange, in its own transaction: additions never queue behind each
other. Now and then they are folded into RangeStock. The truth at any moment is the sum of both.
"""

from __future__ import annotations

from django.db import models
from django.db.models import ExpressionWrapper, Q
from django.db.models.functions import Random

from apps.core.tenancy import TenantQuerySet
from apps.numbering.models.ranges import NumberRange
from apps.numbering.states import NumberGrade
from apps.operators.models import VirtualOperator


class Counts(models.Model):
    """Numbers per state; in a change: how many more."""

    available = models.IntegerField(default=0)
    reserved = models.IntegerField(default=0)
    in_use = models.IntegerField(default=0)
    quarantined = models.IntegerField(default=0)
    withheld = models.IntegerField(default=0)
    returned = models.IntegerField(default=0)

    class Meta:
        abstract = True


class StockChange(Counts):
    """What one statement did to the numbers of a grade in a range, until it is folded."""

    range = models.ForeignKey(
        NumberRange, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    operator = models.ForeignKey(
        VirtualOperator, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    grade = models.SmallIntegerField(choices=NumberGrade)

    objects = TenantQuerySet["StockChange"].as_manager()

    def __str__(self) -> str:
        return f"{self.range_id} {self.grade}"


class RangeStock(Counts):
    """The numbers of a grade in a range as of the last fold.

    Claims find their range here: one of the first few with something free, in the order of `draw`, which is drawn once.
    `has_free` may be a few seconds late in both directions: a claim that finds nothing looks at the changes not yet
    folded too.
    """

    range = models.ForeignKey(NumberRange, on_delete=models.CASCADE, db_index=False, related_name="stock")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, db_index=False, related_name="+")
    grade = models.SmallIntegerField(choices=NumberGrade)
    draw = models.FloatField(db_default=Random())
    # A column of its own, so that the index below changes only when a range runs dry or fills again, and every other
    # fold is a heap-only update.
    has_free = models.GeneratedField(
        expression=ExpressionWrapper(Q(available__gt=0), output_field=models.BooleanField()),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    objects = TenantQuerySet["RangeStock"].as_manager()

    class Meta:
        verbose_name = "stock count"
        constraints = [models.UniqueConstraint(fields=["range", "grade"], name="range_stock_once")]
        indexes = [
            models.Index(
                fields=["operator", "grade", "draw"], condition=Q(has_free=True), name="range_stock_with_free"
            )
        ]

    def __str__(self) -> str:
        return f"{self.range_id} {self.grade}"


class StockDay(models.Model):
    """How many numbers of a grade in a range were free and in use at the end of a day in China, for forecasts."""

    range = models.ForeignKey(NumberRange, on_delete=models.CASCADE, db_index=False, related_name="days")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, db_index=False, related_name="+")
    grade = models.SmallIntegerField(choices=NumberGrade)
    counted_on = models.DateField()
    available = models.IntegerField()
    in_use = models.IntegerField()

    objects = TenantQuerySet["StockDay"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["range", "grade", "counted_on"], name="stock_day_once")
        ]
        indexes = [models.Index(fields=["counted_on"], name="stock_day_counted_on")]

    def __str__(self) -> str:
        return f"{self.range_id} {self.counted_on}"
