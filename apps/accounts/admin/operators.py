"""Tenants and what they are allowed: platform staff change it through services, operator staff look at their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.accounts.admin_base import Button, Create, TenantAdmin
from apps.accounts.admin_display import Panel, StateFilter, badge, link, moment
from apps.accounts.admin_forms import DayField, ServiceForm
from apps.core import clock
from apps.core.actor import Actor
from apps.operators import selectors, services
from apps.operators.models import (
    AccessCode,
    Dealer,
    DocumentType,
    HostCarrier,
    Licence,
    Policy,
    VirtualOperator,
    WholesaleAgreement,
)
from apps.operators.policies import PolicyKey
from apps.operators.services import MANAGE_DEALERS, MANAGE_OPERATORS
from apps.operators.states import LicenceKind, OperatorMode

_AREAS_HELP = "'*', provinces, or province/city, separated by blanks."


class OperatorForm(ServiceForm):
    code = forms.SlugField(max_length=35)
    name = forms.CharField(max_length=120)
    name_zh = forms.CharField(max_length=120)


def register_operator(*, actor: Actor, now: datetime, **fields: Any) -> tuple[VirtualOperator, str]:
    return services.register_operator(actor=actor, now=now, **fields), "Registered; it still needs a licence."


def open_sandbox(*, actor: Actor, row: VirtualOperator, reason: str, now: datetime) -> str:
    return f"The sandbox is {services.open_sandbox(actor=actor, operator=row, now=now).code}."


def licences_of(*, actor: Actor, row: VirtualOperator) -> Iterator[tuple[object, ...]]:
    for paper in selectors.list_licences(actor=actor).filter(operator=row).order_by("-valid_until"):
        page = link(model="operators_licence", key=paper.pk, text=paper.number)
        yield page, _validity(paper), paper.kind, paper.valid_from, paper.valid_until


def agreements_of(*, actor: Actor, row: VirtualOperator) -> Iterator[tuple[object, ...]]:
    papers = selectors.list_agreements(actor=actor).filter(operator=row)
    for paper in papers.order_by("host_carrier__code", "-valid_until"):
        page = link(model="operators_wholesaleagreement", key=paper.pk, text=paper.contract_no)
        yield page, _validity(paper), paper.host_carrier.code, paper.valid_from, paper.valid_until


def _validity(paper: Licence | WholesaleAgreement | Dealer) -> str:
    return badge(paper.validity(now=clock.now()))


class PaperAdmin(TenantAdmin):
    """Things that are valid for a time, at this moment or not."""

    @admin.display(description="Status")
    def state(self, row: Any) -> str:
        return _validity(row)

    @admin.display(description="Areas")
    def where(self, row: Any) -> str:
        return "nationwide" if row.areas == ["*"] else ", ".join(row.areas)


@admin.register(VirtualOperator)
class VirtualOperatorAdmin(TenantAdmin):
    list_display = ("code", "name", "name_zh", "live_or_test", "first_host", "created")
    list_filter = (("mode", StateFilter),)
    list_select_related = ("first_host", "sandbox_of")
    search_fields = ("code", "name", "name_zh")
    search_help_text = "A whole code, name or id"
    ordering = ("code",)
    fields = (
        ("code", "live_or_test"),
        ("name", "name_zh"),
        ("first_host", "sandbox_of"),
        ("created", "public_id"),
        "source_note",
    )
    panels = (
        Panel(
            "Licences",
            ("Number", "Status", "Kind", "From", "Until"),
            licences_of,
            "Without one: no business.",
        ),
        Panel(
            "Agreements",
            ("Contract", "Status", "Carrier", "From", "Until"),
            agreements_of,
            "Without one: no numbers and no lines.",
        ),
    )
    trail = "operator"
    create = Create(right=MANAGE_OPERATORS, form=OperatorForm, call=register_operator)
    buttons: ClassVar = (
        Button(
            "open-sandbox",
            "Open a sandbox",
            right=MANAGE_OPERATORS,
            call=open_sandbox,
            shown=lambda operator: operator.mode == OperatorMode.LIVE,
            hint="A tenant of its own for tests; nothing in it reaches a live host carrier.",
        ),
    )

    @admin.display(description="Mode")
    def live_or_test(self, operator: VirtualOperator) -> str:
        return badge(operator.mode)


class _TermForm(ServiceForm):
    operator = forms.ModelChoiceField(queryset=selectors.no_operators())
    valid_from = DayField()
    valid_until = DayField(help_text="The first day on which it is no longer valid.")
    areas = forms.CharField(initial="*", help_text=_AREAS_HELP)
    source_note = forms.CharField(max_length=300, required=False)

    def clean_areas(self) -> list[str]:
        return str(self.cleaned_data["areas"]).split()


class LicenceForm(_TermForm):
    number = forms.CharField(max_length=64)
    kind = forms.ChoiceField(choices=LicenceKind.choices, initial=LicenceKind.COMMERCIAL)


def grant_licence(*, actor: Actor, now: datetime, **fields: Any) -> tuple[Licence, str]:
    fields["kind"] = LicenceKind(fields["kind"])
    return services.grant_licence(actor=actor, now=now, **fields), "The licence is recorded."


def revoke_licence(*, actor: Actor, row: Licence, reason: str, now: datetime) -> str:
    services.revoke_licence(actor=actor, licence_uid=row.uid, reason=reason, now=now)
    return "The licence is revoked; new business of this operator is refused from now on."


@admin.register(Licence)
class LicenceAdmin(PaperAdmin):
    list_display = ("number", "state", "kind", "where", "valid_from", "valid_until", "operator")
    list_filter = (("kind", StateFilter), "operator")
    list_select_related = ("operator",)
    search_fields = ("number",)
    search_help_text = "A whole licence number or id"
    empty_sentence = "Without a valid licence an operator can neither lease numbers nor open lines."
    ordering = ("operator__code", "-valid_until")
    fields = (
        ("number", "state"),
        ("kind", "where"),
        ("valid_from", "valid_until"),
        ("revoked_at", "created"),
        ("public_id", "operator"),
        "source_note",
    )
    trail = "licence"
    create = Create(right=MANAGE_OPERATORS, form=LicenceForm, call=grant_licence)
    buttons: ClassVar = (
        Button(
            "revoke",
            "Revoke",
            right=MANAGE_OPERATORS,
            call=revoke_licence,
            shown=lambda licence: licence.revoked_at is None,
            asks_reason=True,
            dangerous=True,
            hint="New business of this operator is refused from then on; its lines stay.",
        ),
    )


class AgreementForm(_TermForm):
    host_carrier = forms.ModelChoiceField(queryset=selectors.list_host_carriers())
    contract_no = forms.CharField(max_length=64)


def sign_agreement(*, actor: Actor, now: datetime, **fields: Any) -> tuple[WholesaleAgreement, str]:
    return services.sign_agreement(actor=actor, now=now, **fields), "The agreement is recorded."


def terminate_agreement(*, actor: Actor, row: WholesaleAgreement, reason: str, now: datetime) -> str:
    services.terminate_agreement(actor=actor, agreement_uid=row.uid, reason=reason, now=now)
    return "The agreement is terminated; new lines at this host carrier are refused from now on."


@admin.register(WholesaleAgreement)
class WholesaleAgreementAdmin(PaperAdmin):
    list_display = ("contract_no", "state", "carrier", "where", "valid_from", "valid_until", "operator")
    list_filter = ("host_carrier", "operator")
    list_select_related = ("operator", "host_carrier")
    search_fields = ("contract_no",)
    search_help_text = "A whole contract number or id"
    empty_sentence = "Without a valid agreement nothing can be leased or activated at a host carrier."
    ordering = ("operator__code", "host_carrier__code", "-valid_until")
    fields = (
        ("contract_no", "state"),
        ("carrier", "where"),
        ("valid_from", "valid_until"),
        ("terminated_at", "created"),
        ("public_id", "operator"),
        "source_note",
    )
    trail = "agreement"
    create = Create(right=MANAGE_OPERATORS, form=AgreementForm, call=sign_agreement)
    buttons: ClassVar = (
        Button(
            "terminate",
            "Terminate",
            right=MANAGE_OPERATORS,
            call=terminate_agreement,
            shown=lambda agreement: agreement.terminated_at is None,
            asks_reason=True,
            dangerous=True,
            hint="New lines at this host carrier are refused from then on; its lines stay.",
        ),
    )


class DealerForm(ServiceForm):
    operator = forms.ModelChoiceField(queryset=selectors.no_operators())
    code = forms.CharField(max_length=32)
    name = forms.CharField(max_length=120)
    valid_from = DayField()
    valid_until = DayField(required=False, help_text="The first day on which it is no longer valid.")


def register_dealer(*, actor: Actor, now: datetime, **fields: Any) -> tuple[Dealer, str]:
    return services.register_dealer(actor=actor, now=now, **fields), "The dealer may act from that day on."


def suspend_dealer(*, actor: Actor, row: Dealer, reason: str, now: datetime) -> str:
    services.suspend_dealer(actor=actor, dealer_uid=row.uid, reason=reason, now=now)
    return "The dealer may no longer act."


@admin.register(Dealer)
class DealerAdmin(PaperAdmin):
    list_display = ("code", "name", "state", "valid_from", "valid_until", "operator")
    list_filter = ("operator",)
    list_select_related = ("operator",)
    search_fields = ("code", "name")
    search_help_text = "A whole code, name or id"
    empty_sentence = "A dealer opens lines for the operator, who answers for it."
    ordering = ("operator__code", "code")
    fields = (
        ("code", "state"),
        ("name", "suspended_at"),
        ("valid_from", "valid_until"),
        ("public_id", "operator"),
        "created",
    )
    trail = "dealer"
    create = Create(right=MANAGE_DEALERS, form=DealerForm, call=register_dealer)
    buttons: ClassVar = (
        Button(
            "suspend",
            "Suspend",
            right=MANAGE_DEALERS,
            call=suspend_dealer,
            shown=lambda dealer: dealer.suspended_at is None,
            asks_reason=True,
            dangerous=True,
            hint="The dealer may open no more lines; those it has opened stay.",
        ),
    )


class _ValueField(forms.JSONField):
    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


class PolicyForm(ServiceForm):
    operator = forms.ModelChoiceField(
        queryset=selectors.no_operators(), required=False, empty_label="default for all"
    )
    key = forms.ChoiceField(choices=[(key.value, key.value) for key in PolicyKey])
    value = _ValueField(widget=forms.TextInput, help_text='5, true, or ["resident_id"].')
    source_note = forms.CharField(max_length=300, help_text="The law, contract or decision it comes from.")


def set_policy(*, actor: Actor, now: datetime, **fields: Any) -> tuple[Policy, str]:
    fields["key"] = PolicyKey(fields["key"])
    policy = services.set_policy(actor=actor, now=now, **fields)
    return policy, f"{policy.key} is {json.dumps(policy.value)} from now on."


@admin.register(Policy)
class PolicyAdmin(TenantAdmin):
    list_display = ("key", "value", "holds_for", "since", "source_note")
    list_filter = ("operator",)
    list_select_related = ("operator",)
    search_fields = ("key",)
    search_help_text = "A whole key"
    empty_sentence = "The thresholds that law, contract or the operator set, each with its source."
    ordering = ("key", "operator_id", "-valid_from")
    fields = (("key", "value"), ("holds_for", "since"), "source_note", "created")
    trail = "policy"
    create = Create(right=MANAGE_OPERATORS, form=PolicyForm, call=set_policy)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Policy]:
        """One's own policies and the defaults that hold where there is none."""
        return selectors.list_policies(actor=self.actor_of(request))

    def trail_id(self, row: Policy) -> str:
        return row.key

    @admin.display(description="Holds for")
    def holds_for(self, row: Policy) -> str:
        return str(row.operator) if row.operator else "all operators"

    @admin.display(description="Since")
    def since(self, row: Policy) -> str:
        return moment(row.valid_from)


class ReferenceAdmin(TenantAdmin):
    """Facts that belong to no operator; they come from the seeds."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super(TenantAdmin, self).get_queryset(request)
        return queryset


@admin.register(HostCarrier)
class HostCarrierAdmin(ReferenceAdmin):
    list_display = ("code", "name", "name_zh")
    search_fields = ("code",)
    search_help_text = "A whole code"
    ordering = ("code",)
    fields = (("name", "name_zh"), "code")


@admin.register(AccessCode)
class AccessCodeAdmin(ReferenceAdmin):
    list_display = ("prefix", "carrier", "digits", "resale_only", "source_note")
    list_filter = ("host_carrier", "digits", "resale_only")
    list_select_related = ("host_carrier",)
    search_fields = ("prefix",)
    search_help_text = "A whole access code"
    ordering = ("prefix",)
    fields = (("prefix", "carrier"), ("digits", "resale_only"), "source_note")


@admin.register(DocumentType)
class DocumentTypeAdmin(ReferenceAdmin):
    list_display = ("code", "name", "name_zh", "holder_kind", "check_rule")
    list_filter = ("holder_kind",)
    search_fields = ("code",)
    search_help_text = "A whole code"
    ordering = ("code",)
    fields = (("code", "holder_kind"), ("name", "name_zh"), ("number_format", "check_rule"), "source_note")
