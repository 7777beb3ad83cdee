"""The carrier behind the dialects: which orders it took, which lines run, and what goes wrong on the way.

Everything here is synchronous and runs in one event loop: between a check and the ledger write nothing else
happens.
"""

from __future__ import annotations

import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from apps.carrier_sim.knobs import AfterAccept, Callbacks, Knobs
from apps.carrier_sim.ledger import Entry, Ledger
from apps.carrier_sim.magic import WITHDRAWN_PLAN_ENDING, Behaviour, behaviour_of

ACTIVATE = "activate"
TERMINATE = "terminate"
DONE = "DONE"
REFUSED = "REFUSED"
PENDING = "PENDING"


class Refusal(StrEnum):
    """Why the carrier does not take an order, or does not carry it out; each dialect has its own code for it."""

    PLAN_INVALID = "PLAN_INVALID"
    NUMBER_INVALID = "NUMBER_INVALID"
    NUMBER_IN_USE = "NUMBER_IN_USE"
    SIM_INVALID = "SIM_INVALID"
    SIM_IN_USE = "SIM_IN_USE"
    IDENTITY_REFUSED = "IDENTITY_REFUSED"
    LINE_NOT_FOUND = "LINE_NOT_FOUND"
    LINE_CLOSED = "LINE_CLOSED"
    LINE_BUSY = "LINE_BUSY"


class Refused(Exception):
    """The order is not taken; nothing was written."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason = reason


class ReferenceReused(Exception):
    """The reference belongs to an order with other content."""


class Answer(StrEnum):
    """What happens to the reply of one call."""

    NORMAL = "NORMAL"
    BUSY = "BUSY"
    RATE_LIMITED = "RATE_LIMITED"
    HANG_BEFORE = "HANG_BEFORE"
    HANG_AFTER = "HANG_AFTER"
    RESET_AFTER = "RESET_AFTER"
    ERROR_500_AFTER = "ERROR_500_AFTER"


_AFTER = {
    AfterAccept.HANG: Answer.HANG_AFTER,
    AfterAccept.RESET: Answer.RESET_AFTER,
    AfterAccept.ERROR_500: Answer.ERROR_500_AFTER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as a dialect understood it; the person it is for stays in the dialect and is forgotten there."""

    dialect: str
    app_key: str
    operation: str
    reference: str
    number: str
    iccid: str
    plan: str
    notify_url: str


@dataclass(slots=True)
class LineRecord:
    """One number in the carrier's own view: the order that opened it and, later, the one that closes it."""

    opened_by: Entry
    closed_by: Entry | None = None

    def status(self, now: float) -> str | None:
        """OPENING, IN_SERVICE, CLOSING, CLOSED, or None when the opening was refused in the end."""
        if now < self.opened_by.finishes_at:
            return "OPENING"
        if self.opened_by.result == REFUSED:
            return None
        if self.closed_by is None or (self.closed_by.result == REFUSED and now >= self.closed_by.finishes_at):
            return "IN_SERVICE"
        return "CLOSING" if now < self.closed_by.finishes_at else "CLOSED"


class Carrier:
    """State that survives in the ledger (orders, lines) and state that a restart forgets (knobs, counters)."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.knobs = Knobs()
        self.counts: Counter[str] = Counter()
        self.in_flight = 0
        self._calls: Counter[tuple[str, str]] = Counter()
        self._orders: dict[tuple[str, str], Entry] = {}
        self._lines: dict[str, LineRecord] = {}
        self._sims: dict[str, str] = {}
        self.started_at = time.time()
        for entry in ledger.entries:
            self._apply(entry)

    def fate(self, *, app_key: str, reference: str, iccid: str) -> Answer:
        """Decides, once per call that places an order, how its reply will be."""
        call = (app_key, reference)
        self._calls[call] += 1
        nth = self._calls[call]
        seed = self.knobs.seed
        # Seeded by the call and not by its turn: five hundred calls at once meet the same fates in every run.
        rng = random.Random() if seed is None else random.Random(f"{seed}|{app_key}|{reference}|{nth}")  # noqa: S311
        if rng.random() < self.knobs.error_rate_before:
            return Answer.BUSY
        match behaviour_of(iccid):
            case Behaviour.RATE_LIMITED_FIRST if nth == 1:
                return Answer.RATE_LIMITED
            case Behaviour.NEVER_ANSWERS:
                return Answer.HANG_BEFORE
            case Behaviour.TIMEOUT_THEN_SUCCESS if (app_key, reference) not in self._orders:
                return Answer.HANG_AFTER
        if rng.random() < self.knobs.error_rate_after_accept:
            kind = self.knobs.error_after_accept
            if kind is AfterAccept.MIXED:
                kind = rng.choice(list(_AFTER))
            return _AFTER[kind]
        return Answer.NORMAL

    def place(self, order: Order) -> tuple[Entry, bool]:
        """Accepts the order into the ledger.

        Returns the entry and whether it is new: with deduplication on, a known reference gets its first entry
        again.
        :raises Refused: a rule of the carrier forbids it.
        :raises ReferenceReused: the reference stands for another order.
        """
        now = time.time()
        known = self._orders.get((order.app_key, order.reference))
        if known is not None:
            same = (known.operation, known.number, known.iccid, known.plan)
            if same != (order.operation, order.number, order.iccid, order.plan):
                raise ReferenceReused
            if self.knobs.dedupe:
                self.counts["deduplicated"] += 1
                return known, False
        else:
            self._check(order, now)
        entry = self._entry(order, now, duplicate=known is not None)
        self.ledger.append(entry)
        self._apply(entry)
        self.counts["accepted"] += 1
        return entry, True

    def _check(self, order: Order, now: float) -> None:
        line = self._lines.get(order.number)
        status = line.status(now) if line else None
        if order.operation == ACTIVATE:
            if behaviour_of(order.iccid) is Behaviour.REJECTED:
                raise Refused(Refusal.PLAN_INVALID)
            if order.plan.endswith(WITHDRAWN_PLAN_ENDING):
                raise Refused(Refusal.PLAN_INVALID)
            if status not in (None, "CLOSED"):
                raise Refused(Refusal.NUMBER_IN_USE)
            other = self._lines.get(self._sims.get(order.iccid, ""))
            if other and other.opened_by.iccid == order.iccid and other.status(now) not in (None, "CLOSED"):
                raise Refused(Refusal.SIM_IN_USE)
            return
        if line is None or status is None or line.opened_by.app_key != order.app_key:
            raise Refused(Refusal.LINE_NOT_FOUND)
        if line.opened_by.iccid != order.iccid:
            raise Refused(Refusal.LINE_NOT_FOUND)
        if status == "CLOSED":
            raise Refused(Refusal.LINE_CLOSED)
        if status != "IN_SERVICE":
            raise Refused(Refusal.LINE_BUSY)

    def _entry(self, order: Order, now: float, *, duplicate: bool) -> Entry:
        knobs = self.knobs
        rng = random.Random() if knobs.seed is None else random.Random(f"{knobs.seed}|{order.reference}")  # noqa: S311
        refused = order.operation == ACTIVATE and rng.random() < knobs.refuse_rate
        callbacks = knobs.callbacks
        match behaviour_of(order.iccid):
            case Behaviour.TIMEOUT_THEN_SUCCESS:
                callbacks = Callbacks.NONE
            case Behaviour.DUPLICATE_CALLBACK:
                callbacks = Callbacks.DUPLICATE
            case Behaviour.LATE_CALLBACK:
                callbacks = Callbacks.LATE
            case Behaviour.FORGED_CALLBACK_FIRST:
                callbacks = Callbacks.FORGED
        finishes_at = now + knobs.callback_delay_ms / 1000
        return Entry(
            n=len(self.ledger.entries) + 1,
            at=now,
            dialect=order.dialect,
            app_key=order.app_key,
            operation=order.operation,
            reference=order.reference,
            order_no=f"UN{secrets.token_hex(9).upper()}",
            number=order.number,
            iccid=order.iccid,
            plan=order.plan,
            result=REFUSED if refused else DONE,
            reason=Refusal.IDENTITY_REFUSED.value if refused else "",
            duplicate=duplicate,
            finishes_at=finishes_at,
            callbacks=callbacks.value,
            tells_at=finishes_at + (knobs.late_by_ms / 1000 if callbacks is Callbacks.LATE else 0),
            notify_url=order.notify_url,
        )

    def _apply(self, entry: Entry) -> None:
        self._orders[entry.app_key, entry.reference] = entry
        if entry.operation == ACTIVATE:
            self._lines[entry.number] = LineRecord(opened_by=entry)
            self._sims[entry.iccid] = entry.number
        elif entry.number in self._lines:
            self._lines[entry.number].closed_by = entry

    def find(self, *, app_key: str, reference: str) -> Entry | None:
        """The order of that reference, unless it is younger than the query lag."""
        entry = self._orders.get((app_key, reference))
        if entry is None or time.time() < entry.at + self.knobs.query_lag_ms / 1000:
            return None
        return entry

    def lines(self, *, app_key: str | None) -> list[dict[str, object]]:
        """The carrier's own view of its lines, by number."""
        now = time.time()
        view: list[dict[str, object]] = []
        for number, line in sorted(self._lines.items()):
            status = line.status(now)
            opened = line.opened_by
            if status is not None and app_key in (None, opened.app_key):
                view.append(
                    {
                        "number": number,
                        "iccid": opened.iccid,
                        "app_key": opened.app_key,
                        "plan": opened.plan,
                        "status": status,
                        "order_no": opened.order_no,
                    }
                )
        return view

    def reset(self) -> None:
        """Forgets everything: ledger, lines, knobs, counters."""
        self.ledger.forget()
        self.knobs = Knobs()
        self.counts.clear()
        self._calls.clear()
        self._orders.clear()
        self._lines.clear()
        self._sims.clear()


def result_of(entry: Entry) -> str:
    """DONE or REFUSED once the order is through, PENDING until then."""
    return entry.result if time.time() >= entry.finishes_at else PENDING
