"""Disputes: "this number is not mine"."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import F, Q

from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.provisioning.states import DISPUTE, UNDECIDED, DisputeOutcome, DisputeStatus


class DisputeQuerySet(TenantQuerySet["HolderDispute"]):
    def undecided(self) -> Self:
        return self.filter(status__in=UNDECIDED)


class HolderDispute(models.Model):
    """A person says that a line in their name is not theirs; staff see to it until `due_at`."""

    uid = PublicIdField(prefix="dsp")
    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT, db_index=False)
    line = models.ForeignKey("lines.Line", on_delete=models.PROTECT, related_name="disputes")
    # Whose it was when they said so.
    subscriber = models.ForeignKey("subscribers.Subscriber", on_delete=models.PROTECT, related_name="+")
    # The question whose answer they dispute.
    holder_check = models.ForeignKey("lines.HolderCheck", on_delete=models.PROTECT, null=True, blank=True)
    status = models.CharField(max_length=9, choices=DisputeStatus, default=DisputeStatus.OPEN)
    outcome = models.CharField(max_length=9, choices=DisputeOutcome, blank=True)
    statement = models.CharField(max_length=500)
    # Actor.id, and the name as it was.
    opened_by = models.CharField(max_length=64)
    opened_by_label = models.CharField(max_length=150)
    opened_at = models.DateTimeField()
    due_at = models.DateTimeField()
    verifying_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=64, blank=True)
    decided_by_label = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decision = models.CharField(max_length=500, blank=True)

    objects = DisputeQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["operator", "-id"], name="holder_dispute_operator"),
            # The queue: as all have the same time, the oldest is due first.
            models.Index(fields=["id"], condition=Q(status__in=UNDECIDED), name="holder_dispute_queue"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["line"], condition=Q(status__in=UNDECIDED), name="holder_dispute_one_per_line"
            ),
            models.CheckConstraint(
                name="holder_dispute_status_matches",
                condition=(
                    Q(
                        status=DisputeStatus.OPEN,
                        verifying_at=None,
                        decided_at=None,
                        decided_by="",
                        outcome="",
                    )
                    | Q(
                        status=DisputeStatus.VERIFYING,
                        verifying_at__isnull=False,
                        decided_at=None,
                        decided_by="",
                        outcome="",
                    )
                    | (
                        Q(
                            status=DisputeStatus.RESOLVED,
                            decided_at__isnull=False,
                            outcome__in=DisputeOutcome.values,
                        )
                        & ~Q(decided_by="")
                    )
                    | (
                        Q(status=DisputeStatus.WITHDRAWN, decided_at__isnull=False, outcome="")
                        & ~Q(decided_by="")
                    )
                ),
            ),
            models.CheckConstraint(
                condition=~Q(outcome=DisputeOutcome.VERIFY) | Q(verifying_at__isnull=False),
                name="holder_dispute_verified_was_demanded",
            ),
            models.CheckConstraint(condition=~Q(statement=""), name="holder_dispute_statement"),
            models.CheckConstraint(condition=~Q(decided_by=F("opened_by")), name="holder_dispute_four_eyes"),
        ]

    def __str__(self) -> str:
        return str(self.uid)

    def demand_verification(self, *, now: datetime) -> None:
        """OPEN -> VERIFYING."""
        DISPUTE.check(self.status, DisputeStatus.VERIFYING)
        self.status = DisputeStatus.VERIFYING
        self.verifying_at = now
        self.save(update_fields=["status", "verifying_at"])

    def resolve(self, outcome: DisputeOutcome, *, by: str, label: str, decision: str, now: datetime) -> None:
        """OPEN or VERIFYING -> RESOLVED."""
        self._end(DisputeStatus.RESOLVED, outcome, by=by, label=label, decision=decision, now=now)

    def withdraw(self, *, by: str, label: str, decision: str, now: datetime) -> None:
        """OPEN or VERIFYING -> WITHDRAWN."""
        self._end(DisputeStatus.WITHDRAWN, "", by=by, label=label, decision=decision, now=now)

    def _end(
        self, status: DisputeStatus, outcome: str, *, by: str, label: str, decision: str, now: datetime
    ) -> None:
        DISPUTE.check(self.status, status)
        self.status, self.outcome, self.decision = status, outcome, decision
        self.decided_by, self.decided_by_label, self.decided_at = by, label, now
        self.save(
            update_fields=["status", "outcome", "decision", "decided_by", "decided_by_label", "decided_at"]
        )
