"""What staff do about a dead letter by hand: send it again, or say how it ended."""

from __future__ import annotations

from datetime import datetime

from apps.audit import services as audit
from apps.carriers import selectors as carriers
from apps.core import dispatch
from apps.core.actor import Actor
from apps.core.db import database_now, operation, serialize_on
from apps.core.errors import RuleViolation
from apps.core.public_ids import get_by_uid
from apps.provisioning import selectors
from apps.provisioning.errors import JobNotResolvable, JobNotRetryable
from apps.provisioning.models import ActivationJob, JobAttempt
from apps.provisioning.services.carrier_requests import CHECKED
from apps.provisioning.services.order_types.papers import get_bite, require_papers
from apps.provisioning.services.outcomes import end_refused_job, lock_job, succeed_job
from apps.provisioning.states import AttemptKind, AttemptOutcome, JobStatus, drain_queue
from apps.subscribers.errors import IdentityExpired


@operation
def retry_job(*, actor: Actor, job: str, reason: str = "", now: datetime) -> ActivationJob:
    """Gives a dead letter a fresh allowance of attempts, with the same reference.

    One that may have reached the carrier goes IN_DOUBT, so that the carrier is asked before anything is sent again.
    Where the carrier does not know repetitions by their reference, its "never heard of it" makes a dead letter again,
    and only then does the next retry send: somebody has decided it, knowing the answer.

    :raises Forbidden: without the right jobs.retry.
    :raises NotFound: no such job of this operator.
    :raises JobNotRetryable: not failed, or finally refused by the carrier.
    :raises IdentityExpired: it is to be sent, and the real-name check it stands on holds no longer.
    :raises LicenceNotValid, AgreementNotValid: or these have ended since, and policy says that it needs them.
    :raises CarrierNotConnected: it is to be sent, and there is no live connection to send it over.
    """
    actor.require("jobs.retry")
    locked = _locked_dead_letter(actor, job)
    if locked is None:
        raise JobNotRetryable
    at = database_now()
    if locked.told_at is None or _carrier_knows_nothing(locked):
        # No need to ask, and another connection will do as well.
        _require_lawful(locked, now)
        live = carriers.get_connection(
            operator_id=locked.operator_id, host_carrier_id=locked.line.host_carrier_id
        )
        locked.refresh(live.pk, at)
        locked.requeue(code=locked.error_code, detail="Queued again by staff.", at=at)
    else:
        locked.refresh(locked.connection_id, at)
        locked.doubt(code=locked.error_code, detail="To be asked about again, by staff.", ask_at=at)
    _record(actor, locked, "job.retry", reason, now)
    dispatch.after_commit(
        "provisioning.drain",
        queue=drain_queue(locked.connection.host_carrier.code),
        connection_id=locked.connection_id,
    )
    return locked


@operation
def resolve_job(*, actor: Actor, job: str, is_done: bool, reason: str, now: datetime) -> ActivationJob:
    """Ends a dead letter as the carrier's people say that it ended: done, or not done and never to be.

    Done completes the order like the carrier's own yes, not done fails it and gives back what it took. What the carrier
    was certainly never told of is not resolved but sent again or cancelled.

    :raises Forbidden: without the right jobs.retry.
    :raises NotFound: no such job of this operator.
    :raises RuleViolation: without a reason. :raises JobNotResolvable: no dead letter, or the carrier never heard of it.
    """
    actor.require("jobs.retry")
    if not reason.strip():
        raise RuleViolation("Say who at the carrier said so.")
    locked = _locked_dead_letter(actor, job)
    if locked is None or locked.told_at is None:
        raise JobNotResolvable
    if is_done:
        succeed_job(actor=actor, job=locked, carrier_reference=locked.carrier_reference, token=None, now=now)
    else:
        end_refused_job(
            actor=actor,
            job=locked,
            code="not_done_by_carrier",
            detail="The carrier's people say that it was not done.",
            token=None,
            now=now,
        )
    locked.refresh_from_db()
    _record(actor, locked, "job.resolve", reason, now)
    return locked


def _locked_dead_letter(actor: Actor, uid: str) -> ActivationJob | None:
    """The job, and its order held so that nobody else ends it; None when it is no dead letter."""
    found = get_by_uid(ActivationJob.objects.visible_to(actor).select_related("line"), uid)
    serialize_on(f"order:{found.order_id}")
    locked = lock_job(found.pk, None)
    return locked if locked.is_dead_letter else None


def _require_lawful(job: ActivationJob, now: datetime) -> None:
    """Staff send nothing either that no worker would: as `drain` asks before a call."""
    facts = selectors.get_sending_facts(order_ids=[job.order_id])[job.order_id]
    if job.operation in CHECKED and not facts.identity_holds:
        raise IdentityExpired
    if facts.is_restoring:
        return
    host_carrier_id = job.line.host_carrier_id
    bite = get_bite(operator_id=job.operator_id, host_carrier_id=host_carrier_id, now=now)
    if bite and job.operation in bite.operations:
        require_papers(operator_id=job.operator_id, host_carrier_id=host_carrier_id, now=now)


def _carrier_knows_nothing(job: ActivationJob) -> bool:
    """The last call about it was a question, past the settle horizon, and the answer that there is no such order."""
    last = JobAttempt.objects.filter(job=job).order_by("-token").first()
    return (
        job.error_code == "carrier_knows_nothing"
        and last is not None
        and (last.kind, last.outcome) == (AttemptKind.QUERY, AttemptOutcome.NOT_FOUND)
    )


def _record(actor: Actor, job: ActivationJob, action: str, reason: str, now: datetime) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="job",
        target_id=job.uid,
        operator_id=job.operator_id,
        before={"status": JobStatus.FAILED},
        after={"status": job.status},
        reason=reason,
        now=now,
    )
