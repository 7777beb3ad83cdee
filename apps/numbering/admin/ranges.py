"""Leased ranges: planned, begun, renewed, split, merged and given back here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from apps.accounts.actors import staff_actor
from apps.accounts.admin_base import Button, Create, TenantAdmin
from apps.accounts.admin_display import Panel, StateFilter, badge, link, list_link, moment
from apps.accounts.admin_forms import DayField, ServiceForm
from apps.core import clock
from apps.core.actor import Actor
from apps.numbering import selectors, services
from apps.numbering.models import NumberRange
from apps.numbering.numbers import THOUSAND, MalformedNumber, parse_e164, to_e164
from apps.numbering.services.single import MANAGE_NUMBERS
from apps.numbering.states import NumberStatus, RangeStatus
from apps.operators import selectors as operators
from apps.operators.calendar import china_date
from apps.operators.models import WholesaleAgreement


class _AgreementField(forms.ModelChoiceField):  # type: ignore[type-arg]  # cannot be subscripted at run time
    def label_from_instance(self, agreement: WholesaleAgreement) -> str:
        carrier, until = agreement.host_carrier.code, agreement.valid_until
        return f"{agreement.operator.code} with {carrier}: {agreement.contract_no}, until {until}"


def _agreements(actor: Actor) -> QuerySet[WholesaleAgreement]:
    return operators.list_agreements(actor=actor).select_related("operator", "host_carrier")


class LeaseForm(ServiceForm):
    agreement = _AgreementField(
        queryset=operators.no_agreements(), help_text="Says whose range it is, and the host."
    )
    leading_digits = forms.CharField(
        max_length=10,
        help_text="7 of a ten-thousand block, 8 of a thousand block; 9 or 10 where numbers have 13 digits.",
    )
    home_province = forms.CharField(max_length=32, help_text="As the host carrier gives it, e.g. 广东.")
    home_city = forms.CharField(max_length=32, help_text="One ten-thousand block has one home city.")
    leased_from = DayField(help_text="When this day lies ahead, the range is planned and begins by itself.")
    leased_until = DayField(help_text="The first day on which it is no longer leased.")
    contract_reference = forms.CharField(
        max_length=64, required=False, help_text="What the host calls this lease."
    )
    monthly_fee = forms.DecimalField(
        label="Monthly fee per number", max_digits=8, decimal_places=2, initial=Decimal(0), help_text="CNY."
    )
    minimum_use = forms.IntegerField(
        min_value=0,
        max_value=100,
        initial=0,
        help_text="Percent of the numbers that must be in use; 0: not asked.",
    )

    def prepare(self) -> None:
        field = self.fields["agreement"]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = _agreements(self.actor)


def lease(
    *,
    actor: Actor,
    now: datetime,
    agreement: WholesaleAgreement,
    leading_digits: str,
    leased_from: date,
    **fields: Any,
) -> tuple[NumberRange, str]:
    begun = leased_from <= china_date(now)
    call = services.lease_range if begun else services.plan_range
    leased = call(
        actor=actor,
        operator=agreement.operator,
        agreement=agreement,
        prefix=leading_digits,
        leased_from=leased_from,
        now=now,
        **fields,
    )
    said = f"Leased: {leased.size} numbers are free." if begun else f"Planned: it begins on {leased_from}."
    return leased, said


class RenewForm(ServiceForm):
    leased_until = DayField(help_text="The first day on which it is no longer leased.")
    agreement = _AgreementField(
        queryset=operators.no_agreements(), required=False, help_text="Only when a newer one takes its place."
    )

    def prepare(self) -> None:
        field = self.fields["agreement"]
        if isinstance(field, forms.ModelChoiceField):
            own = _agreements(self.actor).filter(
                operator=self.row.operator_id, host_carrier=self.row.host_carrier_id
            )
            field.queryset = own.exclude(pk=self.row.agreement_id)
            field.empty_label = (
                f"as before: {self.row.agreement.contract_no}, until {self.row.agreement.valid_until}"
            )


class SplitForm(ServiceForm):
    at = forms.CharField(label="First number of the upper part", max_length=16)

    def prepare(self) -> None:
        middle = (self.row.first + self.row.size // 2) // THOUSAND * THOUSAND
        self.fields["at"].initial = to_e164(middle)
        self.fields["at"].help_text = f"Begins a thousand block, above {to_e164(self.row.first)}."

    def clean_at(self) -> int:
        try:
            return parse_e164(self.cleaned_data["at"])
        except MalformedNumber as error:
            raise forms.ValidationError(str(error)) from error


def activate(*, actor: Actor, row: NumberRange, reason: str, now: datetime) -> str:
    leased = services.activate_range(actor=actor, range_uid=row.uid, now=now)
    return f"{leased.size} numbers are free."


def withdraw(*, actor: Actor, row: NumberRange, reason: str, now: datetime) -> str:
    services.withdraw_plan(actor=actor, range_uid=row.uid, reason=reason, now=now)
    return "The plan is withdrawn."


def renew(
    *,
    actor: Actor,
    row: NumberRange,
    reason: str,
    now: datetime,
    leased_until: date,
    agreement: WholesaleAgreement | None,
) -> str:
    services.renew_lease(
        actor=actor, range_uid=row.uid, leased_until=leased_until, agreement=agreement, now=now
    )
    return f"Renewed until {leased_until}."


def begin_return(*, actor: Actor, row: NumberRange, reason: str, now: datetime) -> str:
    services.begin_return(actor=actor, range_uid=row.uid, reason=reason, now=now)
    return "Nothing of it is sold any more. Finish the return when nothing lives in it."


def keep(*, actor: Actor, row: NumberRange, reason: str, now: datetime) -> str:
    services.keep_range(actor=actor, range_uid=row.uid, reason=reason, now=now)
    return "It stays ours, and its numbers are sold again."


def finish_return(*, actor: Actor, row: NumberRange, reason: str, now: datetime) -> str:
    services.finish_return(actor=actor, range_uid=row.uid, reason=reason, now=now)
    return "Returned to the host carrier."


def split(*, actor: Actor, row: NumberRange, reason: str, now: datetime, at: int) -> str:
    _, upper = services.split_range(actor=actor, range_uid=row.uid, at=at, now=now)
    return f"Split: {upper.prefix} is a range of its own now."


def merge(*, actor: Actor, row: NumberRange, reason: str, now: datetime) -> str:
    following = selectors.get_next_range(actor=actor, leased=row)
    merged = services.merge_ranges(actor=actor, range_uid=row.uid, other_uid=following.uid, now=now)
    return f"Merged: {merged.size} numbers."


def _in(*states: RangeStatus) -> Any:
    return lambda row: row.status in states


def living_in(*, actor: Actor, row: NumberRange) -> Iterator[tuple[object, ...]]:
    if row.status not in (RangeStatus.ACTIVE, RangeStatus.RETURNING):
        return
    for number in selectors.plan_return(actor=actor, leased=row, now=clock.now()).living:
        held = number.reservation
        yield (
            link(model="numbering_phonenumber", key=number.pk, text=number.e164),
            badge(NumberStatus(number.status).name),
            moment(held.expires_at if held else number.quarantined_until),
        )


class EndingFilter(admin.SimpleListFilter):
    """Leases that end soon by policy, or have ended."""

    title = "end of the lease"
    parameter_name = "ending"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("soon", "Soon or over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "soon":
            return queryset
        ending = selectors.list_ending(actor=staff_actor(request), now=clock.now())
        return queryset.filter(pk__in=ending.values("pk"))


@admin.register(NumberRange)
class NumberRangeAdmin(TenantAdmin):
    list_display = (
        "prefix",
        "state",
        "carrier",
        "home",
        "span_shown",
        "leased_from",
        "until_shown",
        "operator",
    )
    list_filter = (("status", StateFilter), EndingFilter, "host_carrier", "operator")
    list_select_related = ("operator", "host_carrier")
    search_fields = ("prefix", "home_city", "home_province")
    search_help_text = "A prefix, a city, a province, or a whole range id"
    shortcuts = (
        ("All", ""),
        ("Ending soon", "ending=soon"),
        ("Planned", "status__exact=PLANNED"),
        ("Active", "status__exact=ACTIVE"),
        ("Returning", "status__exact=RETURNING"),
        ("Returned", "status__exact=RETURNED"),
    )
    empty_sentence = "A range is leased from a host carrier under an agreement; its numbers come with it."
    ordering = ("prefix",)
    fields = (
        ("prefix", "state"),
        ("first_number", "last_number"),
        ("carrier", "agreement_no"),
        ("home", "numbers"),
        ("leased_from", "until_shown"),
        ("contract", "fee"),
        ("use", "begun"),
        ("given_back", "created"),
        ("public_id", "operator"),
    )
    panels = (
        Panel(
            "What still lives here",
            ("Number", "Status", "Until"),
            living_in,
            "Nothing that would stop a return.",
        ),
    )
    trail = "number_range"
    create = Create(right=MANAGE_NUMBERS, form=LeaseForm, call=lease)
    buttons: ClassVar = (
        Button(
            "activate",
            "Activate",
            right=MANAGE_NUMBERS,
            call=activate,
            shown=_in(RangeStatus.PLANNED),
            hint="Creates its numbers. From its first day on this happens by itself within the hour.",
        ),
        Button(
            "renew",
            "Renew",
            right=MANAGE_NUMBERS,
            call=renew,
            form=RenewForm,
            hint="Prolongs the lease, under the same or a newer agreement.",
            shown=_in(RangeStatus.PLANNED, RangeStatus.ACTIVE),
        ),
        Button(
            "finish-return",
            "Finish the return",
            right=MANAGE_NUMBERS,
            call=finish_return,
            shown=_in(RangeStatus.RETURNING),
            dangerous=True,
            hint="Gives all its numbers back to the host carrier, once nothing lives in it.",
        ),
        Button(
            "keep",
            "Keep it",
            right=MANAGE_NUMBERS,
            call=keep,
            shown=_in(RangeStatus.RETURNING),
            hint="Ends the return; its numbers are sold again.",
        ),
        Button(
            "begin-return",
            "Begin the return",
            right=MANAGE_NUMBERS,
            call=begin_return,
            shown=_in(RangeStatus.ACTIVE),
            asks_reason=True,
            dangerous=True,
            hint="Nothing of it is sold any more; reservations run out. Until the return is finished, it can be kept.",
        ),
        Button(
            "withdraw",
            "Withdraw the plan",
            right=MANAGE_NUMBERS,
            call=withdraw,
            shown=_in(RangeStatus.PLANNED),
            asks_reason=True,
            dangerous=True,
            hint="The block is not leased after all, and anybody may lease it.",
        ),
        Button(
            "split",
            "Split",
            right=MANAGE_NUMBERS,
            call=split,
            form=SplitForm,
            shown=lambda row: row.status != RangeStatus.RETURNED and row.size > THOUSAND,
            hint="The upper part becomes a range of its own, leased on the same terms.",
        ),
        Button(
            "merge",
            "Merge with the next range",
            right=MANAGE_NUMBERS,
            call=merge,
            shown=lambda row: selectors.has_next_range(leased=row),
            dangerous=True,
            hint="The range that begins where this one ends becomes part of it, when it has the same terms and state.",
        ),
    )

    @admin.display(description="Home area")
    def home(self, row: NumberRange) -> str:
        return f"{row.home_province} {row.home_city}"

    @admin.display(description="Numbers")
    def span_shown(self, row: NumberRange) -> int:
        return row.size

    @admin.display(description="First number")
    def first_number(self, row: NumberRange) -> str:
        return to_e164(row.first)

    @admin.display(description="Last number")
    def last_number(self, row: NumberRange) -> str:
        return to_e164(row.last)

    @admin.display(description="Numbers")
    def numbers(self, row: NumberRange) -> str:
        return list_link(model="numbering_phonenumber", text=f"All {row.size}", q=f"{row.first}-{row.last}")

    @admin.display(description="Agreement")
    def agreement_no(self, row: NumberRange) -> str:
        return row.agreement.contract_no

    @admin.display(description="Leased until")
    def until_shown(self, row: NumberRange) -> str:
        """And how many days are left, once they are few."""
        days = (row.leased_until - china_date(clock.now())).days
        if row.status != RangeStatus.ACTIVE or days > 60:
            return str(row.leased_until)
        left = badge("EXPIRED") if days <= 0 else f"({days} day{'' if days == 1 else 's'} left)"
        return format_html("{} {}", row.leased_until, left)

    @admin.display(description="Contract reference")
    def contract(self, row: NumberRange) -> str:
        return row.contract_reference or "-"

    @admin.display(description="Monthly fee")
    def fee(self, row: NumberRange) -> str:
        return f"{row.monthly_fee} CNY a number, {row.monthly_fee * row.size} in all"

    @admin.display(description="Minimum use")
    def use(self, row: NumberRange) -> str:
        return f"{row.minimum_use} %" if row.minimum_use else "not asked"

    @admin.display(description="Activated")
    def begun(self, row: NumberRange) -> str:
        return moment(row.activated_at)

    @admin.display(description="Returned")
    def given_back(self, row: NumberRange) -> str:
        if row.returned_at is None and row.returning_at is not None:
            return format_html("being returned since {}", moment(row.returning_at))
        return moment(row.returned_at)
