"""People who stand for subscribers, sealed and masked as those are."""

from __future__ import annotations

import os
from datetime import datetime

from django.db import models
from django.db.models import F, Q

from apps.core import sealing
from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.operators.models import VirtualOperator
from apps.subscribers.models.people import TOMBSTONE, Subscriber
from apps.subscribers.realname.documents import PERSONAL_DOCUMENTS
from apps.subscribers.states import RepresentativeRole


class Representative(models.Model):
    """Somebody who stands for a subscriber: guardian of a minor, proxy, responsible person of an organization.

    With a document of their own, which makes them no subscriber: nobody looks whether they are one. Proxies act once,
    the others until somebody else takes their place.
    """

    uid = PublicIdField(prefix="rep")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT)
    subscriber = models.ForeignKey(Subscriber, on_delete=models.PROTECT, related_name="representatives")
    role = models.CharField(max_length=12, choices=RepresentativeRole)
    name_sealed = models.BinaryField()
    name_masked = models.CharField(max_length=8)
    document_type = models.CharField(max_length=32)
    number_sealed = models.BinaryField()
    number_masked = models.CharField(max_length=32)
    # As of a subscriber's document, and moved with those when the key of the blind indexes is rotated.
    fingerprint = models.BinaryField(max_length=36)
    valid_from = models.DateField(null=True)
    valid_until = models.DateField(null=True)
    issuing_country = models.CharField(max_length=3, blank=True)
    # "KIND:id", as of subscribers.
    recorded_by = models.CharField(max_length=80)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["Representative"].as_manager()

    class Meta:
        indexes = [models.Index(fields=["operator", "fingerprint"], name="representative_person")]
        constraints = [
            models.UniqueConstraint(
                fields=["subscriber", "role"],
                condition=Q(ended_at__isnull=True) & ~Q(role="PROXY"),
                name="representative_one_in_force",
            ),
            models.CheckConstraint(
                condition=Q(role__in=RepresentativeRole.values), name="representative_role"
            ),
            models.CheckConstraint(
                condition=Q(document_type__in=[member.value for member in PERSONAL_DOCUMENTS]),
                name="representative_document_type",
            ),
            models.CheckConstraint(
                condition=Q(name_masked__contains="*", number_masked__contains="*"),
                name="representative_is_masked",
            ),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True) | Q(ended_at__gte=F("created_at")),
                name="representative_ended_after",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.name_masked}"

    def seal(self, *, name: str, number: str) -> None:
        self.name_sealed = sealing.seal(name, context=self.context("name"))
        self.number_sealed = sealing.seal(number, context=self.context("number"))

    def open_name(self) -> str:
        """The name in clear. :raises SealBroken: when the ciphertext is not this row's."""
        return sealing.unseal(self.name_sealed, context=self.context("name"))

    def open_number(self) -> str:
        """The number in clear. :raises SealBroken: when the ciphertext is not this row's."""
        return sealing.unseal(self.number_sealed, context=self.context("number"))

    def end(self, *, now: datetime) -> None:
        self.ended_at = now
        self.save(update_fields=["ended_at"])

    def erase(self) -> None:
        """Goes with the subscriber they stood for: who it was is known to nobody."""
        self.name_sealed = self.number_sealed = b""
        self.name_masked = self.number_masked = TOMBSTONE
        self.fingerprint = os.urandom(32)
        self.valid_from = self.valid_until = None
        self.issuing_country = ""
        self.save(
            update_fields=[
                "name_sealed",
                "number_sealed",
                "name_masked",
                "number_masked",
                "fingerprint",
                "valid_from",
                "valid_until",
                "issuing_country",
            ]
        )

    def context(self, column: str) -> str:
        return f"subscribers.representative.{column}:{self.operator_id}:{self.uid}"
