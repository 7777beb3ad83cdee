"""What the end of a job means for its order, line, number, SIM and slot. One function each way, used by every path.

Callers hold `serialize_on("order:<pk>")`, so that record, callback and staff never end one order at the same time; rows
are locked here in the order of `core.db.LOCK_ORDER`, the job last.
"""

from __future__ import annotations

from datetime import datetime

from apps.core.actor import Actor
from apps.core.db import database_now, operation
from apps.core.faults import sabotage
from apps.provisioning.models import ActivationJob, JobAttempt, ServiceOrder
from apps.provisioning.services.opening import complete
from apps.provisioning.services.order_types.restoring import kind_of
from apps.provisioning.services.tracing import announce, trace
from apps.provisioning.states import AttemptOutcome, FailureKind, OrderStatus

_ENDINGS = {
    OrderStatus.FAILED: ("order.fail", "order.failed"),
    OrderStatus.CANCELLED: ("order.cancel", "order.cancelled"),
}


class Fenced(Exception):
    """Somebody else has touched the job since it was claimed; nothing of this outcome may be written."""


@operation
def succeed_job(
    *, actor: Actor, job: ActivationJob, carrier_reference: str, token: int | None, now: datetime
) -> None:
    """The carrier has done it: job SUCCEEDED, order COMPLETED, the line as it was to be, all in one transaction.

    :raises Fenced: when `token` is given and no longer the job's.
    :raises InvalidTransition: when job, order or line are past that.
    """
    asked = ServiceOrder.objects.get(pk=job.order_id)
    kind_of(asked).complete(actor, asked, now)
    complete(actor=actor, order=ServiceOrder.objects.select_for_update().get(pk=job.order_id), now=now)
    lock_job(job.pk, token).succeed(carrier_reference=carrier_reference, now=now)


@operation
def end_refused_job(
    *, actor: Actor, job: ActivationJob, code: str, detail: str, token: int | None, now: datetime
) -> None:
    """The final no: job FAILED, order FAILED with the code, and everything the order took is given back.

    A refusal that says that it is so already is a yes. One for want of the line, which we believe to be there, is for
    staff to look at.

    :raises Fenced: when `token` is given and no longer the job's.
    :raises InvalidTransition: when job, order or line are past that.
    """
    kind = kind_of(ServiceOrder.objects.get(pk=job.order_id))
    if code in kind.already_so:
        succeed_job(actor=actor, job=job, carrier_reference="", token=token, now=now)
    elif code == "carrier_line_not_found" and kind.needs_line:
        locked = lock_job(job.pk, token)
        # It was asked, and somebody may say how it ends.
        locked.tell(database_now(), unknown=False)
        locked.fail(kind=FailureKind.SYSTEM, code=code, detail=detail, now=now)
    else:
        end_order(actor=actor, order_id=job.order_id, status=OrderStatus.FAILED, reason=code, now=now)
        lock_job(job.pk, token).fail(kind=FailureKind.BUSINESS, code=code, detail=detail, now=now)


@operation
def end_order(
    *, actor: Actor, order_id: int, status: OrderStatus, reason: str, now: datetime, note: str = ""
) -> ServiceOrder:
    """FAILED or CANCELLED with the reason's code; whatever the order has taken is given back.

    :raises InvalidTransition: when the order or its line are past that.
    """
    asked = ServiceOrder.objects.get(pk=order_id)
    kind_of(asked).undo(actor, asked, reason, now)
    order = ServiceOrder.objects.select_for_update().get(pk=order_id)
    before = order.status
    if status is OrderStatus.FAILED:
        order.fail(reason=reason, now=now)
    else:
        order.cancel(reason=reason, now=now)
    action, event_type = _ENDINGS[status]
    trace(actor, order, action, before, now, note)
    announce(actor, order, event_type, before, now)
    return order


def lock_job(job_id: int, token: int | None) -> ActivationJob:
    """The job's row, locked; after it only its attempts are written.

    Without a token (the carrier or staff speak, not a worker) calls that are still out are marked as overtaken.

    :raises Fenced: when `token` is given and somebody has moved the job since.
    """
    job = ActivationJob.objects.select_for_update().get(pk=job_id)
    if token is None:
        JobAttempt.objects.filter(job=job, outcome="").update(outcome=AttemptOutcome.OVERTAKEN)
    elif job.token != token and not sabotage("no_fence"):
        raise Fenced
    return job
