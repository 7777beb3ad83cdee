"""What people have agreed to."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Q

from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.operators.models import VirtualOperator
from apps.subscribers.models.people import Subscriber
from apps.subscribers.states import Channel, ConsentPurpose


class Consent(models.Model):
    """That a person agreed to one purpose, in the words of one version of the text (PIPL arts. 13 to 15)."""

    uid = PublicIdField(prefix="cns")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT)
    subscriber = models.ForeignKey(Subscriber, on_delete=models.PROTECT, related_name="consents")
    purpose = models.CharField(max_length=16, choices=ConsentPurpose)
    text_version = models.CharField(max_length=32)
    channel = models.CharField(max_length=12, choices=Channel)
    # The guardian who agreed for a minor (PIPL art. 31); NULL: the person themselves.
    given_by = models.ForeignKey(
        "subscribers.Representative", null=True, blank=True, on_delete=models.PROTECT
    )
    given_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    recorded_by = models.CharField(max_length=80)

    objects = TenantQuerySet["Consent"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subscriber", "purpose"],
                condition=Q(withdrawn_at__isnull=True),
                name="consent_one_per_purpose",
            ),
            models.CheckConstraint(condition=Q(purpose__in=ConsentPurpose.values), name="consent_purpose"),
            models.CheckConstraint(
                condition=Q(withdrawn_at__isnull=True) | Q(withdrawn_at__gte=F("given_at")),
                name="consent_withdrawn_after_given",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} {self.text_version}"

    def withdraw(self, *, now: datetime) -> None:
        self.withdrawn_at = now
        self.save(update_fields=["withdrawn_at"])
