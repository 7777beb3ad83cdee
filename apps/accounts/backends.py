"""Logging in to the admin and asking what a role may see there."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from apps.accounts import roles
from apps.accounts.models import User
from apps.core import ratelimit

logger = logging.getLogger(__name__)

# Guessing: ten tries at once, then one in thirty seconds for a name from one address; an address gets somewhat more,
# since an office may share it. Successful logins count too, which nobody notices at this pace.
_PER_NAME_RATE, _PER_NAME_BURST = 1 / 30, 10
_PER_ADDRESS_RATE, _PER_ADDRESS_BURST = 1 / 5, 100


class RoleBackend(ModelBackend):
    """Password login with a brake on guessing. Permissions follow from the role: pages are for looking only, since
    states change through services, which ask the actor for rights themselves."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """:raises PermissionDenied: too many tries; Django shows it as a failed login."""
        if request is not None and not _may_try(request, username or ""):
            logger.warning("login refused after too many tries")
            raise PermissionDenied
        return super().authenticate(request, username=username, password=password, **kwargs)

    def has_perm(self, user_obj: Any, perm: str, obj: object = None) -> bool:
        app_label, _, name = perm.partition(".")
        return user_obj.is_active and name.startswith("view_") and roles.may_see(user_obj.role, app_label)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return user_obj.is_active and roles.may_see(user_obj.role, app_label)

    def get_all_permissions(self, user_obj: Any, obj: object = None) -> set[str]:
        """There is no list of permissions in the database; ask `has_perm`."""
        return set()


def _may_try(request: HttpRequest, username: str) -> bool:
    address = request.META.get("REMOTE_ADDR", "")
    name = hashlib.sha256(username.lower().encode()).hexdigest()[:16]
    per_address = ratelimit.take(
        f"login:{address}", rate_per_second=_PER_ADDRESS_RATE, burst=_PER_ADDRESS_BURST
    )
    per_name = ratelimit.take(
        f"login:{address}:{name}", rate_per_second=_PER_NAME_RATE, burst=_PER_NAME_BURST
    )
    return per_address.allowed and per_name.allowed
