"""The scenarios of the long form, each for one kind of fault; `make faults ONLY=F04` runs one of them alone."""

from __future__ import annotations

from collections.abc import Callable

from tests.faults.report import Run
from tests.faults.rig import Place
from tests.faults.scenarios import bulkheads, callbacks, carriers, processes

SCENARIOS: dict[str, Callable[[Place, int], list[Run]]] = {
    "F02": processes.crash_points,
    "F03": processes.pool_children,
    "F04": processes.zombies,
    "F08": carriers.answers_that_never_come,
    "F09": callbacks.repeated_and_out_of_order,
    "F10": callbacks.forged,
    "F15": processes.poison,
    "F16": carriers.outage,
    "F17": bulkheads.hanging_carrier,
    "F18": bulkheads.bursting_operator,
}
