"""Keeping numbers for a while: reserve, prolong, release, expire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from apps.audit import services as audit
from apps.core.actor import Actor, ActorKind
from apps.core.db import operation, serialize_on, use_case
from apps.core.errors import FieldError, NotFound
from apps.events import services as events
from apps.numbering import selectors
from apps.numbering.errors import (
    CarrierUnknown,
    NumberNotAvailable,
    ReservationAlreadyExtended,
    ReservationExpired,
    ReservationLimitReached,
    ReservationNotYours,
    ReservationQuantityNotAllowed,
    ReservationTtlNotAllowed,
)
from apps.numbering.models import NumberRange, Reservation
from apps.numbering.numbers import to_e164
from apps.numbering.services.claim import NumberCriteria, reserve_next
from apps.numbering.states import NumberGrade, NumberStatus, ReservationStatus
from apps.operators import policies
from apps.operators import selectors as operators
from apps.operators.errors import AgreementNotValid
from apps.operators.policies import PolicyKey
from apps.operators.states import Validity

# api.md: a reservation lasts at least a minute; the longest is policy.
SHORTEST_TTL_SECONDS = 60

_LIMITS = (
    PolicyKey.RESERVATION_TTL_SECONDS,
    PolicyKey.RESERVATION_TTL_MAX_SECONDS,
    PolicyKey.RESERVATION_QUANTITY_MAX,
    PolicyKey.RESERVATION_HELD_MAX,
)

Precondition = Callable[[Reservation], None]

_ENDING = {
    ReservationStatus.RELEASED: "reservation.release",
    ReservationStatus.EXPIRED: "reservation.expire",
}

# From the caller's reservations to their numbers, never the other way round: OFFSET 0 keeps it so.
_HELD = f"""
SELECT count(*) FROM numbering_reservation AS r
CROSS JOIN LATERAL (
    SELECT FROM numbering_phonenumber AS p WHERE p.reservation_id = r.id OFFSET 0
) AS held
WHERE r.operator_id = %s::bigint AND r.owner = %s AND r.status = '{ReservationStatus.ACTIVE.value}'
"""  # noqa: S608 - only our own constants are formatted in

# Closed as they are found: what somebody is working on is left for the next time.
_EXPIRE = f"""
UPDATE numbering_reservation AS r SET status = '{ReservationStatus.EXPIRED.value}', closed_at = %(now)s::timestamptz
WHERE r.id = ANY(ARRAY(
    SELECT over.id FROM numbering_reservation AS over
    WHERE over.status = '{ReservationStatus.ACTIVE.value}' AND over.expires_at <= %(now)s::timestamptz
    ORDER BY over.expires_at LIMIT %(limit)s::bigint
    FOR UPDATE SKIP LOCKED
))
RETURNING r.id, r.uid, r.operator_id
"""  # noqa: S608 - only our own constants are formatted in

# What is free again has to be known per reservation: the numbers that orders used up are not. Found by reservation,
# locked in the order of the number as everywhere, changed by key: no statistics, however old, make it read the whole
# table.
_FREE = f"""
WITH held AS MATERIALIZED (
    SELECT p.number, p.reservation_id
    FROM unnest(%s::bigint[]) AS r(id)
    CROSS JOIN LATERAL (
        SELECT number, reservation_id FROM numbering_phonenumber WHERE reservation_id = r.id OFFSET 0
    ) AS p
    ORDER BY p.number
), locked AS MATERIALIZED (
    SELECT p.number, held.reservation_id
    FROM held
    CROSS JOIN LATERAL (
        SELECT number FROM numbering_phonenumber WHERE number = held.number OFFSET 0 FOR UPDATE
    ) AS p
), freed AS (
    UPDATE numbering_phonenumber AS n SET status = {NumberStatus.AVAILABLE.value}, reservation_id = NULL
    WHERE n.number = ANY(ARRAY(SELECT number FROM locked))
)
SELECT reservation_id, number FROM locked
"""  # noqa: S608 - only our own constants are formatted in


@operation
def reserve(
    *,
    actor: Actor,
    operator_id: int,
    now: datetime,
    number: int | None = None,
    carrier: str | None = None,
    city: str | None = None,
    suffix: str | None = None,
    grade: NumberGrade | None = None,
    quantity: int = 1,
    ttl_seconds: int | None = None,
) -> Reservation:
    """Reserves that number, or `quantity` free ones of the wanted kind: all of them or none.

    `carrier` is a host carrier's code, `suffix` digits counted from the end, no grade means ordinary; without
    `ttl_seconds` policy's default applies. The reservation belongs to the actor, who never holds more numbers at once
    than policy allows, however many calls come together. What the grade costs is frozen in its `terms`.

    :raises ValueError: `number` together with criteria. :raises NotFound: another operator's business.
    :raises LicenceNotValid: :raises AgreementNotValid: :raises CarrierUnknown:
    :raises ReservationTtlNotAllowed: :raises ReservationQuantityNotAllowed:
    :raises ReservationLimitReached: together with what the actor holds.
    :raises NumberNotAvailable: it is not free, or there are not that many.
    """
    if number is not None and (carrier or city or suffix or grade is not None or quantity != 1):
        raise ValueError("a number excludes criteria")
    if not actor.sees(operator_id):
        raise NotFound
    operators.require_valid_licence(operator_id=operator_id, now=now)
    limits = policies.get_many(operator_id=operator_id, keys=_LIMITS, now=now)
    ttl = _check_limits(limits, quantity, ttl_seconds)
    _check_held(actor, operator_id, quantity, most=limits[PolicyKey.RESERVATION_HELD_MAX])
    reservation = Reservation(
        operator_id=operator_id,
        owner=actor.id,
        status=ReservationStatus.ACTIVE,
        expires_at=now + timedelta(seconds=ttl),
        created_at=now,
    )
    if number is not None:
        _reserve_one(reservation, number, now)
    else:
        criteria = NumberCriteria(city=city, suffix=suffix, grade=grade or NumberGrade.ORDINARY)
        _reserve_next(reservation, carrier, criteria, quantity, now)
    audit.record(
        actor=actor,
        action="reservation.create",
        target_type="reservation",
        target_id=reservation.uid,
        operator_id=operator_id,
        after={
            "status": reservation.status,
            "numbers": _e164(reservation.numbers),
            "expires_at": reservation.expires_at.isoformat(),
        },
        now=now,
    )
    events.publish(
        type="number.reserved",
        operator_id=operator_id,
        subject=reservation.uid,
        data={"before": None, "after": reservation.status, "numbers": _e164(reservation.numbers)},
        actor=actor,
        now=now,
    )
    return reservation


@operation
def extend_reservation(
    *,
    actor: Actor,
    reservation_uid: str,
    now: datetime,
    ttl_seconds: int | None = None,
    precondition: Precondition | None = None,
) -> Reservation:
    """Prolongs the reservation, once, by `ttl_seconds` (policy's default when None) from its present end.

    `precondition` is called with the locked reservation and may refuse by raising.

    :raises NotFound: unknown or another operator's. :raises ReservationNotYours: :raises ReservationExpired:
    :raises ReservationClosed: released or used up. :raises ReservationAlreadyExtended:
    :raises ReservationTtlNotAllowed:
    """
    reservation = lock_own(actor=actor, reservation_uid=reservation_uid)
    if precondition is not None:
        precondition(reservation)
    require_running(reservation, now=now)
    if reservation.extended_at is not None:
        raise ReservationAlreadyExtended
    limits = policies.get_many(operator_id=reservation.operator_id, keys=_LIMITS, now=now)
    ttl = _check_limits(limits, 1, ttl_seconds)
    before = reservation.expires_at
    reservation.extend(until=before + timedelta(seconds=ttl), now=now)
    audit.record(
        actor=actor,
        action="reservation.extend",
        target_type="reservation",
        target_id=reservation.uid,
        operator_id=reservation.operator_id,
        before={"expires_at": before.isoformat()},
        after={"expires_at": reservation.expires_at.isoformat()},
        now=now,
    )
    return reservation


@operation
def release_reservation(
    *, actor: Actor, reservation_uid: str, now: datetime, precondition: Precondition | None = None
) -> Reservation:
    """ACTIVE -> RELEASED; what is still held of its numbers is free at once. `precondition` as in extend.

    :raises NotFound: unknown or another operator's. :raises ReservationNotYours:
    :raises InvalidTransition: it is over already.
    """
    reservation = lock_own(actor=actor, reservation_uid=reservation_uid)
    if precondition is not None:
        precondition(reservation)
    Reservation.objects.close([reservation], ReservationStatus.RELEASED, now=now)
    _free([reservation], ReservationStatus.RELEASED, actor=actor, now=now)
    return reservation


@use_case
def expire_reservations(*, actor: Actor, now: datetime, limit: int) -> int:
    """ACTIVE -> EXPIRED for at most `limit` reservations whose time is over; their numbers are free. Returns how many.

    Reservations that somebody is working on are left for the next time.
    """
    lapsed = list(Reservation.objects.raw(_EXPIRE, {"now": now, "limit": limit}))
    if lapsed:
        _free(lapsed, ReservationStatus.EXPIRED, actor=actor, now=now)
    return len(lapsed)


def lock_own(*, actor: Actor, reservation_uid: str, operator_id: int | None = None) -> Reservation:
    """Locks a reservation that the actor may use (of that operator, when one is named).

    :raises NotFound: unknown or another operator's. :raises ReservationNotYours: somebody else's in the same operator.
    """
    reservation = selectors.get_reservation_for_update(actor=actor, uid=reservation_uid)
    if operator_id not in (None, reservation.operator_id):
        raise NotFound
    if not may_use(actor, reservation):
        raise ReservationNotYours
    return reservation


def may_use(actor: Actor, reservation: Reservation) -> bool:
    """Who made it; and our own jobs, which act for the order that named it."""
    return actor.kind is ActorKind.SYSTEM or actor.id == reservation.owner


def require_running(reservation: Reservation, *, now: datetime) -> None:
    """:raises ReservationExpired: its time is over. :raises ReservationClosed: released or used up."""
    if reservation.has_lapsed(now=now):
        raise ReservationExpired
    reservation.require_open()


def require_sellable(leased: NumberRange, *, now: datetime) -> None:
    """:raises NumberNotAvailable: the lease is not running. :raises AgreementNotValid: nor is the agreement."""
    if not leased.is_leased(now=now):
        raise NumberNotAvailable
    state = leased.agreement.validity(now=now)
    if state is not Validity.VALID:
        raise AgreementNotValid(reason=state)


def _check_limits(limits: Mapping[PolicyKey, Any], quantity: int, ttl_seconds: int | None) -> int:
    """The seconds that hold, within policy."""
    most = limits[PolicyKey.RESERVATION_QUANTITY_MAX]
    if not 1 <= quantity <= most:
        error = FieldError("/quantity", "out_of_bounds", f"From 1 to {most}.")
        raise ReservationQuantityNotAllowed(errors=[error])
    longest: int = limits[PolicyKey.RESERVATION_TTL_MAX_SECONDS]
    if ttl_seconds is None:
        usual: int = limits[PolicyKey.RESERVATION_TTL_SECONDS]
        return min(usual, longest)
    if not SHORTEST_TTL_SECONDS <= ttl_seconds <= longest:
        error = FieldError("/ttl_seconds", "out_of_bounds", f"From {SHORTEST_TTL_SECONDS} to {longest}.")
        raise ReservationTtlNotAllowed(errors=[error])
    return ttl_seconds


def _check_held(actor: Actor, operator_id: int, quantity: int, *, most: int) -> None:
    """Counts what the actor still holds; calls of one actor wait for each other from here on."""
    serialize_on(f"numbering.reserve:{operator_id}:{actor.id}")
    with connection.cursor() as cursor:
        cursor.execute(_HELD, [operator_id, actor.id])
        held = cursor.fetchone()[0]
    if held + quantity > most:
        raise ReservationLimitReached(held=held, most=most)


def _reserve_one(reservation: Reservation, number: int, now: datetime) -> None:
    wanted = selectors.get_number_for_update(number=number, operator_id=reservation.operator_id)
    if wanted is None or wanted.status != NumberStatus.AVAILABLE:
        raise NumberNotAvailable
    require_sellable(wanted.range, now=now)
    reservation.numbers = [number]
    reservation.terms = _terms(reservation, NumberGrade(wanted.grade))
    reservation.save(force_insert=True)
    wanted.reserve(reservation)


def _reserve_next(
    reservation: Reservation, carrier: str | None, criteria: NumberCriteria, quantity: int, now: datetime
) -> None:
    host_carrier_id = None
    if carrier is not None:
        try:
            host_carrier_id = operators.get_host_carrier(code=carrier).pk
        except NotFound:
            raise CarrierUnknown(
                errors=[FieldError("/carrier", "carrier_unknown", CarrierUnknown.detail)]
            ) from None
    if quantity > 1:
        # Two that each lock a part of what is free would both find too little.
        serialize_on(f"numbering.reserve_several:{reservation.operator_id}")
    claimed = reserve_next(
        operator_id=reservation.operator_id,
        host_carrier_id=host_carrier_id,
        criteria=criteria,
        quantity=quantity,
        now=now,
    )
    if claimed is None:
        _require_any_agreement(reservation.operator_id, carrier, now)
        raise NumberNotAvailable
    reservation.pk, reservation.numbers = claimed
    reservation.terms = _terms(reservation, criteria.grade)
    reservation.save(force_insert=True)


def _terms(reservation: Reservation, grade: NumberGrade) -> dict[str, Any]:
    """What numbers of that grade cost now, as it is frozen for those of the reservation."""
    if grade == NumberGrade.ORDINARY:
        return {}
    offered = selectors.get_terms(operator_id=reservation.operator_id, now=reservation.created_at).get(grade)
    if offered is None:
        return {}
    frozen = {
        "grade": grade.label,
        "deposit": str(offered.deposit),
        "min_monthly_spend": str(offered.min_monthly_spend),
        "months": offered.months,
    }
    return {str(number): frozen for number in reservation.numbers}


def _require_any_agreement(operator_id: int, carrier: str | None, now: datetime) -> None:
    """Asked only when nothing was found, so that a missing agreement is not told as a lack of numbers."""
    papers = operators.list_agreement_states(operator_id=operator_id, now=now)
    states = [paper.state for paper in papers if carrier in (None, paper.carrier)]
    if Validity.VALID not in states:
        raise AgreementNotValid(reason=states[0] if states else Validity.NONE)


def _free(reservations: list[Reservation], status: ReservationStatus, *, actor: Actor, now: datetime) -> None:
    """What reservations that are closed like this still hold is free again; tells so."""
    freed: dict[int, list[int]] = {reservation.pk: [] for reservation in reservations}
    with connection.cursor() as cursor:
        cursor.execute(_FREE, [list(freed)])
        for reservation_id, number in cursor.fetchall():
            freed[reservation_id].append(number)
    numbers = {key: _e164(sorted(each)) for key, each in freed.items()}
    audit.record_many(
        actor=actor,
        action=_ENDING[status],
        target_type="reservation",
        entries=[
            audit.Entry(
                reservation.uid,
                reservation.operator_id,
                before={"status": ReservationStatus.ACTIVE},
                after={"status": status, "freed": numbers[reservation.pk]},
            )
            for reservation in reservations
        ],
        now=now,
    )
    events.publish_many(
        type="number.released",
        entries=[
            events.Entry(
                reservation.uid,
                reservation.operator_id,
                data={
                    "before": ReservationStatus.ACTIVE,
                    "after": status,
                    "numbers": numbers[reservation.pk],
                },
            )
            for reservation in reservations
        ],
        actor=actor,
        now=now,
    )


def _e164(numbers: list[int]) -> list[str]:
    return [to_e164(number) for number in numbers]
