"""Tables of the watch-list: people who get no service. An operator has its own; the national one counts for all.

Nobody stands there in clear: a number is sealed, and found by the fingerprint of its document family.
"""

from __future__ import annotations

import os
from datetime import date, datetime
from typing import Self

from django.db import models
from django.db.models import F, Q

from apps.core import sealing
from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.operators.models import VirtualOperator
from apps.subscribers.realname.documents import DocumentType

# In the place of what was masked.
ENDED = "***"


class WatchListFile(models.Model):
    """A file of listed people, taken in whole or not at all; `operator` is NULL for the national list."""

    uid = PublicIdField(prefix="wlf")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, null=True, blank=True)
    file_name = models.CharField(max_length=200)
    rows = models.PositiveIntegerField()
    # Of these rows; the others were on the list already, and what the file says of them counts from now on.
    added = models.PositiveIntegerField()
    imported_by = models.CharField(max_length=80)
    imported_at = models.DateTimeField()

    objects = TenantQuerySet["WatchListFile"].as_manager()

    class Meta:
        verbose_name = "watch-list file"
        constraints = [
            models.CheckConstraint(condition=Q(added__lte=F("rows")), name="watch_list_file_added_of_rows")
        ]

    def __str__(self) -> str:
        return self.file_name


class WatchListQuerySet(TenantQuerySet["WatchListEntry"]):
    def in_force(self, *, today: date) -> Self:
        return self.filter(lifted_at=None, valid_until__gte=today)

    def to_apply(self) -> Self:
        """New, and not erased since: whose number is gone finds nobody."""
        return self.filter(applied_at=None, lifted_at=None).exclude(number_sealed=b"")


class WatchListEntry(models.Model):
    """One person on one list, for one reason, until a day; `operator` is NULL for the national list."""

    uid = PublicIdField(prefix="wle")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, null=True, blank=True)
    file = models.ForeignKey(WatchListFile, on_delete=models.PROTECT, null=True, blank=True)
    document_type = models.CharField(max_length=32)
    issuing_country = models.CharField(max_length=3, blank=True)
    number_sealed = models.BinaryField()
    number_masked = models.CharField(max_length=32)
    # As in identity documents, so that one is found by the other.
    fingerprint = models.BinaryField(max_length=36)
    # Who wants them to be listed, and why.
    source = models.CharField(max_length=100)
    reason = models.CharField(max_length=200)
    # The last day in China on which it counts.
    valid_until = models.DateField()
    listed_at = models.DateTimeField()
    listed_by = models.CharField(max_length=80)
    # When checks that had passed without it were ended; NULL: a worker still has to.
    applied_at = models.DateTimeField(null=True, blank=True)
    lifted_at = models.DateTimeField(null=True, blank=True)

    objects = WatchListQuerySet.as_manager()

    class Meta:
        verbose_name = "listed person"
        verbose_name_plural = "watch-list"
        indexes = [
            models.Index(
                fields=["fingerprint"], condition=Q(lifted_at__isnull=True), name="watch_list_person"
            ),
            models.Index(
                fields=["id"],
                condition=Q(applied_at__isnull=True, lifted_at__isnull=True),
                name="watch_list_to_apply",
            ),
            models.Index(fields=["operator", "-id"], name="watch_list_operator"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["operator", "fingerprint", "source"],
                condition=Q(lifted_at__isnull=True),
                nulls_distinct=False,
                name="watch_list_once_per_source",
            ),
            models.CheckConstraint(
                condition=Q(document_type__in=[member.value for member in DocumentType]),
                name="watch_list_document_type",
            ),
            models.CheckConstraint(
                condition=Q(number_masked__contains="*"), name="watch_list_number_is_masked"
            ),
            models.CheckConstraint(
                condition=~Q(source="") & ~Q(reason=""), name="watch_list_source_and_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.document_type} {self.number_masked}"

    def seal_number(self, number: str) -> None:
        self.number_sealed = sealing.seal(number, context=self.number_context)

    def open_number(self) -> str:
        """The number in clear. :raises SealBroken: when the ciphertext is not this row's."""
        return sealing.unseal(self.number_sealed, context=self.number_context)

    def renew(self, *, reason: str, valid_until: date, file: WatchListFile | None) -> None:
        """What was said last of the person counts; who has passed since the entry ended has to be found once more."""
        self.reason, self.valid_until, self.file = reason, valid_until, file
        self.applied_at = None
        self.save(update_fields=["reason", "valid_until", "file", "applied_at"])

    def lift(self, *, now: datetime) -> None:
        self.lifted_at = now
        self.save(update_fields=["lifted_at"])

    def erase(self) -> None:
        """Why and until when somebody was listed stays; who it was is known to nobody any more."""
        self.number_sealed = b""
        self.number_masked = ENDED
        self.fingerprint = os.urandom(32)
        self.save(update_fields=["number_sealed", "number_masked", "fingerprint"])

    @property
    def number_context(self) -> str:
        return f"subscribers.watchlistentry.number:{self.operator_id or 'national'}:{self.uid}"
