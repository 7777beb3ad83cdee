"""Carrier connections in the admin: to look at. Secrets are not shown, only that they are set."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from apps.accounts.actors import staff_actor
from apps.carriers.models import CarrierConnection


@admin.register(CarrierConnection)
class CarrierConnectionAdmin(ModelAdmin):
    list_display = ("uid", "operator", "host_carrier", "dialect", "base_url", "app_key", "live")
    list_filter = ("host_carrier", "dialect")
    list_select_related = ("operator", "host_carrier")
    search_fields = ("app_key", "base_url")
    ordering = ("-id",)
    fields = (
        "uid",
        "operator",
        "host_carrier",
        "dialect",
        "base_url",
        "app_key",
        "secret",
        "callback_secret",
        "timeout_seconds",
        "settle_seconds",
        "callback_wait_seconds",
        "max_in_flight",
        "dedupes_by_reference",
        "connected_at",
        "disconnected_at",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[CarrierConnection]:
        visible: QuerySet[CarrierConnection] = super().get_queryset(request).visible_to(staff_actor(request))
        return visible

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(boolean=True)
    def live(self, connection: CarrierConnection) -> bool:
        return connection.is_active

    @admin.display(description="secret")
    def secret(self, connection: CarrierConnection) -> str:
        return "set"

    @admin.display(description="callback secret")
    def callback_secret(self, connection: CarrierConnection) -> str:
        return "set"
