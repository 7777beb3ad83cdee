"""Tenants and what they are allowed: platform staff change it through services, operator staff look at their own."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.accounts.admin_base import Button, Create, TenantAdmin
from apps.accounts.admin_forms import DayField, ServiceForm
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


@admin.register(VirtualOperator)
class VirtualOperatorAdmin(TenantAdmin):
    list_display = ("code", "name", "name_zh", "mode", "first_host")
    list_filter = ("mode",)
    list_select_related = ("first_host",)
    search_fields = ("code", "name", "name_zh")
    ordering = ("code",)
    fields = (
        "uid",
        "code",
        "name",
        "name_zh",
        "mode",
        "sandbox_of",
        "first_host",
        "source_note",
        "created_at",
    )
    create = Create(right=MANAGE_OPERATORS, form=OperatorForm, call=register_operator)
    buttons: ClassVar = (
        Button(
            "open-sandbox",
            "Open a sandbox",
            right=MANAGE_OPERATORS,
            call=open_sandbox,
            shown=lambda operator: operator.mode == OperatorMode.LIVE,
        ),
    )


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
class LicenceAdmin(TenantAdmin):
    list_display = ("number", "operator", "kind", "valid_from", "valid_until", "revoked_at")
    list_filter = ("kind", "operator")
    list_select_related = ("operator",)
    ordering = ("operator__code", "-valid_until")
    fields = (
        "uid",
        "operator",
        "number",
        "kind",
        "valid_from",
        "valid_until",
        "areas",
        "revoked_at",
        "source_note",
        "created_at",
    )
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
class WholesaleAgreementAdmin(TenantAdmin):
    list_display = ("contract_no", "operator", "host_carrier", "valid_from", "valid_until", "terminated_at")
    list_filter = ("host_carrier", "operator")
    list_select_related = ("operator", "host_carrier")
    ordering = ("operator__code", "host_carrier__code", "-valid_until")
    fields = (
        "uid",
        "operator",
        "host_carrier",
        "contract_no",
        "valid_from",
        "valid_until",
        "areas",
        "terminated_at",
        "source_note",
        "created_at",
    )
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
class DealerAdmin(TenantAdmin):
    list_display = ("code", "name", "operator", "valid_from", "valid_until", "suspended_at")
    list_filter = ("operator",)
    list_select_related = ("operator",)
    search_fields = ("code", "name")
    ordering = ("operator__code", "code")
    fields = ("uid", "operator", "code", "name", "valid_from", "valid_until", "suspended_at", "created_at")
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
        ),
    )


class PolicyForm(ServiceForm):
    operator = forms.ModelChoiceField(
        queryset=selectors.no_operators(), required=False, empty_label="default for all"
    )
    key = forms.ChoiceField(choices=[(key.value, key.value) for key in PolicyKey])
    value = forms.JSONField(widget=forms.TextInput, help_text='5, true, or ["resident_id"].')
    source_note = forms.CharField(max_length=300, help_text="The law, contract or decision it comes from.")


def set_policy(*, actor: Actor, now: datetime, **fields: Any) -> tuple[Policy, str]:
    fields["key"] = PolicyKey(fields["key"])
    policy = services.set_policy(actor=actor, now=now, **fields)
    return policy, f"{policy.key} is {json.dumps(policy.value)} from now on."


@admin.register(Policy)
class PolicyAdmin(TenantAdmin):
    list_display = ("key", "value", "operator", "valid_from", "source_note")
    list_filter = ("key", "operator")
    list_select_related = ("operator",)
    ordering = ("key", "operator_id", "-valid_from")
    fields = ("key", "value", "operator", "valid_from", "source_note", "created_at")
    create = Create(right=MANAGE_OPERATORS, form=PolicyForm, call=set_policy)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Policy]:
        """One's own policies and the defaults that hold where there is none."""
        return selectors.list_policies(actor=self.actor_of(request))


class ReferenceAdmin(TenantAdmin):
    """Facts that belong to no operator; they come from the seeds."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super(TenantAdmin, self).get_queryset(request)
        return queryset


@admin.register(HostCarrier)
class HostCarrierAdmin(ReferenceAdmin):
    list_display = ("code", "name", "name_zh")
    ordering = ("code",)


@admin.register(AccessCode)
class AccessCodeAdmin(ReferenceAdmin):
    list_display = ("prefix", "host_carrier", "resale_only", "source_note")
    list_filter = ("host_carrier",)
    list_select_related = ("host_carrier",)
    ordering = ("prefix",)


@admin.register(DocumentType)
class DocumentTypeAdmin(ReferenceAdmin):
    list_display = ("code", "name", "name_zh", "holder_kind", "check_rule")
    list_filter = ("holder_kind",)
    ordering = ("code",)
