"""The life of a line."""

from django.db import models

from apps.core.states import StateMachine


class LineStatus(models.TextChoices):
    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    TERMINATED = "TERMINATED"


LINE = StateMachine(
    "line",
    {
        # PENDING -> TERMINATED: the activation failed or was cancelled.
        LineStatus.PENDING: {LineStatus.ACTIVE, LineStatus.TERMINATED},
        LineStatus.ACTIVE: {LineStatus.SUSPENDED, LineStatus.TERMINATED},
        LineStatus.SUSPENDED: {LineStatus.ACTIVE, LineStatus.TERMINATED},
        LineStatus.TERMINATED: set(),
    },
)


class SuspensionKind(models.TextChoices):
    """One-way: no outgoing traffic; two-way: neither direction (domain: 单停, 双停)."""

    ONE_WAY = "ONE_WAY"
    TWO_WAY = "TWO_WAY"
