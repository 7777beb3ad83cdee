"""The attempt protocol after the call: what came of it, written behind the fence.

What ends an order is a transaction of its own. Everything else touches the job alone and is written for many at once,
each behind its own token.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from apps.carriers.base import Accepted, InProgress, NotFound, Rejected, Succeeded
from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor
from apps.core.db import database_now, serialize_on, use_case
from apps.core.faults import faultpoint, sabotage
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.provisioning.models import ActivationJob
from apps.provisioning.services.gates import Answer, note_answers
from apps.provisioning.services.jobs import Claim, Misconfigured, NotSent, Outcome, Unavailable, Unknown
from apps.provisioning.services.outcomes import Fenced, end_refused_job, succeed_job
from apps.provisioning.states import AttemptKind, AttemptOutcome, FailureKind, JobStatus

# Back-off of jobs the carrier could not take: full jitter below a doubling bound, both in seconds.
BACKOFF_BASE = 1.0
BACKOFF_CAP = 300.0

_WORDS: dict[type, AttemptOutcome] = {
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
_WRITE_TOGETHER = """
UPDATE provisioning_activationjob AS job SET
    status = moved.status, token = moved.token, lease_until = NULL, next_attempt_at = moved.next_attempt_at,
    told_at = moved.told_at, unknowns = moved.unknowns, carrier_reference = moved.carrier_reference,
    failure_kind = moved.failure_kind, error_code = moved.error_code, error_detail = moved.error_detail,
    finished_at = moved.finished_at
FROM unnest(
    %s::bigint[], %s::text[], %s::int[], %s::timestamptz[], %s::timestamptz[], %s::int[], %s::text[],
    %s::text[], %s::text[], %s::text[], %s::timestamptz[]
) AS moved(id, status, token, next_attempt_at, told_at, unknowns, carrier_reference,
    failure_kind, error_code, error_detail, finished_at)
WHERE job.id = moved.id
"""
_WRITTEN = (
    *("pk", "status", "token", "next_attempt_at", "told_at", "unknowns"),
    *("carrier_reference", "failure_kind", "error_code", "error_detail", "finished_at"),
)
_LOG = """
UPDATE provisioning_jobattempt AS attempt SET finished_at = clock_timestamp(), outcome = came.outcome,
    code = came.code, detail = came.detail
FROM unnest(%s::bigint[], %s::int[], %s::text[], %s::text[], %s::text[])
    AS came(job_id, token, outcome, code, detail)
WHERE attempt.job_id = came.job_id AND attempt.token = came.token
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What one claimed call came back with."""

    claim: Claim
    carrier: CarrierConnection
    outcome: Outcome
    # Whether the network was tried: what we or the adapter decided alone says nothing about the connection.
    was_called: bool = True

    @property
    def may_be_known(self) -> bool:
        """Whether the carrier may have heard of it."""
        return self.was_called or isinstance(self.outcome, Succeeded | Accepted | Unknown)

    @property
    def ends_order(self) -> bool:
        return isinstance(self.outcome, Succeeded | Rejected)


def record_outcome(
    *, actor: Actor, claim: Claim, carrier: CarrierConnection, outcome: Outcome, now: datetime
) -> bool:
    """Writes what came of a claimed call; False, with only the attempt on record, when the claim was fenced out."""
    result = Result(claim, carrier, outcome)
    [place] = note_answers([_answer(result)])
    if result.ends_order:
        return record_end(actor=actor, result=result, now=now)
    return record_steps(results=[result], places=[place], now=now) == 1


def note_results(results: Sequence[Result]) -> list[datetime | None]:
    """Tells the gates how the calls went; see `gates.note_answers`."""
    return note_answers([_answer(result) for result in results])


def record_end(*, actor: Actor, result: Result, now: datetime) -> bool:
    """A final yes or no, and all that it means for the order; False when the claim was fenced out."""
    try:
        _end(actor=actor, result=result, now=now)
    except Fenced:
        with connection.cursor() as cursor:
            _log(cursor, [(result, AttemptOutcome.FENCED)])
        return False
    faultpoint("record.after_commit")
    return True


@use_case
def _end(*, actor: Actor, result: Result, now: datetime) -> None:
    claim = result.claim
    serialize_on(f"order:{claim.order_id}")
    job = ActivationJob.objects.get(pk=claim.job_id)
    if job.token != claim.token and not sabotage("no_fence"):
        raise Fenced
    match result.outcome:
        case Succeeded(carrier_reference):
            succeed_job(actor=actor, job=job, carrier_reference=carrier_reference, token=claim.token, now=now)
        case Rejected(code=code, detail=detail):
            end_refused_job(actor=actor, job=job, code=code, detail=detail, token=claim.token, now=now)
    with connection.cursor() as cursor:
        _log(cursor, [(result, _WORDS[type(result.outcome)])])
    faultpoint("record.before_commit")


@use_case
def record_steps(*, results: Sequence[Result], places: Sequence[datetime | None], now: datetime) -> int:
    """Everything that ends no order, for many jobs in one transaction; how many were not fenced out.

    `places`: for each result, when its retry has a place.
    """
    jobs = {
        job.pk: job
        for job in ActivationJob.objects.lock_together([result.claim.job_id for result in results])
    }
    at = database_now()
    moved, words = [], []
    for result, place in zip(results, places, strict=True):
        job = jobs[result.claim.job_id]
        if job.token != result.claim.token and not sabotage("no_fence"):
            words.append((result, AttemptOutcome.FENCED))
            continue
        if result.claim.kind is AttemptKind.QUERY:
            _go_on_asking(job, result.carrier, result.outcome, at, now)
        else:
            _go_on_sending(job, result.carrier, result.outcome, place, at, now)
        moved.append(job)
        words.append((result, _WORDS[type(result.outcome)]))
    with connection.cursor() as cursor:
        _write_together(cursor, moved)
        _log(cursor, words)
    faultpoint("record.before_commit_of_many")
    return len(moved)


@use_case
def put_off_unwritten(*, result: Result, now: datetime) -> bool:
    """What came of the call could not be written: it is asked about later and later, and in the end waits for staff.

    False when the claim was fenced out.
    """
    claim, carrier = result.claim, result.carrier
    job = ActivationJob.objects.select_for_update().get(pk=claim.job_id)
    if job.token != claim.token:
        return False
    at = database_now()
    code, detail = "outcome_not_recorded", "What came of the call could not be written here."
    is_send = claim.kind is AttemptKind.SEND
    if is_send and result.may_be_known:
        job.tell(at, unknown=True)
    if _is_out_of_patience(job, at, now):
        job.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)
    elif not is_send:
        job.postpone(code=code, detail=detail, at=at + _query_delay(job, carrier))
    elif result.may_be_known:
        job.doubt(code=code, detail=detail, ask_at=at + _query_delay(job, carrier))
    else:
        job.requeue(code=code, detail=detail, at=at + timedelta(seconds=_backoff(job.attempts)))
    with connection.cursor() as cursor:
        _log(cursor, [(result, _WORDS[type(result.outcome)])])
    return True


def _go_on_sending(
    job: ActivationJob,
    carrier: CarrierConnection,
    outcome: Outcome,
    place: datetime | None,
    at: datetime,
    now: datetime,
) -> None:
    """After a send that was neither the end: wait, ask, or send again with the same reference."""
    match outcome:
        case Accepted(carrier_reference):
            job.tell(at, unknown=False)
            ask_at = at + timedelta(seconds=carrier.callback_wait_seconds)
            job.accept(carrier_reference=carrier_reference, ask_at=ask_at)
        case Unknown(code, detail) if sabotage("in_doubt_is_ready"):
            job.requeue(code=code, detail=detail, at=at)
        case Unknown(code, detail):
            job.tell(at, unknown=True)
            job.doubt(code=code, detail=detail, ask_at=at + _query_delay(job, carrier))
        case Unavailable(code, detail, retry_after):
            wait = timedelta(seconds=max(_backoff(job.attempts), retry_after or 0.0))
            if _is_out_of_patience(job, at, now):
                job.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)
            else:
                job.requeue(code=code, detail=detail, at=max(at + wait, place or at))
        case NotSent(code, detail, retry_after):
            job.requeue(code=code, detail=detail, at=at + timedelta(seconds=retry_after))
        case Misconfigured(code, detail):
            if place is None or _is_out_of_patience(job, at, now):
                job.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)
            else:
                # Nothing gets through: what is wrong is not this job, and one dead letter a second helps nobody.
                job.requeue(
                    code=code, detail=detail, at=max(at + timedelta(seconds=_backoff(job.attempts)), place)
                )
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
        wait = timedelta(seconds=getattr(outcome, "retry_after", None) or 0.0)
        job.postpone(code=code, detail=detail, at=at + max(wait, _query_delay(job, carrier)))


def _not_found(job: ActivationJob, carrier: CarrierConnection, at: datetime, now: datetime) -> None:
    """The carrier knows nothing of it: believed past the settle horizon, acted on where it dedupes by reference."""
    code, detail = "carrier_knows_nothing", "The carrier does not know this reference."
    settled_at = (job.told_at or at) + timedelta(seconds=carrier.settle_seconds)
    if at < settled_at:
        job.postpone(code=code, detail=detail, at=settled_at)
    elif _is_out_of_patience(job, at, now):
        # Of one that it had accepted the carrier has to say it twice before anybody sends again.
        is_asked_twice = job.status != JobStatus.ACCEPTED
        code = code if is_asked_twice else "carrier_never_ends"
        job.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)
    elif job.status == JobStatus.ACCEPTED:
        # It had accepted before: one more look as IN_DOUBT, after another horizon. Accepting and forgetting has an end.
        job.tell(job.told_at or at, unknown=True)
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


def _answer(result: Result) -> Answer | None:
    """What the call says about its connection; a refusal of one job is an answer like any other.

    None when there was no call: it neither opens a circuit nor closes one.
    """
    if not result.was_called:
        return None
    claim, outcome = result.claim, result.outcome
    is_send = claim.kind is AttemptKind.SEND
    match outcome:
        case Unavailable(code=code, retry_after=retry_after):
            return Answer(claim.connection_id, claim.claimed_at, code, retry_after, is_repeated=is_send)
        case Misconfigured(code=code):
            return Answer(claim.connection_id, claim.claimed_at, code, is_repeated_while_open=is_send)
        case Unknown(code=code):
            return Answer(claim.connection_id, claim.claimed_at, code)
        case NotSent():
            return None
    return Answer(claim.connection_id, claim.claimed_at)


def _write_together(cursor: Any, jobs: Sequence[ActivationJob]) -> None:
    """What their verbs have made of locked jobs, in one statement."""
    cursor.execute(
        _WRITE_TOGETHER,
        [
            [str(job.status) if field == "status" else getattr(job, field) for job in jobs]
            for field in _WRITTEN
        ],
    )


def _log(cursor: Any, words: Sequence[tuple[Result, AttemptOutcome]]) -> None:
    """Completes the trail: one row per call, written before it as intent."""
    cursor.execute(
        _LOG,
        [
            [result.claim.job_id for result, _ in words],
            [result.claim.token for result, _ in words],
            [word.value for _, word in words],
            [getattr(result.outcome, "code", "") for result, _ in words],
            [getattr(result.outcome, "detail", "")[:200] for result, _ in words],
        ],
    )
