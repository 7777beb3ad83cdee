"""Reading our own source for the rules that import-linter cannot see."""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = ROOT / "apps"

# Bottom to top; a higher app may use a lower one.
ORDER = (
    ("core",),
    ("audit",),
    ("operators",),
    ("accounts",),
    ("events",),
    ("numbering", "sims", "carriers"),
    ("subscribers",),
    ("lines",),
    ("provisioning",),
)
LEVEL = {app: level for level, apps in enumerate(ORDER) for app in apps}

# Where somebody from outside comes in: these read the clock, make actors, speak HTTP or Celery.
INTERFACES = ("api", "admin", "actors", "backends", "dashboard", "management", "middleware", "tasks")


@dataclass(frozen=True)
class Module:
    """One file of an app; `room` is its first part: "services" for services.py and for services/orders.py."""

    app: str
    room: str
    path: Path
    tree: ast.Module

    @property
    def is_interface(self) -> bool:
        return self.room in INTERFACES or self.room.startswith("admin_")

    def at(self, node: ast.AST) -> str:
        """Where somebody has to look."""
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """(what is called as it is written, the call) of every call."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node

    def imports(self) -> Iterator[tuple[str, ast.AST]]:
        """(dotted name, where) of everything it imports: modules, and names out of modules."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    yield f"{node.module}.{alias.name}", node

    def functions(self) -> Iterator[ast.FunctionDef]:
        """Public functions of the module, without methods."""
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield node


@functools.cache
def _all_modules() -> tuple[Module, ...]:
    found = []
    for app in LEVEL:
        for path in sorted((APPS / app).rglob("*.py")):
            relative = path.relative_to(APPS / app)
            if "migrations" not in relative.parts:
                room = relative.parts[0].removesuffix(".py")
                found.append(Module(app, room, path, ast.parse(path.read_text())))
    return tuple(found)


def modules(*rooms: str) -> Iterator[Module]:
    """Every module of our apps, or of these rooms of all apps; never migrations, never the simulator."""
    for module in _all_modules():
        if not rooms or module.room in rooms:
            yield module


def interfaces() -> Iterator[Module]:
    return (module for module in _all_modules() if module.is_interface)


def inside() -> Iterator[Module]:
    """Everything that is no interface: rules, reads, states. Core's own doors to the outside are not among them."""
    return (module for module in _all_modules() if not module.is_interface and module.app != "core")


@functools.cache
def exported(app: str, room: str) -> frozenset[str] | None:
    """What the package of a room offers to others; None when the room is a single file."""
    front = APPS / app / room / "__init__.py"
    if not front.exists():
        return None
    return frozenset(
        alias.asname or alias.name
        for node in ast.parse(front.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )


def decorators(function: ast.FunctionDef) -> set[str]:
    """Names of its decorators, without arguments and without the module they come from."""
    found = set()
    for decorator in function.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        found.add(ast.unparse(target).rpartition(".")[2])
    return found


def none(found: Collection[str], *, instead: str) -> None:
    """Fails with every place at once and what to do there."""
    assert not found, f"{instead}:\n" + "\n".join(sorted(found))
