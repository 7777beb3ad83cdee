"""The calls of one drain that are out: made on the event loop of the process, fetched by the thread of the drain.

The loop sees neither the database nor a transaction: everything a call needs is loaded before, and everything it brings
is recorded after, by the drain.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from apps.carriers import transport
from apps.carriers.base import (
    Adapter,
    CarrierMisconfigured,
    CarrierRejected,
    CarrierUnavailable,
    OutcomeUnknown,
    Rejected,
)
from apps.carriers.models import CarrierConnection
from apps.core.faults import faultpoint
from apps.provisioning.services.carrier_requests import Request, call
from apps.provisioning.services.jobs import (
    Claim,
    Misconfigured,
    NotSent,
    Outcome,
    Unavailable,
    Unknown,
    lease_seconds,
)
from apps.provisioning.services.recording import Result

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """A claim and what to tell the carrier; adapter and request are None, with the outcome instead, when nothing may be
    sent.
    """

    claim: Claim
    carrier: CarrierConnection
    adapter: Adapter | None
    # Monotonic seconds, from before the lease began.
    claimed_at: float
    request: Request | None = field(repr=False)
    outcome: Outcome | None = None


class Calls:
    """At most `slots` at once; what is begun beyond that waits for its turn on the loop."""

    def __init__(self, slots: int) -> None:
        self.out = 0
        # By connection.
        self.over: Counter[int] = Counter()
        # Connections whose kill switch was pulled: what has not begun over them is kept back.
        self.stopped: frozenset[int] = frozenset()
        self._slots = asyncio.Semaphore(slots)
        self._loop = transport.loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: queue.SimpleQueue[Result | None] = queue.SimpleQueue()

    def begin(self, work: Sequence[Work]) -> None:
        if work:
            self.out += len(work)
            self.over.update(piece.claim.connection_id for piece in work)
            self._loop.call_soon_threadsafe(self._begin, work)

    def wake(self) -> None:
        """Lets whoever waits in `collect` look around; from any thread."""
        self._answers.put(None)

    def collect(self, seconds: float) -> list[Result]:
        """Waits for the first call that has come back, or a wake; returns all that have."""
        found: list[Result | None] = []
        try:
            found.append(self._answers.get(timeout=seconds))
            while True:
                found.append(self._answers.get_nowait())
        except queue.Empty:
            pass
        results = [result for result in found if result is not None]
        self.out -= len(results)
        self.over.subtract(result.claim.connection_id for result in results)
        return results

    @property
    def was_woken(self) -> bool:
        """Whether something has come that nobody has collected."""
        return not self._answers.empty()

    def _begin(self, work: Sequence[Work]) -> None:
        for piece in work:
            task = self._loop.create_task(self._make(piece))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _make(self, work: Work) -> None:
        async with self._slots:
            if work.outcome:
                outcome, was_called = work.outcome, False
            elif work.claim.connection_id in self.stopped:
                outcome, was_called = NotSent("calls_stopped", "Calls were stopped after the claim."), False
            else:
                outcome, was_called = await _carry_out(work)
        self._answers.put(Result(work.claim, work.carrier, outcome, was_called))


async def _carry_out(work: Work) -> tuple[Outcome, bool]:
    """One call, and whether it came as far as the network: never raises, whatever the carrier does."""
    with transport.noted_calls() as calls:
        outcome = await _call(work)
    return outcome, bool(calls)


async def _call(work: Work) -> Outcome:
    # A machine that slept through its lease must not send: somebody else may have the job by now.
    timeout = work.carrier.timeout_seconds
    left = lease_seconds(timeout) - (time.monotonic() - work.claimed_at)
    if left <= timeout:
        return NotSent("lease_too_short", "The lease was nearly over before the call.")
    try:
        faultpoint("send.before", str(work.claim.number))
        return await call(work.adapter, work.request)
    except CarrierRejected as error:
        return Rejected(error.code, error.detail)
    except CarrierUnavailable as error:
        return Unavailable(error.code, error.detail, error.retry_after)
    except CarrierMisconfigured as error:
        return Misconfigured(error.code, error.detail)
    except OutcomeUnknown as error:
        logger.warning(
            "carrier gave no answer to believe", extra={"job": work.claim.reference, "why": error.detail}
        )
        return Unknown(error.code, error.detail)
    except Exception as error:  # a bug in an adapter is an unknown outcome too: bytes may have left
        logger.exception("adapter failed", extra={"job": work.claim.reference})
        return Unknown("adapter_failed", type(error).__name__)


# --- one drain per host carrier and process ---

_at_work: dict[int, Calls] = {}
_lock = threading.Lock()


def take_up(host_carrier_id: int, calls: Calls) -> bool:
    """Whether this thread is the one that drains the carrier in this process; if not, the one that does is woken."""
    with _lock:
        other = _at_work.setdefault(host_carrier_id, calls)
        if other is not calls:
            other.wake()
        return other is calls


def lay_down(host_carrier_id: int, calls: Calls) -> bool:
    """Ends it; False, and goes on, when somebody has woken it since it last looked."""
    with _lock:
        if calls.was_woken:
            return False
        del _at_work[host_carrier_id]
        return True


def give_up(host_carrier_id: int, calls: Calls) -> None:
    """Ends it, whatever is left to do."""
    with _lock:
        if _at_work.get(host_carrier_id) is calls:
            del _at_work[host_carrier_id]
