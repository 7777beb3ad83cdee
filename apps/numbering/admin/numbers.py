"""Single numbers: keeping them from sale, and ending their quarantine early."""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Max, Min, Q, QuerySet
from django.http import HttpRequest

from apps.accounts.admin_base import Button, TenantAdmin
from apps.accounts.admin_display import StateFilter, badge, link, moment, whole_id
from apps.accounts.admin_forms import ServiceForm
from apps.core.actor import Actor
from apps.numbering import selectors, services
from apps.numbering.models import EarlyRelease, PhoneNumber
from apps.numbering.numbers import MACHINE_DIGITS, MalformedNumber, parse_e164
from apps.numbering.selectors.digits import Digits
from apps.numbering.services.quarantine import RELEASE_EARLY
from apps.numbering.services.single import MANAGE_NUMBERS
from apps.numbering.states import NumberStatus, ReleaseStatus, WithheldBy


class WithholdForm(ServiceForm):
    by = forms.TypedChoiceField(label="Who wants it", choices=WithheldBy.choices, coerce=int)
    reason = forms.CharField(max_length=500, help_text="It goes into the audit trail.")


def withhold(*, actor: Actor, row: PhoneNumber, by: int, reason: str, now: datetime) -> str:
    services.withhold_number(actor=actor, number=row.number, by=WithheldBy(by), reason=reason, now=now)
    return "The number is withheld: it is not sold until somebody releases it."


def release(*, actor: Actor, row: PhoneNumber, reason: str, now: datetime) -> str:
    released = services.release_withheld_number(actor=actor, number=row.number, reason=reason, now=now)
    if released.status == NumberStatus.QUARANTINED:
        return "The number is back in what is left of its quarantine."
    return "The number is available."


def request_early(*, actor: Actor, row: PhoneNumber, reason: str, now: datetime) -> str:
    services.request_early_release(actor=actor, number=row.number, reason=reason, now=now)
    return "Asked for; a second person decides."


def approve(*, actor: Actor, row: EarlyRelease, reason: str, now: datetime) -> str:
    services.approve_early_release(actor=actor, release_uid=row.uid, reason=reason, now=now)
    return "The number is available."


def reject(*, actor: Actor, row: EarlyRelease, reason: str, now: datetime) -> str:
    services.reject_early_release(actor=actor, release_uid=row.uid, reason=reason, now=now)
    return "Rejected: the number rests as long as it was to."


@admin.register(PhoneNumber)
class PhoneNumberAdmin(TenantAdmin):
    list_display = ("phone", "state", "carrier", "home", "grade", "quarantine", "operator")
    list_filter = (("status", StateFilter), "grade")
    list_select_related = ("operator", "range__host_carrier")
    search_fields = ("number",)
    search_help_text = (
        "A whole number, how it begins (from the leading 1), or the first and last as 17000000000-17000000999"
    )
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
        ("withholder", "operator"),
    )
    trail = "phone_number"
    buttons = (
        Button(
            "withhold",
            "Withhold",
            right=MANAGE_NUMBERS,
            call=withhold,
            shown=lambda row: row.status in (NumberStatus.AVAILABLE, NumberStatus.QUARANTINED),
            form=WithholdForm,
            hint="Kept from sale until somebody releases it.",
        ),
        Button(
            "release",
            "Release",
            right=MANAGE_NUMBERS,
            call=release,
            shown=lambda row: row.status == NumberStatus.WITHHELD,
            asks_reason=True,
            hint="Back to what is left of its quarantine, else to sale.",
        ),
        Button(
            "request-early-release",
            "Ask for an early release",
            right=MANAGE_NUMBERS,
            call=request_early,
            shown=lambda row: row.status == NumberStatus.QUARANTINED,
            asks_reason=True,
            hint="Ends the quarantine before its time, once a second person agrees.",
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[PhoneNumber]:
        """Between the operator's first and last number only: the list follows the key, which all operators share."""
        numbers: QuerySet[PhoneNumber] = super().get_queryset(request)
        if request.GET.get("status__exact") == str(NumberStatus.WITHHELD.value):
            numbers = numbers.filter(
                withheld_by__isnull=False
            )  # as all of them; it names the index that has only those
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

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """What a beginning means: numbers of persons or of machines, whichever ranges are leased of."""
        term = search_term.strip()
        if not (
            term.startswith("1") and term.isascii() and term.isdigit() and 3 <= len(term) <= MACHINE_DIGITS
        ):
            return super().get_search_results(request, queryset, search_term)
        ranges = selectors.list_ranges(actor=self.actor_of(request))
        spans = [
            Q(number__range=span)
            for span in Digits(prefix=term).spans()
            if ranges.filter(first__lte=span[1], last__gte=span[0]).exists()
        ]
        return (queryset.filter(reduce(Q.__or__, spans)) if spans else queryset.none()), False

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By key or key range: a text search over tens of millions of rows would read them all."""
        first, _, last = term.partition("-")
        try:
            return queryset.filter(number__range=(parse_e164(first), parse_e164(last or first)))
        except MalformedNumber:
            return queryset.none()

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

    @admin.display(description="Withheld by")
    def withholder(self, row: PhoneNumber) -> str:
        return "-" if row.withheld_by is None else WithheldBy(row.withheld_by).label

    @admin.display(description="Quarantined until")
    def quarantine(self, row: PhoneNumber) -> str:
        return moment(row.quarantined_until)


def _is_open(row: EarlyRelease) -> bool:
    return row.status == ReleaseStatus.REQUESTED


@admin.register(EarlyRelease)
class EarlyReleaseAdmin(TenantAdmin):
    list_display = ("row_id", "state", "phone", "why", "asked", "asker", "decided", "operator")
    list_filter = (("status", StateFilter), "operator")
    list_select_related = ("operator", "number")
    search_fields = ("uid",)
    search_help_text = "A whole number, or a whole id"
    shortcuts = (("All", ""), ("To decide", "status__exact=REQUESTED"))
    empty_sentence = "Somebody asks for it on the page of a quarantined number."
    ordering = ("-id",)
    fields = (
        ("phone", "state"),
        ("quarantine", "why"),
        ("asked", "asker"),
        ("decided", "decider"),
        ("public_id", "operator"),
    )
    trail = "early_release"
    buttons = (
        Button(
            "approve",
            "Release now",
            right=RELEASE_EARLY,
            call=approve,
            shown=_is_open,
            dangerous=True,
            hint="The number can be sold at once, and its next holder may get the last one's calls and codes.",
        ),
        Button("reject", "Reject", right=RELEASE_EARLY, call=reject, shown=_is_open, asks_reason=True),
    )

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        try:
            return queryset.filter(number_id=parse_e164(term))
        except MalformedNumber:
            return super().search(queryset, term)

    @admin.display(description="Number")
    def phone(self, row: EarlyRelease) -> str:
        return link(model="numbering_phonenumber", key=row.number_id, text=row.number.e164)

    @admin.display(description="Reason")
    def why(self, row: EarlyRelease) -> str:
        return row.reason

    @admin.display(description="Quarantined until")
    def quarantine(self, row: EarlyRelease) -> str:
        # The block may be another operator's by now.
        return moment(row.number.quarantined_until) if row.number.operator_id == row.operator_id else "-"

    @admin.display(description="Asked")
    def asked(self, row: EarlyRelease) -> str:
        return moment(row.requested_at)

    @admin.display(description="Decided")
    def decided(self, row: EarlyRelease) -> str:
        return moment(row.decided_at)

    @admin.display(description="Asked by")
    def asker(self, row: EarlyRelease) -> str:
        return row.requested_by_label

    @admin.display(description="Decided by")
    def decider(self, row: EarlyRelease) -> str:
        return row.decided_by_label or "-"
