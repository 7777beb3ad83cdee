"""Giving numbers to lines and getting them back."""

from __future__ import annotations

from datetime import datetime, timedelta

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation, use_case
from apps.core.errors import NotFound
from apps.numbering import selectors
from apps.numbering.errors import NumberNotAvailable, NumberWrongCarrier
from apps.numbering.models import PhoneNumber, Reservation
from apps.numbering.services.claim import NumberCriteria, take_next
from apps.numbering.services.reservations import lock_own, may_use, require_running, require_sellable
from apps.numbering.states import NumberStatus, ReservationStatus
from apps.operators import policies
from apps.operators.policies import PolicyKey


@operation
def take_number(
    *,
    actor: Actor,
    operator_id: int,
    host_carrier_id: int,
    now: datetime,
    number: int | None = None,
    reservation_uid: str | None = None,
    criteria: NumberCriteria | None = None,
) -> PhoneNumber:
    """Takes one number into use: that one, the next of that reservation, or the next free one of the wanted kind.

    A number that the actor has reserved counts as free for it; the reservation is CONSUMED with its last number. Locks
    the reservation, then the number. The caller has checked the licence.

    :raises NotFound: another operator's reservation or business. :raises ReservationNotYours:
    :raises ReservationExpired: :raises ReservationClosed: the reservation was released or used up.
    :raises NumberWrongCarrier: the number, or all that the reservation still holds, is on another host carrier.
    :raises AgreementNotValid: :raises NumberNotAvailable:
    """
    if not actor.sees(operator_id):
        raise NotFound
    if reservation_uid is not None:
        taken, before = _take_reserved(actor, operator_id, host_carrier_id, reservation_uid, now)
    elif number is not None:
        taken, before = _take_that(actor, operator_id, host_carrier_id, number, now)
    else:
        free = take_next(
            operator_id=operator_id,
            host_carrier_id=host_carrier_id,
            criteria=criteria or NumberCriteria(),
            now=now,
        )
        if free is None:
            raise NumberNotAvailable
        taken, before = free, NumberStatus.AVAILABLE
    _record(actor, "number.take", taken, before, now)
    return taken


@operation
def return_unused_number(*, actor: Actor, number: int, now: datetime) -> PhoneNumber:
    """IN_USE -> AVAILABLE for a number whose line was never activated; nobody had it, so it needs no quarantine.

    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is not in use.
    """
    returned = _lock(actor, number)
    returned.return_unused()
    _record(actor, "number.return_unused", returned, NumberStatus.IN_USE, now)
    return returned


@operation
def withhold_number(*, actor: Actor, number: int, reason: str, now: datetime) -> PhoneNumber:
    """To WITHHELD: not sold until staff say so; for a number that the host carrier refuses, for instance.

    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is reserved, withheld or returned.
    """
    withheld = _lock(actor, number)
    before = NumberStatus(withheld.status)
    withheld.withhold()
    _record(actor, "number.withhold", withheld, before, now, reason)
    return withheld


@operation
def quarantine_number(*, actor: Actor, number: int, now: datetime) -> PhoneNumber:
    """IN_USE -> QUARANTINED for policy's number of days, so that the next holder does not get the last one's calls.

    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is not in use.
    """
    left = _lock(actor, number)
    days = policies.get(operator_id=left.operator_id, key=PolicyKey.QUARANTINE_DAYS, now=now)
    left.quarantine(until=now + timedelta(days=days))
    _record(actor, "number.quarantine", left, NumberStatus.IN_USE, now)
    return left


@use_case
def end_quarantines(*, actor: Actor, now: datetime, limit: int) -> int:
    """QUARANTINED -> AVAILABLE for at most `limit` numbers whose quarantine is over. Returns how many.

    Numbers that somebody is working on are left for the next time.
    """
    over = list(
        PhoneNumber.objects.select_for_update(skip_locked=True)
        .quarantine_over(now=now)
        .order_by("quarantined_until")[:limit]
    )
    PhoneNumber.objects.end_quarantine(over)
    for number in over:
        _record(actor, "number.end_quarantine", number, NumberStatus.QUARANTINED, now)
    return len(over)


def _take_reserved(
    actor: Actor, operator_id: int, host_carrier_id: int, reservation_uid: str, now: datetime
) -> tuple[PhoneNumber, NumberStatus]:
    reservation = lock_own(actor=actor, reservation_uid=reservation_uid, operator_id=operator_id)
    require_running(reservation, now=now)
    number = selectors.get_next_reserved_for_update(reservation=reservation, host_carrier_id=host_carrier_id)
    if number is None:
        raise NumberWrongCarrier
    return _take_from(reservation, number, actor, now), NumberStatus.RESERVED


def _take_that(
    actor: Actor, operator_id: int, host_carrier_id: int, number: int, now: datetime
) -> tuple[PhoneNumber, NumberStatus]:
    # Reservations are locked before numbers: look without a lock, lock both in order, look again.
    reservation = selectors.get_holding_reservation_for_update(number=number, operator_id=operator_id)
    wanted = selectors.get_number_for_update(number=number, operator_id=operator_id)
    if wanted is None:
        raise NumberNotAvailable
    if wanted.range.host_carrier_id != host_carrier_id:
        raise NumberWrongCarrier
    if wanted.status == NumberStatus.AVAILABLE:
        require_sellable(wanted.range, now=now)
        wanted.take()
        return wanted, NumberStatus.AVAILABLE
    if reservation is None or wanted.reservation_id != reservation.pk or not may_use(actor, reservation):
        raise NumberNotAvailable
    require_running(reservation, now=now)
    return _take_from(reservation, wanted, actor, now), NumberStatus.RESERVED


def _take_from(reservation: Reservation, number: PhoneNumber, actor: Actor, now: datetime) -> PhoneNumber:
    """Takes a number of a reservation, both locked; closes the reservation when it was the last."""
    require_sellable(number.range, now=now)
    number.take()
    if not selectors.has_reserved(reservation=reservation):
        Reservation.objects.close([reservation], ReservationStatus.CONSUMED, now=now)
        audit.record(
            actor=actor,
            action="reservation.consume",
            target_type="reservation",
            target_id=reservation.uid,
            operator_id=reservation.operator_id,
            before={"status": ReservationStatus.ACTIVE},
            after={"status": ReservationStatus.CONSUMED},
            now=now,
        )
    return number


def _lock(actor: Actor, number: int) -> PhoneNumber:
    found = selectors.get_number_for_update(number=number, operator_id=actor.operator_id)
    if found is None:
        raise NotFound
    return found


def _record(
    actor: Actor, action: str, number: PhoneNumber, before: NumberStatus, now: datetime, reason: str = ""
) -> None:
    after: dict[str, str] = {"status": NumberStatus(number.status).name}
    if number.quarantined_until is not None:
        after["quarantined_until"] = number.quarantined_until.isoformat()
    audit.record(
        actor=actor,
        action=action,
        target_type="phone_number",
        target_id=number.e164,
        operator_id=number.operator_id,
        reason=reason,
        before={"status": before.name},
        after=after,
        now=now,
    )
