"""What the end of a job means for its order, line, number, SIM and slot. One function each way, used by every path.

Callers hold `serialize_on("order:<pk>")`, so that record, callback and staff never end one order at the same time; rows
are locked here in the order of `core.db.LOCK_ORDER`, the job last.
"""

from __future__ import annotations

from datetime import datetime

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines import services as lines
from apps.provisioning.models import ActivationJob, JobAttempt, ServiceOrder
from apps.provisioning.services.orders import announce, trace
from apps.provisioning.states import FailureKind, OrderType


class Fenced(Exception):
    """Somebody else has touched the job since it was claimed; nothing of this outcome may be written."""


@operation
def succeed_job(
    *, actor: Actor, job: ActivationJob, carrier_reference: str, token: int | None, now: datetime
) -> None:
    """The carrier has done it: job SUCCEEDED, order COMPLETED, line ACTIVE or TERMINATED, all in one transaction.

    :raises Fenced: when `token` is given and no longer the job's.
    :raises InvalidTransition: when job, order or line are past that.
    """
    if job.operation == OrderType.ACTIVATE:
        lines.activate_line(actor=actor, line_id=job.line_id, now=now)
    else:
        request_reason = ServiceOrder.objects.values_list("request_reason", flat=True).get(pk=job.order_id)
        lines.terminate_line(actor=actor, line_id=job.line_id, reason=request_reason, now=now)
    order = ServiceOrder.objects.select_for_update().get(pk=job.order_id)
    before = order.status
    order.complete(now)
    locked = lock_job(job.pk, token)
    locked.succeed(carrier_reference=carrier_reference, now=now)
    trace(actor, order, "order.complete", before, now)
    announce(order, "order.completed", now)


@operation
def reject_job(
    *, actor: Actor, job: ActivationJob, code: str, detail: str, token: int | None, now: datetime
) -> None:
    """The final no: job FAILED, order FAILED with the code, and everything an activation took is given back.

    A refused termination leaves its line as it was.

    :raises Fenced: when `token` is given and no longer the job's.
    :raises InvalidTransition: when job, order or line are past that.
    """
    if job.operation == OrderType.ACTIVATE:
        lines.abandon_line(actor=actor, line_id=job.line_id, reason=code, now=now)
    order = ServiceOrder.objects.select_for_update().get(pk=job.order_id)
    before = order.status
    order.fail(reason=code, now=now)
    locked = lock_job(job.pk, token)
    locked.fail(kind=FailureKind.BUSINESS, code=code, detail=detail, now=now)
    trace(actor, order, "order.fail", before, now)
    announce(order, "order.failed", now)


def lock_job(job_id: int, token: int | None) -> ActivationJob:
    """The job's row, locked; the last lock of a transaction.

    Without a token (the carrier or staff speak, not a worker) calls that are still out are marked as overtaken.

    :raises Fenced: when `token` is given and somebody has moved the job since.
    """
    job = ActivationJob.objects.select_for_update().get(pk=job_id)
    if token is None:
        JobAttempt.objects.filter(job=job, outcome="").update(outcome="OVERTAKEN")
    elif job.token != token:
        raise Fenced
    return job
