"""Carrying out due jobs of one host carrier: claim many, keep hundreds of calls in flight, record what comes back.

Carrier calls are waiting, not computing. This thread speaks to the database and nothing else, the event loop of the
process to the carriers and nothing else (docs/adr/0007).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import connection as database

from apps.carriers import services as carriers
from apps.carriers.base import Adapter, Rejected
from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor
from apps.core.db import outside_transaction
from apps.core.faults import faultpoint, sabotage
from apps.lines import selectors as lines
from apps.provisioning import selectors
from apps.provisioning.services import calling
from apps.provisioning.services.calling import Calls, Work
from apps.provisioning.services.carrier_requests import (
    build,
    is_first_send,
    names_holder,
    stands_on_check,
)
from apps.provisioning.services.jobs import (
    Claim,
    Misconfigured,
    NotSent,
    Outcome,
    Unknown,
    claim_due_jobs,
    expire_leases,
    renew_leases,
    strand_queued_jobs,
)
from apps.provisioning.services.order_types.papers import Bite, get_bite
from apps.provisioning.services.recording import (
    Result,
    note_results,
    put_off_unwritten,
    record_end,
    record_steps,
)
from apps.provisioning.states import AttemptKind
from apps.subscribers import services as subscribers
from apps.subscribers.services import HolderIdentity

logger = logging.getLogger(__name__)

# Seconds: how long a drain with nothing to do looks for more (a rate, a probe, a back-off of a moment), how often it
# looks while calls are out, and how long it goes by what it knows of the connections.
LINGER = 1.5
LOOK_EVERY = 0.1
KNOWN_FOR = 1.0
# After claims could not be loaded together, and after a claim failed.
LOAD_AGAIN = 5.0
CLAIM_AGAIN = 1.0
# No lease is shorter than five seconds.
RENEW_EVERY = 2.0

CLAIMED_AHEAD = 32
# What ends orders takes ten times as long to write as everything else: after so many of them new work is looked for.
ENDS_AT_ONCE = 8

# Set when the worker is told to end: nothing more is claimed, what is out is waited for.
stopping = threading.Event()


@dataclass(slots=True)
class Roads:
    """The connections to one host carrier, as they were a moment ago, and their adapters."""

    host_carrier_id: int
    known_at: float = float("-inf")
    connections: dict[int, CarrierConnection] = field(default_factory=dict)
    adapters: dict[int, Adapter] = field(default_factory=dict)

    def look(self) -> bool:
        """Reads them again when it is time; whether it was."""
        if time.monotonic() - self.known_at < KNOWN_FOR:
            return False
        found = selectors.list_connections_of_carrier(host_carrier_id=self.host_carrier_id)
        self.connections = {connection.pk: connection for connection in found}
        self.adapters = {}
        self.known_at = time.monotonic()
        return True

    @property
    def stopped(self) -> frozenset[int]:
        return frozenset(pk for pk, connection in self.connections.items() if connection.stopped_at)

    def shares(self, calls: Calls, slots: int) -> dict[int, int]:
        """What each connection may still have: where there are several, none takes more than half of the slots, so that
        one that hangs leaves some to the others.
        """
        live = [pk for pk, connection in self.connections.items() if connection.is_active]
        if len(live) < 2:
            return {}
        return {pk: max(1, slots // 2) - calls.over[pk] for pk in self.connections}

    def adapter(self, connection_id: int) -> Adapter:
        adapter = self.adapters.get(connection_id)
        if adapter is None:
            adapter = self.adapters[connection_id] = carriers.adapter_for(self.connections[connection_id])
        return adapter

    def hang_up(self) -> None:
        """Leaves no socket open behind."""
        carriers.hang_up(self.connections.values())
        self.adapters = {}


@outside_transaction
def drain(
    *,
    actor: Actor,
    connection_id: int,
    clock: Callable[[], datetime],
    slots: int | None = None,
    linger: float = 0.0,
) -> None:
    """Works off the due jobs of the host carrier that this connection leads to, over all connections to it, until none
    is left and for `linger` seconds more; at most `slots` calls at once.

    One such drain runs per process and carrier: a second one wakes it and returns. Any number of processes may drain
    at once: claims never overlap, and what a connection allows holds for all. Nothing that goes wrong with one job
    touches another.
    """
    host_carrier_id = selectors.get_host_carrier_id(connection_id=connection_id)
    if host_carrier_id is None:
        return
    slots = slots or settings.KAIHU_CARRIER_SLOTS
    calls = Calls(slots)
    if not calling.take_up(host_carrier_id, calls):
        return
    roads = Roads(host_carrier_id)
    try:
        _work(actor, roads, calls, slots, linger, clock)
    finally:
        roads.hang_up()
        calling.give_up(host_carrier_id, calls)


def _work(
    actor: Actor, roads: Roads, calls: Calls, slots: int, linger: float, clock: Callable[[], datetime]
) -> None:
    # More than the slots is claimed, so that one that falls free is filled while we are busy with the database.
    most = slots + max(CLAIMED_AHEAD, slots // 4)
    ends: deque[Result] = deque()
    claiming, busy_at, claim_at, renew_at = True, time.monotonic(), 0.0, 0.0
    while True:
        claiming = claiming and not stopping.is_set()
        room = most - calls.out - len(ends)
        if claiming and time.monotonic() >= claim_at:
            try:
                if roads.look():
                    calls.stopped = roads.stopped
                    _tidy(actor, roads, clock())
                work = _claim(actor, roads, room, roads.shares(calls, slots), clock) if room > 0 else []
            except Exception:
                # What was claimed runs out of its lease and is asked about; what is out still gets recorded.
                logger.exception("claim failed", extra={"host_carrier": roads.host_carrier_id})
                _mend_connection()
                claim_at, work = time.monotonic() + CLAIM_AGAIN, []
            calls.begin(work)
        if calls.out or ends:
            busy_at = time.monotonic()
        elif not claiming:
            return
        elif time.monotonic() - busy_at >= linger:
            roads.hang_up()
            if calling.lay_down(roads.host_carrier_id, calls):
                return
        results = calls.collect(0.0 if ends else LOOK_EVERY)
        if results:
            ends.extend(_record_steps(results, clock()))
        for _ in range(min(len(ends), ENDS_AT_ONCE)):
            end = ends.popleft()
            now = clock()
            _write(partial(record_end, actor=actor, result=end, now=now), end, now)
        if ends and time.monotonic() >= renew_at:
            waiting = [(end.claim, end.carrier.timeout_seconds) for end in ends]
            _tried(partial(renew_leases, claims=waiting))
            renew_at = time.monotonic() + RENEW_EVERY


def _tidy(actor: Actor, roads: Roads, now: datetime) -> None:
    """What others have left behind at this carrier."""
    if not sabotage("no_sweeper"):
        expire_leases()
    for ended_id in selectors.list_ended_connections_with_queued_jobs(connection_ids=roads.connections):
        strand_queued_jobs(actor=actor, carrier=roads.connections[ended_id], now=now)


def _claim(
    actor: Actor, roads: Roads, limit: int, shares: dict[int, int], clock: Callable[[], datetime]
) -> list[Work]:
    # Before the claim: what is lost between the two shortens the lease as we see it, and never lengthens it.
    claimed_at = time.monotonic()
    claims = claim_due_jobs(connection_ids=roads.connections, limit=limit, rooms=shares)
    if not claims:
        return []
    faultpoint("claim.after_commit")
    return _load(actor, roads, claims, claimed_at, clock())


def _load(
    actor: Actor, roads: Roads, claims: Sequence[Claim], claimed_at: float, now: datetime
) -> list[Work]:
    """Everything the calls need, in a number of queries that grows with the operators, not with the claims.

    The claims are committed: whatever goes wrong here becomes the outcome of those that it concerns.
    """
    try:
        cargo = _fetch(actor, claims)
    except Exception:
        logger.exception("claims not loaded", extra={"host_carrier": roads.host_carrier_id})
        _mend_connection()
        kept_back = NotSent("not_loaded", "What the call needs could not be read.", LOAD_AGAIN)
        return [_without_call(roads, claim, claimed_at, kept_back) for claim in claims]
    work = []
    for claim in claims:
        try:
            work.append(_prepare(roads, cargo, claim, claimed_at, now))
        except Exception as error:
            logger.exception("call not prepared", extra={"job": claim.reference})
            _mend_connection()
            detail = f"The call could not be prepared: {type(error).__name__}."
            # One that is to be sent waits for staff; about one that the carrier may know we go on trying to ask.
            kind = Misconfigured if claim.kind is AttemptKind.SEND else Unknown
            work.append(_without_call(roads, claim, claimed_at, kind("not_loadable", detail)))
    return work


@dataclass(frozen=True, slots=True)
class _Cargo:
    """What was read for many calls at once."""

    fittings: dict[int, lines.Fittings]
    facts: dict[int, selectors.SendingFacts]
    holders: dict[int, HolderIdentity]
    # By operator, as far as anybody has asked.
    bites: dict[int, Bite | None] = field(default_factory=dict)


def _fetch(actor: Actor, claims: Sequence[Claim]) -> _Cargo:
    facts = selectors.get_sending_facts(order_ids=[claim.order_id for claim in claims])
    holders = {facts[claim.order_id].holder_id for claim in claims if names_holder(claim)}
    return _Cargo(
        fittings=lines.get_fittings(line_ids=[claim.line_id for claim in claims]),
        facts=facts,
        holders=subscribers.open_identity_for_carrier(actor=actor, subscriber_ids=holders),
    )


def _prepare(roads: Roads, cargo: _Cargo, claim: Claim, claimed_at: float, now: datetime) -> Work:
    """The call about one claim, or the outcome that takes its place."""
    carrier = roads.connections[claim.connection_id]
    fact = cargo.facts[claim.order_id]
    holder = cargo.holders.get(fact.holder_id) if names_holder(claim) else None
    if outcome := _kept_from_carrier(roads, cargo, claim, now):
        return _without_call(roads, claim, claimed_at, outcome)
    if names_holder(claim) and holder is None:
        unreadable = Misconfigured("identity_unreadable", "The holder's data cannot be opened.")
        return _without_call(roads, claim, claimed_at, unreadable)
    request = build(claim, cargo.fittings[claim.line_id], fact, holder)
    return Work(claim, carrier, roads.adapter(carrier.pk), claimed_at, request)


def _kept_from_carrier(roads: Roads, cargo: _Cargo, claim: Claim, now: datetime) -> Outcome | None:
    """Why it must not be sent, by what has changed since the order was placed."""
    fact = cargo.facts[claim.order_id]
    if stands_on_check(claim) and not fact.identity_holds:
        # The check was withdrawn or contradicted since the order was placed.
        if claim.never_told:
            return Rejected("identity_expired", "The real-name check no longer holds.")
        # The carrier may have been told before: the order cannot just end, a person has to look.
        return Misconfigured("identity_expired", "The real-name check no longer holds.")
    if not is_first_send(claim) or fact.is_restoring:
        return None
    operator_id = roads.connections[claim.connection_id].operator_id
    if operator_id not in cargo.bites:
        cargo.bites[operator_id] = get_bite(
            operator_id=operator_id, host_carrier_id=roads.host_carrier_id, now=now
        )
    bite = cargo.bites[operator_id]
    if bite and claim.operation in bite.operations:
        # The licence or agreement has ended since the order was placed.
        return Rejected(bite.code, bite.detail)
    return None


def _without_call(roads: Roads, claim: Claim, claimed_at: float, outcome: Outcome) -> Work:
    carrier = roads.connections[claim.connection_id]
    return Work(claim, carrier, None, claimed_at, None, outcome)


def _record_steps(results: Sequence[Result], now: datetime) -> list[Result]:
    """Tells the gates of all of them and writes those that end no order; returns the others.

    One that cannot be written takes no other with it.
    """
    try:
        places = note_results(results)
    except Exception:
        logger.exception("gates not told")
        _mend_connection()
        places = [None] * len(results)
    steps = [(result, place) for result, place in zip(results, places, strict=True) if not result.ends_order]
    if steps:
        many, where = zip(*steps, strict=True)
        if not _tried(partial(record_steps, results=many, places=where, now=now)):
            for result, place in steps:
                _write(partial(record_steps, results=[result], places=[place], now=now), result, now)
    return [result for result in results if result.ends_order]


def _write(write: Callable[[], object], result: Result, now: datetime) -> None:
    """Or at least that it could not be written, so that it is tried again less and less often, and not for ever.

    Where that fails as well the lease runs out, the sweeper puts the job IN_DOUBT, and the carrier is asked again.
    """
    if not _tried(write, result):
        _tried(partial(put_off_unwritten, result=result, now=now), result)


def _tried(write: Callable[[], object], result: Result | None = None) -> bool:
    try:
        write()
    except Exception:
        job = result.claim.reference if result else "many"
        logger.exception("outcome not recorded", extra={"job": job})
        _mend_connection()
        return False
    return True


def _mend_connection() -> None:
    """A connection that the server has dropped is replaced with the next query."""
    if not database.in_atomic_block:
        database.close_if_unusable_or_obsolete()
