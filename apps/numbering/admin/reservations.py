"""Reservations."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib import admin

from apps.accounts.admin_base import TenantAdmin
from apps.accounts.admin_display import Panel, StateFilter, link, moment, whole_id
from apps.core.actor import Actor
from apps.numbering.models import Reservation
from apps.numbering.numbers import to_e164


def numbers_of(*, actor: Actor, row: Reservation) -> Iterator[tuple[object, ...]]:
    for number in row.numbers:
        yield (link(model="numbering_phonenumber", key=number, text=to_e164(number)),)


@admin.register(Reservation)
class ReservationAdmin(TenantAdmin):
    list_display = ("row_id", "state", "first_number", "quantity", "owner", "expires", "created", "operator")
    list_filter = (("status", StateFilter), "operator")
    list_select_related = ("operator",)
    search_fields = ("uid",)
    search_help_text = "A whole reservation id"
    shortcuts = (
        ("All", ""),
        ("Active", "status__exact=ACTIVE"),
        ("Consumed", "status__exact=CONSUMED"),
        ("Released", "status__exact=RELEASED"),
        ("Expired", "status__exact=EXPIRED"),
    )
    empty_sentence = (
        "Partner apps reserve numbers while they sell them; orders without a reservation need none."
    )
    ordering = ("-id",)
    fields = (
        ("state", "quantity"),
        ("expires", "extended_at"),
        ("created", "closed_at"),
        ("owner_link", "public_id"),
        "operator",
    )
    panels = (Panel("Reserved numbers", ("Number",), numbers_of, "None."),)
    trail = "reservation"

    @admin.display(description="Quantity")
    def quantity(self, row: Reservation) -> int:
        return len(row.numbers)

    @admin.display(description="Numbers")
    def first_number(self, row: Reservation) -> str:
        more = f" and {len(row.numbers) - 1} more" if len(row.numbers) > 1 else ""
        return f"{to_e164(row.numbers[0])}{more}"

    @admin.display(description="Made by")
    def owner_link(self, row: Reservation) -> str:
        return whole_id(row.owner)

    @admin.display(description="Expires")
    def expires(self, row: Reservation) -> str:
        return moment(row.expires_at)
