"""Single rows, and the locks on them."""

from __future__ import annotations

from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.core.public_ids import get_by_uid
from apps.numbering.models import PhoneNumber, Reservation


def get_number(*, actor: Actor, number: int) -> PhoneNumber:
    """The number with its range and host carrier.

    :raises NotFound: not leased by anybody, or by another operator.
    """
    found = (
        PhoneNumber.objects.visible_to(actor).select_related("range__host_carrier").filter(pk=number).first()
    )
    if found is None:
        raise NotFound
    return found


def get_number_for_update(*, number: int, operator_id: int | None = None) -> PhoneNumber | None:
    """Locks the number's row; its range and agreement come along unlocked. None when unknown or not that operator's."""
    numbers = PhoneNumber.objects.filter(pk=number)
    if operator_id is not None:
        numbers = numbers.filter(operator_id=operator_id)
    return numbers.select_for_update(of=("self",)).select_related("range__agreement").first()


def get_holding_reservation_for_update(*, number: int, operator_id: int) -> Reservation | None:
    """Locks the reservation that seems to hold the number; look at the locked number before relying on it."""
    holding = PhoneNumber.objects.filter(pk=number, operator_id=operator_id).values("reservation")
    return Reservation.objects.filter(pk__in=holding).select_for_update().first()


def get_next_reserved_for_update(*, reservation: Reservation, host_carrier_id: int) -> PhoneNumber | None:
    """Locks the lowest number that the reservation still holds at that host carrier."""
    # Its numbers are named, so that they are looked up: in the order of the key the whole table would be passed.
    held = PhoneNumber.objects.filter(pk__in=reservation.numbers, reservation=reservation)
    return (
        held.filter(range__host_carrier_id=host_carrier_id)
        .select_for_update(of=("self",))
        .select_related("range__agreement")
        .order_by("number")
        .first()
    )


def has_reserved(*, reservation: Reservation) -> bool:
    """Whether the reservation still holds a number."""
    return PhoneNumber.objects.filter(reservation=reservation).exists()


def get_reservation(*, actor: Actor, uid: str) -> Reservation:
    """:raises NotFound: malformed, unknown, or another operator's."""
    return get_by_uid(Reservation.objects.visible_to(actor), uid)


def get_reservation_for_update(*, actor: Actor, uid: str) -> Reservation:
    """Locks the row. Lock order inside this app: reservation before its numbers.

    :raises NotFound: malformed, unknown, or another operator's.
    """
    return get_by_uid(Reservation.objects.visible_to(actor).select_for_update(), uid)
