"""What keeps a person's data from being erased."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Q

from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.operators.models import VirtualOperator
from apps.subscribers.models.people import Subscriber


class LegalHold(models.Model):
    """Why a person's data must not be erased yet, whatever the clock says; any number of them at once."""

    uid = PublicIdField(prefix="hld")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT)
    subscriber = models.ForeignKey(Subscriber, on_delete=models.PROTECT, related_name="legal_holds")
    reason = models.CharField(max_length=500)
    placed_at = models.DateTimeField()
    placed_by = models.CharField(max_length=80)
    lifted_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["LegalHold"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["subscriber"], condition=Q(lifted_at__isnull=True), name="legal_hold_open")
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(lifted_at__isnull=True) | Q(lifted_at__gte=F("placed_at")), name="legal_hold_term"
            )
        ]

    def __str__(self) -> str:
        return str(self.uid)

    def lift(self, *, now: datetime) -> None:
        self.lifted_at = now
        self.save(update_fields=["lifted_at"])
