"""One carrier behind its dialect: which orders it took, which lines run, and what goes wrong on the way.

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
from typing import Any, TypeVar

from apps.carrier_sim.knobs import After, Before, Callbacks, Knobs
from apps.carrier_sim.ledger import Entry, Ledger
from apps.carrier_sim.lines import Drift, Line, LineTable
from apps.carrier_sim.magic import Behaviour
from apps.carrier_sim.orders import DONE, REFUSED, Operation, Order, Problem, Refused

Kind = TypeVar("Kind", bound=StrEnum)

# What an order can fail for after it was taken.
_LATE_REFUSALS = {
    Operation.ACTIVATE: Problem.IDENTITY_REFUSED,
    Operation.TRANSFER: Problem.IDENTITY_REFUSED,
    Operation.CHANGE_SIM: Problem.SIM_INVALID,
    Operation.CHANGE_NUMBER: Problem.NUMBER_INVALID,
    Operation.CHANGE_PLAN: Problem.PLAN_INVALID,
}
_MAGIC_CALLBACKS = {
    Behaviour.TIMEOUT_THEN_SUCCESS: Callbacks.NONE,
    Behaviour.DUPLICATE_CALLBACK: Callbacks.DUPLICATE,
    Behaviour.LATE_CALLBACK: Callbacks.LATE,
    Behaviour.FORGED_CALLBACK_FIRST: Callbacks.FORGED,
}


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one call: not taken, taken and answered badly, or neither."""

    before: Before | None = None
    after: After | None = None
    takes_ms: float = 0.0


class Carrier:
    """State that survives in the ledger (orders, lines) and state that a restart forgets (knobs, counters)."""

    def __init__(self, *, name: str, prefix: str, calls_back: bool, ledger: Ledger) -> None:
        self.name = name
        self.ledger = ledger
        self.counts: Counter[str] = Counter()
        self.in_flight = 0
        self._prefix = prefix
        self._calls_back = calls_back
        self._knobs = Knobs()
        self._knobs_set_at = time.time()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._this_second = (0, 0)
        self._begin()
        for record in ledger.history:
            if isinstance(record, Entry):
                if record.dialect == name:
                    self._table.settle(record.at)
                    self._apply(record)
            elif record["carrier"] == name:
                self._table.settle(record["at"])
                self._table.drift(**_drift_of(record))

    def _begin(self) -> None:
        self.entries: list[Entry] = []
        self._orders: dict[tuple[str, str], Entry] = {}
        self._table = LineTable()

    @property
    def knobs(self) -> Knobs:
        return self._knobs

    @knobs.setter
    def knobs(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._knobs_set_at = time.time()
        self._this_second = (0, 0)

    # --- how calls go ---

    def admission(self) -> Before | None:
        """Decides, once per call, whether the door is open."""
        knobs, now = self.knobs, time.time()
        since = (now - self._knobs_set_at) * 1000
        if knobs.outage_every_ms:
            since %= knobs.outage_every_ms
        if since < knobs.outage_ms:
            self.counts["met an outage"] += 1
            return self._draw(knobs.outage_as, Before, random.Random())  # noqa: S311
        if knobs.capacity and self.in_flight > knobs.capacity:
            return Before.BUSY
        second, calls = self._this_second
        self._this_second = (int(now), calls + 1 if second == int(now) else 1)
        if knobs.calls_per_second and self._this_second[1] > knobs.calls_per_second:
            return Before.RATE_LIMITED
        return None

    def fate_of_order(self, order: Order) -> Fate:
        """Decides, once per call that places an order, how it goes."""
        call = (order.app_key, order.reference)
        self._calls[call] += 1
        nth = self._calls[call]
        knobs = self.knobs
        # Seeded by the call and not by its turn: five hundred calls at once meet the same fates in every run.
        rng = self._rng(order.app_key, order.reference, nth)
        takes_ms = self._takes(rng)
        if rng.random() < knobs.error_rate_before:
            return Fate(before=self._draw(knobs.error_before, Before, rng), takes_ms=takes_ms)
        match order.behaviour:
            case Behaviour.RATE_LIMITED_FIRST if nth == 1:
                return Fate(before=Before.RATE_LIMITED, takes_ms=takes_ms)
            case Behaviour.NEVER_ANSWERS:
                return Fate(before=Before.HANG, takes_ms=takes_ms)
            case Behaviour.TIMEOUT_THEN_SUCCESS if call not in self._orders:
                return Fate(after=After.HANG, takes_ms=takes_ms)
            case Behaviour.WRONG_ECHO if call not in self._orders:
                return Fate(after=After.WRONG_NUMBER, takes_ms=takes_ms)
        after = None
        if rng.random() < knobs.error_rate_after_accept:
            after = self._draw(knobs.error_after_accept, After, rng)
        return Fate(after=after, takes_ms=takes_ms)

    def fate_of_question(self, *, app_key: str, asked: str) -> Fate:
        call = (app_key, f"?{asked}")
        self._calls[call] += 1
        rng = self._rng(app_key, f"?{asked}", self._calls[call])
        takes_ms = self._takes(rng)
        after = None
        if rng.random() < self.knobs.query_error_rate:
            after = self._draw(self.knobs.query_error, After, rng)
        return Fate(after=after, takes_ms=takes_ms)

    def _rng(self, *seeds: object) -> random.Random:
        seed = self.knobs.seed
        return random.Random() if seed is None else random.Random("|".join(map(str, (seed, *seeds))))  # noqa: S311

    def _takes(self, rng: random.Random) -> float:
        knobs = self.knobs
        if knobs.slow_rate and rng.random() < knobs.slow_rate:
            return knobs.slow_ms
        return knobs.latency_ms + (rng.random() * knobs.latency_jitter_ms if knobs.latency_jitter_ms else 0)

    @staticmethod
    def _draw(kind: Kind, kinds: type[Kind], rng: random.Random) -> Kind:
        return rng.choice([other for other in kinds if other != "mixed"]) if kind == "mixed" else kind

    # --- orders ---

    def place(self, order: Order) -> tuple[Entry, bool]:
        """Accepts the order into the ledger.

        Returns the entry and whether it is new: with deduplication on, a known reference gets its first entry
        again.
        :raises Refused: a rule of the carrier forbids it, or the reference stands for another order.
        """
        now = time.time()
        self._table.settle(now)
        known = self._orders.get((order.app_key, order.reference))
        if known is not None:
            if _content(known) != _content(order):
                raise Refused(Problem.REFERENCE_REUSED)
            if self.knobs.dedupe:
                self.counts["deduplicated"] += 1
                return known, False
        else:
            problem = self._table.refusal(order)
            if problem is not None:
                raise Refused(problem)
        entry = self._entry(order, now, duplicate=known is not None)
        self.ledger.append(entry)
        self._apply(entry)
        self.counts["accepted"] += 1
        return entry, True

    def _entry(self, order: Order, now: float, *, duplicate: bool) -> Entry:
        knobs = self.knobs
        rng = self._rng(order.reference)
        reason = _LATE_REFUSALS.get(order.operation)
        refused = reason is not None and (
            rng.random() < knobs.refuse_rate or order.behaviour is Behaviour.REFUSED_LATER
        )
        callbacks = Callbacks.NONE
        if self._calls_back:
            magic = _MAGIC_CALLBACKS.get(order.behaviour) if order.behaviour else None
            callbacks = magic or self._draw(knobs.callbacks, Callbacks, rng)
        finishes_at = now + (0 if callbacks is Callbacks.EARLY else knobs.callback_delay_ms / 1000)
        late_by = knobs.late_by_ms / 1000
        tells_at = finishes_at + {Callbacks.LATE: late_by, Callbacks.SHUFFLED: rng.random() * late_by}.get(
            callbacks, 0
        )
        return Entry(
            n=len(self.ledger.entries) + 1,
            at=now,
            dialect=self.name,
            app_key=order.app_key,
            operation=order.operation.value,
            reference=order.reference,
            order_no=f"{self._prefix}{secrets.token_hex(9).upper()}",
            number=order.number,
            iccid=order.iccid,
            plan=order.plan,
            change=order.change,
            result=REFUSED if refused else DONE,
            reason=reason.value if refused and reason else "",
            duplicate=duplicate,
            finishes_at=finishes_at,
            callbacks=callbacks.value,
            tells_at=tells_at,
            notify_url=order.notify_url,
        )

    def _apply(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._orders[entry.app_key, entry.reference] = entry
        self._table.take(entry)

    def find(self, *, app_key: str, reference: str) -> Entry | None:
        """The order of that reference, unless it is younger than the query lag."""
        entry = self._orders.get((app_key, reference))
        if entry is None or time.time() < entry.at + self.knobs.query_lag_ms / 1000:
            return None
        return entry

    # --- lines ---

    def lines(self, *, app_key: str | None, after: str, limit: int) -> tuple[list[Line], str | None]:
        """A page of the carrier's own view, by number, and the `after` of the next page."""
        self._table.settle(time.time())
        return self._table.page(app_key=app_key, after=after, limit=limit)

    def line_states(self) -> dict[str, int]:
        self._table.settle(time.time())
        counts = {state.value: count for state, count in sorted(self._table.states.items()) if count}
        return counts | ({"OPENING": self._table.opening} if self._table.opening else {})

    def drift(self, **asked: Any) -> list[dict[str, Any]]:
        """Changes lines behind the resellers' backs, for good; returns them as they were."""
        now = time.time()
        self._table.settle(now)
        self.ledger.append_drift({"carrier": self.name, "at": now, **asked})
        return self._table.drift(**_drift_of(asked))

    def reset(self) -> None:
        """Forgets orders, lines, knobs and counters; the ledger is emptied by its owner."""
        self.knobs = Knobs()
        self.counts.clear()
        self._calls.clear()
        self._begin()


def _content(order: Order | Entry) -> tuple[str, ...]:
    return (str(order.operation), order.number, order.iccid, order.plan, order.change)


def _drift_of(record: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: value for name, value in record.items() if name not in ("carrier", "at", "drift")},
        "kind": Drift(record["drift"]),
    }


def shown_line(line: Line) -> dict[str, Any]:
    return {
        "number": line.number,
        "iccid": line.iccid,
        "app_key": line.app_key,
        "plan": line.plan,
        "status": line.state.value,
        "order_no": line.order_no,
    }
