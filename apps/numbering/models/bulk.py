"""Work on many ranges or numbers at once: files that are looked at before they are applied, and re-grading."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import models
from django.db.models import F, Q

from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.numbering.models.ranges import NumberRange
from apps.numbering.states import BULK, BulkKind, BulkStatus, RowStatus
from apps.operators.models import VirtualOperator


class BulkRun(models.Model):
    """One such piece of work; `done` of `total` steps are through (rows that are applied, ranges that are graded)."""

    uid = PublicIdField(prefix="blk")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, db_index=False)
    kind = models.CharField(max_length=8, choices=BulkKind)
    status = models.CharField(max_length=9, choices=BulkStatus)
    file_name = models.CharField(max_length=120, blank=True, default="")
    total = models.IntegerField(default=0)
    done = models.IntegerField(default=0)
    # Actor.id of who asked for it, and the name as it was.
    asked_by = models.CharField(max_length=64)
    asked_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    objects = TenantQuerySet["BulkRun"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["operator", "-id"], name="bulk_run_operator"),
            models.Index(fields=["id"], condition=Q(status=BulkStatus.RUNNING), name="bulk_run_running"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(done__gte=0, done__lte=F("total")), name="bulk_run_progress"),
            models.CheckConstraint(
                condition=Q(status=BulkStatus.PREVIEWED, started_at__isnull=True, ended_at__isnull=True)
                | Q(status=BulkStatus.RUNNING, started_at__isnull=False, ended_at__isnull=True)
                | Q(status=BulkStatus.COMPLETED, started_at__isnull=False, ended_at__isnull=False)
                | Q(status=BulkStatus.DISCARDED, started_at__isnull=True, ended_at__isnull=False),
                name="bulk_run_status_matches_times",
            ),
            # Two at once would only do the same work twice.
            models.UniqueConstraint(
                fields=["operator"],
                condition=Q(kind=BulkKind.REGRADE, status=BulkStatus.RUNNING),
                name="bulk_run_one_regrade",
            ),
        ]

    def __str__(self) -> str:
        return str(self.uid)

    def start(self, *, now: datetime) -> None:
        """PREVIEWED -> RUNNING.

        :raises InvalidTransition: it was started or discarded.
        """
        BULK.check(self.status, BulkStatus.RUNNING)
        self.status = BulkStatus.RUNNING
        self.started_at = now
        self.save(update_fields=["status", "started_at"])

    def grow(self, steps: int) -> None:
        """There is more to do than was known."""
        self.total += steps
        self.save(update_fields=["total"])

    def step(self, steps: int = 1) -> None:
        """So many more are done."""
        self.done += steps
        self.save(update_fields=["done"])

    def begin_again(self, *, now: datetime) -> None:
        """Nothing is done, and nothing is known to do."""
        self.total = self.done = 0
        self.started_at = now
        self.save(update_fields=["total", "done", "started_at"])

    def end(self, status: BulkStatus, *, now: datetime) -> None:
        """RUNNING -> COMPLETED, or PREVIEWED -> DISCARDED.

        :raises InvalidTransition: it is in another state.
        """
        BULK.check(self.status, status)
        self.status = status
        self.ended_at = now
        self.save(update_fields=["status", "ended_at"])


class BulkRow(models.Model):
    """One row of the file, as it was read, and what became of it."""

    run = models.ForeignKey(BulkRun, on_delete=models.CASCADE, db_index=False, related_name="rows")
    # As a person counts them in the file; the header is line 1.
    line = models.IntegerField()
    status = models.CharField(max_length=9, choices=RowStatus)
    fields = models.JSONField()
    # What was wrong: [{pointer, code, detail}].
    errors = models.JSONField(default=list)
    range = models.ForeignKey(NumberRange, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "line"], name="bulk_row_once")]
        indexes = [models.Index(fields=["run", "status", "line"], name="bulk_row_status")]

    def __str__(self) -> str:
        return f"line {self.line}"

    def settle(self, status: RowStatus, errors: Sequence[dict[str, str]] = ()) -> None:
        self.status = status
        self.errors = list(errors)
        self.save(update_fields=["status", "errors"])
