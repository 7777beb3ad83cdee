"""Which Celery task hears of which event. Higher apps register themselves at start; we import none of them."""

from __future__ import annotations

_consumers: dict[str, list[str]] = {}


def register(event_type: str, task_name: str) -> None:
    """The relay will send `task_name` the event's id and subject; the task must be safe to run twice."""
    names = _consumers.setdefault(event_type, [])
    if task_name not in names:
        names.append(task_name)


def of(event_type: str) -> tuple[str, ...]:
    return tuple(_consumers.get(event_type, ()))


def registered() -> frozenset[str]:
    """Every task name that somebody registered."""
    return frozenset(name for names in _consumers.values() for name in names)
