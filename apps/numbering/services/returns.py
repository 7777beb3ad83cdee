"""Giving ranges back to the host carrier."""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import InvalidTransition
from apps.numbering import selectors
from apps.numbering.errors import RangeNotEmpty
from apps.numbering.models import NumberRange
from apps.numbering.selectors.ranges import LIVING
from apps.numbering.services.quarantine import drop_requests
from apps.numbering.services.single import MANAGE_NUMBERS, record_range
from apps.numbering.services.stock import fold_ranges
from apps.numbering.states import NumberStatus, RangeStatus

# Locked in the order of the number, as everywhere. Whoever was faster and took one of them keeps it: its status is
# looked at again once the lock is ours.
_RETURN = f"""
WITH held AS MATERIALIZED (
    SELECT number FROM numbering_phonenumber
    WHERE number BETWEEN %(first)s::bigint AND %(last)s::bigint AND range_id = %(range)s::bigint
        AND status IN ({NumberStatus.AVAILABLE.value}, {NumberStatus.WITHHELD.value})
    ORDER BY number FOR UPDATE
)
UPDATE numbering_phonenumber AS n
SET status = {NumberStatus.RETURNED.value}, withheld_by = NULL, quarantined_until = NULL
FROM held WHERE n.number = held.number AND n.number BETWEEN %(first)s::bigint AND %(last)s::bigint
RETURNING n.number
"""  # noqa: S608 - only our own constants are formatted in


@operation
def begin_return(*, actor: Actor, range_uid: str, now: datetime, reason: str = "") -> NumberRange:
    """ACTIVE -> RETURNING: nothing of it is sold any more, and reservations on it run out unused.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: not ACTIVE; of two at once, one wins.
    """
    actor.require(MANAGE_NUMBERS)
    leased = selectors.get_range_for_update(actor=actor, uid=range_uid)
    leased.begin_return(now=now)
    record_range(
        actor, "range.begin_return", leased, now, before={"status": RangeStatus.ACTIVE}, reason=reason
    )
    return leased


@operation
def keep_range(*, actor: Actor, range_uid: str, now: datetime, reason: str = "") -> NumberRange:
    """RETURNING -> ACTIVE: it is not given back after all.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: not RETURNING.
    """
    actor.require(MANAGE_NUMBERS)
    leased = selectors.get_range_for_update(actor=actor, uid=range_uid)
    leased.keep()
    record_range(actor, "range.keep", leased, now, before={"status": RangeStatus.RETURNING}, reason=reason)
    return leased


@operation
def finish_return(*, actor: Actor, range_uid: str, now: datetime, reason: str = "") -> NumberRange:
    """RETURNING -> RETURNED, and its numbers with it; withheld ones too. The block can be leased again by anybody.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: not RETURNING. :raises RangeNotEmpty: numbers are reserved, in use or quarantined, or
        withheld out of a quarantine that is not over, or for police or fraud: a return is no way round them.
    """
    actor.require(MANAGE_NUMBERS)
    leased = selectors.get_range_for_update(actor=actor, uid=range_uid)
    if leased.status != RangeStatus.RETURNING:
        raise InvalidTransition("Only a range that is being returned can be returned.")
    before = _require_empty(leased, now)
    with connection.cursor() as cursor:
        cursor.execute(_RETURN, {"first": leased.first, "last": leased.last, "range": leased.pk})
        returned = [number for (number,) in cursor.fetchall()]
    # Those that somebody took while we waited for the locks.
    _require_empty(leased, now)
    leased.finish_return(now=now)
    # Whoever leases the block next must not meet what was asked about a withheld number's quarantine.
    drop_requests(returned, actor=actor, now=now)
    fold_ranges(range_ids=[leased.pk])
    numbers = {status.name: count for status, count in before.items()}
    record_range(
        actor,
        "range.finish_return",
        leased,
        now,
        before={"status": RangeStatus.RETURNING} | ({"numbers": numbers} if numbers else {}),
        reason=reason,
    )
    return leased


def _require_empty(leased: NumberRange, now: datetime) -> dict[NumberStatus, int]:
    """:raises RangeNotEmpty:"""
    counts = selectors.count_numbers(leased=leased)
    living = {status.name: counts[status] for status in LIVING if status in counts}
    if NumberStatus.WITHHELD in counts and (kept := selectors.count_kept(leased=leased, now=now)):
        living[NumberStatus.WITHHELD.name] = kept
    if living:
        listed = ", ".join(f"{count} {name}" for name, count in living.items())
        raise RangeNotEmpty(f"Some numbers of the range still live: {listed}.", counts=living)
    return counts
