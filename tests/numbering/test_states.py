"""Every pair of states: allowed or refused, as in the design."""

from __future__ import annotations

import pytest

from apps.core.errors import InvalidTransition
from apps.core.states import StateMachine
from apps.numbering.states import NUMBER, RANGE, RESERVATION

ALLOWED = {
    RANGE: {("PLANNED", "ACTIVE"), ("ACTIVE", "RETURNING"), ("RETURNING", "RETURNED")},
    NUMBER: {
        ("AVAILABLE", "RESERVED"),
        ("AVAILABLE", "IN_USE"),
        ("AVAILABLE", "WITHHELD"),
        ("AVAILABLE", "RETURNED"),
        ("RESERVED", "AVAILABLE"),
        ("RESERVED", "IN_USE"),
        ("IN_USE", "AVAILABLE"),
        ("IN_USE", "QUARANTINED"),
        ("IN_USE", "WITHHELD"),
        ("QUARANTINED", "AVAILABLE"),
        ("QUARANTINED", "WITHHELD"),
        ("WITHHELD", "AVAILABLE"),
        ("WITHHELD", "RETURNED"),
    },
    RESERVATION: {("ACTIVE", "CONSUMED"), ("ACTIVE", "RELEASED"), ("ACTIVE", "EXPIRED")},
}


@pytest.mark.parametrize("machine", ALLOWED, ids=lambda machine: machine.name)
def test_every_pair(machine: StateMachine) -> None:
    for current in machine.states:
        for target in machine.states:
            if (current.name, target.name) in ALLOWED[machine]:
                machine.check(current, target)
            else:
                with pytest.raises(InvalidTransition):
                    machine.check(current, target)
