"""States of ranges, numbers and reservations, and the steps between them."""

from __future__ import annotations

from django.db import models

from apps.core.states import StateMachine


class RangeStatus(models.TextChoices):
    PLANNED = "PLANNED", "PLANNED"
    ACTIVE = "ACTIVE", "ACTIVE"
    RETURNING = "RETURNING", "RETURNING"
    RETURNED = "RETURNED", "RETURNED"


RANGE = StateMachine(
    "number range",
    {
        RangeStatus.PLANNED: {RangeStatus.ACTIVE},
        RangeStatus.ACTIVE: {RangeStatus.RETURNING},
        RangeStatus.RETURNING: {RangeStatus.RETURNED},
        RangeStatus.RETURNED: set(),
    },
)


class NumberStatus(models.IntegerChoices):
    """Small integers, because there is one row per number of a country."""

    AVAILABLE = 0, "AVAILABLE"
    RESERVED = 1, "RESERVED"
    IN_USE = 2, "IN_USE"
    QUARANTINED = 3, "QUARANTINED"
    # Set aside by police, fraud control or the host carrier.
    WITHHELD = 4, "WITHHELD"
    # Back with the host carrier.
    RETURNED = 5, "RETURNED"


NUMBER = StateMachine(
    "number",
    {
        NumberStatus.AVAILABLE: {
            NumberStatus.RESERVED,
            NumberStatus.IN_USE,
            NumberStatus.WITHHELD,
            NumberStatus.RETURNED,
        },
        NumberStatus.RESERVED: {NumberStatus.AVAILABLE, NumberStatus.IN_USE},
        # Straight back to AVAILABLE only when the line was never activated; WITHHELD when the carrier refuses it.
        NumberStatus.IN_USE: {NumberStatus.AVAILABLE, NumberStatus.QUARANTINED, NumberStatus.WITHHELD},
        NumberStatus.QUARANTINED: {NumberStatus.AVAILABLE, NumberStatus.WITHHELD},
        NumberStatus.WITHHELD: {NumberStatus.AVAILABLE, NumberStatus.RETURNED},
        NumberStatus.RETURNED: set(),
    },
)


class NumberGrade(models.IntegerChoices):
    """How pretty a number is (靓号). There is no national grading; operators set their own."""

    ORDINARY = 0, "ordinary"


class ReservationStatus(models.TextChoices):
    ACTIVE = "ACTIVE", "ACTIVE"
    CONSUMED = "CONSUMED", "CONSUMED"
    RELEASED = "RELEASED", "RELEASED"
    EXPIRED = "EXPIRED", "EXPIRED"


RESERVATION = StateMachine(
    "reservation",
    {
        ReservationStatus.ACTIVE: {
            ReservationStatus.CONSUMED,
            ReservationStatus.RELEASED,
            ReservationStatus.EXPIRED,
        },
        ReservationStatus.CONSUMED: set(),
        ReservationStatus.RELEASED: set(),
        ReservationStatus.EXPIRED: set(),
    },
)
