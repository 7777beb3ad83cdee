"""Creating and ending accounts, and what a role may do."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError

from apps.accounts import credentials, roles, selectors
from apps.accounts import services as accounts
from apps.accounts.actors import actor_of_user
from apps.accounts.errors import AlreadyRevoked, NameTaken, PasswordTooWeak, RoleNotAllowed, ScopeUnknown
from apps.accounts.models import PartnerApp, User
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.db import violated_constraint
from apps.core.errors import Forbidden, NotFound
from apps.operators.models import VirtualOperator
from tests.factories.accounts import PASSWORD, given_partner_app, given_token, given_user
from tests.refusals import refused


def test_a_user_of_an_operator(operator: VirtualOperator, operator_admin: Actor, now: datetime) -> None:
    user = accounts.create_user(
        actor=operator_admin, operator=operator, username="li", password=PASSWORD, role=Role.SUPPORT, now=now
    )
    assert (user.is_staff, user.is_superuser, user.check_password(PASSWORD)) == (True, False, True)
    event = AuditEvent.objects.get(action="user.create", target_id=user.uid)
    assert (event.actor_id, event.operator_id, event.after) == (
        operator_admin.id,
        operator.pk,
        {"username": "li", "role": "SUPPORT"},
    )
    actor = actor_of_user(user, request_id="r1", ip="10.0.0.1")
    assert (actor.id, actor.operator_id, actor.request_id, actor.ip) == (
        user.uid,
        operator.pk,
        "r1",
        "10.0.0.1",
    )
    assert actor.capabilities == roles.RIGHTS[Role.SUPPORT]


def test_users_that_are_refused(
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    operator_admin: Actor,
    system: Actor,
    now: datetime,
) -> None:
    good: dict[str, Any] = {
        "actor": operator_admin,
        "operator": operator,
        "username": "li",
        "password": PASSWORD,
        "role": Role.SUPPORT,
        "now": now,
    }
    support = actor_of_user(accounts.create_user(**good))
    before = (User.objects.count(), AuditEvent.objects.count())
    with refused(NameTaken):
        accounts.create_user(**good)
    for change, error in (
        ({"actor": support}, Forbidden),
        ({"operator": other_operator}, NotFound),
        ({"operator": None, "role": Role.PLATFORM}, NotFound),
        ({"actor": system, "operator": None}, RoleNotAllowed),
        ({"role": Role.PLATFORM}, RoleNotAllowed),
        ({"password": "short"}, PasswordTooWeak),
        ({"password": "password1234"}, PasswordTooWeak),
    ):
        with refused(error):
            accounts.create_user(**{**good, "username": "wang", **change})
    assert (User.objects.count(), AuditEvent.objects.count()) == before


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"role": Role.SUPPORT}, "user_platform_has_no_operator"),
        ({"role": Role.PLATFORM, "operator": True}, "user_platform_has_no_operator"),
        ({"role": Role.PLATFORM, "is_superuser": True}, "user_rights_come_from_role"),
    ],
)
def test_the_database_keeps_roles_and_tenants_apart(
    operator: VirtualOperator, now: datetime, fields: dict[str, Any], constraint: str
) -> None:
    if "operator" in fields:
        fields = {**fields, "operator": operator}
    with refused(IntegrityError) as caught:
        User.objects.create(username="odd", date_joined=now, **fields)
    assert violated_constraint(caught.value) == constraint


def test_createsuperuser_makes_a_platform_account(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command(
        "createsuperuser", "--noinput", "--username", "root", "--email", "root@example.com", verbosity=0
    )
    user = User.objects.get(username="root")
    assert (user.role, user.operator, user.is_staff, user.is_superuser) == (Role.PLATFORM, None, True, False)


def test_deactivation_and_new_password(
    operator: VirtualOperator, other_operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    user = given_user(role=Role.ENGINEER, operator=operator, now=now)
    accounts.set_password(
        actor=operator_admin, user_uid=user.uid, password="another long pass phrase", now=now
    )
    user.refresh_from_db()
    assert user.check_password("another long pass phrase")
    with refused(PasswordTooWeak):
        accounts.set_password(actor=operator_admin, user_uid=user.uid, password="x", now=now)
    accounts.deactivate_user(actor=operator_admin, user_uid=user.uid, reason="left", now=now)
    user.refresh_from_db()
    assert not user.is_active
    with refused(AlreadyRevoked):
        accounts.deactivate_user(actor=operator_admin, user_uid=user.uid, reason="left", now=now)
    theirs = given_user(role=Role.ENGINEER, operator=other_operator, now=now)
    with refused(NotFound):
        accounts.deactivate_user(actor=operator_admin, user_uid=theirs.uid, reason="x", now=now)
    with refused(NotFound):
        accounts.set_password(actor=operator_admin, user_uid=theirs.uid, password=PASSWORD, now=now)
    with refused(NotFound):
        selectors.get_user(actor=operator_admin, uid=theirs.uid)


def test_partner_apps(
    operator: VirtualOperator, other_operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    app, secret = accounts.create_partner_app(
        actor=operator_admin, operator=operator, name="shop", scopes=["orders:write", "numbers:read"], now=now
    )
    assert app.scopes == ["numbers:read", "orders:write"]
    assert credentials.client_secret_matches(secret, app.client_secret)
    assert not credentials.client_secret_matches(secret + "x", app.client_secret)
    recorded = AuditEvent.objects.get(action="partner_app.create", target_id=app.uid)
    assert secret not in str(recorded.after)
    good: dict[str, Any] = {
        "actor": operator_admin,
        "operator": operator,
        "name": "other",
        "scopes": ["numbers:read"],
        "now": now,
    }
    for change, error in (
        ({"name": "shop"}, NameTaken),
        ({"scopes": []}, ScopeUnknown),
        ({"scopes": ["numbers:read", "everything"]}, ScopeUnknown),
        ({"operator": other_operator}, NotFound),
    ):
        with refused(error):
            accounts.create_partner_app(**{**good, **change})
    theirs, _ = given_partner_app(operator=other_operator, now=now)
    with refused(NotFound):
        accounts.revoke_partner_app(actor=operator_admin, app_uid=theirs.uid, reason="x", now=now)
    with refused(NotFound):
        accounts.rotate_client_secret(actor=operator_admin, app_uid=theirs.uid, now=now)
    with refused(NotFound):
        selectors.get_partner_app(actor=operator_admin, uid=theirs.uid)
    assert list(selectors.list_partner_apps(actor=operator_admin)) == [app]
    accounts.revoke_partner_app(actor=operator_admin, app_uid=app.uid, reason="closed", now=now)
    for call in (
        lambda: accounts.revoke_partner_app(actor=operator_admin, app_uid=app.uid, reason="x", now=now),
        lambda: accounts.rotate_client_secret(actor=operator_admin, app_uid=app.uid, now=now),
    ):
        with refused(AlreadyRevoked):
            call()
    assert PartnerApp.objects.filter(operator=operator).count() == 1


def test_a_revoked_app_s_token_speaks_for_nobody(
    partner_app: PartnerApp, system: Actor, now: datetime
) -> None:
    token = given_token(app=partner_app, now=now)
    assert selectors.get_bearer(token=token, now=now) is not None
    PartnerApp.objects.filter(pk=partner_app.pk).update(revoked_at=now)
    assert selectors.get_bearer(token=token, now=now) is None


def test_digests() -> None:
    secret = credentials.new_client_secret()
    first, second = credentials.client_secret_digest(secret), credentials.client_secret_digest(secret)
    assert first != second
    assert credentials.client_secret_matches(secret, first)
    assert credentials.client_secret_matches(secret, second)
    for broken in ("", "sha256", "sha256$$", first.replace("sha256", "md5"), first[:-1]):
        assert not credentials.client_secret_matches(secret, broken)
    assert len({credentials.new_token() for _ in range(100)}) == 100


def test_rights_by_role() -> None:
    assert roles.rights_of("COMPLIANCE") == {
        "disputes.decide",
        "disputes.open",
        "holders.check",
        "identity.export",
        "identity.reveal",
        "lines.suspend",
        "lines.terminate",
        "numbering.release_early",
        "realname.demand",
        "realname.review",
        "retention.hold",
        "watchlist.manage",
    }
    assert "jobs.retry" in roles.rights_of("ENGINEER")
    assert "identity.reveal" not in roles.rights_of("ENGINEER") | roles.rights_of("SUPPORT")
    assert "operators.manage" in roles.rights_of("PLATFORM")
    assert "operators.manage" not in roles.rights_of("OPERATOR_ADMIN")
    assert set(roles.RIGHTS) == set(roles.VISIBLE_APPS) == set(Role)
