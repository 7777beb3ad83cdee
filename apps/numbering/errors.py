"""What this app refuses with."""

from __future__ import annotations

from apps.core.errors import Conflict, InvalidTransition, RuleViolation


class RangeInvalid(RuleViolation):
    """Not a block of 7 or 8 leading digits, no home area, or dates outside the agreement; `errors` names each."""

    code = "range_invalid"
    detail = "The range cannot be leased like this."


class AccessCodeMismatch(RuleViolation):
    """The leading digits belong to no host carrier we know, or to another one than the agreement's."""

    code = "access_code_mismatch"
    detail = "These leading digits do not belong to the agreement's host carrier."


class RangeOverlap(Conflict):
    """Some of these numbers are leased already; by whom is not said."""

    code = "range_overlap"
    detail = "Some of these numbers are leased already."


class CarrierUnknown(RuleViolation):
    """There is no host carrier with that code."""

    code = "carrier_unknown"
    detail = "There is no such host carrier."


class NumberNotAvailable(Conflict):
    """Unknown, of another operator, reserved, in use, in quarantine, withheld or no longer leased: all the same."""

    code = "number_not_available"
    detail = "No such number is free."


class NumberWrongCarrier(Conflict):
    """The number is on another host carrier than what it is wanted for."""

    code = "number_wrong_carrier"
    detail = "The number belongs to another host carrier."


class ReservationClosed(InvalidTransition):
    """Nothing is left of it to use, extend or release."""

    code = "reservation_closed"
    detail = "The reservation has been used up or released."


class ReservationExpired(Conflict):
    """Its time is over."""

    code = "reservation_expired"
    detail = "The reservation has expired."


class ReservationNotYours(Conflict):
    """It belongs to the same operator, but somebody else made it."""

    code = "reservation_not_yours"
    detail = "The reservation was made by somebody else."


class ReservationAlreadyExtended(Conflict):
    """A reservation is prolonged once."""

    code = "reservation_already_extended"
    detail = "The reservation was extended before."


class ReservationTtlNotAllowed(RuleViolation):
    """Shorter than a minute, or longer than policy allows."""

    code = "reservation_ttl_not_allowed"
    detail = "A reservation cannot last that long."


class ReservationQuantityNotAllowed(RuleViolation):
    """None, or more numbers in one reservation than policy allows."""

    code = "reservation_quantity_not_allowed"
    detail = "That many numbers cannot be reserved at once."
