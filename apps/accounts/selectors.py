"""Reading accounts: who a token or client id belongs to, whom an actor may see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from apps.accounts import credentials
from apps.accounts.models import AccessToken, PartnerApp, User
from apps.core.actor import Actor
from apps.core.public_ids import get_by_uid


@dataclass(frozen=True, slots=True)
class Bearer:
    """A valid token's app (with its operator) and scopes."""

    app: PartnerApp
    scopes: frozenset[str]


def get_bearer(*, token: str, now: datetime) -> Bearer | None:
    """Whom a bearer token speaks for; None when unknown, expired, or its app is revoked. One query by unique index.

    Nothing is cached: a revocation counts from the next request on.
    """
    row = (
        AccessToken.objects.select_related("application__operator")
        .filter(
            token_checksum=credentials.token_checksum(token),
            expires__gt=now,
            application__revoked_at__isnull=True,
        )
        .first()
    )
    if row is None:
        return None
    return Bearer(app=row.application, scopes=frozenset(row.scope.split()))


def get_client(*, client_id: str) -> PartnerApp | None:
    """The app with that client id unless it is revoked."""
    if "\0" in client_id:
        return None
    return PartnerApp.objects.filter(client_id=client_id, revoked_at__isnull=True).first()


def get_partner_app(*, actor: Actor, uid: str) -> PartnerApp:
    """:raises NotFound: unknown or another operator's."""
    app: PartnerApp = get_by_uid(PartnerApp.objects.visible_to(actor).select_related("operator"), uid)
    return app


def list_partner_apps(*, actor: Actor) -> QuerySet[PartnerApp]:
    """Apps the actor may see, revoked ones too."""
    return PartnerApp.objects.visible_to(actor).select_related("operator").order_by("pk")


def get_user(*, actor: Actor, uid: str) -> User:
    """:raises NotFound: unknown or another operator's."""
    return get_by_uid(User.objects.visible_to(actor), uid)


def list_users(*, actor: Actor) -> QuerySet[User]:
    """People who can log in, as far as the actor may see them."""
    return User.objects.visible_to(actor)
