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
        # A plan that comes to nothing is over at once; who is giving a range back may think better of it.
        RangeStatus.PLANNED: {RangeStatus.ACTIVE, RangeStatus.RETURNED},
        RangeStatus.ACTIVE: {RangeStatus.RETURNING},
        RangeStatus.RETURNING: {RangeStatus.RETURNED, RangeStatus.ACTIVE},
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
        # Back into the quarantine that it was taken from, when that is not over yet.
        NumberStatus.WITHHELD: {NumberStatus.AVAILABLE, NumberStatus.QUARANTINED, NumberStatus.RETURNED},
        # When the block is leased again, by whomever.
        NumberStatus.RETURNED: {NumberStatus.AVAILABLE},
    },
)


class NumberGrade(models.IntegerChoices):
    """How pretty a number is (靓号). There is no national grading: which numbers have which grade, and what a
    grade costs, are rows that operators set; the ladder itself is the same for all."""

    ORDINARY = 0, "ordinary"
    BRONZE = 1, "bronze"
    SILVER = 2, "silver"
    GOLD = 3, "gold"
    PLATINUM = 4, "platinum"
    DIAMOND = 5, "diamond"


class WithheldBy(models.IntegerChoices):
    """Who wants a number kept from sale."""

    CARRIER = 1, "carrier"
    POLICE = 2, "police"
    FRAUD = 3, "fraud"
    OPERATOR = 4, "operator"


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


class ReleaseStatus(models.TextChoices):
    """Of a request to end a quarantine early."""

    REQUESTED = "REQUESTED", "REQUESTED"
    APPROVED = "APPROVED", "APPROVED"
    REJECTED = "REJECTED", "REJECTED"


RELEASE = StateMachine(
    "early release",
    {
        ReleaseStatus.REQUESTED: {ReleaseStatus.APPROVED, ReleaseStatus.REJECTED},
        ReleaseStatus.APPROVED: set(),
        ReleaseStatus.REJECTED: set(),
    },
)


class BulkKind(models.TextChoices):
    LEASES = "LEASES", "LEASES"
    WITHHOLD = "WITHHOLD", "WITHHOLD"
    REGRADE = "REGRADE", "REGRADE"


class BulkStatus(models.TextChoices):
    """Of work on many numbers at once: a file is looked at first, and applied when somebody says so."""

    PREVIEWED = "PREVIEWED", "PREVIEWED"
    RUNNING = "RUNNING", "RUNNING"
    COMPLETED = "COMPLETED", "COMPLETED"
    DISCARDED = "DISCARDED", "DISCARDED"


BULK = StateMachine(
    "bulk run",
    {
        BulkStatus.PREVIEWED: {BulkStatus.RUNNING, BulkStatus.DISCARDED},
        BulkStatus.RUNNING: {BulkStatus.COMPLETED},
        BulkStatus.COMPLETED: set(),
        BulkStatus.DISCARDED: set(),
    },
)


class RowStatus(models.TextChoices):
    """Of one row of such a file."""

    VALID = "VALID", "VALID"
    INVALID = "INVALID", "INVALID"
    SKIPPED = "SKIPPED", "SKIPPED"
    SUCCEEDED = "SUCCEEDED", "SUCCEEDED"
    FAILED = "FAILED", "FAILED"
