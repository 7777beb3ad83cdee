"""Every type of order: a module each that places it, completes it and undoes it."""

from __future__ import annotations

from apps.provisioning.services.order_types import (
    activate,
    change_number,
    change_plan,
    change_sim,
    suspension,
    terminate,
    transfer,
)
from apps.provisioning.services.order_types.shape import OrderKind
from apps.provisioning.states import OrderType

KINDS: dict[str, OrderKind] = {
    OrderType.ACTIVATE: activate.KIND,
    OrderType.SUSPEND: suspension.SUSPEND,
    OrderType.RESUME: suspension.RESUME,
    OrderType.CHANGE_SIM: change_sim.KIND,
    OrderType.CHANGE_NUMBER: change_number.KIND,
    OrderType.CHANGE_PLAN: change_plan.KIND,
    OrderType.TRANSFER: transfer.KIND,
    OrderType.TERMINATE: terminate.KIND,
}
