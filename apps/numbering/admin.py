"""What staff see of ranges, numbers and reservations; nothing is changed here."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.accounts.admin_base import TenantAdmin
from apps.numbering.models import NumberRange, PhoneNumber, Reservation
from apps.numbering.numbers import MalformedNumber, parse_e164, to_e164


@admin.register(NumberRange)
class NumberRangeAdmin(TenantAdmin):
    list_display: ClassVar = (
        "prefix",
        "operator",
        "host_carrier",
        "home_province",
        "home_city",
        "status",
        "leased_from",
        "leased_until",
    )
    list_filter: ClassVar = ("status", "host_carrier", "operator")
    list_select_related: ClassVar = ("operator", "host_carrier")
    search_fields: ClassVar = ("prefix", "home_city")
    fields: ClassVar = (
        "uid",
        "operator",
        "host_carrier",
        "agreement",
        "prefix",
        "first",
        "last",
        "home_province",
        "home_city",
        "status",
        "leased_from",
        "leased_until",
        "created_at",
    )
    ordering: ClassVar = ("prefix",)


@admin.register(PhoneNumber)
class PhoneNumberAdmin(TenantAdmin):
    list_display: ClassVar = (
        "e164",
        "operator",
        "range",
        "status",
        "grade",
        "reservation",
        "quarantined_until",
    )
    list_filter: ClassVar = ("status", "grade")
    list_select_related: ClassVar = ("operator", "range", "reservation")
    search_fields: ClassVar = ("number",)
    search_help_text = "A whole number, or how it begins (from the leading 1)."
    ordering: ClassVar = ("number",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By key or key range: a text search over tens of millions of rows would read them all."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(number=parse_e164(term)), False
        except MalformedNumber:
            pass
        if not (term.isascii() and term.isdigit() and 3 <= len(term) <= 11):
            return queryset.none(), False
        unit = 10 ** (11 - len(term))
        return queryset.filter(number__range=(int(term) * unit, int(term) * unit + unit - 1)), False


@admin.register(Reservation)
class ReservationAdmin(TenantAdmin):
    list_display: ClassVar = ("uid", "operator", "owner", "status", "quantity", "expires_at", "created_at")
    list_filter: ClassVar = ("status", "operator")
    list_select_related: ClassVar = ("operator",)
    fields: ClassVar = (
        "uid",
        "operator",
        "owner",
        "status",
        "all_numbers",
        "expires_at",
        "extended_at",
        "created_at",
        "closed_at",
    )
    ordering: ClassVar = ("-id",)

    @admin.display(description="numbers")
    def quantity(self, row: Reservation) -> int:
        return len(row.numbers)

    @admin.display(description="numbers")
    def all_numbers(self, row: Reservation) -> str:
        return ", ".join(to_e164(number) for number in row.numbers)
