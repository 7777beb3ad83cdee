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
from apps.provisioning.services.outcomes import Fenced, lock_job, reject_job, succeed_job
from apps.provisioning.states import AttemptKind, FailureKind, JobStatus

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
    order_id: int
    line_id: int
    # Sends so far, this one included.
    attempts: int


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

_OUTCOME_WORDS: dict[type, str] = {
    Accepted: "ACCEPTED",
    Succeeded: "SUCCEEDED",
    Rejected: "REJECTED",
    InProgress: "IN_PROGRESS",
    NotFound: "NOT_FOUND",
    Unavailable: "UNAVAILABLE",
    Misconfigured: "MISCONFIGURED",
    Unknown: "UNKNOWN",
    NotSent: "NOT_SENT",
}

# One statement under one lock per connection, so that the cap on calls in flight is exact. A send is counted here,
# before the call: a job that kills its worker runs out of attempts like any other.
_CLAIM = """
WITH room AS (
    SELECT greatest(0, least(%(limit)s, %(cap)s - count(*)))::int AS free FROM provisioning_activationjob
    WHERE connection_id = %(connection)s AND status IN ('SENDING', 'ACCEPTED', 'IN_DOUBT')
      AND lease_until > clock_timestamp()
), due AS (
    SELECT id, status FROM provisioning_activationjob
    WHERE connection_id = %(connection)s AND status IN ('QUEUED', 'ACCEPTED', 'IN_DOUBT')
      AND next_attempt_at <= clock_timestamp() AND (lease_until IS NULL OR lease_until <= clock_timestamp())
    ORDER BY next_attempt_at LIMIT (SELECT free FROM room) FOR UPDATE SKIP LOCKED
)
UPDATE provisioning_activationjob AS job SET
    status = CASE due.status WHEN 'QUEUED' THEN 'SENDING' ELSE due.status END,
    attempts = job.attempts + CASE due.status WHEN 'QUEUED' THEN 1 ELSE 0 END,
    queries = job.queries + CASE due.status WHEN 'QUEUED' THEN 0 ELSE 1 END,
    last_sent_at = CASE due.status WHEN 'QUEUED' THEN clock_timestamp() ELSE job.last_sent_at END,
    token = job.token + 1,
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
FROM due WHERE job.id = due.id
RETURNING job.id, job.token, job.status, job.operation, job.reference, job.order_id, job.line_id, job.attempts,
    clock_timestamp()
"""


def lease_seconds(carrier: CarrierConnection) -> float:
    """Longer than a call can take, or a slow answer would be fenced out."""
    return 2.0 * carrier.timeout_seconds + 5.0


@use_case
def claim_due_jobs(*, carrier: CarrierConnection, limit: int) -> list[Claim]:
    """Up to `limit` due jobs of one connection, leased to the caller, never more in flight than the connection allows.

    QUEUED ones become SENDING; ACCEPTED and IN_DOUBT ones stay and are to be asked about. The intent of every call is
    on record when this returns.
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
            },
        )
        rows = cursor.fetchall()
    claims = []
    attempts = []
    for job_id, token, status, operation, reference, order_id, line_id, count, at in rows:
        kind = AttemptKind.SEND if status == JobStatus.SENDING else AttemptKind.QUERY
        claims.append(Claim(job_id, token, kind, operation, reference, order_id, line_id, count))
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
        _log_attempt(claim, "FENCED", outcome)
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
    _log_attempt(claim, _OUTCOME_WORDS[type(outcome)], outcome)
    match outcome:
        case Succeeded(carrier_reference):
            succeed_job(actor=actor, job=job, carrier_reference=carrier_reference, token=claim.token, now=now)
        case Rejected(code=code, detail=detail):
            reject_job(actor=actor, job=job, code=code, detail=detail, token=claim.token, now=now)
        case _:
            _keep_going(lock_job(job.pk, claim.token), claim, carrier, outcome, now)


def _keep_going(
    job: ActivationJob, claim: Claim, carrier: CarrierConnection, outcome: Outcome, now: datetime
) -> None:
    """Everything that is not the end: wait, ask, or send again with the same reference."""
    at = database_now()
    ask_soon = at + timedelta(seconds=_query_delay(job.queries, carrier))
    sending = claim.kind is AttemptKind.SEND
    match outcome:
        case Accepted(carrier_reference):
            job.accept(
                carrier_reference=carrier_reference,
                ask_at=at + timedelta(seconds=carrier.callback_wait_seconds),
            )
        case InProgress(carrier_reference):
            if job.status == JobStatus.ACCEPTED:
                job.postpone(code="", detail="The carrier is still working on it.", at=ask_soon)
            else:
                job.accept(carrier_reference=carrier_reference, ask_at=ask_soon)
        case NotFound():
            _not_found(job, carrier, at, now)
        case NotSent(code, detail):
            job.attempts -= 1 if sending else 0
            job.save(update_fields=["attempts"])
            if sending:
                job.requeue(code=code, detail=detail, at=at)
            else:
                job.postpone(code=code, detail=detail, at=at)
        case Unavailable(code, detail, retry_after):
            if sending:
                wait = max(_backoff(job.attempts), retry_after or 0.0)
                _send_again(job, code=code, detail=detail, at=at + timedelta(seconds=wait), now=now)
            else:
                job.postpone(code=code, detail=detail, at=ask_soon)
        case Misconfigured(code, detail):
            if sending:
                job.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)
            else:
                job.postpone(code=code, detail=detail, at=ask_soon)
        case Unknown(code, detail):
            if sending:
                job.doubt(code=code, detail=detail, ask_at=ask_soon)
            else:
                job.postpone(code=code, detail=detail, at=ask_soon)


def _not_found(job: ActivationJob, carrier: CarrierConnection, at: datetime, now: datetime) -> None:
    """The carrier knows nothing of it. Believed only past the settle horizon and where it dedupes by reference."""
    code, detail = "carrier_knows_nothing", "The carrier does not know this reference."
    assert job.last_sent_at is not None  # noqa: S101 - only sent jobs are asked about
    settled_at = job.last_sent_at + timedelta(seconds=carrier.settle_seconds)
    if at < settled_at:
        job.postpone(code=code, detail=detail, at=settled_at)
        return
    if job.status == JobStatus.ACCEPTED:
        # It had accepted before: one more look as IN_DOUBT, after another horizon.
        job.doubt(code=code, detail=detail, ask_at=at + timedelta(seconds=carrier.settle_seconds))
    elif carrier.dedupes_by_reference:
        _send_again(job, code=code, detail=detail, at=at, now=now)
    else:
        # Resending could do it twice (reliability 0.3): a person has to look.
        job.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)


def _send_again(job: ActivationJob, *, code: str, detail: str, at: datetime, now: datetime) -> None:
    limit = policies.get(operator_id=job.operator_id, key=PolicyKey.JOB_MAX_ATTEMPTS, now=now)
    if job.attempts >= limit:
        job.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)
    else:
        job.requeue(code=code, detail=detail, at=at)


def _backoff(attempts: int) -> float:
    """Seconds: full jitter, so that a thousand jobs do not come back at once."""
    return random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(attempts, 16)))  # noqa: S311 - not a secret


def _query_delay(queries: int, carrier: CarrierConnection) -> float:
    """Seconds until the next question: from the settle horizon upwards, capped, with jitter."""
    bound = min(BACKOFF_CAP, max(1.0, carrier.settle_seconds) * 2.0 ** min(queries, 8))
    return bound * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret


def _log_attempt(claim: Claim, word: str, outcome: Outcome | None) -> None:
    JobAttempt.objects.filter(job_id=claim.job_id, token=claim.token).update(
        finished_at=database_now(),
        outcome=word,
        code=getattr(outcome, "code", ""),
        detail=getattr(outcome, "detail", "")[:200],
    )


_EXPIRE_LEASES = """
WITH lost AS (
    SELECT id, token FROM provisioning_activationjob
    WHERE status = 'SENDING' AND lease_until <= clock_timestamp()
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE provisioning_activationjob AS job SET
        status = 'IN_DOUBT', token = job.token + 1, lease_until = NULL, next_attempt_at = clock_timestamp(),
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
