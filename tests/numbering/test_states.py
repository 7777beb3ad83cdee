"""Every pair of states: allowed or refused, as in the design."""

from __future__ import annotations

import pytest

from apps.core.errors import InvalidTransition
from apps.core.states import StateMachine
from apps.numbering.states import BULK, NUMBER, RANGE, RELEASE, RESERVATION

ALLOWED = {
    RANGE: {
        ("PLANNED", "ACTIVE"),
        ("PLANNED", "RETURNED"),
        ("ACTIVE", "RETURNING"),
        ("RETURNING", "RETURNED"),
        ("RETURNING", "ACTIVE"),
    },
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
        ("WITHHELD", "QUARANTINED"),
        ("WITHHELD", "RETURNED"),
        ("RETURNED", "AVAILABLE"),
    },
    RESERVATION: {("ACTIVE", "CONSUMED"), ("ACTIVE", "RELEASED"), ("ACTIVE", "EXPIRED")},
    RELEASE: {("REQUESTED", "APPROVED"), ("REQUESTED", "REJECTED")},
    BULK: {("PREVIEWED", "RUNNING"), ("PREVIEWED", "DISCARDED"), ("RUNNING", "COMPLETED")},
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
