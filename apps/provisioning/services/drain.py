"""Carrying out due jobs: claim many, keep many calls in flight, record each as it comes back.

Carrier calls are waiting, not computing, so threads make them; the threads touch neither the database nor the clock's
truth, everything they need is loaded before and everything they learn is recorded after.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime

from apps.carriers import services as carriers
from apps.carriers.base import (
    Adapter,
    CarrierMisconfigured,
    CarrierRejected,
    CarrierUnavailable,
    OutcomeUnknown,
    Rejected,
)
from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor
from apps.core.db import outside_transaction
from apps.lines import selectors as lines
from apps.provisioning import selectors
from apps.provisioning.services.carrier_requests import (
    Request,
    build,
    call,
    names_holder,
    stands_on_check,
)
from apps.provisioning.services.jobs import (
    Claim,
    Misconfigured,
    NotSent,
    Outcome,
    Unavailable,
    Unknown,
    claim_due_jobs,
    lease_seconds,
    record_outcome,
    strand_queued_jobs,
)
from apps.subscribers import services as subscribers

logger = logging.getLogger(__name__)

# Calls that one drain keeps in flight; the connection's own cap holds across all drains.
SLOTS = 32
# Seconds that one drain goes on claiming, well inside the broker's visibility timeout.
RUN_FOR = 20.0


@dataclass(frozen=True, slots=True)
class Work:
    """A claim and what to tell the carrier; `request` is None, with the outcome instead, when nothing may be sent."""

    claim: Claim
    claimed_at: float
    request: Request | None = field(repr=False)
    outcome: Outcome | None = None


@outside_transaction
def drain(
    *,
    actor: Actor,
    connection_id: int,
    clock: Callable[[], datetime],
    slots: int = SLOTS,
    seconds: float = RUN_FOR,
) -> bool:
    """Works off the due jobs of one carrier connection for a while; True when its time was up before its work was.

    After `seconds` nothing more is claimed, so that no connection keeps a worker for itself; what is out is waited for.
    Any number of drains may run at once: claims never overlap, and the connection's `max_in_flight` holds for all.
    Nothing that goes wrong with one job touches another.
    """
    carrier = selectors.get_carrier_connection(connection_id=connection_id)
    if carrier is None:
        return False
    if not carrier.is_active:
        strand_queued_jobs(actor=actor, carrier=carrier, now=clock())
    adapter = carriers.adapter_for(carrier)
    in_flight: dict[Future[Outcome], Claim] = {}
    claiming = True
    until = time.monotonic() + seconds
    out_of_time = False
    with ThreadPoolExecutor(max_workers=slots, thread_name_prefix="carrier") as pool:
        while True:
            out_of_time = time.monotonic() >= until
            claiming = claiming and not out_of_time
            free = slots - len(in_flight)
            # Not one by one: a claim costs a transaction, so wait until a quarter of the slots is free.
            if claiming and free >= max(1, slots // 4):
                try:
                    work = _load(actor, claim_due_jobs(carrier=carrier, limit=free))
                except Exception:
                    # What was claimed runs out of its lease and is asked about; what is out still gets recorded.
                    logger.exception("claim failed", extra={"connection": carrier.uid})
                    claiming, work = False, []
                for piece in work:
                    in_flight[pool.submit(_carry_out, adapter, piece, carrier)] = piece.claim
            if not in_flight:
                return out_of_time
            done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
            for future in done:
                claim = in_flight.pop(future)
                _record(actor, claim, carrier, future.result(), clock())


def _record(actor: Actor, claim: Claim, carrier: CarrierConnection, outcome: Outcome, now: datetime) -> None:
    try:
        record_outcome(actor=actor, claim=claim, carrier=carrier, outcome=outcome, now=now)
    except Exception:
        # One job that cannot be recorded must not take the others in flight with it: its lease runs out, the sweeper
        # puts it IN_DOUBT, and the carrier is asked again.
        logger.exception("outcome not recorded", extra={"job": claim.reference})


def _load(actor: Actor, claims: Sequence[Claim]) -> list[Work]:
    """Everything the calls need, in a fixed number of queries for any number of claims."""
    if not claims:
        return []
    claimed_at = time.monotonic()
    fittings = lines.get_fittings(line_ids=[claim.line_id for claim in claims])
    facts = selectors.get_sending_facts(order_ids=[claim.order_id for claim in claims])
    holders = {facts[claim.order_id].holder_id for claim in claims if names_holder(claim)}
    identities = subscribers.open_identity_for_carrier(actor=actor, subscriber_ids=holders)
    work = []
    for claim in claims:
        fact = facts[claim.order_id]
        holder = identities.get(fact.holder_id) if names_holder(claim) else None
        outcome: Outcome | None = None
        request: Request | None = None
        if stands_on_check(claim) and claim.never_told and not fact.identity_holds:
            # The check was withdrawn or contradicted since the order was placed, and the carrier knows nothing yet.
            outcome = Rejected("identity_expired", "The real-name check no longer holds.")
        elif names_holder(claim) and holder is None:
            outcome = Misconfigured("identity_unreadable", "The holder's data cannot be opened.")
        else:
            request = build(claim, fittings[claim.line_id], fact, holder)
        work.append(Work(claim, claimed_at, request, outcome))
    return work


def _carry_out(adapter: Adapter, work: Work, carrier: CarrierConnection) -> Outcome:
    """One call, in a thread: never raises, whatever the carrier does."""
    if work.outcome is not None:
        return work.outcome
    # A machine that slept through its lease must not send: somebody else may have the job by now.
    left = lease_seconds(carrier) - (time.monotonic() - work.claimed_at)
    if left <= carrier.timeout_seconds:
        return NotSent("lease_too_short", "The lease was nearly over before the call.")
    try:
        return call(adapter, work.request)
    except CarrierRejected as error:
        return Rejected(error.code, error.detail)
    except CarrierUnavailable as error:
        return Unavailable(error.code, error.detail, error.retry_after)
    except CarrierMisconfigured as error:
        return Misconfigured(error.code, error.detail)
    except OutcomeUnknown as error:
        return Unknown(error.code, error.detail)
    except Exception as error:  # a bug in an adapter is an unknown outcome too: bytes may have left
        logger.exception("adapter failed", extra={"job": work.claim.reference})
        return Unknown("adapter_failed", type(error).__name__)
