"""Carrier connections in the admin, with their kill switch. Secrets are not shown, only that they are set."""

from __future__ import annotations

from datetime import datetime

from django.contrib import admin

from apps.accounts.admin_base import Button, TenantAdmin
from apps.accounts.admin_display import badge, moment
from apps.carriers import services
from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor


def stop(*, actor: Actor, row: CarrierConnection, reason: str, now: datetime) -> str:
    services.stop_calls(actor=actor, connection_uid=row.uid, reason=reason, now=now)
    return "No call is begun over this connection any more. Jobs wait."


def allow(*, actor: Actor, row: CarrierConnection, reason: str, now: datetime) -> str:
    services.allow_calls(actor=actor, connection_uid=row.uid, reason=reason, now=now)
    return "Calls are made over this connection again."


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
        ("max_in_flight", "calls_per_second"),
        ("timeout_seconds", "stopped"),
        ("settle_seconds", "callback_wait_seconds"),
        ("dedupes_by_reference", "operator"),
        ("connected", "disconnected"),
        "public_id",
    )
    trail = "carrier_connection"
    buttons = (
        Button(
            "stop",
            "Stop calls",
            right=services.CAPABILITY,
            call=stop,
            shown=lambda connection: connection.is_active and connection.stopped_at is None,
            asks_reason=True,
            dangerous=True,
            hint="Nothing is sent and nothing is asked until calls are allowed again; callbacks are heard.",
        ),
        Button(
            "allow",
            "Allow calls",
            right=services.CAPABILITY,
            call=allow,
            shown=lambda connection: connection.is_active and connection.stopped_at is not None,
            asks_reason=True,
            hint="The jobs that wait go on, no faster than the connection's rate.",
        ),
    )

    @admin.display(description="Status")
    def state(self, connection: CarrierConnection) -> str:
        if not connection.is_active:
            return badge("DISCONNECTED")
        return badge("STOPPED" if connection.stopped_at else "ACTIVE")

    @admin.display(description="Calls stopped")
    def stopped(self, connection: CarrierConnection) -> str:
        return moment(connection.stopped_at)

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
