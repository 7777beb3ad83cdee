"""What staff see of ranges, numbers and reservations; nothing is changed here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import Max, Min, QuerySet
from django.http import HttpRequest

from apps.accounts.admin_base import TenantAdmin
from apps.accounts.admin_display import Panel, StateFilter, badge, link, list_link, moment, whole_id
from apps.core.actor import Actor
from apps.numbering import selectors
from apps.numbering.models import NumberRange, PhoneNumber, Reservation
from apps.numbering.numbers import MalformedNumber, parse_e164, to_e164


@admin.register(NumberRange)
class NumberRangeAdmin(TenantAdmin):
    list_display = (
        "prefix",
        "state",
        "carrier",
        "home",
        "span_shown",
        "leased_from",
        "leased_until",
        "operator",
    )
    list_filter = (("status", StateFilter), "host_carrier", "operator")
    list_select_related = ("operator", "host_carrier")
    search_fields = ("prefix", "home_city", "home_province")
    search_help_text = "A prefix, a city, a province, or a whole range id"
    empty_sentence = "A range is leased from a host carrier under an agreement; its numbers come with it."
    ordering = ("prefix",)
    fields = (
        ("prefix", "state"),
        ("first_number", "last_number"),
        ("carrier", "agreement_no"),
        ("home", "numbers"),
        ("leased_from", "leased_until"),
        ("public_id", "operator"),
        "created",
    )
    trail = "number_range"

    @admin.display(description="Home area")
    def home(self, row: NumberRange) -> str:
        return f"{row.home_province} {row.home_city}"

    @admin.display(description="Numbers")
    def span_shown(self, row: NumberRange) -> int:
        return row.last - row.first + 1

    @admin.display(description="First number")
    def first_number(self, row: NumberRange) -> str:
        return to_e164(row.first)

    @admin.display(description="Last number")
    def last_number(self, row: NumberRange) -> str:
        return to_e164(row.last)

    @admin.display(description="Numbers")
    def numbers(self, row: NumberRange) -> str:
        return list_link(model="numbering_phonenumber", text=f"All {self.span_shown(row)}", q=row.prefix)

    @admin.display(description="Agreement")
    def agreement_no(self, row: NumberRange) -> str:
        return row.agreement.contract_no


@admin.register(PhoneNumber)
class PhoneNumberAdmin(TenantAdmin):
    list_display = ("phone", "state", "carrier", "home", "grade", "quarantine", "operator")
    list_filter = (("status", StateFilter), "grade")
    list_select_related = ("operator", "range__host_carrier")
    search_fields = ("number",)
    search_help_text = "A whole number, or how it begins (from the leading 1)"
    shortcuts = (
        ("All", ""),
        ("Available", "status__exact=0"),
        ("Reserved", "status__exact=1"),
        ("In use", "status__exact=2"),
        ("Quarantined", "status__exact=3"),
        ("Withheld", "status__exact=4"),
    )
    empty_sentence = "Numbers come with a leased range."
    ordering = ("number",)
    fields = (
        ("phone", "state"),
        ("carrier", "home"),
        ("grade", "range_link"),
        ("reservation_link", "quarantine"),
        "operator",
    )
    trail = "phone_number"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PhoneNumber]:
        """Between the operator's first and last number only: the list follows the key, which all operators share."""
        numbers: QuerySet[PhoneNumber] = super().get_queryset(request)
        actor = self.actor_of(request)
        if actor.operator_id is None:
            return numbers
        ends = selectors.list_ranges(actor=actor).aggregate(first=Min("first"), last=Max("last"))
        return numbers.filter(number__range=(ends["first"] or 0, ends["last"] or 0))

    def trail_id(self, row: PhoneNumber) -> str:
        return row.e164

    def recognises(self, term: str) -> bool:
        try:
            return parse_e164(term) > 0
        except MalformedNumber:
            return False

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By key or key range: a text search over tens of millions of rows would read them all."""
        try:
            return queryset.filter(number=parse_e164(term))
        except MalformedNumber:
            pass
        if not (term.isascii() and term.isdigit() and 3 <= len(term) <= 11):
            return queryset.none()
        unit = 10 ** (11 - len(term))
        return queryset.filter(number__range=(int(term) * unit, int(term) * unit + unit - 1))

    @admin.display(description="Number")
    def phone(self, row: PhoneNumber) -> str:
        return whole_id(row.e164)

    @admin.display(description="Status")
    def state(self, row: PhoneNumber) -> str:
        return badge(str(row.get_status_display()))

    @admin.display(description="Carrier")
    def carrier(self, row: PhoneNumber) -> str:
        return row.range.host_carrier.code

    @admin.display(description="Home area")
    def home(self, row: PhoneNumber) -> str:
        return f"{row.range.home_province} {row.range.home_city}"

    @admin.display(description="Range")
    def range_link(self, row: PhoneNumber) -> str:
        return link(model="numbering_numberrange", key=row.range_id, text=row.range.prefix)

    @admin.display(description="Reservation")
    def reservation_link(self, row: PhoneNumber) -> str:
        held = row.reservation
        return link(model="numbering_reservation", key=held.pk, text=held.uid) if held else "-"

    @admin.display(description="Quarantined until")
    def quarantine(self, row: PhoneNumber) -> str:
        return moment(row.quarantined_until)


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
