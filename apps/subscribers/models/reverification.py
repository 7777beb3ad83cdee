"""Demands that somebody proves again who they are: step by step, each with what the person is told."""

from __future__ import annotations

from datetime import date, datetime
from typing import Self

from django.db import models
from django.db.models import Q

from apps.core.public_ids import MalformedId, PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.operators.models import VirtualOperator
from apps.subscribers.models.people import TOMBSTONE, IdentityDocument, Subscriber, Verification
from apps.subscribers.states import NEXT_STEP, OPEN_DEMAND, REVERIFICATION, DemandReason, DemandStatus

_OPEN = Q(status__in=[status.value for status in OPEN_DEMAND])


class DemandQuerySet(TenantQuerySet["ReverificationDemand"]):
    def open(self) -> Self:
        """Neither met nor withdrawn."""
        return self.filter(_OPEN)

    def due(self, *, now: datetime) -> Self:
        """Whose next step has come."""
        return self.filter(next_step_at__lte=now)

    def unapplied(self, *, now: datetime) -> Self:
        """Whose lines are not known to be as the demand wants them, and are to be looked at by now."""
        return self.filter(apply_at__lte=now)

    def search(self, text: str) -> Self:
        """By whole id of the demand, its subscriber or its line; whatever else it is finds nothing."""
        try:
            match text[:4]:
                case "sub_":
                    return self.filter(subscriber__uid=text)
                case "lin_":
                    return self.filter(line_uid=text)
                case _:
                    return self.filter(uid=text)
        except MalformedId:
            return self.none()


class ReverificationDemand(models.Model):
    """That a subscriber has to be verified again, for all their lines or for one.

    The verbs change the row in memory and the caller saves `MOVING`, since steps are taken by the hundred.
    """

    # What the verbs change.
    MOVING = ("status", "next_step_at", "apply_at", "apply_tries", "closed_at", "verification")

    uid = PublicIdField(prefix="rvd")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT)
    subscriber = models.ForeignKey(Subscriber, on_delete=models.PROTECT, related_name="demands")
    # Public id of the one line that it is about; empty: all of the subscriber's. Lines are a higher app's.
    line_uid = models.CharField(max_length=40, blank=True)
    reason = models.CharField(max_length=16, choices=DemandReason)
    status = models.CharField(max_length=9, choices=DemandStatus, default=DemandStatus.WARNED)
    # The document whose end is the reason, and that end: only a document that is valid for longer meets the demand.
    document = models.ForeignKey(IdentityDocument, null=True, on_delete=models.PROTECT, related_name="+")
    document_until = models.DateField(null=True)
    # Why, in the words of whoever demanded it.
    note = models.CharField(max_length=500)
    demanded_by = models.CharField(max_length=80)
    demanded_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    # As the person was told; a policy that changes meanwhile changes nothing about it.
    next_step_at = models.DateTimeField(null=True)
    # When the lines have to be looked at; NULL while all of them are as the demand wants them.
    apply_at = models.DateTimeField(null=True)
    apply_tries = models.SmallIntegerField(default=0)
    closed_at = models.DateTimeField(null=True)
    # The one that met it.
    verification = models.ForeignKey(Verification, null=True, on_delete=models.PROTECT, related_name="+")

    objects = DemandQuerySet.as_manager()

    class Meta:
        verbose_name = "re-verification"
        indexes = [
            models.Index(fields=["operator", "-uid"], name="demand_operator"),
            models.Index(fields=["next_step_at"], condition=Q(next_step_at__isnull=False), name="demand_due"),
            models.Index(fields=["apply_at"], condition=Q(apply_at__isnull=False), name="demand_unapplied"),
            models.Index(fields=["line_uid"], condition=~Q(line_uid=""), name="demand_line"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["subscriber", "reason", "line_uid"], condition=_OPEN, name="demand_one_open"
            ),
            # Each end of a document is a reason once, whatever became of it.
            models.UniqueConstraint(
                fields=["document", "document_until"], name="demand_one_per_document_end"
            ),
            models.CheckConstraint(condition=Q(reason__in=DemandReason.values), name="demand_reason"),
            models.CheckConstraint(
                condition=Q(document__isnull=True, document_until__isnull=True)
                | Q(document__isnull=False, document_until__isnull=False, reason="DOCUMENT_EXPIRED"),
                name="demand_document_has_end",
            ),
            models.CheckConstraint(
                name="demand_status_matches_times",
                condition=(
                    Q(
                        status__in=["WARNED", "ONE_WAY"],
                        next_step_at__isnull=False,
                        closed_at=None,
                        verification=None,
                    )
                    | Q(status="TWO_WAY", next_step_at=None, closed_at=None, verification=None)
                    | Q(
                        status="PASSED",
                        next_step_at=None,
                        closed_at__isnull=False,
                        verification__isnull=False,
                    )
                    | Q(status="WITHDRAWN", next_step_at=None, closed_at__isnull=False, verification=None)
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.uid} {self.status}"

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_DEMAND

    @property
    def next_status(self) -> DemandStatus | None:
        """The step that comes at `next_step_at`."""
        return NEXT_STEP.get(DemandStatus(self.status))

    def accepts(self, valid_until: date | None) -> bool:
        """Whether a pass with a document that is valid until then (None: long-term) meets it."""
        return self.document_until is None or valid_until is None or valid_until > self.document_until

    def climb(self, *, now: datetime, next_step_at: datetime | None) -> None:
        """To the next step, which the lines have to follow. :raises InvalidTransition: unless there is one."""
        to = self.next_status or DemandStatus.TWO_WAY
        REVERIFICATION.check(self.status, to)
        self.status = to
        self.next_step_at = next_step_at
        self._apply_from(now)

    def pass_(self, *, now: datetime, verification_id: int) -> None:
        """:raises InvalidTransition: unless open."""
        self._close(DemandStatus.PASSED, now)
        self.verification_id = verification_id

    def withdraw(self, *, now: datetime) -> None:
        """:raises InvalidTransition: unless open."""
        self._close(DemandStatus.WITHDRAWN, now)

    def note_applied(self, *, look_again_at: datetime | None) -> None:
        """None: every line is as it should be."""
        self.apply_at = look_again_at
        self.apply_tries = min(self.apply_tries + 1, 100)

    def forget(self) -> None:
        """Leaves that there was a demand, and nothing of the person."""
        self.note = TOMBSTONE
        self.document = self.document_until = None
        self.save(update_fields=["note", "document", "document_until"])

    def _close(self, status: DemandStatus, now: datetime) -> None:
        REVERIFICATION.check(self.status, status)
        # Before the first suspension there is nothing to lift.
        touched = self.status != DemandStatus.WARNED
        self.status = status
        self.closed_at = now
        self.next_step_at = None
        if touched:
            self._apply_from(now)

    def _apply_from(self, now: datetime) -> None:
        self.apply_at = now
        self.apply_tries = 0


class _Words(models.Model):
    """What a person is told, in Chinese and English: why, how to be rid of it or object to it, what to bring."""

    notice_zh = models.CharField(max_length=300)
    notice_en = models.CharField(max_length=300)
    remedy_zh = models.CharField(max_length=300)
    remedy_en = models.CharField(max_length=300)
    papers_zh = models.CharField(max_length=300)
    papers_en = models.CharField(max_length=300)

    class Meta:
        abstract = True


class DemandStep(_Words):
    """One step of a demand as it was taken, in the words of that day (Anti-Telecom-Fraud Law art. 32)."""

    demand = models.ForeignKey(ReverificationDemand, on_delete=models.PROTECT, related_name="steps")
    status = models.CharField(max_length=9, choices=DemandStatus)
    taken_at = models.DateTimeField()
    # When the person was told that the next one would come.
    next_step_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["demand", "status"], name="demand_step_once")]

    def __str__(self) -> str:
        return str(self.status)


class NoticeTemplate(_Words):
    """One version of the words of a step. Rows are added, never changed; an operator's own beats the default."""

    operator = models.ForeignKey(VirtualOperator, null=True, on_delete=models.PROTECT)
    # Empty: for every reason that has none of its own.
    reason = models.CharField(max_length=16, choices=DemandReason, blank=True)
    status = models.CharField(max_length=9, choices=DemandStatus)
    valid_from = models.DateTimeField()
    source_note = models.CharField(max_length=300)
    created_at = models.DateTimeField()

    objects = TenantQuerySet["NoticeTemplate"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["operator", "reason", "status", "valid_from"],
                nulls_distinct=False,
                name="notice_template_version",
            )
        ]

    def __str__(self) -> str:
        return f"{self.reason or '*'} {self.status}"
