"""The audit trail, to look at."""

from __future__ import annotations

from django.contrib import admin

from apps.accounts.admin_base import TenantAdmin
from apps.audit.models import AuditEvent


@admin.register(AuditEvent)
class AuditEventAdmin(TenantAdmin):
    list_display = ("at", "action", "target_id", "actor_label", "actor_kind", "reason")
    list_filter = ("target_type", "actor_kind", "action")
    search_fields = ("=target_id", "=actor_id", "=request_id")
    ordering = ("-id",)
    fields = (
        "at",
        "action",
        "target_type",
        "target_id",
        "actor_kind",
        "actor_id",
        "actor_label",
        "ip",
        "request_id",
        "before",
        "after",
        "reason",
    )
