"""What carriers tell us: verified, stored once as it came, answered, and applied afterwards."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from datetime import datetime

from apps.carriers import selectors as carrier_selectors
from apps.carriers import services as carriers
from apps.carriers.base import CallbackForged, Rejected
from apps.core import dispatch
from apps.core.actor import Actor, ActorKind
from apps.core.db import serialize_on, use_case
from apps.lines import selectors as lines
from apps.numbering.numbers import to_e164
from apps.provisioning.errors import CallbackRefused
from apps.provisioning.models import ActivationJob, CarrierCallback
from apps.provisioning.services.outcomes import reject_job, succeed_job
from apps.provisioning.states import FailureKind, JobStatus

logger = logging.getLogger(__name__)


@use_case
def receive_callback(*, connection_uid: str, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """Checks the signature over the raw bytes and stores the message once; a repetition is fine and changes nothing.

    :raises NotFound: no such connection.
    :raises CallbackRefused: forged, stale or malformed.
    """
    carrier = carrier_selectors.get_connection_by_uid(uid=connection_uid)
    try:
        message = carriers.adapter_for(carrier).parse_callback(headers, body, now)
    except CallbackForged as error:
        logger.warning("carrier callback refused", extra={"connection": carrier.uid, "why": str(error)})
        raise CallbackRefused from None
    CarrierCallback.objects.bulk_create(
        [
            CarrierCallback(
                connection=carrier,
                event_id=message.event_id,
                digest=hashlib.sha256(body).digest(),
                reference=message.reference,
                carrier_reference=message.carrier_reference,
                number=message.number,
                succeeded=not isinstance(message.outcome, Rejected),
                code=message.outcome.code if isinstance(message.outcome, Rejected) else "",
                detail=message.outcome.detail[:200] if isinstance(message.outcome, Rejected) else "",
                body=body,
                received_at=now,
            )
        ],
        # The unique constraint makes a repetition a no-op.
        ignore_conflicts=True,
    )
    dispatch.after_commit("provisioning.apply_callbacks")


@use_case
def apply_next_callback(*, now: datetime) -> bool:
    """Applies the oldest waiting callback nobody else is at; False when there is none.

    Whatever the order of arrival, nothing moves back: a repetition changes nothing, and a message that contradicts what
    is final is kept as CONFLICT for staff.
    """
    callback = (
        CarrierCallback.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(applied_at=None)
        .select_related("connection")
        .order_by("id")
        .first()
    )
    if callback is None:
        return False
    callback.outcome = _apply(callback, now)
    callback.applied_at = now
    callback.save(update_fields=["outcome", "applied_at"])
    return True


def _apply(callback: CarrierCallback, now: datetime) -> str:
    found = ActivationJob.objects.filter(reference=callback.reference, connection=callback.connection).first()
    if found is None or found.last_sent_at is None:
        logger.error("callback for a job that was never sent", extra={"callback": callback.event_id})
        return "UNMATCHED"
    serialize_on(f"order:{found.order_id}")
    job = ActivationJob.objects.get(pk=found.pk)
    if to_e164(lines.get_fittings(line_ids=[job.line_id])[job.line_id].number) != callback.number:
        logger.error("callback names another number", extra={"job": job.uid})
        return "CONFLICT"
    if job.status == JobStatus.SUCCEEDED:
        return "REPEATED" if callback.succeeded else _conflict(job)
    if job.status == JobStatus.FAILED and job.failure_kind == FailureKind.BUSINESS:
        return _conflict(job) if callback.succeeded else "REPEATED"
    actor = Actor(
        kind=ActorKind.CARRIER,
        id=callback.connection.uid,
        label=f"callback {callback.event_id}"[:150],
        operator_id=job.operator_id,
    )
    if callback.succeeded:
        succeed_job(actor=actor, job=job, carrier_reference=callback.carrier_reference, token=None, now=now)
    else:
        reject_job(actor=actor, job=job, code=callback.code, detail=callback.detail, token=None, now=now)
    return "APPLIED"


def _conflict(job: ActivationJob) -> str:
    logger.error("callback contradicts a final state", extra={"job": job.uid, "status": job.status})
    return "CONFLICT"
