"""Review cases: what people are asked about a verification."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import F, Q

from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.operators.models import VirtualOperator
from apps.subscribers.models.people import Verification
from apps.subscribers.states import REVIEW_CASE, CaseKind, CaseStatus


class ReviewCaseQuerySet(TenantQuerySet["ReviewCase"]):
    def open(self) -> Self:
        return self.filter(status=CaseStatus.OPEN)


class ReviewCase(models.Model):
    """One question about a verification that people answer: let a doubtful one pass, or overrule a failed check."""

    uid = PublicIdField(prefix="cas")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, db_index=False)
    verification = models.ForeignKey(Verification, on_delete=models.PROTECT, related_name="cases")
    kind = models.CharField(max_length=8, choices=CaseKind)
    status = models.CharField(max_length=8, choices=CaseStatus, default=CaseStatus.OPEN)
    # The check that it is about, and its code.
    check_name = models.CharField(max_length=32, blank=True)
    check_code = models.CharField(max_length=40, blank=True)
    opened_at = models.DateTimeField()
    # Of an OVERRIDE: who wants it and why. Actor.id, and the name as it was.
    proposed_by = models.CharField(max_length=64, blank=True)
    proposed_by_label = models.CharField(max_length=150, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    # Who works on it, until when nobody else may.
    claimed_by = models.CharField(max_length=64, blank=True)
    claimed_by_label = models.CharField(max_length=150, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=64, blank=True)
    decided_by_label = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    # The verification that an accepted OVERRIDE has started.
    rerun = models.OneToOneField(
        Verification, null=True, blank=True, on_delete=models.PROTECT, related_name="override"
    )

    objects = ReviewCaseQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["operator", "-id"], name="review_case_operator"),
            # The queue: the oldest first.
            models.Index(fields=["id"], condition=Q(status=CaseStatus.OPEN), name="review_case_queue"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["verification"], condition=Q(status=CaseStatus.OPEN), name="review_case_open_once"
            ),
            models.CheckConstraint(condition=Q(kind__in=CaseKind.values), name="review_case_kind"),
            models.CheckConstraint(
                condition=Q(status=CaseStatus.OPEN, decided_at__isnull=True, decided_by="")
                | (
                    Q(status__in=[CaseStatus.ACCEPTED, CaseStatus.REFUSED, CaseStatus.DROPPED])
                    & Q(decided_at__isnull=False)
                    & ~Q(decided_by="")
                ),
                name="review_case_decided",
            ),
            # Who proposes to overrule a check never decides it.
            models.CheckConstraint(
                condition=Q(decided_by="") | ~Q(decided_by=F("proposed_by")), name="review_case_second_person"
            ),
            models.CheckConstraint(
                condition=Q(kind=CaseKind.DOUBT, proposed_by="", reason="", rerun__isnull=True)
                | (Q(kind=CaseKind.OVERRIDE) & ~Q(proposed_by="") & ~Q(reason="") & ~Q(check_code="")),
                name="review_case_proposed",
            ),
            models.CheckConstraint(
                condition=Q(rerun__isnull=True) | Q(status=CaseStatus.ACCEPTED),
                name="review_case_rerun_accepted",
            ),
            models.CheckConstraint(
                condition=Q(claimed_by="", claimed_until__isnull=True)
                | (~Q(claimed_by="") & Q(claimed_until__isnull=False)),
                name="review_case_claimed",
            ),
        ]

    def __str__(self) -> str:
        return str(self.uid)

    def is_claimed_by_other(self, actor_id: str, now: datetime) -> bool:
        """Whether somebody else works on it now."""
        return self.claimed_until is not None and self.claimed_until > now and self.claimed_by != actor_id

    def is_claimed_by(self, actor_id: str, now: datetime) -> bool:
        return self.claimed_until is not None and self.claimed_until > now and self.claimed_by == actor_id

    def claim(self, *, by: str, label: str, until: datetime) -> None:
        self.claimed_by, self.claimed_by_label, self.claimed_until = by, label, until
        self.save(update_fields=["claimed_by", "claimed_by_label", "claimed_until"])

    def release(self) -> None:
        self.claimed_by = self.claimed_by_label = ""
        self.claimed_until = None
        self.save(update_fields=["claimed_by", "claimed_by_label", "claimed_until"])

    def decide(self, status: CaseStatus, *, by: str, label: str, now: datetime) -> None:
        """OPEN -> ACCEPTED, REFUSED or DROPPED. :raises InvalidTransition: it is decided."""
        REVIEW_CASE.check(self.status, status)
        self.status = status
        self.decided_by, self.decided_by_label, self.decided_at = by, label, now
        self.save(update_fields=["status", "decided_by", "decided_by_label", "decided_at"])

    def note_rerun(self, verification: Verification) -> None:
        self.rerun = verification
        self.save(update_fields=["rerun"])
