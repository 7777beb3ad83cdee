"""Tables of reconciliation with host carriers; and of warnings that the papers behind all of it end."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.core.public_ids import MalformedId, PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.provisioning.models.orders import ServiceOrder
from apps.provisioning.states import (
    DISCREPANCY,
    OPEN_RECONCILIATION,
    RECONCILIATION,
    STANDING_DISCREPANCY,
    DiscrepancyKind,
    DiscrepancyStatus,
    ReconciliationStatus,
)

OPEN_RUNS = Q(status__in=[status.value for status in OPEN_RECONCILIATION])
STANDING = Q(status__in=[status.value for status in STANDING_DISCREPANCY])


class RunQuerySet(TenantQuerySet["ReconciliationRun"]):
    def open(self) -> Self:
        return self.filter(OPEN_RUNS)


class ReconciliationRun(models.Model):
    """One look through the carrier's own view of one connection: every page fetched, then compared with ours."""

    uid = PublicIdField(prefix="rcn")
    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT, db_index=False)
    connection = models.ForeignKey("carriers.CarrierConnection", on_delete=models.PROTECT)
    status = models.CharField(
        max_length=9, choices=ReconciliationStatus, default=ReconciliationStatus.FETCHING
    )
    # Where the next page begins, in the carrier's words, and how far that is: pages and lines so far.
    cursor = models.CharField(max_length=64, blank=True)
    pages = models.PositiveIntegerField(default=0)
    lines_fetched = models.PositiveIntegerField(default=0)
    # Live lines of ours when it began: about as many are to come.
    lines_expected = models.PositiveIntegerField(default=0)
    # By the database's clock: before the first page was asked for.
    first_asked_at = models.DateTimeField(null=True, blank=True)
    # What came of it: differences listed, and left alone because the line was on the move.
    found = models.PositiveIntegerField(default=0)
    set_aside = models.PositiveIntegerField(default=0)
    # Who holds the lease writes with its token, as with jobs; all by the database's clock.
    token = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(db_default=Now())
    # Calls in a row that brought no page.
    failures = models.PositiveSmallIntegerField(default=0)
    error_code = models.CharField(max_length=48, blank=True)
    error_detail = models.CharField(max_length=200, blank=True)
    asked_by = models.CharField(max_length=64)
    asked_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["connection"], condition=OPEN_RUNS, name="one_open_reconciliation_per_connection"
            ),
            models.CheckConstraint(
                name="reconciliation_status_matches_times",
                condition=(
                    Q(OPEN_RUNS, finished_at=None)
                    | Q(
                        status__in=["COMPLETED", "FAILED", "CANCELLED"],
                        finished_at__isnull=False,
                        lease_until=None,
                    )
                ),
            ),
        ]
        indexes = [models.Index(fields=["operator", "-id"], name="reconciliation_operator")]

    def __str__(self) -> str:
        return str(self.uid)

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_RECONCILIATION

    def lease(self, *, until: datetime) -> None:
        """To whoever calls, who writes with the new token."""
        self.token += 1
        self.lease_until = until
        self.save(update_fields=["token", "lease_until"])

    def release(self) -> None:
        self.lease_until = None
        self.save(update_fields=["lease_until"])

    def take_page(self, *, lines: int, next: str | None, asked_at: datetime, lease_until: datetime) -> None:
        """One page more, kept by the caller; FETCHING -> COMPARING after the last."""
        self.pages += 1
        self.lines_fetched += lines
        self.cursor = next or ""
        self.first_asked_at = self.first_asked_at or asked_at
        self.failures = 0
        self.error_code = self.error_detail = ""
        self.lease_until = lease_until
        if next is None:
            RECONCILIATION.check(self.status, ReconciliationStatus.COMPARING)
            self.status = ReconciliationStatus.COMPARING
        self.save()

    def wait(self, *, code: str, detail: str, until: datetime) -> None:
        """No page this time."""
        self.failures += 1
        self.error_code, self.error_detail, self.next_attempt_at = code, detail[:200], until
        self.lease_until = None
        self.save(update_fields=["failures", "error_code", "error_detail", "next_attempt_at", "lease_until"])

    def rest(self, *, until: datetime) -> None:
        """Nothing was asked, so nothing has failed."""
        self.next_attempt_at = until
        self.lease_until = None
        self.save(update_fields=["next_attempt_at", "lease_until"])

    def fetch_again(self) -> None:
        """COMPARING -> FETCHING from the first page: the pages are lost."""
        RECONCILIATION.check(self.status, ReconciliationStatus.FETCHING)
        self.status = ReconciliationStatus.FETCHING
        self.cursor, self.pages, self.lines_fetched, self.first_asked_at = "", 0, 0, None
        self.save(update_fields=["status", "cursor", "pages", "lines_fetched", "first_asked_at"])

    def complete(self, *, found: int, set_aside: int, now: datetime) -> None:
        self.found, self.set_aside = found, set_aside
        self._end(ReconciliationStatus.COMPLETED, now, "found", "set_aside")

    def fail(self, *, code: str, detail: str, now: datetime) -> None:
        self.error_code, self.error_detail = code, detail[:200]
        self._end(ReconciliationStatus.FAILED, now, "error_code", "error_detail")

    def cancel(self, now: datetime) -> None:
        self._end(ReconciliationStatus.CANCELLED, now)

    def _end(self, status: ReconciliationStatus, now: datetime, *fields: str) -> None:
        RECONCILIATION.check(self.status, status)
        self.status = status
        self.finished_at = now
        # Whoever still fetches must not write after this.
        self.token += 1
        self.lease_until = None
        self.save(update_fields=["status", "finished_at", "token", "lease_until", *fields])


class DiscrepancyQuerySet(TenantQuerySet["Discrepancy"]):
    def waiting(self) -> Self:
        """For staff to decide."""
        return self.filter(status=DiscrepancyStatus.OPEN)

    def accepted(self) -> Self:
        """To be repaired by a worker."""
        return self.filter(status=DiscrepancyStatus.ACCEPTED)

    def search(self, text: str) -> Self:
        """By whole discrepancy, run or line id, or number (with or without +86)."""
        field = {"dsc": "uid", "rcn": "run__uid", "lin": "line__uid"}.get(text[:3])
        digits = text.removeprefix("+86")
        try:
            if field is not None:
                return self.filter(**{field: text})
        except MalformedId:
            return self.none()
        return self.filter(number=int(digits)) if digits.isascii() and digits.isdigit() else self.none()


class Discrepancy(models.Model):
    """One difference between the carrier's view and ours. Nothing happens about it before somebody decides.

    Found again, the row stays and says when it was seen last; one that stands is never listed twice.
    """

    uid = PublicIdField(prefix="dsc")
    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT, db_index=False)
    connection = models.ForeignKey("carriers.CarrierConnection", on_delete=models.PROTECT, db_index=False)
    # The last run that found it.
    run = models.ForeignKey(ReconciliationRun, on_delete=models.PROTECT, db_index=False)
    kind = models.CharField(max_length=13, choices=DiscrepancyKind)
    status = models.CharField(max_length=8, choices=DiscrepancyStatus, default=DiscrepancyStatus.OPEN)
    # Ours, or the carrier's where we have none, as it is dialled in China.
    number = models.PositiveBigIntegerField(db_index=True)
    line = models.ForeignKey("lines.Line", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    # {status, suspension, number, iccid, plan} and {state, number, iccid, plan}; empty where one side has nothing.
    ours = models.JSONField(default=dict)
    theirs = models.JSONField(default=dict)
    first_seen_at = models.DateTimeField()
    # By the database's clock: when the page was asked for that shows it.
    seen_at = models.DateTimeField()
    # Who accepted or ignored it, and why.
    decided_by = models.CharField(max_length=64, blank=True)
    decided_by_label = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    # Why the repair that was accepted could not be carried out.
    error_code = models.CharField(max_length=48, blank=True)
    error_detail = models.CharField(max_length=200, blank=True)
    # The order that repairs it, where it took one.
    order = models.ForeignKey(
        ServiceOrder, on_delete=models.PROTECT, null=True, blank=True, db_index=False, related_name="+"
    )
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = DiscrepancyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "discrepancies"
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "kind", "number"], condition=STANDING, name="discrepancy_stands_once"
            ),
            models.CheckConstraint(
                name="discrepancy_status_matches_times",
                condition=(
                    Q(STANDING, ended_at=None) | Q(status__in=["REPAIRED", "GONE"], ended_at__isnull=False)
                ),
            ),
            models.CheckConstraint(
                name="discrepancy_decided_by_somebody",
                condition=Q(status__in=["OPEN", "GONE"])
                | (Q(decided_at__isnull=False) & ~Q(decided_by="") & ~Q(reason="")),
            ),
        ]
        indexes = [
            models.Index(fields=["operator", "-id"], name="discrepancy_operator"),
            models.Index(fields=["run", "kind", "status"], name="discrepancy_run"),
            models.Index(fields=["-id"], condition=Q(status="OPEN"), name="discrepancy_open"),
            models.Index(fields=["id"], condition=Q(status="ACCEPTED"), name="discrepancy_accepted"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"

    def accept(self, *, by: str, by_label: str, reason: str, now: datetime) -> None:
        self._decide(DiscrepancyStatus.ACCEPTED, by, by_label, reason, now)

    def ignore(self, *, by: str, by_label: str, reason: str, now: datetime) -> None:
        self._decide(DiscrepancyStatus.IGNORED, by, by_label, reason, now)

    def reopen(self, *, code: str = "", detail: str = "") -> None:
        """IGNORED or ACCEPTED -> OPEN; with the code of what stood in the way of the repair."""
        DISCREPANCY.check(self.status, DiscrepancyStatus.OPEN)
        self.status = DiscrepancyStatus.OPEN
        self.error_code, self.error_detail = code, detail[:200]
        self.save(update_fields=["status", "error_code", "error_detail"])

    def repair(self, *, order: ServiceOrder | None, now: datetime) -> None:
        """ACCEPTED -> REPAIRED: the order is placed, or the correction recorded."""
        DISCREPANCY.check(self.status, DiscrepancyStatus.REPAIRED)
        self.status = DiscrepancyStatus.REPAIRED
        self.order = order
        self.ended_at = now
        self.error_code = self.error_detail = ""
        self.save(update_fields=["status", "order", "ended_at", "error_code", "error_detail"])

    def _decide(self, status: DiscrepancyStatus, by: str, by_label: str, reason: str, now: datetime) -> None:
        DISCREPANCY.check(self.status, status)
        self.status = status
        self.decided_by, self.decided_by_label, self.decided_at = by, by_label, now
        self.reason = reason[:200]
        self.error_code = self.error_detail = ""
        self.save(
            update_fields=[
                "status",
                "decided_by",
                "decided_by_label",
                "decided_at",
                "reason",
                "error_code",
                "error_detail",
            ]
        )


class PaperWarning(models.Model):
    """Staff were told that a licence or agreement ends: once for each of the days before that policy names."""

    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT)
    # Public id of the licence or agreement, its last day plus one, and the step of the ladder (30, 14, 7, 1).
    paper = models.CharField(max_length=40)
    valid_until = models.DateField()
    days = models.PositiveSmallIntegerField()
    warned_at = models.DateTimeField()

    objects = TenantQuerySet["PaperWarning"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["paper", "valid_until", "days"], name="paper_warned_once"),
        ]

    def __str__(self) -> str:
        return f"{self.paper} {self.days}"
