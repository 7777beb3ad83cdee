"""What staff see of SIM batches and cards; nothing is changed here."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin

from apps.accounts.admin_base import TenantAdmin
from apps.sims.models import SimBatch, SimCard


@admin.register(SimBatch)
class SimBatchAdmin(TenantAdmin):
    list_display: ClassVar = ("filename", "operator", "host_carrier", "rows", "imported_at")
    list_filter: ClassVar = ("host_carrier", "operator")
    list_select_related: ClassVar = ("operator", "host_carrier")
    fields: ClassVar = ("uid", "operator", "host_carrier", "filename", "rows", "imported_at")
    ordering: ClassVar = ("-id",)


@admin.register(SimCard)
class SimCardAdmin(TenantAdmin):
    list_display: ClassVar = (
        "iccid",
        "operator",
        "host_carrier",
        "form_factor",
        "status",
        "is_magic",
        "batch",
    )
    list_filter: ClassVar = ("status", "form_factor", "host_carrier", "operator", "is_magic")
    list_select_related: ClassVar = ("operator", "host_carrier", "batch")
    search_fields: ClassVar = ("iccid__startswith", "imsi__exact")
    fields: ClassVar = (
        "iccid",
        "imsi",
        "operator",
        "host_carrier",
        "batch",
        "form_factor",
        "status",
        "is_magic",
    )
    ordering: ClassVar = ("iccid",)
