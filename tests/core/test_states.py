"""Every state machine of every app, walked pair by pair."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.db.models import Choices, TextChoices

from apps.core.errors import Conflict, InvalidTransition
from apps.core.states import StateMachine
from tests.architecture.source import APPS, LEVEL


def machines() -> Iterator[tuple[str, StateMachine[Any]]]:
    """(app.NAME, machine) of every machine that a states module of ours holds."""
    for app in LEVEL:
        # core's module defines the class and holds no machine.
        if app != "core" and (APPS / app / "states.py").exists():
            module = importlib.import_module(f"apps.{app}.states")
            for name, value in vars(module).items():
                if isinstance(value, StateMachine):
                    yield f"{app}.{name}", value


MACHINES = dict(machines())
PAIRS = [
    pytest.param(machine, current, target, id=f"{name}-{current.name}-{target.name}")
    for name, machine in MACHINES.items()
    for current, target in product(machine.states, repeat=2)
]


class Light(TextChoices):
    RED = "RED"
    GREEN = "GREEN"
    BROKEN = "BROKEN"


LIGHT = StateMachine(
    "light", {Light.RED: {Light.GREEN}, Light.GREEN: {Light.RED, Light.BROKEN}, Light.BROKEN: set()}
)


def test_the_machines_of_the_design_are_all_there() -> None:
    """A machine that the search above no longer finds is a machine that nobody walks."""
    assert set(MACHINES) >= {
        "numbering.RANGE",
        "numbering.NUMBER",
        "numbering.RESERVATION",
        "sims.SIM",
        "subscribers.VERIFICATION",
        "lines.LINE",
        "provisioning.ORDER",
        "provisioning.JOB",
    }


@pytest.mark.parametrize(("machine", "current", "target"), PAIRS)
def test_a_step_is_allowed_when_the_table_has_it_and_refused_when_not(
    machine: StateMachine[Any], current: Choices, target: Choices
) -> None:
    assert machine.can(current, target) is (target in machine.table[current])
    if target in machine.table[current]:
        machine.check(current, target)
        machine.check(current.value, target)
        return
    with pytest.raises(InvalidTransition) as refused:
        machine.check(current.value, target)
    assert refused.value.code == "invalid_transition"
    assert refused.value.fields == {"machine": machine.name, "current": current.name, "target": target.name}
    assert refused.value.detail == f"A {machine.name} that is {current.name} cannot become {target.name}."


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_knows_every_word_of_its_states(name: str) -> None:
    machine = MACHINES[name]
    words: type[Choices] = type(machine.states[0])
    assert set(machine.states) == set(words), f"{name} leaves some of {words.__name__} out of its table"


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_can_be_reached_from_the_first(name: str) -> None:
    machine = MACHINES[name]
    reached, open_ = set(), {machine.states[0]}
    while open_:
        state = open_.pop()
        reached.add(state)
        open_ |= machine.table[state] - reached
    assert reached == set(machine.states)


def test_edges_are_the_table_and_nothing_else() -> None:
    assert sorted(LIGHT.edges()) == [
        (Light.GREEN, Light.BROKEN),
        (Light.GREEN, Light.RED),
        (Light.RED, Light.GREEN),
    ]
    for machine in MACHINES.values():
        assert len(list(machine.edges())) == sum(len(targets) for targets in machine.table.values())


def test_a_refusal_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="A light that is RED cannot become BROKEN"):
        LIGHT.check("RED", Light.BROKEN)


def test_a_word_that_is_no_state_is_a_bug_and_not_a_refusal() -> None:
    with pytest.raises(ValueError, match="BLUE"):
        LIGHT.check("BLUE", Light.RED)


def test_a_table_whose_steps_lead_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="light: steps lead to states that are not in the table"):
        StateMachine("light", {Light.RED: {Light.GREEN}})


def test_the_table_of_a_machine_does_not_change_with_what_it_was_made_from() -> None:
    table = {Light.RED: {Light.GREEN}, Light.GREEN: set()}
    machine = StateMachine("light", table)
    table[Light.GREEN].add(Light.RED)
    assert not machine.can(Light.GREEN, Light.RED)
