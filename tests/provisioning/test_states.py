"""The diagrams in docs are the code's, and every machine of every app keeps to its diagram."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from apps.core.errors import InvalidTransition
from apps.core.states import StateMachine
from apps.provisioning.management.commands.draw_states import draw, find_machines

PAGE = Path(__file__).resolve().parents[2] / "docs" / "states.md"
MACHINES = {f"{machine.name} ({app})": machine for app, machine in find_machines()}


def drawn(title: str) -> set[tuple[str, str]]:
    """The steps that the committed page shows for that machine."""
    section = PAGE.read_text().split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^    (\w+) --> (\w+)$", section, re.MULTILINE))


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == draw(), "run make states"
    assert len(MACHINES) >= 8


@pytest.mark.parametrize("title", MACHINES)
def test_every_pair_of_states(title: str) -> None:
    machine: StateMachine[Any] = MACHINES[title]
    allowed = drawn(title)
    for current in machine.states:
        for target in machine.states:
            if (current.name, target.name) in allowed:
                machine.check(current, target)
            else:
                with pytest.raises(InvalidTransition):
                    machine.check(current, target)
