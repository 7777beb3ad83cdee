"""The audit trail: rows that are only ever added."""

from __future__ import annotations

from django.db import models

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
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target_id}"
