"""What staff do about a job by hand."""

from __future__ import annotations

from datetime import datetime

from apps.audit import services as audit
from apps.core import dispatch
from apps.core.actor import Actor
from apps.core.db import database_now, operation, serialize_on
from apps.core.public_ids import get_by_uid
from apps.provisioning.errors import JobNotRetryable
from apps.provisioning.models import ActivationJob
from apps.provisioning.services.outcomes import lock_job
from apps.provisioning.states import JobStatus, drain_queue


@operation
def retry_job(*, actor: Actor, job: str, reason: str = "", now: datetime) -> ActivationJob:
    """Gives a dead letter a fresh allowance of attempts, with the same reference.

    One that may have reached the carrier goes IN_DOUBT, so that the carrier is asked before anything is sent again.

    :raises Forbidden: without the right jobs.retry.
    :raises NotFound: no such job of this operator.
    :raises JobNotRetryable: not failed, or finally refused by the carrier.
    """
    actor.require("jobs.retry")
    found = get_by_uid(ActivationJob.objects.visible_to(actor), job)
    serialize_on(f"order:{found.order_id}")
    locked = lock_job(found.pk, None)
    if not locked.is_dead_letter:
        raise JobNotRetryable
    code, detail = locked.error_code, f"Queued again by {actor.label}."
    locked.attempts = 0
    locked.save(update_fields=["attempts"])
    at = database_now()
    if locked.last_sent_at is None:
        locked.requeue(code=code, detail=detail, at=at)
    else:
        locked.doubt(code=code, detail=detail, ask_at=at)
    audit.record(
        actor=actor,
        action="job.retry",
        target_type="job",
        target_id=locked.uid,
        operator_id=locked.operator_id,
        before={"status": JobStatus.FAILED},
        after={"status": locked.status},
        reason=reason,
        now=now,
    )
    dispatch.after_commit(
        "provisioning.drain",
        queue=drain_queue(locked.connection.host_carrier.code),
        connection_id=locked.connection_id,
    )
    return locked
