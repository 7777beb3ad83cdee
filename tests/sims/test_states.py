"""Every pair of states, and the list of magic endings against the simulator's."""

from __future__ import annotations

import pytest

from apps.carrier_sim import magic as simulator
from apps.core.errors import InvalidTransition
from apps.sims import magic
from apps.sims.states import SIM, SimStatus

ALLOWED = {
    ("IN_STOCK", "RESERVED"),
    ("IN_STOCK", "LOST"),
    ("IN_STOCK", "RETIRED"),
    ("RESERVED", "IN_STOCK"),
    ("RESERVED", "BOUND"),
    ("RESERVED", "RETIRED"),
    ("BOUND", "RETIRED"),
    ("BOUND", "LOST"),
    ("LOST", "RETIRED"),
}


@pytest.mark.parametrize("current", SimStatus)
@pytest.mark.parametrize("target", SimStatus)
def test_every_pair(current: SimStatus, target: SimStatus) -> None:
    if (current, target) in ALLOWED:
        SIM.check(current, target)
    else:
        with pytest.raises(InvalidTransition):
            SIM.check(current, target)


def test_magic_endings_are_those_of_the_simulator() -> None:
    assert {ending: str(behaviour) for ending, behaviour in simulator.ICCID_ENDINGS.items()} == magic.ENDINGS


@pytest.mark.parametrize(
    ("iccid", "expected"),
    [("89860112345678909000", True), ("8986011234567899007", True), ("89860112345678909008", False)],
)
def test_is_magic(iccid: str, expected: bool) -> None:
    assert magic.is_magic(iccid) is expected
