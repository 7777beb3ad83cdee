"""People and partner apps."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin

from apps.accounts import services as accounts
from apps.accounts.admin_base import Button, Create, Shown, TenantAdmin
from apps.accounts.admin_display import StateFilter, badge, moment, whole_id
from apps.accounts.admin_forms import ServiceForm
from apps.accounts.models import PartnerApp, User
from apps.accounts.services import MANAGE_ACCOUNTS
from apps.accounts.states import Role
from apps.core.actor import Actor
from apps.operators import selectors as operators


class UserForm(ServiceForm):
    username = forms.CharField(max_length=150)
    email = forms.EmailField(required=False)
    operator = forms.ModelChoiceField(
        queryset=operators.no_operators(),
        required=False,
        empty_label="the platform",
        help_text="Whose staff it is.",
    )
    role = forms.ChoiceField(choices=Role.choices)
    password = forms.CharField(widget=forms.PasswordInput, strip=False)


def create_user(*, actor: Actor, now: datetime, **fields: Any) -> tuple[User, str]:
    fields["role"] = Role(fields["role"])
    user = accounts.create_user(actor=actor, now=now, **fields)
    return user, f"{user.username} can log in."


def deactivate_user(*, actor: Actor, row: User, reason: str, now: datetime) -> str:
    accounts.deactivate_user(actor=actor, user_uid=row.uid, reason=reason, now=now)
    return f"{row.username} is locked out."


@admin.register(User)
class UserAdmin(TenantAdmin):
    list_display = ("username", "state", "role", "email", "last_seen", "operator")
    list_filter = (("role", StateFilter), "is_active", "operator")
    list_select_related = ("operator",)
    search_fields = ("username", "email")
    search_help_text = "A whole user name, address or id"
    ordering = ("username",)
    fields = (("login", "state"), ("role", "operator"), ("email", "last_seen"), ("joined", "public_id"))
    trail = "user"
    create = Create(right=MANAGE_ACCOUNTS, form=UserForm, call=create_user)
    buttons: ClassVar = (
        Button(
            "deactivate",
            "Lock out",
            right=MANAGE_ACCOUNTS,
            call=deactivate_user,
            shown=lambda user: user.is_active,
            asks_reason=True,
            dangerous=True,
            hint="The person is logged out at once and cannot log in again.",
        ),
    )

    @admin.display(description="Status")
    def state(self, user: User) -> str:
        return badge("ACTIVE" if user.is_active else "LOCKED_OUT")

    @admin.display(description="Username")
    def login(self, user: User) -> str:
        return whole_id(user.username)

    @admin.display(description="Last login")
    def last_seen(self, user: User) -> str:
        return moment(user.last_login)

    @admin.display(description="Joined")
    def joined(self, user: User) -> str:
        return moment(user.date_joined)


class PartnerAppForm(ServiceForm):
    operator = forms.ModelChoiceField(queryset=operators.no_operators())
    name = forms.CharField(max_length=255)
    scopes = forms.MultipleChoiceField(
        choices=list(settings.OAUTH2_PROVIDER["SCOPES"].items()), widget=forms.CheckboxSelectMultiple
    )
    rate_per_second = forms.IntegerField(min_value=1, max_value=100_000, initial=100)
    rate_burst = forms.IntegerField(min_value=1, max_value=100_000, initial=200)


def create_partner_app(*, actor: Actor, now: datetime, **fields: Any) -> tuple[PartnerApp, Shown]:
    app, secret = accounts.create_partner_app(actor=actor, now=now, **fields)
    return app, _credentials(app, secret)


def rotate_client_secret(*, actor: Actor, row: PartnerApp, reason: str, now: datetime) -> Shown:
    app, secret = accounts.rotate_client_secret(actor=actor, app_uid=row.uid, now=now)
    return _credentials(app, secret)


def revoke_partner_app(*, actor: Actor, row: PartnerApp, reason: str, now: datetime) -> str:
    accounts.revoke_partner_app(actor=actor, app_uid=row.uid, reason=reason, now=now)
    return f"{row.name} and its tokens are revoked."


def _credentials(app: PartnerApp, secret: str) -> Shown:
    return Shown(f"Credentials of {app.name}", f"client_id: {app.client_id}\nclient_secret: {secret}")


def _is_live(app: PartnerApp) -> bool:
    return app.revoked_at is None


@admin.register(PartnerApp)
class PartnerAppAdmin(TenantAdmin):
    list_display = ("name", "row_id", "state", "mode", "rate_per_second", "made", "operator")
    list_filter = ("operator",)
    list_select_related = ("operator",)
    search_fields = ("name", "client_id")
    search_help_text = "A whole name, client id or app id"
    empty_sentence = "A partner app is a program that calls the REST API for one operator."
    ordering = ("-id",)
    fields = (
        ("name", "state"),
        "client",
        "scopes",
        ("rate_per_second", "rate_burst"),
        ("made", "revoked"),
        ("mode", "operator"),
        "public_id",
    )
    trail = "partner_app"
    create = Create(right=MANAGE_ACCOUNTS, form=PartnerAppForm, call=create_partner_app)
    buttons: ClassVar = (
        Button(
            "rotate",
            "New secret",
            right=MANAGE_ACCOUNTS,
            call=rotate_client_secret,
            shown=_is_live,
            dangerous=True,
            hint="The old secret stops working at once.",
        ),
        Button(
            "revoke",
            "Revoke",
            right=MANAGE_ACCOUNTS,
            call=revoke_partner_app,
            shown=_is_live,
            asks_reason=True,
            dangerous=True,
            hint="The app and all its tokens stop working at once.",
        ),
    )

    @admin.display(description="Status")
    def state(self, app: PartnerApp) -> str:
        return badge("ACTIVE" if _is_live(app) else "REVOKED")

    @admin.display(description="Mode")
    def mode(self, app: PartnerApp) -> str:
        return badge(app.operator.mode)

    @admin.display(description="Client id")
    def client(self, app: PartnerApp) -> str:
        return whole_id(app.client_id)

    @admin.display(description="Created")
    def made(self, app: PartnerApp) -> str:
        return moment(app.created)

    @admin.display(description="Revoked")
    def revoked(self, app: PartnerApp) -> str:
        return moment(app.revoked_at)
