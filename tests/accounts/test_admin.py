"""The admin: logging in, seeing only one's own operator, changing things only through services."""

from __future__ import annotations

import html
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import reverse

from apps.accounts.admin_base import TenantAdmin
from apps.accounts.models import PartnerApp, User
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.operators import policies
from apps.operators.models import Licence, Policy, VirtualOperator
from apps.operators.policies import PolicyKey
from tests.factories.accounts import PASSWORD, given_partner_app, given_user
from tests.factories.operators import given_licence, given_policy

OURS = ("accounts", "audit", "operators")
# A refusal undoes the service's transaction, which must then not be the test's own.
REFUSALS = pytest.mark.django_db(transaction=True)


def page(client: Client, name: str, *args: Any) -> Any:
    return client.get(reverse(f"admin:{name}", args=args))


def text(response: Any) -> str:
    return html.unescape(response.content.decode())


@pytest.fixture
def as_role(client: Client, operator: VirtualOperator, now: datetime) -> Any:
    def log_in(role: Role) -> Client:
        whose = None if role is Role.PLATFORM else operator
        client.force_login(given_user(role=role, operator=whose, now=now))
        return client

    return log_in


def log_in(client: Client, username: str, password: str, address: str) -> Any:
    return client.post(
        reverse("admin:login"),
        {"username": username, "password": password, "next": reverse("admin:index")},
        REMOTE_ADDR=address,
        follow=True,
    )


# --- Logging in -----------------------------------------------------------------------------------------------------
def test_login_and_logout(client: Client, operator: VirtualOperator, now: datetime) -> None:
    user = given_user(role=Role.SUPPORT, operator=operator, now=now)
    assert page(client, "index").status_code == 302
    assert "Please enter the correct" in text(log_in(client, user.username, "wrong", "192.0.2.1"))
    assert log_in(client, user.username, PASSWORD, "192.0.2.1").status_code == 200
    assert page(client, "index").status_code == 200


def test_a_locked_out_person_is_out_at_once(client: Client, operator: VirtualOperator, now: datetime) -> None:
    user = given_user(role=Role.SUPPORT, operator=operator, now=now)
    client.force_login(user)
    assert page(client, "index").status_code == 200
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert page(client, "index").status_code == 302
    assert "Please enter the correct" in text(log_in(client, user.username, PASSWORD, "192.0.2.2"))


def test_guessing_is_slowed_down_per_name_and_address(
    client: Client, operator: VirtualOperator, now: datetime
) -> None:
    user = given_user(role=Role.SUPPORT, operator=operator, now=now)
    for _ in range(10):
        log_in(client, user.username, "wrong", "192.0.2.3")
    assert "Please enter the correct" in text(log_in(client, user.username, PASSWORD, "192.0.2.3"))
    assert page(client, "index").status_code == 302
    log_in(client, user.username, PASSWORD, "192.0.2.4")
    assert page(client, "index").status_code == 200


# --- What is seen ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("role", list(Role))
def test_every_page_of_ours_opens_or_is_forbidden_by_role(as_role: Any, role: Role) -> None:
    client = as_role(role)
    allowed = {
        Role.PLATFORM: {"accounts", "audit", "operators"},
        Role.OPERATOR_ADMIN: {"accounts", "audit", "operators"},
        Role.COMPLIANCE: {"audit", "operators"},
        Role.SUPPORT: set(),
        Role.ENGINEER: set(),
    }[role]
    for model in admin.site._registry:
        if model._meta.app_label in OURS:
            response = page(client, f"{model._meta.app_label}_{model._meta.model_name}_changelist")
            expected = 200 if model._meta.app_label in allowed else 403
            assert (model.__name__, response.status_code) == (model.__name__, expected)


def test_nothing_is_edited_in_place_on_any_page(platform_admin: Actor, rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = User.objects.get(uid=platform_admin.id)
    ours = {config.label for config in apps.get_app_configs() if config.name.startswith("apps.")}
    pages = {model: each for model, each in admin.site._registry.items() if model._meta.app_label in ours}
    assert len(pages) > 10
    for model, each in pages.items():
        assert not each.has_change_permission(request), model
        assert not each.has_delete_permission(request), model
        assert not each.has_add_permission(request) or (isinstance(each, TenantAdmin) and each.create), model


def test_tokens_and_keys_have_no_pages() -> None:
    shown = {model.__name__ for model in admin.site._registry}
    assert not shown & {"AccessToken", "RefreshToken", "Grant", "IDToken", "IdempotencyKey", "Application"}


def test_operator_staff_see_only_their_own(
    as_role: Any, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    mine, _ = given_partner_app(operator=operator, now=now)
    theirs, _ = given_partner_app(operator=other_operator, now=now)
    client = as_role(Role.OPERATOR_ADMIN)
    listed = text(page(client, "accounts_partnerapp_changelist"))
    assert mine.uid in listed
    assert theirs.uid not in listed
    assert other_operator.code not in listed
    assert page(client, "accounts_partnerapp_change", mine.pk).status_code == 200
    assert page(client, "accounts_partnerapp_change", theirs.pk).status_code == 302
    for name in (
        "operators_virtualoperator",
        "operators_licence",
        "operators_wholesaleagreement",
        "audit_auditevent",
    ):
        assert other_operator.code not in text(page(client, f"{name}_changelist"))
    own_licence, their_licence = (Licence.objects.get(operator=o) for o in (operator, other_operator))
    assert page(client, "operators_licence_change", own_licence.pk).status_code == 200
    assert page(client, "operators_licence_change", their_licence.pk).status_code == 302


def test_platform_staff_see_all(
    as_role: Any, operator: VirtualOperator, other_operator: VirtualOperator
) -> None:
    listed = text(page(as_role(Role.PLATFORM), "operators_virtualoperator_changelist"))
    assert operator.code in listed
    assert other_operator.code in listed


def test_policies_show_defaults_and_one_s_own(
    as_role: Any, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    own = given_policy(key=PolicyKey.HOLDER_LIMIT, value=3, now=now, operator=operator)
    theirs = given_policy(key=PolicyKey.HOLDER_LIMIT, value=4, now=now, operator=other_operator)
    client = as_role(Role.COMPLIANCE)
    assert page(client, "operators_policy_change", own.pk).status_code == 200
    assert page(client, "operators_policy_change", theirs.pk).status_code == 302
    default = Policy.objects.filter(operator=None).first()
    assert default is not None
    assert page(client, "operators_policy_change", default.pk).status_code == 200


# --- What is changed ------------------------------------------------------------------------------------------------
def test_papers_are_read_only_for_operator_staff(as_role: Any, operator: VirtualOperator) -> None:
    client = as_role(Role.OPERATOR_ADMIN)
    licence = Licence.objects.get(operator=operator)
    for name in (
        "operators_licence",
        "operators_policy",
        "operators_wholesaleagreement",
        "operators_virtualoperator",
    ):
        assert page(client, f"{name}_add").status_code == 403
    shown = text(page(client, "operators_licence_change", licence.pk))
    assert 'id="buttons"' not in shown
    assert (
        client.post(
            reverse("admin:operators_licence_change", args=(licence.pk,)), {"number": "x"}
        ).status_code
        == 403
    )
    assert client.post(reverse("admin:operators_licence_delete", args=(licence.pk,))).status_code == 403
    pressed = client.post(
        reverse("admin:operators_licence_press", args=(licence.pk, "revoke")), {"reason": "x"}
    )
    assert pressed.status_code == 403
    licence.refresh_from_db()
    assert (licence.revoked_at, licence.number) == (None, Licence.objects.get(pk=licence.pk).number)
    assert not AuditEvent.objects.filter(action="licence.revoke").exists()


@REFUSALS
def test_a_button_calls_the_service_and_asks_why(as_role: Any, operator: VirtualOperator) -> None:
    client = as_role(Role.PLATFORM)
    licence = Licence.objects.get(operator=operator)
    url = reverse("admin:operators_licence_press", args=(licence.pk, "revoke"))
    assert url in text(page(client, "operators_licence_change", licence.pk))
    assert client.get(url).status_code == 405
    assert "Say why." in text(client.post(url, {"reason": " "}, follow=True))
    licence.refresh_from_db()
    assert licence.revoked_at is None
    assert "is revoked" in text(client.post(url, {"reason": "art. 69"}, follow=True))
    licence.refresh_from_db()
    assert licence.revoked_at is not None
    event = AuditEvent.objects.get(action="licence.revoke")
    assert (event.reason, event.actor_kind, event.ip) == ("art. 69", "STAFF", "127.0.0.1")
    refused = client.post(url, {"reason": "again"}, follow=True)
    assert "This licence was revoked before." in text(refused)
    assert url not in text(page(client, "operators_licence_change", licence.pk))
    assert AuditEvent.objects.filter(action="licence.revoke").count() == 1


def test_buttons_of_unknown_rows_and_names(as_role: Any, operator: VirtualOperator) -> None:
    client = as_role(Role.PLATFORM)
    licence = Licence.objects.get(operator=operator)
    for args in ((licence.pk, "nonsense"), (999_999, "revoke"), ("x", "revoke")):
        assert (
            client.post(reverse("admin:operators_licence_press", args=args), {"reason": "x"}).status_code
            == 404
        )


def test_a_button_needs_the_token_against_forgery(operator: VirtualOperator, now: datetime) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(given_user(role=Role.PLATFORM, now=now))
    licence = Licence.objects.get(operator=operator)
    url = reverse("admin:operators_licence_press", args=(licence.pk, "revoke"))
    assert client.post(url, {"reason": "x"}).status_code == 403
    licence.refresh_from_db()
    assert licence.revoked_at is None


def test_a_foreign_row_s_button_does_not_exist(
    as_role: Any, other_operator: VirtualOperator, now: datetime
) -> None:
    theirs, _ = given_partner_app(operator=other_operator, now=now)
    client = as_role(Role.OPERATOR_ADMIN)
    url = reverse("admin:accounts_partnerapp_press", args=(theirs.pk, "revoke"))
    assert client.post(url, {"reason": "x"}).status_code == 404
    theirs.refresh_from_db()
    assert theirs.revoked_at is None


@REFUSALS
def test_an_app_is_created_and_its_secret_shown_once(
    as_role: Any, operator: VirtualOperator, other_operator: VirtualOperator
) -> None:
    client = as_role(Role.OPERATOR_ADMIN)
    url = reverse("admin:accounts_partnerapp_add")
    form = text(client.get(url))
    assert operator.code in form
    assert other_operator.code not in form
    fields = {"name": "shop", "scopes": ["numbers:read"], "rate_per_second": 5, "rate_burst": 10}
    foreign = client.post(url, {**fields, "operator": other_operator.pk})
    assert "not one of the available choices" in text(foreign)
    assert not PartnerApp.objects.exists()
    created = client.post(url, {**fields, "operator": operator.pk})
    app = PartnerApp.objects.get()
    assert app.client_id in text(created)
    assert "client_secret: khs_" in text(created)
    assert "no-store" in created["Cache-Control"]
    assert "khs_" not in text(page(client, "accounts_partnerapp_change", app.pk))
    again = client.post(url, {**fields, "operator": operator.pk})
    assert "The operator has an app with this name." in text(again)
    assert PartnerApp.objects.count() == 1


@REFUSALS
def test_a_user_is_created_by_form(as_role: Any, operator: VirtualOperator) -> None:
    client = as_role(Role.OPERATOR_ADMIN)
    url = reverse("admin:accounts_user_add")
    fields = {"username": "wang", "operator": operator.pk, "role": "SUPPORT", "password": PASSWORD}
    assert "too short" in text(client.post(url, {**fields, "password": "x"}))
    assert "The role PLATFORM belongs to no operator" in text(
        client.post(url, {**fields, "role": "PLATFORM"})
    )
    assert not User.objects.filter(username="wang").exists()
    assert "wang can log in." in text(client.post(url, fields, follow=True))
    assert User.objects.get(username="wang").operator == operator


@REFUSALS
def test_platform_staff_record_papers_and_policies(
    as_role: Any, operator: VirtualOperator, now: datetime
) -> None:
    client = as_role(Role.PLATFORM)
    day = now.date()
    licence = {
        "operator": operator.pk,
        "number": "A2.B1",
        "kind": "COMMERCIAL",
        "valid_from": day.isoformat(),
        "valid_until": (day + timedelta(days=1826)).isoformat(),
        "areas": "广东/深圳 北京",
    }
    assert "is recorded" in text(client.post(reverse("admin:operators_licence_add"), licence, follow=True))
    assert Licence.objects.get(number="A2.B1").areas == ["广东/深圳", "北京"]
    twice = client.post(reverse("admin:operators_licence_add"), licence)
    assert "recorded already" in text(twice)
    policy = {"operator": operator.pk, "key": "holder.limit", "value": "3", "source_note": "contract"}
    assert "holder.limit is 3" in text(
        client.post(reverse("admin:operators_policy_add"), policy, follow=True)
    )
    assert (
        policies.get(operator_id=operator.pk, key=PolicyKey.HOLDER_LIMIT, now=now + timedelta(minutes=1)) == 3
    )
    wrong = client.post(reverse("admin:operators_policy_add"), {**policy, "value": "500"})
    assert "from 1 to 100" in text(wrong)


def test_every_detail_page_of_ours_opens(as_role: Any, operator: VirtualOperator, now: datetime) -> None:
    given_partner_app(operator=operator, now=now)
    given_licence(operator=operator, now=now)
    client = as_role(Role.PLATFORM)
    opened = 0
    for model, page_class in admin.site._registry.items():
        row = model._default_manager.first() if model._meta.app_label in OURS else None
        if row is not None:
            assert (
                page(client, f"{model._meta.app_label}_{model._meta.model_name}_change", row.pk).status_code
                == 200
            )
            opened += 1
        if (
            model._meta.app_label in OURS
            and isinstance(page_class, TenantAdmin)
            and page_class.create is not None
        ):
            assert page(client, f"{model._meta.app_label}_{model._meta.model_name}_add").status_code == 200
    assert opened >= 8
