"""What lets calls pass over a connection: rate, budget of retries, circuit breaker. Shared by all workers.

All three stand in one row per connection and move with the claims (docs/adr/0007): nothing is lost with Redis, no
worker has a count of its own, and no clock but the database's is asked.

- The rate is GCRA: a call passes while those before it, evenly spaced, are not more than a burst ahead of the clock.
- Retries of what the carrier could not take have places, a tenth of the rate apart: an outage of any length is followed
  by a trickle beside the new work and never by a storm. Nothing below the jobs repeats a call.
- `OPENS_AFTER` calls in a row without an answer open the circuit; then one call a second probes, and the first that
  is answered closes it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection as database

from apps.core.db import use_case

OPENS_AFTER = 10
PROBE_EVERY = timedelta(seconds=1)
# However long the carrier asks us to wait, the circuit is probed again by then.
LONGEST_REST = timedelta(seconds=60)
RETRY_SHARE = 0.1
# How far calls may run ahead of their even spacing, in seconds of the rate: claims come in batches.
BURST_SECONDS = 0.2

_MAKE = """
INSERT INTO provisioning_gate (connection_id, failures, why, is_open)
SELECT id, 0, '', FALSE FROM carriers_carrierconnection WHERE id = ANY(%s)
ON CONFLICT DO NOTHING
"""
_LOCK = """
SELECT gate.connection_id, link.calls_per_second, link.max_in_flight, link.timeout_seconds,
    link.disconnected_at IS NULL, link.stopped_at IS NOT NULL,
    gate.next_call_at, gate.next_retry_at, gate.failures, gate.why, gate.is_open, gate.probe_at, gate.changed_at,
    clock_timestamp()
FROM provisioning_gate AS gate JOIN carriers_carrierconnection AS link ON link.id = gate.connection_id
WHERE gate.connection_id = ANY(%s) ORDER BY gate.connection_id FOR UPDATE OF gate
"""
_WRITE = """
UPDATE provisioning_gate AS gate SET next_call_at = moved.next_call_at, next_retry_at = moved.next_retry_at,
    failures = moved.failures, why = moved.why, is_open = moved.is_open, probe_at = moved.probe_at,
    changed_at = moved.changed_at
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::int[], %s::text[], %s::bool[], %s::timestamptz[],
    %s::timestamptz[])
    AS moved(id, next_call_at, next_retry_at, failures, why, is_open, probe_at, changed_at)
WHERE gate.connection_id = moved.id
"""
_TROUBLED = """
SELECT connection_id FROM provisioning_gate WHERE connection_id = ANY(%s) AND (is_open OR failures > 0)
"""
_COLUMNS = (
    "connection_id",
    "next_call_at",
    "next_retry_at",
    "failures",
    "why",
    "is_open",
    "probe_at",
    "changed_at",
)


@dataclass(slots=True)
class Passage:
    """One gate, locked, with what its connection allows; `now` is the database's."""

    connection_id: int
    calls_per_second: float
    max_in_flight: int
    timeout_seconds: float
    is_live: bool
    is_stopped: bool
    next_call_at: datetime
    next_retry_at: datetime
    failures: int
    why: str
    is_open: bool
    probe_at: datetime
    changed_at: datetime
    now: datetime

    @property
    def room(self) -> int:
        """How many calls may pass now, as far as rate, circuit and kill switch go."""
        if self.is_stopped or (self.is_open and self.now < self.probe_at):
            return 0
        burst = max(1.0, self.calls_per_second * BURST_SECONDS)
        ahead = max(0.0, (self.next_call_at - self.now).total_seconds()) * self.calls_per_second
        # Microseconds are rounded: what is whole but for that is whole.
        free = max(0, math.floor(burst - ahead + 1e-3))
        return min(free, 1) if self.is_open else free

    def let_pass(self, calls: int) -> None:
        """That many have been claimed."""
        self.next_call_at = max(self.next_call_at, self.now) + timedelta(
            seconds=calls / self.calls_per_second
        )
        if self.is_open:
            self.probe_at = self.now + PROBE_EVERY

    def note(self, answer: Answer) -> None:
        """Counts one call that came back."""
        if answer.claimed_at <= self.changed_at:
            return
        if not answer.failed:
            if self.is_open:
                self.is_open, self.changed_at = False, self.now
            self.failures, self.why = 0, ""
            return
        self.failures += 1
        self.why = answer.failed
        if self.failures >= OPENS_AFTER and not self.is_open:
            self.is_open, self.changed_at, self.probe_at = True, self.now, self.now + PROBE_EVERY
        if self.is_open and answer.retry_after:
            rest = min(timedelta(seconds=answer.retry_after), LONGEST_REST)
            self.probe_at = max(self.probe_at, self.now + rest)

    def place_for_retry(self) -> datetime:
        """When one call that the carrier could not take may be made again at the earliest."""
        place = max(self.next_retry_at, self.now)
        self.next_retry_at = place + timedelta(seconds=1 / (self.calls_per_second * RETRY_SHARE))
        return place


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call tells about its connection; `failed` is the code, or empty when the carrier answered."""

    connection_id: int
    claimed_at: datetime
    failed: str = ""
    retry_after: float | None = None
    # Certainly not done, and to be sent again: always, or only while nothing at all gets through.
    is_repeated: bool = False
    is_repeated_while_open: bool = False


def lock_gates(connection_ids: Collection[int]) -> list[Passage]:
    """Locks the gates of these connections until the transaction ends, and makes those that are not there yet."""
    wanted = sorted(connection_ids)
    with database.cursor() as cursor:
        cursor.execute(_LOCK, [wanted])
        rows = cursor.fetchall()
        if len(rows) < len(wanted):
            cursor.execute(_MAKE, [wanted])
            cursor.execute(_LOCK, [wanted])
            rows = cursor.fetchall()
    return [Passage(*row) for row in rows]


def write_gates(passages: Iterable[Passage]) -> None:
    """What has become of locked gates, in one statement."""
    moved = list(passages)
    with database.cursor() as cursor:
        cursor.execute(_WRITE, [[getattr(gate, column) for gate in moved] for column in _COLUMNS])


def note_answers(answers: Sequence[Answer | None]) -> list[datetime | None]:
    """Counts calls that came back, in their order; for each that is to be repeated, the place of its retry.

    None stands for a call that was never made. While all goes well nothing is locked or written.
    """
    made = [answer for answer in answers if answer is not None]
    failed = {answer.connection_id for answer in made if answer.failed}
    with database.cursor() as cursor:
        cursor.execute(_TROUBLED, [sorted({answer.connection_id for answer in made} - failed)])
        concerned = failed | {row[0] for row in cursor.fetchall()}
    return _note(answers, concerned) if concerned else [None] * len(answers)


@use_case
def _note(answers: Sequence[Answer | None], concerned: Collection[int]) -> list[datetime | None]:
    gates = {gate.connection_id: gate for gate in lock_gates(concerned)}
    places: list[datetime | None] = []
    for answer in answers:
        place = None
        if answer is not None and (gate := gates.get(answer.connection_id)):
            gate.note(answer)
            if answer.is_repeated or (answer.is_repeated_while_open and gate.is_open):
                place = gate.place_for_retry()
        places.append(place)
    write_gates(gates.values())
    return places
