"""What can be ordered and why it may be refused, in words that all dialects and carriers share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from apps.carrier_sim.magic import Behaviour, behaviour_of

DONE = "DONE"
REFUSED = "REFUSED"


class Operation(StrEnum):
    """Everything that changes a line."""

    ACTIVATE = "activate"
    SUSPEND = "suspend"
    RESUME = "resume"
    CHANGE_SIM = "change_sim"
    CHANGE_NUMBER = "change_number"
    CHANGE_PLAN = "change_plan"
    TRANSFER = "transfer"
    TERMINATE = "terminate"


class LineState(StrEnum):
    """What a line in the table is."""

    IN_SERVICE = "IN_SERVICE"
    STOPPED_OUTGOING = "STOPPED_OUTGOING"
    STOPPED = "STOPPED"
    CLOSED = "CLOSED"


# What SUSPEND brings, by the `change` of its order.
STOPS = {"one_way": LineState.STOPPED_OUTGOING, "two_way": LineState.STOPPED}


class Problem(StrEnum):
    """Why a call fails; each dialect has its own code for it."""

    BAD_SIGNATURE = "BAD_SIGNATURE"
    STALE = "STALE"
    MALFORMED = "MALFORMED"
    FIELD = "FIELD"
    REFERENCE_REUSED = "REFERENCE_REUSED"
    TOO_MANY = "TOO_MANY"
    BUSY = "BUSY"
    SYSTEM = "SYSTEM"
    # From here on business refusals: final.
    PLAN_INVALID = "PLAN_INVALID"
    NUMBER_INVALID = "NUMBER_INVALID"
    NUMBER_IN_USE = "NUMBER_IN_USE"
    SIM_INVALID = "SIM_INVALID"
    SIM_IN_USE = "SIM_IN_USE"
    IDENTITY_REFUSED = "IDENTITY_REFUSED"
    PAPER_TYPE = "PAPER_TYPE"
    LINE_NOT_FOUND = "LINE_NOT_FOUND"
    LINE_CLOSED = "LINE_CLOSED"
    LINE_BUSY = "LINE_BUSY"
    LINE_ALREADY_SO = "LINE_ALREADY_SO"


class Refused(Exception):
    """Ends a call with a problem; nothing was written. `reference` is of the call, once it is known."""

    def __init__(self, problem: Problem, detail: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.detail = detail
        self.reference: str | None = None


@contextmanager
def naming(reference: str) -> Iterator[None]:
    """Whatever is refused in the block is refused to the call with this reference."""
    try:
        yield
    except Refused as refused:
        refused.reference = reference
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as a dialect understood it; the person it is for stays in the dialect and is forgotten there."""

    app_key: str
    operation: Operation
    reference: str
    number: str
    iccid: str
    plan: str = ""
    # What comes in place of the old: kind of stop, ICCID, number or plan.
    change: str = ""
    notify_url: str = ""

    @property
    def iccids(self) -> tuple[str, ...]:
        """The new one first."""
        return (self.change, self.iccid) if self.operation is Operation.CHANGE_SIM else (self.iccid,)

    @property
    def numbers(self) -> tuple[str, ...]:
        return (self.change, self.number) if self.operation is Operation.CHANGE_NUMBER else (self.number,)

    @property
    def behaviour(self) -> Behaviour | None:
        return behaviour_of(iccids=self.iccids, numbers=self.numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, read and authenticated: an order, a question about one (`asked`), or a page of lines."""

    app_key: str
    reference: str
    order: Order | None = None
    asked: str = ""
    after: str = ""
    limit: int = 0
