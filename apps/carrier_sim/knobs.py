"""How badly the carrier behaves. Read and set over HTTP while it runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

LONGEST_MS = 600_000


class Callbacks(StrEnum):
    """How results are told: once, never, three times, long after, or with a forged one ahead."""

    NORMAL = "normal"
    NONE = "none"
    DUPLICATE = "duplicate"
    LATE = "late"
    FORGED = "forged"


class AfterAccept(StrEnum):
    """What the caller sees instead of an answer when the order was accepted all the same."""

    HANG = "hang"
    RESET = "reset"
    ERROR_500 = "500"
    MIXED = "mixed"


class BadKnob(ValueError):
    """A knob that does not exist or a value it cannot take."""


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """Times in milliseconds, rates from 0 to 1. With a seed the same reference meets the same fate in every
    run.
    """

    latency_ms: int = 20
    callback_delay_ms: int = 200
    late_by_ms: int = 8_000
    query_lag_ms: int = 0
    error_rate_before: float = 0.0
    error_rate_after_accept: float = 0.0
    error_after_accept: AfterAccept = AfterAccept.MIXED
    refuse_rate: float = 0.0
    dedupe: bool = True
    callbacks: Callbacks = Callbacks.NORMAL
    seed: int | None = None

    def changed(self, changes: dict[str, Any]) -> Knobs:
        """The same knobs with some of them set.

        :raises BadKnob: naming the knob; nothing is changed then.
        """
        known = {field.name for field in fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise BadKnob(f"no such knob: {', '.join(unknown)}")
        return replace(self, **{name: _checked(name, value) for name, value in changes.items()})

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _checked(name: str, value: Any) -> Any:
    if name.endswith("_ms"):
        if type(value) is not int or not 0 <= value <= LONGEST_MS:
            raise BadKnob(f"{name}: whole milliseconds from 0 to {LONGEST_MS}")
        return value
    if "rate" in name:
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise BadKnob(f"{name}: a number from 0 to 1")
        return float(value)
    if name == "dedupe":
        if type(value) is not bool:
            raise BadKnob(f"{name}: true or false")
        return value
    if name == "seed":
        if value is not None and type(value) is not int:
            raise BadKnob(f"{name}: a whole number or null")
        return value
    choices = Callbacks if name == "callbacks" else AfterAccept
    try:
        return choices(value)
    except ValueError:
        raise BadKnob(f"{name}: one of {', '.join(choices)}") from None
