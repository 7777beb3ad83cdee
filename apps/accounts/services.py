"""Creating and ending accounts, tokens and idempotency keys."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection
from oauth2_provider.models import AbstractApplication

from apps.accounts import credentials
from apps.accounts.errors import (
    AlreadyRevoked,
    ClientChanged,
    KeyInProgress,
    KeyReused,
    NameTaken,
    PasswordTooWeak,
    RoleNotAllowed,
    ScopeUnknown,
)
from apps.accounts.models import AccessToken, IdempotencyKey, PartnerApp, User
from apps.accounts.states import Role
from apps.audit import services as audit
from apps.core import sealing
from apps.core.actor import Actor
from apps.core.db import operation, use_case, violated_constraint
from apps.core.errors import NotFound
from apps.core.faults import faultpoint
from apps.core.public_ids import get_by_uid
from apps.operators.models import VirtualOperator

MANAGE_ACCOUNTS = "accounts.manage"
IDEMPOTENCY_KEYS_KEPT = timedelta(days=7)


# --- Staff ----------------------------------------------------------------------------------------------------------
@operation
def create_user(
    *,
    actor: Actor,
    operator: VirtualOperator | None,
    username: str,
    password: str,
    role: Role,
    now: datetime,
    email: str = "",
) -> User:
    """A person who can log in to the admin, of one operator or (None) of the platform.

    :raises RoleNotAllowed: PLATFORM with an operator, or another role without one. :raises NameTaken:
    :raises PasswordTooWeak: :raises NotFound: the operator is not the actor's. :raises Forbidden:
    """
    actor.require(MANAGE_ACCOUNTS)
    if not actor.sees(operator.pk if operator else None):
        raise NotFound
    if (role == Role.PLATFORM) is not (operator is None):
        raise RoleNotAllowed("The role PLATFORM belongs to no operator, every other role to one.")
    user = User(
        username=username,
        email=email,
        operator=operator,
        role=role,
        is_staff=True,
        is_superuser=False,
        date_joined=now,
    )
    _set_password(user, password)
    try:
        user.save(force_insert=True)
    except IntegrityError as error:
        if violated_constraint(error) == "accounts_user_username_key":
            raise NameTaken("There is a user with this name.") from None
        raise
    _audit(actor, "user.create", "user", user, now, after={"username": username, "role": role})
    return user


@operation
def set_password(*, actor: Actor, user_uid: str, password: str, now: datetime) -> User:
    """Sets another person's password, which ends that person's sessions.

    :raises NotFound: unknown or not visible. :raises PasswordTooWeak: :raises Forbidden:
    """
    actor.require(MANAGE_ACCOUNTS)
    user = get_by_uid(User.objects.visible_to(actor).select_for_update(), user_uid)
    _set_password(user, password)
    user.save(update_fields=["password"])
    _audit(actor, "user.set_password", "user", user, now)
    return user


@operation
def deactivate_user(*, actor: Actor, user_uid: str, reason: str, now: datetime) -> User:
    """Locks a person out at once; the account stays, since the audit speaks of it.

    :raises NotFound: unknown or not visible. :raises AlreadyRevoked: locked out before. :raises Forbidden:
    """
    actor.require(MANAGE_ACCOUNTS)
    user = get_by_uid(User.objects.visible_to(actor).select_for_update(), user_uid)
    if not user.is_active:
        raise AlreadyRevoked("This account was deactivated before.")
    user.is_active = False
    user.save(update_fields=["is_active"])
    _audit(actor, "user.deactivate", "user", user, now, after={"is_active": False}, reason=reason)
    return user


def _set_password(user: User, password: str) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise PasswordTooWeak(" ".join(error.messages)) from None
    user.set_password(password)


# --- Partner apps and their tokens ----------------------------------------------------------------------------------
@operation
def create_partner_app(
    *,
    actor: Actor,
    operator: VirtualOperator,
    name: str,
    scopes: Collection[str],
    now: datetime,
    rate_per_second: int = 100,
    rate_burst: int = 200,
) -> tuple[PartnerApp, str]:
    """A program that may get tokens with these scopes, and its client secret, which is never shown again.

    :raises ScopeUnknown: :raises NameTaken: :raises NotFound: the operator is not the actor's. :raises Forbidden:
    """
    actor.require(MANAGE_ACCOUNTS)
    if not actor.sees(operator.pk):
        raise NotFound
    known = settings.OAUTH2_PROVIDER["SCOPES"]
    if not scopes or not set(scopes) <= set(known):
        raise ScopeUnknown(f"Scopes are: {', '.join(known)}.")
    secret = credentials.new_client_secret()
    app = PartnerApp(
        operator=operator,
        name=name,
        scopes=[scope for scope in known if scope in scopes],
        client_type=AbstractApplication.CLIENT_CONFIDENTIAL,
        authorization_grant_type=AbstractApplication.GRANT_CLIENT_CREDENTIALS,
        client_secret=credentials.client_secret_digest(secret),
        rate_per_second=rate_per_second,
        rate_burst=rate_burst,
    )
    try:
        app.save(force_insert=True)
    except IntegrityError as error:
        if violated_constraint(error) == "partner_app_name":
            raise NameTaken("The operator has an app with this name.") from None
        raise
    _audit(actor, "partner_app.create", "partner_app", app, now, after={"name": name, "scopes": app.scopes})
    return app, secret


@operation
def rotate_client_secret(*, actor: Actor, app_uid: str, now: datetime) -> tuple[PartnerApp, str]:
    """A new client secret; the old one and every token got with it stop working at once.

    :raises NotFound: unknown or not visible. :raises AlreadyRevoked: :raises Forbidden:
    """
    actor.require(MANAGE_ACCOUNTS)
    app = _get_app_for_update(actor, app_uid)
    secret = credentials.new_client_secret()
    app.replace_secret(credentials.client_secret_digest(secret))
    AccessToken.objects.filter(application=app).delete()
    _audit(actor, "partner_app.rotate_secret", "partner_app", app, now)
    return app, secret


@operation
def revoke_partner_app(*, actor: Actor, app_uid: str, reason: str, now: datetime) -> PartnerApp:
    """Ends the app and its tokens: the next request with one of them is refused.

    :raises NotFound: unknown or not visible. :raises AlreadyRevoked: :raises Forbidden:
    """
    actor.require(MANAGE_ACCOUNTS)
    app = _get_app_for_update(actor, app_uid)
    app.revoke(now=now)
    AccessToken.objects.filter(application=app).delete()
    _audit(
        actor,
        "partner_app.revoke",
        "partner_app",
        app,
        now,
        after={"revoked_at": now.isoformat()},
        reason=reason,
    )
    return app


@operation
def store_token(*, app: PartnerApp, token: str, scopes: Collection[str], expires_at: datetime) -> None:
    """Keeps the checksum of a bearer token of the app. Not audited: tokens come by the thousand.

    `app` is as it was when its secret was looked at. Under the row's lock it is looked at again: a token asked for with
    a secret that was rotated meanwhile must not outlive the rotation, which deletes only the tokens it can see.

    :raises ClientChanged: another secret by now, revoked, or gone.
    """
    current = PartnerApp.objects.select_for_update(no_key=True).filter(pk=app.pk).first()
    if (
        current is None
        or current.revoked_at is not None
        or not hmac.compare_digest(current.client_secret, app.client_secret)
    ):
        raise ClientChanged
    AccessToken.objects.create(
        application=app,
        token_checksum=credentials.token_checksum(token),
        scope=" ".join(scopes),
        expires=expires_at,
    )


@operation
def forget_expired_tokens(*, now: datetime, limit: int) -> int:
    """Deletes up to `limit` tokens that have expired; answers how many."""
    due = AccessToken.objects.filter(expires__lt=now).order_by("expires")[:limit]
    deleted: int = AccessToken.objects.filter(pk__in=due.values("pk")).delete()[0]
    return deleted


def _get_app_for_update(actor: Actor, uid: str) -> PartnerApp:
    app: PartnerApp = get_by_uid(PartnerApp.objects.visible_to(actor).select_for_update(), uid)
    if app.revoked_at is not None:
        raise AlreadyRevoked
    return app


# --- Idempotency ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered with: status, body byte for byte, and where the new thing is."""

    status: int
    body: bytes
    location: str = ""


@use_case
def run_once(
    *, partner_app_id: int, key: str, fingerprint: bytes, action: Callable[[], Answer], now: datetime
) -> tuple[Answer, bool]:
    """Runs the action in one transaction together with its answer, or answers what it answered before (True).

    Whatever the action raises undoes everything and frees the key, and so does a crash. Two requests with one key never
    both run: the second is refused while the first runs (a try-lock, so it does not queue), later it gets the answer.
    Only a keyed hash of the key is kept.

    :raises KeyInProgress: the first request with the key is still running.
    :raises KeyReused: the key belongs to a request with another fingerprint.
    """
    key = sealing.keyed_hash(key, purpose="accounts.idempotency_key").hex()
    _lock_key(partner_app_id, key)
    # A statement of its own after the lock: it must see what the previous holder has committed.
    stored = (
        IdempotencyKey.objects.filter(partner_app_id=partner_app_id, key=key)
        .values_list("fingerprint", "status", "body", "location")
        .first()
    )
    if stored is not None:
        known_fingerprint, status, body, location = stored
        if bytes(known_fingerprint) != fingerprint:
            raise KeyReused
        return Answer(status, bytes(body), location), True
    answer = action()
    IdempotencyKey.objects.create(
        partner_app_id=partner_app_id,
        key=key,
        fingerprint=fingerprint,
        status=answer.status,
        body=answer.body,
        location=answer.location,
        created_at=now,
    )
    faultpoint("place.before_commit")
    return answer, False


def _lock_key(partner_app_id: int, key: str) -> None:
    digest = hashlib.sha256(f"idempotency:{partner_app_id}:{key}".encode()).digest()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [int.from_bytes(digest[:8], signed=True)])
        row = cursor.fetchone()
    if row is None or not row[0]:
        raise KeyInProgress


@operation
def forget_idempotency_keys(*, now: datetime, limit: int) -> int:
    """Deletes up to `limit` keys older than seven days; answers how many."""
    due = IdempotencyKey.objects.filter(created_at__lt=now - IDEMPOTENCY_KEYS_KEPT).order_by("created_at")[
        :limit
    ]
    return IdempotencyKey.objects.filter(pk__in=due.values("pk")).delete()[0]


def _audit(
    actor: Actor,
    action: str,
    noun: str,
    target: User | PartnerApp,
    now: datetime,
    after: dict[str, object] | None = None,
    reason: str = "",
) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type=noun,
        target_id=target.uid,
        operator_id=target.operator_id,
        after=after,
        reason=reason,
        now=now,
    )
