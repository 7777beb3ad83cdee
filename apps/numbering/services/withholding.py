"""Keeping single numbers from sale because the host carrier, the police, fraud control or the operator says so."""

from __future__ import annotations

from datetime import datetime

from apps.core.actor import Actor, ActorKind
from apps.core.db import operation
from apps.numbering.errors import NumberInUse, NumberNotWithheld
from apps.numbering.models import PhoneNumber
from apps.numbering.services.quarantine import drop_requests, require_reason
from apps.numbering.services.single import MANAGE_NUMBERS, lock, record
from apps.numbering.states import NumberStatus, WithheldBy


@operation
def withhold_number(
    *,
    actor: Actor,
    number: int,
    reason: str,
    now: datetime,
    by: WithheldBy = WithheldBy.CARRIER,
) -> PhoneNumber:
    """To WITHHELD: not sold until staff say so. A quarantined number remembers how long it was to rest.

    Whoever acts for a line may give up the line's number like this, such as one that the host carrier refuses; staff
    need the right numbering.manage and take no number away from a line.

    :raises Forbidden: staff without the right. :raises NumberReasonMissing: for staff too.
    :raises NotFound: unknown or another operator's. :raises NumberInUse: staff again.
    :raises InvalidTransition: it is reserved, withheld or returned.
    """
    if actor.kind is ActorKind.STAFF:
        actor.require(MANAGE_NUMBERS)
        require_reason(reason)
    withheld = lock(actor, number)
    before = NumberStatus(withheld.status)
    if before is NumberStatus.IN_USE and actor.kind is ActorKind.STAFF:
        raise NumberInUse
    withheld.withhold(by=by)
    record(actor, "number.withhold", withheld, before, now, reason)
    return withheld


@operation
def release_withheld_number(*, actor: Actor, number: int, reason: str, now: datetime) -> PhoneNumber:
    """WITHHELD -> QUARANTINED for what is left of its quarantine, else AVAILABLE.

    :raises Forbidden: without the right numbering.manage. :raises NumberReasonMissing:
    :raises NotFound: unknown or another operator's. :raises NumberNotWithheld:
    """
    actor.require(MANAGE_NUMBERS)
    require_reason(reason)
    released = lock(actor, number)
    if released.status != NumberStatus.WITHHELD:
        raise NumberNotWithheld
    released.end_withholding(now=now)
    record(actor, "number.release_withheld", released, NumberStatus.WITHHELD, now, reason)
    if released.status == NumberStatus.AVAILABLE:
        drop_requests([number], actor=actor, now=now)
    return released
