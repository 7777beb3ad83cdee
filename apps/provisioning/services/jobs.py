"""The attempt protocol: claim (lease, token, count), call outside any transaction, record behind the fence, sweep.

Waiting lives in `next_attempt_at` and `lease_until`, and every comparison uses the database's clock.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from apps.carriers.base import Accepted, InProgress, NotFound, Rejected, Succeeded
from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor
from apps.core.db import database_now, serialize_on, use_case
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.provisioning.models import ActivationJob, JobAttempt
from apps.provisioning.services.outcomes import Fenced, end_refused_job, lock_job, succeed_job
from apps.provisioning.states import DUE_JOB, AttemptKind, AttemptOutcome, FailureKind, JobStatus

# Back-off of jobs the carrier could not take: full jitter below a doubling bound, both in seconds.
BACKOFF_BASE = 1.0
BACKOFF_CAP = 300.0


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
    """We kept the call back ourselves: nothing left this machine."""

    code: str
    detail: str


Outcome = (
    Accepted | Succeeded | Rejected | InProgress | NotFound | Unavailable | Misconfigured | Unknown | NotSent
)

_OUTCOME_WORDS: dict[type, AttemptOutcome] = {
    Accepted: AttemptOutcome.ACCEPTED,
    Succeeded: AttemptOutcome.SUCCEEDED,
    Rejected: AttemptOutcome.REJECTED,
    InProgress: AttemptOutcome.IN_PROGRESS,
    NotFound: AttemptOutcome.NOT_FOUND,
    Unavailable: AttemptOutcome.UNAVAILABLE,
    Misconfigured: AttemptOutcome.MISCONFIGURED,
    Unknown: AttemptOutcome.UNKNOWN,
    NotSent: AttemptOutcome.NOT_SENT,
}

# One statement under one lock per connection, so that claims never pass the cap on leases together. A send is counted
# here, before the call.
_CLAIM = """
WITH room AS (
    SELECT greatest(0, least(%(limit)s, %(cap)s - count(*)))::int AS free FROM provisioning_activationjob
    WHERE connection_id = %(connection)s AND status IN ('SENDING', 'ACCEPTED', 'IN_DOUBT')
      AND lease_until > clock_timestamp()
), due AS (
    SELECT id, status FROM provisioning_activationjob
    WHERE connection_id = %(connection)s AND status = ANY(%(statuses)s::text[])
      AND status IN ('QUEUED', 'ACCEPTED', 'IN_DOUBT')
      AND next_attempt_at <= clock_timestamp() AND (lease_until IS NULL OR lease_until <= clock_timestamp())
    ORDER BY next_attempt_at LIMIT (SELECT free FROM room) FOR UPDATE SKIP LOCKED
)
UPDATE provisioning_activationjob AS job SET
    status = CASE due.status WHEN 'QUEUED' THEN 'SENDING' ELSE due.status END,
    attempts = job.attempts + CASE due.status WHEN 'QUEUED' THEN 1 ELSE 0 END,
    queries = job.queries + CASE due.status WHEN 'QUEUED' THEN 0 ELSE 1 END,
    token = job.token + 1,
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
FROM due WHERE job.id = due.id
RETURNING job.id, job.token, job.status, job.operation, job.reference, job.request_id, job.order_id, job.line_id,
    job.number, job.told_at IS NULL, clock_timestamp()
"""
# Calls about these jobs that never came back: their workers died while asking.
_FORGET_LOST_QUESTIONS = """
UPDATE provisioning_jobattempt SET outcome = 'LOST', finished_at = clock_timestamp()
WHERE job_id = ANY(%(jobs)s::bigint[]) AND outcome = ''
"""


def lease_seconds(carrier: CarrierConnection) -> float:
    """Longer than a call can take, or a slow answer would be fenced out."""
    return 2.0 * carrier.timeout_seconds + 5.0


@use_case
def claim_due_jobs(*, carrier: CarrierConnection, limit: int) -> list[Claim]:
    """Up to `limit` due jobs of one connection, leased to the caller, never more at once than the connection allows.

    QUEUED ones become SENDING; ACCEPTED and IN_DOUBT ones stay and are to be asked about. Over a connection that has
    ended nothing new is sent, but what the carrier may know of is still asked about. The intent of every call is on
    record when this returns.
    """
    serialize_on(f"claim:{carrier.pk}")
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "connection": carrier.pk,
                "limit": limit,
                "cap": carrier.max_in_flight,
                "lease": lease_seconds(carrier),
                "statuses": [
                    status.value for status in DUE_JOB if carrier.is_active or status is not JobStatus.QUEUED
                ],
            },
        )
        rows = cursor.fetchall()
        cursor.execute(_FORGET_LOST_QUESTIONS, {"jobs": [row[0] for row in rows]})
    claims = []
    attempts = []
    for job_id, token, status, *facts, at in rows:
        kind = AttemptKind.SEND if status == JobStatus.SENDING else AttemptKind.QUERY
        claims.append(Claim(job_id, token, kind, *facts))
        attempts.append(JobAttempt(job_id=job_id, token=token, kind=kind, started_at=at))
    JobAttempt.objects.bulk_create(attempts)
    return claims


def record_outcome(
    *, actor: Actor, claim: Claim, carrier: CarrierConnection, outcome: Outcome, now: datetime
) -> bool:
    """Writes what came of a claimed call; False, with only the attempt on record, when the claim was fenced out."""
    try:
        _record(actor=actor, claim=claim, carrier=carrier, outcome=outcome, now=now)
    except Fenced:
        _log_attempt(claim, AttemptOutcome.FENCED, outcome)
        return False
    return True


@use_case
def _record(
    *, actor: Actor, claim: Claim, carrier: CarrierConnection, outcome: Outcome, now: datetime
) -> None:
    serialize_on(f"order:{claim.order_id}")
    job = ActivationJob.objects.get(pk=claim.job_id)
    if job.token != claim.token:
        raise Fenced
    match outcome:
        case Succeeded(carrier_reference):
            succeed_job(actor=actor, job=job, carrier_reference=carrier_reference, token=claim.token, now=now)
        case Rejected(code=code, detail=detail):
            end_refused_job(actor=actor, job=job, code=code, detail=detail, token=claim.token, now=now)
        case _:
            _keep_going(lock_job(job.pk, claim.token), claim, carrier, outcome, now)
    _log_attempt(claim, _OUTCOME_WORDS[type(outcome)], outcome)


def _keep_going(
    job: ActivationJob, claim: Claim, carrier: CarrierConnection, outcome: Outcome, now: datetime
) -> None:
    """Everything that is not the end: wait, ask, or send again with the same reference."""
    at = database_now()
    if claim.kind is AttemptKind.QUERY:
        _go_on_asking(job, carrier, outcome, at, now)
        return
    match outcome:
        case Accepted(carrier_reference):
            job.tell(at, unknown=False)
            ask_at = at + timedelta(seconds=carrier.callback_wait_seconds)
            job.accept(carrier_reference=carrier_reference, ask_at=ask_at)
        case Unknown(code, detail):
            job.tell(at, unknown=True)
            job.doubt(code=code, detail=detail, ask_at=at + _query_delay(job, carrier))
        case Unavailable(code, detail, retry_after):
            wait = timedelta(seconds=max(_backoff(job.attempts), retry_after or 0.0))
            if _is_out_of_patience(job, at, now):
                job.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)
            else:
                job.requeue(code=code, detail=detail, at=at + wait)
        case NotSent(code, detail):
            job.requeue(code=code, detail=detail, at=at)
        case Misconfigured(code, detail):
            job.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)
        case _:
            raise TypeError(f"{type(outcome).__name__} does not answer a send")


def _go_on_asking(
    job: ActivationJob, carrier: CarrierConnection, outcome: Outcome, at: datetime, now: datetime
) -> None:
    """What the carrier said about a job it may know; whatever else it says, patience ends in a dead letter."""
    if isinstance(outcome, NotFound):
        _not_found(job, carrier, at, now)
        return
    code, detail = (
        getattr(outcome, "code", ""),
        getattr(outcome, "detail", "The carrier is still working on it."),
    )
    if _is_out_of_patience(job, at, now):
        job.fail(kind=FailureKind.SYSTEM, code=code or "carrier_never_ends", detail=detail, now=now)
    elif isinstance(outcome, InProgress | Accepted) and job.status != JobStatus.ACCEPTED:
        job.accept(carrier_reference=outcome.carrier_reference, ask_at=at + _query_delay(job, carrier))
    else:
        job.postpone(code=code, detail=detail, at=at + _query_delay(job, carrier))


def _not_found(job: ActivationJob, carrier: CarrierConnection, at: datetime, now: datetime) -> None:
    """The carrier knows nothing of it: believed past the settle horizon, acted on where it dedupes by reference."""
    code, detail = "carrier_knows_nothing", "The carrier does not know this reference."
    settled_at = (job.told_at or at) + timedelta(seconds=carrier.settle_seconds)
    if at < settled_at:
        job.postpone(code=code, detail=detail, at=settled_at)
    elif job.status == JobStatus.ACCEPTED:
        # It had accepted before: one more look as IN_DOUBT, after another horizon.
        job.doubt(code=code, detail=detail, ask_at=at + timedelta(seconds=carrier.settle_seconds))
    elif not carrier.dedupes_by_reference or not carrier.is_active:
        # Resending could do it twice (reliability 0.3), or nothing is sent this way any more: a person has to look.
        job.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)
    elif job.unknowns >= policies.get(operator_id=job.operator_id, key=PolicyKey.JOB_MAX_ATTEMPTS, now=now):
        job.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)
    else:
        job.requeue(code=code, detail=detail, at=at)


def _is_out_of_patience(job: ActivationJob, at: datetime, now: datetime) -> bool:
    hours = policies.get(operator_id=job.operator_id, key=PolicyKey.JOB_PATIENCE_HOURS, now=now)
    return at - job.refreshed_at > timedelta(hours=hours)


def _backoff(attempts: int) -> float:
    """Seconds: full jitter, so that a thousand jobs do not come back at once."""
    return random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(attempts, 16)))  # noqa: S311 - not a secret


def _query_delay(job: ActivationJob, carrier: CarrierConnection) -> timedelta:
    """Until the next question: from the settle horizon upwards, capped, with jitter."""
    bound = min(BACKOFF_CAP, max(1.0, carrier.settle_seconds) * 2 ** min(job.queries, 8))
    return timedelta(seconds=bound * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret


def _log_attempt(claim: Claim, word: AttemptOutcome, outcome: Outcome) -> None:
    JobAttempt.objects.filter(job_id=claim.job_id, token=claim.token).update(
        finished_at=database_now(),
        outcome=word,
        code=getattr(outcome, "code", ""),
        detail=getattr(outcome, "detail", "")[:200],
    )


@use_case
def strand_queued_jobs(*, actor: Actor, carrier: CarrierConnection, now: datetime) -> int:
    """Over a connection that has ended nothing can be sent: its QUEUED jobs become dead letters. Returns how many."""
    serialize_on(f"claim:{carrier.pk}")
    queued = ActivationJob.objects.select_for_update().filter(connection=carrier, status=JobStatus.QUEUED)
    stranded = list(queued.order_by("pk"))
    for job in stranded:
        job.fail(
            kind=FailureKind.SYSTEM,
            code="carrier_not_connected",
            detail="The connection has ended before the job was sent.",
            now=now,
        )
    return len(stranded)


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
    return int(count)
