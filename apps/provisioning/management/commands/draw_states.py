"""`manage.py draw_states > docs/states.md`: every state machine of every app, as diagrams."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand
from django.utils.module_loading import module_has_submodule

from apps.core.states import StateMachine

_HEAD = """\
# States

Drawn from the `states.py` of each app by `make states`; a test compares. Whatever is not drawn is refused
(`invalid_transition`).
"""


def find_machines() -> Iterator[tuple[str, StateMachine[Any]]]:
    """App and machine, in the order of apps and of definition."""
    for config in sorted(apps.get_app_configs(), key=lambda config: config.label):
        if config.name.startswith("apps.") and module_has_submodule(config.module, "states"):
            for value in vars(import_module(f"{config.name}.states")).values():
                if isinstance(value, StateMachine):
                    yield config.label, value


def draw() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_draw(app, machine) for app, machine in find_machines())])


def _draw(app: str, machine: StateMachine[Any]) -> str:
    entered = {target for _, target in machine.edges()}
    lines = [f"## {machine.name} ({app})", "", "```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {state.name}" for state in machine.states if state not in entered]
    lines += [f"    {source.name} --> {target.name}" for source, target in machine.edges()]
    lines += [f"    {state.name} --> [*]" for state in machine.states if not machine.table[state]]
    return "\n".join([*lines, "```", ""])


class Command(BaseCommand):
    help = "Draws every state machine as a Mermaid diagram, in Markdown."
    # It reads code and touches no database.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(draw(), ending="")
