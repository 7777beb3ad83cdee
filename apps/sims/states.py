"""States of SIM cards, and the steps between them."""

from __future__ import annotations

from django.db import models

from apps.core.states import StateMachine


class SimStatus(models.TextChoices):
    IN_STOCK = "IN_STOCK", "IN_STOCK"
    # Promised to a line that is not active yet.
    RESERVED = "RESERVED", "RESERVED"
    BOUND = "BOUND", "BOUND"
    RETIRED = "RETIRED", "RETIRED"
    LOST = "LOST", "LOST"


SIM = StateMachine(
    "SIM card",
    {
        SimStatus.IN_STOCK: {SimStatus.RESERVED, SimStatus.LOST, SimStatus.RETIRED},
        # RESERVED -> RETIRED: the carrier refuses the card itself.
        SimStatus.RESERVED: {SimStatus.IN_STOCK, SimStatus.BOUND, SimStatus.RETIRED},
        # A card that was in somebody's hands never goes back to stock.
        SimStatus.BOUND: {SimStatus.RETIRED, SimStatus.LOST},
        SimStatus.LOST: {SimStatus.RETIRED},
        SimStatus.RETIRED: set(),
    },
)


class FormFactor(models.TextChoices):
    PHYSICAL = "PHYSICAL", "PHYSICAL"
    ESIM = "ESIM", "ESIM"
