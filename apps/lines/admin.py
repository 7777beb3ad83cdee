"""Lines and plans in the admin: what a support agent looks up first."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from apps.accounts.admin_base import TenantAdmin, link, table
from apps.lines.models import Line, Plan
from apps.numbering.numbers import to_e164

STATUS_COLOURS = {"ACTIVE": "success", "PENDING": "info", "SUSPENDED": "warning", "TERMINATED": "danger"}


@admin.register(Line)
class LineAdmin(TenantAdmin):
    list_display = ("phone", "holder", "carrier", "plan", "state", "created_at", "activated_at", "operator")
    list_filter = ("status", "host_carrier", "operator")
    list_select_related = ("plan", "host_carrier", "operator", "subscriber")
    search_fields = ("uid",)
    search_help_text = "A whole number, ICCID or line id"
    ordering = ("-id",)
    fields = (
        "public_id",
        "phone",
        "card",
        "state",
        "holder",
        "carrier",
        "plan",
        "operator",
        "dealer",
        "created_at",
        "activated_at",
        "terminated_at",
        "numbers_over_time",
        "sims_over_time",
        "orders_of_line",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Line]:
        return super().get_queryset(request).with_fittings()  # type: ignore[attr-defined, no-any-return]

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return (queryset.search(search_term.strip()) if search_term.strip() else queryset), False

    @display(description="Id")
    def public_id(self, line: Line) -> str:
        return line.uid

    @display(description="Number")
    def phone(self, line: Any) -> str:
        return to_e164(line.number) if line.number else "-"

    @display(description="SIM")
    def card(self, line: Any) -> str:
        return line.iccid or "-"

    @display(description="Holder")
    def holder(self, line: Line) -> str:
        return link(model="subscribers_subscriber", key=line.subscriber_id, text=line.subscriber.name_masked)

    @display(description="Carrier")
    def carrier(self, line: Line) -> str:
        return line.host_carrier.code

    @display(description="Status", label=STATUS_COLOURS, ordering="status")
    def state(self, line: Line) -> str:
        return f"{line.status} {line.suspension_kind}" if line.suspension_kind else line.status

    @display(description="Numbers over time")
    def numbers_over_time(self, line: Line) -> str:
        rows = line.number_assignments.order_by("-id")
        return table(
            ("Number", "From", "Until"),
            ((to_e164(row.number_id), row.assigned_at, row.released_at or "now") for row in rows),
        )

    @display(description="SIMs over time")
    def sims_over_time(self, line: Line) -> str:
        rows = line.sim_assignments.select_related("sim").order_by("-id")
        return table(
            ("ICCID", "From", "Until"),
            ((row.sim.iccid, row.assigned_at, row.released_at or "now") for row in rows),
        )

    @display(description="Orders")
    def orders_of_line(self, line: Line) -> str:
        return table(
            ("Order", "Type", "Status", "Reason", "Created"),
            (
                (
                    link(model="provisioning_serviceorder", key=order.pk, text=order.uid),
                    order.type,
                    order.status,
                    order.reason,
                    order.created_at,
                )
                for order in line.orders.order_by("-id")
            ),
        )


@admin.register(Plan)
class PlanAdmin(TenantAdmin):
    list_display = ("code", "name", "host_carrier", "monthly_fee", "is_orderable", "operator")
    list_filter = ("host_carrier", "is_orderable", "operator")
    list_select_related = ("host_carrier", "operator")
    ordering = ("operator", "code")
