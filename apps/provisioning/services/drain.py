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
    ActivateRequest,
    Adapter,
    CarrierMisconfigured,
    CarrierRejected,
    CarrierUnavailable,
    OutcomeUnknown,
    QueryRequest,
    Rejected,
    TerminateRequest,
)
from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor
from apps.core.db import outside_transaction
from apps.lines import selectors as lines
from apps.numbering.numbers import to_e164
from apps.provisioning import selectors
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
)
from apps.provisioning.states import AttemptKind, OrderType
from apps.subscribers import services as subscribers
from apps.subscribers.states import VerificationStatus

logger = logging.getLogger(__name__)

# Calls that one drain keeps in flight; the connection's own cap holds across all drains.
SLOTS = 32

Request = ActivateRequest | TerminateRequest | QueryRequest


@dataclass(frozen=True, slots=True)
class Work:
    """A claim and what to tell the carrier; `request` is None, with the outcome instead, when nothing may be sent."""

    claim: Claim
    claimed_at: float
    request: Request | None = field(repr=False)
    outcome: Outcome | None = None


@outside_transaction
def drain(*, actor: Actor, connection_id: int, clock: Callable[[], datetime], slots: int = SLOTS) -> int:
    """Works off the due jobs of one carrier connection until none is left, and returns how many calls were recorded.

    Any number of drains may run at once: claims never overlap, and the connection's `max_in_flight` holds for all.
    """
    carrier = selectors.get_carrier_connection(connection_id=connection_id)
    if carrier is None or not carrier.is_active:
        return 0
    adapter = carriers.adapter_for(carrier)
    in_flight: dict[Future[Outcome], Claim] = {}
    recorded = 0
    with ThreadPoolExecutor(max_workers=slots, thread_name_prefix="carrier") as pool:
        while True:
            free = slots - len(in_flight)
            # Not one by one: a claim costs a transaction, so wait until a quarter of the slots is free.
            if free >= max(1, slots // 4):
                for work in _load(actor, claim_due_jobs(carrier=carrier, limit=free)):
                    in_flight[pool.submit(_carry_out, adapter, work, carrier)] = work.claim
            if not in_flight:
                return recorded
            done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
            for future in done:
                claim = in_flight.pop(future)
                recorded += 1
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
    openings = [c for c in claims if c.kind is AttemptKind.SEND and c.operation == OrderType.ACTIVATE]
    facts = selectors.get_sending_facts(order_ids=[claim.order_id for claim in claims])
    identities = subscribers.open_identity_for_carrier(
        actor=actor, subscriber_ids=[facts[claim.order_id].subscriber_id for claim in openings]
    )
    work = []
    for claim in claims:
        fitting, fact = fittings[claim.line_id], facts[claim.order_id]
        number = to_e164(fitting.number)
        request: Request
        if claim.kind is AttemptKind.QUERY:
            request = QueryRequest(reference=claim.reference, number=number)
        elif claim.operation == OrderType.TERMINATE:
            request = TerminateRequest(
                reference=claim.reference, number=number, iccid=fitting.iccid, reason=fact.request_reason
            )
        elif fact.verification_status != VerificationStatus.PASSED and claim.attempts == 1:
            # The check was withdrawn or has expired since the order was placed, and the carrier knows nothing yet.
            refusal = Rejected("identity_expired", "The real-name check no longer holds.")
            work.append(Work(claim, claimed_at, None, refusal))
            continue
        else:
            identity = identities[fact.subscriber_id]
            request = ActivateRequest(
                reference=claim.reference,
                number=number,
                iccid=fitting.iccid,
                imsi=fitting.imsi,
                plan_code=fact.plan_code,
                holder_name=identity.name,
                document_type=identity.document_type,
                document_number=identity.document_number,
            )
        work.append(Work(claim, claimed_at, request))
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
        match work.request:
            case ActivateRequest():
                return adapter.activate(work.request)
            case TerminateRequest():
                return adapter.terminate(work.request)
            case QueryRequest():
                return adapter.query(work.request)
            case _:
                raise TypeError("no request")
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
