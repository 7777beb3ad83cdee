"""How badly one carrier behaves. Read and set over HTTP while it runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

LONGEST_MS = 3_600_000
MOST_CALLS = 100_000


class Callbacks(StrEnum):
    """How results are told: once; never; three times; long after; at a random moment, so out of order; before the call
    is answered; or with something ahead of the true one: a forged one, one with an old time, one for another's order.
    """

    NORMAL = "normal"
    NONE = "none"
    DUPLICATE = "duplicate"
    LATE = "late"
    SHUFFLED = "shuffled"
    EARLY = "early"
    FORGED = "forged"
    STALE = "stale"
    FOREIGN = "foreign"
    MIXED = "mixed"


class Before(StrEnum):
    """How a call ends that was not taken."""

    BUSY = "busy"
    RATE_LIMITED = "rate_limited"
    ERROR_500 = "500"
    RESET = "reset"
    HANG = "hang"
    MIXED = "mixed"


class After(StrEnum):
    """What the caller gets although the order was taken: nothing, an error, or something that is no answer to it."""

    HANG = "hang"
    RESET = "reset"
    ERROR_500 = "500"
    ERROR_502 = "502"
    HTML = "html"
    HALF = "half"
    HUGE = "huge"
    DRIP = "drip"
    WRONG_NUMBER = "wrong_number"
    WRONG_REFERENCE = "wrong_reference"
    UNKNOWN_WORD = "unknown_word"
    MIXED = "mixed"


class BadKnob(ValueError):
    """A knob that does not exist or a value it cannot take."""


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """Times in milliseconds, rates from 0 to 1. With a seed the same call meets the same fate in every run."""

    # A call takes latency, plus at most jitter, or slow instead at a rate of slow_rate.
    latency_ms: int = 20
    latency_jitter_ms: int = 0
    slow_rate: float = 0.0
    slow_ms: int = 5_000
    # How long the carrier works on an order that it has taken.
    callback_delay_ms: int = 200
    late_by_ms: int = 8_000
    query_lag_ms: int = 0
    error_rate_before: float = 0.0
    error_before: Before = Before.BUSY
    error_rate_after_accept: float = 0.0
    error_after_accept: After = After.MIXED
    query_error_rate: float = 0.0
    query_error: After = After.MIXED
    refuse_rate: float = 0.0
    dedupe: bool = True
    callbacks: Callbacks = Callbacks.NORMAL
    # Calls at once, and calls in one second; 0: any number.
    capacity: int = 0
    calls_per_second: int = 0
    # Down for that long from the moment it is set, and again in every such period; 0: never, once.
    outage_ms: int = 0
    outage_every_ms: int = 0
    outage_as: Before = Before.BUSY
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


CHOICES: dict[str, type[StrEnum]] = {
    "callbacks": Callbacks,
    "error_before": Before,
    "error_after_accept": After,
    "query_error": After,
    "outage_as": Before,
}


def _checked(name: str, value: Any) -> Any:
    if name in CHOICES:
        choices = CHOICES[name]
        try:
            return choices(value)
        except ValueError:
            raise BadKnob(f"{name}: one of {', '.join(choices)}") from None
    if name.endswith("_ms"):
        if type(value) is not int or not 0 <= value <= LONGEST_MS:
            raise BadKnob(f"{name}: whole milliseconds from 0 to {LONGEST_MS}")
        return value
    if "rate" in name:
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise BadKnob(f"{name}: a number from 0 to 1")
        return float(value)
    if name in ("capacity", "calls_per_second"):
        if type(value) is not int or not 0 <= value <= MOST_CALLS:
            raise BadKnob(f"{name}: a whole number from 0 to {MOST_CALLS}")
        return value
    if name == "dedupe":
        if type(value) is not bool:
            raise BadKnob(f"{name}: true or false")
        return value
    if value is not None and type(value) is not int:
        raise BadKnob(f"{name}: a whole number or null")
    return value
