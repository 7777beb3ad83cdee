"""Rest between two holders, so that the next one does not get the last one's calls; and its early end."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation, use_case
from apps.numbering import selectors
from apps.numbering.errors import (
    EarlyReleaseExists,
    EarlyReleaseNeedsSecondPerson,
    NumberNotQuarantined,
    NumberReasonMissing,
)
from apps.numbering.models import EarlyRelease, PhoneNumber
from apps.numbering.numbers import to_e164
from apps.numbering.services.single import MANAGE_NUMBERS, lock, record
from apps.numbering.states import NumberStatus, ReleaseStatus
from apps.operators import policies
from apps.operators.policies import PolicyKey

# The right of the second person.
RELEASE_EARLY = "numbering.release_early"
LONGEST_REASON = 500
_NOBODY = "kaihu"

_END = f"""
WITH over AS MATERIALIZED (
    SELECT number FROM numbering_phonenumber
    WHERE status = {NumberStatus.QUARANTINED.value} AND quarantined_until <= %s
    ORDER BY quarantined_until LIMIT %s
    FOR UPDATE SKIP LOCKED
)
UPDATE numbering_phonenumber AS n SET status = {NumberStatus.AVAILABLE.value}, quarantined_until = NULL
FROM over WHERE n.number = over.number
RETURNING n.number, n.operator_id
"""  # noqa: S608 - only our own constants are formatted in


@operation
def quarantine_number(*, actor: Actor, number: int, now: datetime) -> PhoneNumber:
    """IN_USE -> QUARANTINED for policy's number of days, so that the next holder does not get the last one's calls.

    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is not in use.
    """
    left = lock(actor, number)
    days = policies.get(operator_id=left.operator_id, key=PolicyKey.QUARANTINE_DAYS, now=now)
    left.quarantine(until=now + timedelta(days=days))
    record(actor, "number.quarantine", left, NumberStatus.IN_USE, now)
    return left


@use_case
def end_quarantines(*, actor: Actor, now: datetime, limit: int) -> int:
    """QUARANTINED -> AVAILABLE for at most `limit` numbers whose quarantine is over. Returns how many.

    Numbers that somebody is working on are left for the next time. Requests to end one early have lost their object.
    """
    with connection.cursor() as cursor:
        cursor.execute(_END, [now, limit])
        over = sorted(cursor.fetchall())
    audit.record_many(
        actor=actor,
        action="number.end_quarantine",
        target_type="phone_number",
        entries=[
            audit.Entry(
                to_e164(number),
                operator_id,
                before={"status": NumberStatus.QUARANTINED.name},
                after={"status": NumberStatus.AVAILABLE.name},
            )
            for number, operator_id in over
        ],
        now=now,
    )
    drop_requests([number for number, _ in over], actor=actor, now=now)
    return len(over)


@operation
def request_early_release(*, actor: Actor, number: int, reason: str, now: datetime) -> EarlyRelease:
    """Asks a second person to end the number's quarantine before its time; until then nothing changes.

    :raises Forbidden: without the right numbering.manage. :raises NumberReasonMissing:
    :raises NotFound: unknown or another operator's. :raises NumberNotQuarantined:
    :raises EarlyReleaseExists: somebody has asked, and nobody has decided yet.
    """
    actor.require(MANAGE_NUMBERS)
    require_reason(reason)
    resting = lock(actor, number)
    if resting.status != NumberStatus.QUARANTINED:
        raise NumberNotQuarantined
    if selectors.has_early_release(number=number):
        raise EarlyReleaseExists
    wish = EarlyRelease.objects.create(
        operator_id=resting.operator_id,
        number=resting,
        reason=reason,
        requested_by=actor.id,
        requested_by_label=actor.label,
        requested_at=now,
    )
    _record_wish(actor, "early_release.request", wish, None, now, reason)
    return wish


@operation
def approve_early_release(*, actor: Actor, release_uid: str, now: datetime, reason: str = "") -> EarlyRelease:
    """REQUESTED -> APPROVED, and QUARANTINED -> AVAILABLE for its number.

    :raises Forbidden: without the right numbering.release_early.
    :raises EarlyReleaseNeedsSecondPerson: the actor asked for it. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: it is decided. :raises NumberNotQuarantined: its number is somewhere else by now.
    """
    wish = _decide(actor, release_uid, ReleaseStatus.APPROVED, now, reason)
    number = wish.number
    if number.status != NumberStatus.QUARANTINED:
        raise NumberNotQuarantined
    number.end_quarantine()
    record(actor, "number.release_early", number, NumberStatus.QUARANTINED, now, wish.reason)
    return wish


@operation
def reject_early_release(*, actor: Actor, release_uid: str, reason: str, now: datetime) -> EarlyRelease:
    """REQUESTED -> REJECTED: the number rests as long as it was to.

    :raises Forbidden: without the right numbering.release_early. :raises NumberReasonMissing:
    :raises EarlyReleaseNeedsSecondPerson: the actor asked for it. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: it is decided.
    """
    require_reason(reason)
    return _decide(actor, release_uid, ReleaseStatus.REJECTED, now, reason)


def require_reason(reason: str) -> None:
    """:raises NumberReasonMissing: nothing, or too much."""
    if not reason.strip() or len(reason) > LONGEST_REASON:
        raise NumberReasonMissing


def drop_requests(numbers: list[int], *, actor: Actor, now: datetime) -> None:
    """Rejects what was asked for numbers whose quarantine is over: it must not end a later holder's."""
    for wish in selectors.list_early_releases_for_update(numbers=numbers):
        # Nobody's decision: whoever ended the quarantine may be the one who asked.
        wish.decide(ReleaseStatus.REJECTED, by=_NOBODY, label="the quarantine is over", now=now)
        _record_wish(actor, "early_release.drop", wish, ReleaseStatus.REQUESTED, now)


def _decide(
    actor: Actor, release_uid: str, status: ReleaseStatus, now: datetime, reason: str
) -> EarlyRelease:
    actor.require(RELEASE_EARLY)
    wish = selectors.get_early_release_for_update(actor=actor, uid=release_uid)
    if wish.requested_by == actor.id:
        raise EarlyReleaseNeedsSecondPerson
    wish.decide(status, by=actor.id, label=actor.label, now=now)
    _record_wish(actor, f"early_release.{_VERBS[status]}", wish, ReleaseStatus.REQUESTED, now, reason)
    return wish


_VERBS = {ReleaseStatus.APPROVED: "approve", ReleaseStatus.REJECTED: "reject"}


def _record_wish(
    actor: Actor,
    action: str,
    wish: EarlyRelease,
    before: ReleaseStatus | None,
    now: datetime,
    reason: str = "",
) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="early_release",
        target_id=wish.uid,
        operator_id=wish.operator_id,
        reason=reason,
        before=None if before is None else {"status": before},
        after={"status": wish.status, "number": to_e164(wish.number_id)},
        now=now,
    )
