"""The attempt protocol up to the call: claim (lease, token, count), and what becomes of leases that ran out.

Waiting lives in `next_attempt_at` and `lease_until`, and every comparison uses the database's clock. What comes after
the call is in `recording`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from apps.carriers.base import Accepted, InProgress, NotFound, Rejected, Succeeded
from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor
from apps.core.db import use_case
from apps.core.faults import faultpoint
from apps.provisioning.services.gates import lock_gates, write_gates
from apps.provisioning.states import AttemptKind


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to call the carrier once about one job, until the lease ends or a higher token is given out."""

    job_id: int
    token: int
    kind: AttemptKind
    operation: str
    reference: str
    request_id: str
    order_id: int
    line_id: int
    # What the line had when the job was made.
    number: int
    # The carrier certainly knows nothing of it yet.
    never_told: bool
    connection_id: int
    # By the database's clock.
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Certainly not done: the same reference may be sent again, after `retry_after` seconds if the carrier says so."""

    code: str
    detail: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """Certainly not done, and no use to repeat before staff have mended something."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have been done."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """We kept the call back ourselves: nothing left this machine. To be tried again after `retry_after` seconds."""

    code: str
    detail: str
    retry_after: float = 0.0


Outcome = (
    Accepted | Succeeded | Rejected | InProgress | NotFound | Unavailable | Misconfigured | Unknown | NotSent
)

# Which connections' jobs are due is read through an index that begins with the connection, and no further than its room
# goes: a backlog of any size costs what is claimed of it. Whoever has least in flight comes first (turn), so that a
# burst of one operator's waits behind the others' single jobs. A send is counted here, before the call, and the intent
# of every call is on record.
_CLAIM = """
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), gate AS (
    SELECT * FROM unnest(%(connections)s::bigint[], %(rooms)s::int[], %(caps)s::int[], %(leases)s::float8[],
        %(live)s::bool[]) AS gate(id, room, cap, lease, is_live)
), leased AS (
    SELECT connection_id, count(*)::int AS calls FROM provisioning_activationjob
    WHERE connection_id = ANY(%(connections)s::bigint[]) AND lease_until > (SELECT now FROM clock)
    GROUP BY connection_id
), due AS (
    SELECT found.id, gate.lease,
        coalesce(leased.calls, 0) + row_number() OVER (PARTITION BY gate.id ORDER BY found.next_attempt_at) AS turn
    FROM gate LEFT JOIN leased ON leased.connection_id = gate.id CROSS JOIN LATERAL (
        SELECT id, next_attempt_at FROM provisioning_activationjob
        WHERE connection_id = gate.id AND status IN ('QUEUED', 'ACCEPTED', 'IN_DOUBT')
          AND (gate.is_live OR status <> 'QUEUED') AND next_attempt_at <= (SELECT now FROM clock)
          AND (lease_until IS NULL OR lease_until <= (SELECT now FROM clock))
        ORDER BY next_attempt_at LIMIT greatest(0, least(gate.room, gate.cap - coalesce(leased.calls, 0)))
    ) AS found
    ORDER BY turn, found.next_attempt_at LIMIT %(limit)s
), free AS (
    SELECT job.id, job.status, due.lease FROM provisioning_activationjob AS job JOIN due ON due.id = job.id
    WHERE job.status IN ('QUEUED', 'ACCEPTED', 'IN_DOUBT') AND job.next_attempt_at <= (SELECT now FROM clock)
      AND (job.lease_until IS NULL OR job.lease_until <= (SELECT now FROM clock))
    FOR UPDATE OF job SKIP LOCKED
), claimed AS (
    UPDATE provisioning_activationjob AS job SET
        status = CASE free.status WHEN 'QUEUED' THEN 'SENDING' ELSE free.status END,
        attempts = job.attempts + CASE free.status WHEN 'QUEUED' THEN 1 ELSE 0 END,
        queries = job.queries + CASE free.status WHEN 'QUEUED' THEN 0 ELSE 1 END,
        token = job.token + 1,
        lease_until = (SELECT now FROM clock) + make_interval(secs => free.lease)
    FROM free WHERE job.id = free.id
    RETURNING job.id, job.token, CASE job.status WHEN 'SENDING' THEN 'SEND' ELSE 'QUERY' END AS kind, job.operation,
        job.reference, job.request_id, job.order_id, job.line_id, job.number, job.told_at IS NULL, job.connection_id
), lost AS (
    -- Calls about these jobs that never came back: their workers died while asking.
    UPDATE provisioning_jobattempt AS attempt SET outcome = 'LOST', finished_at = (SELECT now FROM clock)
    FROM free WHERE attempt.job_id = free.id AND attempt.outcome = ''
), intended AS (
    INSERT INTO provisioning_jobattempt (job_id, token, kind, started_at, outcome, code, detail)
    SELECT id, token, kind, (SELECT now FROM clock), '', '', '' FROM claimed
)
SELECT claimed.*, (SELECT now FROM clock) FROM claimed
"""


def lease_seconds(timeout_seconds: float) -> float:
    """Longer than a call can take, or a slow answer would be fenced out."""
    return 2.0 * timeout_seconds + 5.0


@use_case
def claim_due_jobs(
    *, connection_ids: Collection[int], limit: int, rooms: Mapping[int, int] | None = None
) -> list[Claim]:
    """Up to `limit` due jobs of these connections, leased to the caller; a fair share to each.

    Never more at once over one connection than it allows, however many workers claim, nor faster than its rate; over a
    stopped one nothing, over one whose circuit is open a probe now and then. QUEUED jobs become SENDING; ACCEPTED and
    IN_DOUBT ones stay and are to be asked about. Over a connection that has ended nothing new is sent, but what the
    may know of is still asked about. The intent of every call is on record when this returns. `rooms`: how many the
    caller wants at most over single connections.
    """
    gates, room_of = {}, {}
    for gate in lock_gates(connection_ids):
        room = min(gate.room, (rooms or {}).get(gate.connection_id, gate.room))
        if room > 0:
            gates[gate.connection_id], room_of[gate.connection_id] = gate, room
    if not gates or limit <= 0:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "connections": list(gates),
                "rooms": list(room_of.values()),
                "caps": [gate.max_in_flight for gate in gates.values()],
                "leases": [lease_seconds(gate.timeout_seconds) for gate in gates.values()],
                "live": [gate.is_live for gate in gates.values()],
                "limit": limit,
            },
        )
        claims = [
            Claim(job_id, token, AttemptKind(kind), *facts)
            for job_id, token, kind, *facts in cursor.fetchall()
        ]
    passed = Counter(claim.connection_id for claim in claims)
    for connection_id, calls in passed.items():
        gates[connection_id].let_pass(calls)
    if passed:
        write_gates(gates[connection_id] for connection_id in passed)
        faultpoint("claim.before_commit")
    return claims


_RENEW = """
WITH held AS (
    SELECT job.id, asked.lease FROM provisioning_activationjob AS job
    JOIN unnest(%s::bigint[], %s::int[], %s::float8[]) AS asked(id, token, lease)
        ON job.id = asked.id AND job.token = asked.token
    WHERE job.lease_until IS NOT NULL ORDER BY job.id FOR UPDATE OF job SKIP LOCKED
)
UPDATE provisioning_activationjob AS job
SET lease_until = clock_timestamp() + make_interval(secs => held.lease)
FROM held WHERE job.id = held.id
"""


@use_case
def renew_leases(*, claims: Sequence[tuple[Claim, float]]) -> None:
    """Claims whose answers wait to be written, and their connections' time-outs: nobody else asks meanwhile.

    Not for a call that has not come back: its lease says when to give it up.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _RENEW,
            [
                [claim.job_id for claim, _ in claims],
                [claim.token for claim, _ in claims],
                [lease_seconds(timeout) for _, timeout in claims],
            ],
        )


_STRAND = """
WITH stranded AS (
    SELECT id FROM provisioning_activationjob
    WHERE connection_id = %(connection)s AND status = 'QUEUED'
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE provisioning_activationjob AS job SET
    status = 'FAILED', failure_kind = 'SYSTEM', token = job.token + 1, lease_until = NULL,
    error_code = 'carrier_not_connected', error_detail = 'The connection has ended before the job was sent.',
    finished_at = %(now)s
FROM stranded WHERE job.id = stranded.id
"""


@use_case
def strand_queued_jobs(*, actor: Actor, carrier: CarrierConnection, now: datetime, limit: int = 1000) -> int:
    """Over a connection that has ended nothing can be sent: up to `limit` of its QUEUED jobs become dead letters.

    Returns how many. No gate is held: a claim passes nothing that is to be sent over such a connection.
    """
    with connection.cursor() as cursor:
        cursor.execute(_STRAND, {"connection": carrier.pk, "limit": limit, "now": now})
        return int(cursor.rowcount)


_EXPIRE_LEASES = """
WITH lost AS (
    SELECT id, token FROM provisioning_activationjob
    WHERE status = 'SENDING' AND lease_until <= clock_timestamp()
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE provisioning_activationjob AS job SET
        status = 'IN_DOUBT', token = job.token + 1, next_attempt_at = clock_timestamp(),
        -- Whoever lost it may have sent until the lease ended, and not after.
        told_at = job.lease_until, lease_until = NULL, unknowns = job.unknowns + 1,
        error_code = 'worker_lost', error_detail = 'The worker that sent it did not report back.'
    FROM lost WHERE job.id = lost.id
    RETURNING job.id
), logged AS (
    UPDATE provisioning_jobattempt AS attempt SET outcome = 'LOST', finished_at = clock_timestamp()
    FROM lost WHERE attempt.job_id = lost.id AND attempt.token = lost.token
)
SELECT count(*) FROM marked
"""


@use_case
def expire_leases(*, limit: int = 1000) -> int:
    """SENDING jobs whose worker is gone become IN_DOUBT (never QUEUED: they may have reached the carrier)."""
    with connection.cursor() as cursor:
        cursor.execute(_EXPIRE_LEASES, {"limit": limit})
        (count,) = cursor.fetchone()
    if count:
        faultpoint("expire.before_commit")
    return int(count)
