"""The audit trail: rows that are only ever added."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.core.tenancy import TenantQuerySet


class AuditEvent(models.Model):
    """Who did what to which thing, and how it changed. A database trigger refuses UPDATE, DELETE and TRUNCATE."""

    at = models.DateTimeField()
    operator_id = models.BigIntegerField(null=True)
    actor_kind = models.CharField(max_length=8)
    actor_id = models.CharField(max_length=64)
    # Copied, so that it still reads well when the account is gone.
    actor_label = models.CharField(max_length=150)
    request_id = models.CharField(max_length=64, blank=True)
    trace_id = models.CharField(max_length=32, blank=True)
    ip = models.GenericIPAddressField(verbose_name="IP address", null=True)
    action = models.CharField(max_length=64)
    target_type = models.CharField(max_length=32)
    target_id = models.CharField(max_length=64)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.CharField(max_length=500, blank=True)

    objects = TenantQuerySet["AuditEvent"].as_manager()

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["target_type", "target_id", "id"], name="audit_target"),
            models.Index(fields=["operator_id", "-id"], name="audit_operator"),
            # A search is for one of these or the target, so neither could give the order; equal values share entries.
            models.Index(fields=["actor_id"], name="audit_actor"),
            models.Index(fields=["action"], name="audit_action"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target_id}"


class AuditSeal(models.Model):
    """The place of one audit row in its operator's chain; see `chain`. As append-only as the rows themselves."""

    # An id and no foreign key: a row that somebody removes must leave its seal behind.
    audit_event_id = models.BigIntegerField(primary_key=True)
    # None: the chain of the platform.
    operator_id = models.BigIntegerField(null=True)
    sequence = models.BigIntegerField()
    previous_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)

    objects = TenantQuerySet["AuditSeal"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["operator_id", "sequence"], nulls_distinct=False, name="audit_seal_place"
            ),
            models.CheckConstraint(condition=Q(sequence__gte=1), name="audit_seal_sequence_from_one"),
        ]

    def __str__(self) -> str:
        return f"{self.operator_id or 'platform'} {self.sequence}"


class SealHorizon(models.Model):
    """How far the sealer may go once some transactions are over: one row, rewritten by each of its rounds."""

    up_to = models.BigIntegerField()
    # Virtual transaction ids, as pg_locks has them, that may still add rows up to there.
    writers = ArrayField(models.CharField(max_length=64))

    def __str__(self) -> str:
        return f"up to {self.up_to}"
