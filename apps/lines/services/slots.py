"""Places under the holder limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import FieldError
from apps.lines.errors import HolderLimitReached
from apps.lines.models import HolderSlot
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.subscribers import selectors as people
from apps.subscribers.models import Subscriber

# The lowest free place. A concurrent order for the same person waits on the unique constraint, then finds it taken. The
# count matters only after policy has lowered the limit under what somebody holds.
_TAKE_SLOT = """
INSERT INTO lines_holderslot (operator_id, fingerprint, slot)
SELECT %(operator)s, %(first)s, place
FROM generate_series(1, %(limit)s) AS place
WHERE NOT EXISTS (
    SELECT 1 FROM lines_holderslot
    WHERE operator_id = %(operator)s AND fingerprint = ANY(%(all)s) AND slot = place
) AND %(limit)s > (
    SELECT count(*) FROM lines_holderslot WHERE operator_id = %(operator)s AND fingerprint = ANY(%(all)s)
)
ORDER BY place LIMIT 1
ON CONFLICT ON CONSTRAINT holder_slot_unique DO NOTHING
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Places:
    """The slots that a line is going to fill: its holder's and its actual user's, where they count."""

    holder: int | None = None
    user: int | None = None


@operation
def take_places(*, operator_id: int, holder: Subscriber, user: Subscriber | None, now: datetime) -> Places:
    """Fills a place of the holder, and one of the actual user.

    By policy `holder.organizations_exempt` an organization fills none; by `holder.actual_users_counted` its user does.
    The organization's comes first, so that two callers never wait for each other.

    :raises HolderLimitReached: when all places of either are filled; `errors` says that it is the user's.
    """
    if holder.is_organization and policies.get(
        operator_id=operator_id, key=PolicyKey.ORGANIZATIONS_EXEMPT, now=now
    ):
        of_holder = None
    else:
        of_holder = _take_place(operator_id, holder, now)
    return Places(of_holder, None if user is None else take_place_of_user(user=user, now=now))


@operation
def take_place_of_user(*, user: Subscriber, now: datetime) -> int | None:
    """A place of somebody who is going to use a line; None when policy `holder.actual_users_counted` counts nobody.

    :raises HolderLimitReached: when all places are filled.
    """
    operator_id = user.operator_id
    if not policies.get(operator_id=operator_id, key=PolicyKey.ACTUAL_USERS_COUNTED, now=now):
        return None
    try:
        return _take_place(operator_id, user, now)
    except HolderLimitReached:
        detail = "This person has or uses as many lines as the policy allows."
        fault = FieldError("/actual_user", HolderLimitReached.code, detail)
        raise HolderLimitReached(errors=[fault]) from None


def _take_place(operator_id: int, person: Subscriber, now: datetime) -> int:
    """What counts is the person, not the document: places taken under any document of theirs count together."""
    return take_holder_slot(
        operator_id=operator_id,
        fingerprints=people.get_holder_fingerprints(subscriber_id=person.pk),
        limit=policies.get(operator_id=operator_id, key=PolicyKey.HOLDER_LIMIT, now=now),
    )


@operation
def take_holder_slot(*, operator_id: int, fingerprints: Sequence[bytes], limit: int) -> int:
    """Fills the person's next free place at this operator and returns the slot's key.

    `fingerprints` are those of all their documents, always with the same one first. Race-proof by a unique constraint:
    of any number of orders at once, at most `limit` get a place.
    Source: six-ministry notice of 2016, art. 4 (five cards per person and enterprise); the number is policy.

    :raises HolderLimitReached: when all places are filled.
    """
    parameters: dict[str, Any] = {
        "operator": operator_id,
        "first": fingerprints[0],
        "all": list(fingerprints),
        "limit": limit,
    }
    # Each lost race means that somebody else filled a place, so there are at most `limit` of them.
    for _ in range(limit + 1):
        with connection.cursor() as cursor:
            cursor.execute(_TAKE_SLOT, parameters)
            row = cursor.fetchone()
        if row is not None:
            return int(row[0])
    raise HolderLimitReached


@operation
def fill_places(*, actor: Actor, places: Places, line_id: int) -> None:
    """The line, opened or used by somebody else just now, fills the places that the caller has taken."""
    _give(places, line_id=line_id)


@operation
def promise_places(*, actor: Actor, places: Places, line_id: int) -> None:
    """Keeps places that the caller has just taken for a line that is being transferred."""
    _give(places, coming_line_id=line_id)


@operation
def release_promised_places(*, actor: Actor, line_id: int) -> None:
    """The line is not transferred after all: the places are free again."""
    HolderSlot.objects.filter(coming_line_id=line_id).delete()


def _give(places: Places, **to: int) -> None:
    for slot_id, as_user in ((places.holder, False), (places.user, True)):
        if slot_id is not None:
            HolderSlot.objects.filter(pk=slot_id, line=None).update(as_user=as_user, **to)
