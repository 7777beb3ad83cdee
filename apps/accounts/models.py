"""Staff, partner apps, their tokens and idempotency keys.

All five models of django-oauth-toolkit are swapped here, before the first migration: later that is not possible.
Only client credentials are issued, so Grant, RefreshToken and IDToken stay empty.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractUser, UserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from oauth2_provider.models import (
    AbstractAccessToken,
    AbstractApplication,
    AbstractGrant,
    AbstractIDToken,
    AbstractRefreshToken,
)

from apps.accounts.states import Role
from apps.core.actor import Actor
from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.operators.models import VirtualOperator


class StaffManager(UserManager["User"]):
    use_in_migrations = False

    def get_queryset(self) -> TenantQuerySet[User]:
        return TenantQuerySet(self.model, using=self._db)

    def visible_to(self, actor: Actor) -> TenantQuerySet[User]:
        return self.get_queryset().visible_to(actor)

    def create_superuser(
        self, username: str, email: str | None = None, password: str | None = None, **_: Any
    ) -> User:
        """`manage.py createsuperuser`: the first platform account. Rights come from the role, never from a flag."""
        return self.create_user(
            username, email, password, is_staff=True, role=Role.PLATFORM, date_joined=Now()
        )


class User(AbstractUser):  # type: ignore[django-manager-missing]
    """A person who logs in to the admin. Rights come from `role` (see roles.py); there are no groups."""

    uid = PublicIdField(prefix="usr")
    operator = models.ForeignKey(VirtualOperator, null=True, blank=True, on_delete=models.PROTECT)
    role = models.CharField(max_length=16, choices=Role)
    date_joined = models.DateTimeField()

    groups = None  # type: ignore[assignment]
    user_permissions = None  # type: ignore[assignment]

    objects = StaffManager()  # type: ignore[misc]

    class Meta:
        verbose_name = "member of staff"
        verbose_name_plural = "staff"
        constraints = [
            # Forgetting the operator must not make somebody see every operator.
            models.CheckConstraint(
                condition=Q(role=Role.PLATFORM, operator__isnull=True)
                | (~Q(role=Role.PLATFORM) & Q(operator__isnull=False)),
                name="user_platform_has_no_operator",
            ),
            models.CheckConstraint(condition=Q(is_superuser=False), name="user_rights_come_from_role"),
        ]


class PartnerApp(AbstractApplication):
    """A program of one operator that calls the REST API; live or test as its operator is."""

    uid = PublicIdField(prefix="app")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, related_name="+")
    # Salted digest, see credentials.py; the secret itself is shown once and kept nowhere.
    client_secret = models.CharField(max_length=128, editable=False)
    scopes = ArrayField(models.CharField(max_length=32))
    rate_per_second = models.PositiveIntegerField()
    rate_burst = models.PositiveIntegerField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    # An app belongs to an operator, not to a person.
    user = None
    hash_client_secret = None

    objects = TenantQuerySet["PartnerApp"].as_manager()

    class Meta(AbstractApplication.Meta):
        constraints = [
            models.UniqueConstraint(fields=["operator", "name"], name="partner_app_name"),
            models.CheckConstraint(
                condition=Q(rate_per_second__gt=0, rate_burst__gt=0), name="partner_app_rate"
            ),
        ]

    def revoke(self, *, now: datetime) -> None:
        self.revoked_at = now
        self.save(update_fields=["revoked_at", "updated"])

    def replace_secret(self, digest: str) -> None:
        self.client_secret = digest
        self.save(update_fields=["client_secret", "updated"])

    def is_usable(self, request: Any) -> bool:
        """Asked by django-oauth-toolkit."""
        return self.revoked_at is None


class AccessToken(AbstractAccessToken):
    """A bearer token; the column for its clear text is removed, only the SHA-256 of 256 random bits is kept."""

    token = None

    class Meta(AbstractAccessToken.Meta):
        indexes = [models.Index(fields=["expires"], name="access_token_expires")]


class RefreshToken(AbstractRefreshToken):
    """Never issued (RFC 6749 section 4.4.3)."""


class Grant(AbstractGrant):
    """Never issued: there is no authorization code flow."""


class IDToken(AbstractIDToken):
    """Never issued: there is no OpenID Connect."""


class IdempotencyKey(models.Model):
    """The first answer to a key, written in the transaction of what it did; api.md: kept 7 days, per PartnerApp."""

    partner_app = models.ForeignKey(PartnerApp, on_delete=models.CASCADE, db_index=False)
    # Keyed hash, in hex: partners build keys from what they have at hand, identity numbers too.
    key = models.CharField(max_length=64)
    # Keyed hash over method, path and body of the request.
    fingerprint = models.BinaryField(max_length=32)
    status = models.SmallIntegerField()
    body = models.BinaryField()
    location = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["partner_app", "key"], name="idempotency_key_once")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_key_age")]

    def __str__(self) -> str:
        return self.key
