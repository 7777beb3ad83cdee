"""Giving numbers to lines and getting them back."""

from __future__ import annotations

from datetime import datetime

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import NotFound
from apps.numbering import selectors
from apps.numbering.errors import NumberNotAvailable, NumberWrongCarrier
from apps.numbering.models import PhoneNumber, Reservation
from apps.numbering.services.claim import NumberCriteria, take_next
from apps.numbering.services.reservations import lock_own, may_use, require_running, require_sellable
from apps.numbering.services.single import lock, record
from apps.numbering.states import NumberStatus, ReservationStatus


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
    record(actor, "number.take", taken, before, now)
    return taken


@operation
def return_unused_number(*, actor: Actor, number: int, now: datetime) -> PhoneNumber:
    """IN_USE -> AVAILABLE for a number whose line was never activated; nobody had it, so it needs no quarantine.

    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is not in use.
    """
    returned = lock(actor, number)
    returned.return_unused()
    record(actor, "number.return_unused", returned, NumberStatus.IN_USE, now)
    return returned


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
