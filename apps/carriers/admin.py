"""Carrier connections in the admin: to look at. Secrets are not shown, only that they are set."""

from __future__ import annotations

from django.contrib import admin

from apps.accounts.admin_base import TenantAdmin
from apps.accounts.admin_display import badge, moment
from apps.carriers.models import CarrierConnection


@admin.register(CarrierConnection)
class CarrierConnectionAdmin(TenantAdmin):
    list_display = ("row_id", "state", "carrier", "dialect", "base_url", "app_key", "operator")
    list_filter = ("host_carrier", "dialect", "operator")
    list_select_related = ("operator", "host_carrier")
    search_fields = ("app_key",)
    search_help_text = "A whole connection id or app key"
    empty_sentence = "Without a connection no job of this operator can reach a host carrier."
    ordering = ("-id",)
    fields = (
        ("carrier", "state"),
        ("dialect", "app_key"),
        "base_url",
        ("secret", "callback_secret"),
        ("timeout_seconds", "max_in_flight"),
        ("settle_seconds", "callback_wait_seconds"),
        ("dedupes_by_reference", "operator"),
        ("connected", "disconnected"),
        "public_id",
    )
    trail = "carrier_connection"

    @admin.display(description="Status")
    def state(self, connection: CarrierConnection) -> str:
        return badge("ACTIVE" if connection.is_active else "DISCONNECTED")

    @admin.display(description="Secret")
    def secret(self, connection: CarrierConnection) -> str:
        return "set"

    @admin.display(description="Callback secret")
    def callback_secret(self, connection: CarrierConnection) -> str:
        return "set"

    @admin.display(description="Connected")
    def connected(self, connection: CarrierConnection) -> str:
        return moment(connection.connected_at)

    @admin.display(description="Disconnected")
    def disconnected(self, connection: CarrierConnection) -> str:
        return moment(connection.disconnected_at)
