"""What every type of order says about itself, beside how it is placed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from apps.core.actor import Actor
from apps.lines.services import Blame
from apps.provisioning.models import ServiceOrder

# Called as call(actor, order, now): the carrier has done it.
Complete = Callable[[Actor, ServiceOrder, datetime], None]
# Called as call(actor, order, reason, now): refused with that code, or cancelled; whatever it took is given back.
Undo = Callable[[Actor, ServiceOrder, str, datetime], None]

# Refusals that speak of the thing itself: the next order would be refused for it too.
BLAME = {
    "carrier_number_invalid": Blame.NUMBER,
    "carrier_number_in_use": Blame.NUMBER,
    "carrier_sim_invalid": Blame.SIM,
    "carrier_sim_in_use": Blame.SIM,
}


def takes_nothing(actor: Actor, order: ServiceOrder, reason: str, now: datetime) -> None:
    """The undo of orders that leave the line alone until the carrier has done them."""


@dataclass(frozen=True, slots=True)
class OrderKind:
    """`already_so`: refusals by which the carrier says that it is as we want it."""

    complete: Complete
    undo: Undo = takes_nothing
    already_so: frozenset[str] = frozenset()
    # An unknown line is no news of an order that is to open it; of every other it is for staff to look at.
    needs_line: bool = True
