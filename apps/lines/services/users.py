"""Who really uses a line that an organization holds: known by name, verified, and counted."""

from __future__ import annotations

from datetime import datetime

from apps.core.actor import Actor, ActorKind
from apps.core.db import operation, serialize_on
from apps.core.errors import FieldError, NotFound, RuleViolation
from apps.lines import selectors
from apps.lines.errors import ActualUserMissing, ActualUserNotAccepted, LineNotActive
from apps.lines.models import HolderSlot, Line, UserAssignment
from apps.lines.services.slots import Places, fill_places, take_place_of_user
from apps.lines.services.tracing import record
from apps.lines.states import LineStatus
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.subscribers import selectors as people
from apps.subscribers import services as subscribers
from apps.subscribers.errors import IdentityExpired, IdentityNotVerified
from apps.subscribers.models import Subscriber
from apps.subscribers.states import Standing


def find_user(*, actor: Actor, holder: Subscriber, uid: str | None, now: datetime) -> Subscriber | None:
    """Who is going to use a line of that holder: None for a person's, who uses it.

    :raises ActualUserMissing: policy `lines.actual_user_required`, of an organization.
    :raises ActualUserNotAccepted: the holder is a person, or the user an organization.
    :raises NotFound: no such subscriber of the holder's operator.
    :raises IdentityNotVerified, IdentityExpired: nobody has verified the user, or too long ago.
    """
    if not uid:
        if holder.is_organization and policies.get(
            operator_id=holder.operator_id, key=PolicyKey.ACTUAL_USER_REQUIRED, now=now
        ):
            raise _refusal(ActualUserMissing)
        return None
    if not holder.is_organization:
        raise _refusal(ActualUserNotAccepted)
    user = people.get_subscriber(actor=actor, uid=uid)
    if user.operator_id != holder.operator_id:
        raise NotFound
    if user.is_organization:
        raise _refusal(ActualUserNotAccepted)
    standing = people.get_verification_state(subscriber_id=user.pk, now=now).standing
    if standing is Standing.EXPIRED:
        raise _refusal(IdentityExpired)
    if standing is not Standing.PASSED_FRESH:
        raise _refusal(IdentityNotVerified)
    return user


@operation
def change_actual_user(*, actor: Actor, line: str, actual_user: str, now: datetime) -> Line:
    """Somebody else uses the organization's line from now on; the host carrier, who knows the holder, is not asked.

    The same person again changes nothing.

    :raises NotFound: no such line or person of this operator. :raises LineNotActive: the line has ended.
    :raises ActualUserNotAccepted, IdentityNotVerified, IdentityExpired: see `find_user`.
    :raises HolderLimitReached: all places of the person are filled. :raises Forbidden: staff without `orders.place`.
    """
    if actor.kind is ActorKind.STAFF:
        actor.require("orders.place")
    found = selectors.get_line(actor=actor, uid=line)
    # Before any row is locked: two changes of one line would each have the place that the other is to give back.
    serialize_on(f"lines.actual_user:{found.pk}")
    user = find_user(actor=actor, holder=found.subscriber, uid=actual_user, now=now)
    assert user is not None  # noqa: S101 - somebody is named
    current = UserAssignment.objects.filter(line_id=found.pk, released_at=None).select_related("user").first()
    if current is not None and current.user_id == user.pk and found.status != LineStatus.TERMINATED:
        return found
    places = Places(user=take_place_of_user(user=user, now=now))
    HolderSlot.objects.filter(line_id=found.pk, as_user=True).delete()
    locked = Line.objects.select_for_update(of=("self",)).select_related("subscriber").get(pk=found.pk)
    if locked.status == LineStatus.TERMINATED:
        raise LineNotActive
    if locked.subscriber_id != found.subscriber_id:
        raise _refusal(ActualUserNotAccepted)
    fill_places(actor=actor, places=places, line_id=locked.pk)
    give_to_user(line=locked, user=user, now=now)
    before = {"actual_user": current.user.uid} if current else None
    record(actor, locked, "line.change_actual_user", now, before=before, after={"actual_user": user.uid})
    return selectors.get_line(actor=actor, uid=line)


def give_to_user(*, line: Line, user: Subscriber | None, now: datetime) -> None:
    """Ends what the present user has and, unless nobody comes, begins another's; in the caller's transaction.

    :raises SubscriberErased: whoever was erased meanwhile cannot use anything.
    """
    UserAssignment.objects.filter(line=line, released_at=None).update(released_at=now)
    if user is not None:
        UserAssignment.objects.create(line=line, user=user, assigned_at=now)
        subscribers.require_not_erased(subscriber_id=user.pk)


def _refusal(error: type[RuleViolation]) -> RuleViolation:
    return error(errors=[FieldError("/actual_user", error.code, error.detail)])
