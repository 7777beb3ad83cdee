"""States as data: a table of allowed steps, asked before every write of a status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Generic, TypeVar

from django.db.models import Choices

from apps.core.errors import InvalidTransition

S = TypeVar("S", bound=Choices)


class StateMachine(Generic[S]):
    """A named table of states and the steps that lead from each; a state without steps is final."""

    def __init__(self, name: str, table: Mapping[S, Set[S]]) -> None:
        self.name = name
        self.table = {state: frozenset(targets) for state, targets in table.items()}
        unknown = {target for targets in table.values() for target in targets} - set(table)
        if unknown:
            raise ValueError(f"{name}: steps lead to states that are not in the table: {unknown}")

    @property
    def states(self) -> tuple[S, ...]:
        return tuple(self.table)

    def edges(self) -> Iterator[tuple[S, S]]:
        """Every allowed step."""
        for source, targets in self.table.items():
            for target in sorted(targets, key=str):
                yield source, target

    def can(self, current: S | str | int, target: S) -> bool:
        return target in self.table[self._state(current)]

    def check(self, current: S | str | int, target: S) -> None:
        """:raises InvalidTransition: when the table has no step from `current` to `target`."""
        state = self._state(current)
        if target not in self.table[state]:
            raise InvalidTransition(
                f"A {self.name} that is {state.name} cannot become {target.name}.",
                machine=self.name,
                current=state.name,
                target=target.name,
            )

    def _state(self, value: S | str | int) -> S:
        choices = type(next(iter(self.table)))
        return choices(value)
