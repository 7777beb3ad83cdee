"""The outbox: news for higher apps and for partners, written in the transaction that made it true."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet


class OutboxEvent(models.Model):
    """One thing that happened. `id` rises per subject, because a subject's changes hold its row lock until commit."""

    uid = PublicIdField(prefix="evt")
    operator_id = models.BigIntegerField()
    # Short name, e.g. line.activated; the wire type is cn.kaihu.line.activated.v1.
    type = models.CharField(max_length=40)
    subject = models.CharField(max_length=40)
    data = models.JSONField()
    # The request that made it true, for tracing; empty when none did.
    request_id = models.CharField(max_length=64, blank=True)
    trace_id = models.CharField(max_length=32, blank=True)
    occurred_at = models.DateTimeField()
    relayed_at = models.DateTimeField(null=True)

    objects = TenantQuerySet["OutboxEvent"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["id"], condition=Q(relayed_at=None), name="outbox_waiting"),
            models.Index(fields=["operator_id", "-id"], name="outbox_operator"),
            models.Index(fields=["subject", "id"], name="outbox_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.subject}"
