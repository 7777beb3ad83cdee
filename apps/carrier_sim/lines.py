"""A carrier's table of lines: what its orders made of it, and what somebody changed without one."""

from __future__ import annotations

import bisect
import heapq
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from apps.carrier_sim.ledger import Entry
from apps.carrier_sim.magic import WITHDRAWN_PLAN_ENDING, Behaviour
from apps.carrier_sim.orders import DONE, STOPS, LineState, Operation, Order, Problem


class Drift(StrEnum):
    """How the table can come to differ from what was ordered: one for each thing that reconciliation has to find."""

    MISSING = "missing"
    CLOSED = "closed"
    REOPENED = "reopened"
    STOPPED = "stopped"
    RUNNING = "running"
    SIM = "sim"
    NUMBER = "number"
    PLAN = "plan"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Line:
    """One number of one reseller."""

    number: str
    iccid: str
    app_key: str
    plan: str
    state: LineState
    order_no: str


class LineTable:
    """Rows by number, what is being worked on, which card is in which line. An order takes effect when it is done."""

    def __init__(self) -> None:
        self.states: Counter[LineState] = Counter()
        self._rows: dict[str, Line] = {}
        self._numbers: list[str] = []
        self._sims: dict[str, str] = {}
        # Numbers and cards that an unfinished order holds.
        self._held: dict[str, Entry] = {}
        self._due: list[tuple[float, int, Entry]] = []
        self._drifted: set[str] = set()

    @property
    def opening(self) -> int:
        return sum(entry.operation == Operation.ACTIVATE for _, _, entry in self._due)

    def refusal(self, order: Order) -> Problem | None:
        """Why the table forbids this order; None when it does not."""
        found = self._rows.get(order.number)
        line = found if found and found.app_key == order.app_key and found.iccid == order.iccid else None
        if order.operation is Operation.ACTIVATE:
            return _unsellable(order) or self._taken(number=order.number, iccid=order.iccid)
        if line is None:
            return Problem.LINE_NOT_FOUND
        if line.state is LineState.CLOSED:
            return Problem.LINE_CLOSED
        if order.number in self._held:
            return Problem.LINE_BUSY
        match order.operation:
            case Operation.SUSPEND if line.state is STOPS[order.change]:
                return Problem.LINE_ALREADY_SO
            case Operation.RESUME if line.state is LineState.IN_SERVICE:
                return Problem.LINE_ALREADY_SO
            case Operation.CHANGE_SIM:
                return _unsellable(order) or self._taken(iccid=order.change)
            case Operation.CHANGE_NUMBER:
                return _unsellable(order) or self._taken(number=order.change)
            case Operation.CHANGE_PLAN:
                return _unsellable(order)
        return None

    def _taken(self, *, number: str = "", iccid: str = "") -> Problem | None:
        row = self._rows.get(number)
        if number in self._held or (row and row.state is not LineState.CLOSED):
            return Problem.NUMBER_IN_USE
        if iccid in self._held or iccid in self._sims:
            return Problem.SIM_IN_USE
        return None

    def take(self, entry: Entry) -> None:
        """Holds what the order touches until it is done."""
        for name in _touched(entry):
            self._held[name] = entry
        heapq.heappush(self._due, (entry.finishes_at, entry.n, entry))

    def settle(self, now: float) -> None:
        """Lets every order that is done by now take effect, in the order in which they finish."""
        while self._due and self._due[0][0] <= now:
            entry = heapq.heappop(self._due)[2]
            for name in _touched(entry):
                if self._held.get(name) is entry:
                    del self._held[name]
            if entry.result == DONE:
                self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        if entry.operation == Operation.ACTIVATE:
            self._put(
                Line(
                    entry.number, entry.iccid, entry.app_key, entry.plan, LineState.IN_SERVICE, entry.order_no
                )
            )
            return
        line = self._rows.get(entry.number)
        if line is None:  # done twice, or gone by a drift in between
            return
        match entry.operation:
            case Operation.SUSPEND:
                self._turn(line, STOPS[entry.change])
            case Operation.RESUME:
                self._turn(line, LineState.IN_SERVICE)
            case Operation.TERMINATE:
                self._turn(line, LineState.CLOSED)
            case Operation.CHANGE_SIM:
                self._put(self._moved(line, iccid=entry.change))
            case Operation.CHANGE_NUMBER:
                self._put(self._moved(line, number=entry.change))
            case Operation.CHANGE_PLAN:
                line.plan = entry.change

    def page(self, *, app_key: str | None, after: str, limit: int) -> tuple[list[Line], str | None]:
        """Rows of that reseller (None: of all) by number, from above `after`; and the `after` of the next page."""
        rows: list[Line] = []
        for at in range(bisect.bisect_right(self._numbers, after), len(self._numbers)):
            row = self._rows[self._numbers[at]]
            if app_key in (None, row.app_key):
                if len(rows) == limit:
                    return rows, rows[-1].number
                rows.append(row)
        return rows, None

    def drift(self, *, kind: Drift, numbers: list[str], count: int, **unknown: str) -> list[dict[str, Any]]:
        """Changes `count` lines that fit and were not changed so before, or the given ones; tells what was there."""
        if kind is Drift.UNKNOWN:
            return self._invent(count, **unknown)
        fitting = self._fitting(kind, numbers or self._numbers)
        chosen = [line for line, _ in zip(fitting, range(count), strict=False)]
        before = [asdict(line) for line in chosen]
        for line in chosen:
            self._drifted.add(line.number)
            match kind:
                case Drift.MISSING:
                    self._drop(line)
                case Drift.CLOSED:
                    self._turn(line, LineState.CLOSED)
                case Drift.REOPENED | Drift.RUNNING:
                    self._turn(line, LineState.IN_SERVICE)
                case Drift.STOPPED:
                    self._turn(line, LineState.STOPPED)
                case Drift.SIM:
                    self._put(self._moved(line, iccid=self._free(line.iccid, self._sims)))
                case Drift.NUMBER:
                    self._put(self._moved(line, number=self._free(line.number, self._rows)))
                    self._drifted.add(line.number)
                case Drift.PLAN:
                    line.plan = "DRIFTED"
        return before

    def _fitting(self, kind: Drift, numbers: Iterable[str]) -> Iterator[Line]:
        wanted = {
            Drift.REOPENED: {LineState.CLOSED},
            Drift.RUNNING: {LineState.STOPPED, LineState.STOPPED_OUTGOING},
            Drift.STOPPED: {LineState.IN_SERVICE},
        }.get(kind, set(LineState) - {LineState.CLOSED})
        for number in list(numbers):
            line = self._rows.get(number)
            if line is None or line.state not in wanted or number in self._drifted or number in self._held:
                continue
            if kind is not Drift.SIM or line.iccid.isdigit():
                yield line

    def _invent(
        self, count: int, *, app_key: str, number: str, iccid: str, plan: str
    ) -> list[dict[str, Any]]:
        """Lines that nobody ordered: numbers and cards counted up from the given ones."""
        width, head, tail = len(number), iccid[:-12], int(iccid[-12:])
        for n in range(count):
            row = Line(
                f"{int(number) + n:0{width}d}",
                f"{head}{tail + n:012d}",
                app_key,
                plan,
                LineState.IN_SERVICE,
                "",
            )
            if row.number not in self._rows:
                self._numbers.append(row.number)
                self._rows[row.number] = row
                self._sims[row.iccid] = row.number
                self.states[row.state] += 1
        self._numbers.sort()
        return []

    @staticmethod
    def _free(taken: str, others: Container[str]) -> str:
        """The next one up that nobody has."""
        number = int(taken)
        while str(number) in others:
            number += 1
        return str(number)

    def _put(self, line: Line) -> None:
        old = self._rows.get(line.number)
        if old is not None:
            self._drop(old)
        self._rows[line.number] = line
        bisect.insort(self._numbers, line.number)
        self.states[line.state] += 1
        if line.state is not LineState.CLOSED:
            self._sims[line.iccid] = line.number

    def _drop(self, line: Line) -> None:
        del self._rows[line.number]
        del self._numbers[bisect.bisect_left(self._numbers, line.number)]
        self.states[line.state] -= 1
        if self._sims.get(line.iccid) == line.number:
            del self._sims[line.iccid]

    def _moved(self, line: Line, *, number: str = "", iccid: str = "") -> Line:
        """The line taken out, with another number or card, to be put back."""
        self._drop(line)
        line.number, line.iccid = number or line.number, iccid or line.iccid
        return line

    def _turn(self, line: Line, state: LineState) -> None:
        self._drop(line)
        line.state = state
        self._put(line)


def _touched(entry: Entry) -> tuple[str, ...]:
    match entry.operation:
        case Operation.ACTIVATE:
            return (entry.number, entry.iccid)
        case Operation.CHANGE_SIM | Operation.CHANGE_NUMBER:
            return (entry.number, entry.change)
    return (entry.number,)


def _unsellable(order: Order) -> Problem | None:
    """What the carrier does not do whatever its table says: withdrawn plans, and what is magic."""
    plan = order.change if order.operation is Operation.CHANGE_PLAN else order.plan
    if plan.endswith(WITHDRAWN_PLAN_ENDING):
        return Problem.PLAN_INVALID
    if order.operation is Operation.CHANGE_PLAN or order.behaviour is not Behaviour.REJECTED:
        return None
    if order.operation is Operation.ACTIVATE:
        return Problem.PLAN_INVALID if order.iccid.endswith("9001") else Problem.NUMBER_INVALID
    return Problem.SIM_INVALID if order.operation is Operation.CHANGE_SIM else Problem.NUMBER_INVALID
