"""Who is calling, built once per interface."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from apps.accounts import roles, selectors
from apps.accounts.models import PartnerApp, User
from apps.core.actor import Actor, ActorKind
from apps.core.errors import NotFound


def staff_actor(request: HttpRequest) -> Actor:
    """The logged-in person of an admin request, with the rights of the role."""
    user = request.user
    if not isinstance(user, User):
        raise TypeError("an admin request without a logged-in user")
    return actor_of_user(
        user,
        request_id=getattr(request, "request_id", ""),
        trace_id=getattr(request, "trace_id", ""),
        ip=request.META.get("REMOTE_ADDR"),
    )


def actor_of_user(user: User, *, request_id: str = "", trace_id: str = "", ip: str | None = None) -> Actor:
    return Actor(
        kind=ActorKind.STAFF,
        id=user.uid,
        label=user.get_username(),
        operator_id=user.operator_id,
        request_id=request_id,
        trace_id=trace_id,
        ip=ip,
        capabilities=roles.rights_of(user.role),
    )


def actor_of_staff(actor_id: str) -> Actor | None:
    """A member of staff for whom something goes on in the background, with the rights of now; None who has left."""
    try:
        user = selectors.get_user(actor=Actor.system("staff"), uid=actor_id)
    except NotFound:
        return None
    return actor_of_user(user) if user.is_active else None


def partner_actor(app: PartnerApp, *, scopes: frozenset[str], request: Any) -> Actor:
    """The partner app of a REST request; its rights are the token's scopes."""
    return Actor(
        kind=ActorKind.PARTNER,
        id=app.uid,
        label=app.name,
        operator_id=app.operator_id,
        request_id=getattr(request, "request_id", ""),
        trace_id=getattr(request, "trace_id", ""),
        ip=request.META.get("REMOTE_ADDR"),
        capabilities=scopes,
    )
