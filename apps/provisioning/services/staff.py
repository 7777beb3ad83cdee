"""What staff do about a job by hand."""

from __future__ import annotations

from datetime import datetime

from apps.audit import services as audit
from apps.carriers import selectors as carriers
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
    :raises CarrierNotConnected: it was never sent, and there is no live connection to send it over.
    """
    actor.require("jobs.retry")
    found = get_by_uid(ActivationJob.objects.visible_to(actor).select_related("line"), job)
    serialize_on(f"order:{found.order_id}")
    locked = lock_job(found.pk, None)
    if not locked.is_dead_letter:
        raise JobNotRetryable
    at = database_now()
    if locked.told_at is None:
        # The carrier certainly knows nothing: no need to ask, and another connection will do as well.
        live = carriers.get_connection(
            operator_id=locked.operator_id, host_carrier_id=found.line.host_carrier_id
        )
        locked.refresh(live.pk, at)
        locked.requeue(code=locked.error_code, detail="Queued again by staff.", at=at)
    else:
        locked.refresh(locked.connection_id, at)
        locked.doubt(code=locked.error_code, detail="To be asked about again, by staff.", ask_at=at)
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
