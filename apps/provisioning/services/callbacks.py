"""What carriers tell us: verified, stored once as it came, answered, and applied afterwards."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta

from apps.carriers import selectors as carrier_selectors
from apps.carriers import services as carriers
from apps.carriers.base import CallbackForged, CallbackMessage, Rejected
from apps.carriers.models import CarrierConnection
from apps.core import dispatch
from apps.core.actor import Actor, ActorKind
from apps.core.db import database_now, serialize_on, use_case
from apps.core.faults import faultpoint, sabotage
from apps.numbering.numbers import to_e164
from apps.provisioning.errors import CallbackRefused
from apps.provisioning.models import ActivationJob, CarrierCallback
from apps.provisioning.services.outcomes import end_refused_job, succeed_job
from apps.provisioning.states import CallbackOutcome, JobStatus

logger = logging.getLogger(__name__)

# Seconds between tries to apply one callback.
LONGEST_WAIT = 300.0


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
    _store(carrier, message, body, now)


@use_case
def _store(carrier: CarrierConnection, message: CallbackMessage, body: bytes, now: datetime) -> None:
    CarrierCallback.objects.bulk_create(
        [
            CarrierCallback(
                operator_id=carrier.operator_id,
                connection=carrier,
                event_id=message.event_id,
                digest=_digest(body),
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
    faultpoint("callback.before_commit")


def _digest(body: bytes) -> bytes:
    salt = uuid.uuid4().bytes if sabotage("no_callback_dedupe") else b""
    return hashlib.sha256(salt + body).digest()


def apply_next_callback(*, now: datetime) -> bool:
    """Applies the waiting callback that is due longest and nobody else is at; False when there is none.

    Whatever the order of arrival, nothing moves back: a repetition changes nothing, and a message that contradicts what
    is final is kept as CONFLICT for staff. One that cannot be applied is tried again later and holds up no other.
    """
    try:
        if not _apply_one(now):
            return False
        faultpoint("apply.after_commit")
    except _NotApplied as error:
        logger.exception("callback not applied", extra={"callback_key": error.callback_id})
        _try_later(error.callback_id)
    return True


class _NotApplied(Exception):
    def __init__(self, callback_id: int) -> None:
        super().__init__(callback_id)
        self.callback_id = callback_id


@use_case
def _apply_one(now: datetime) -> bool:
    # Nobody waits for a callback's row: whoever finds it locked takes the next, so it may be locked first.
    waiting = CarrierCallback.objects.waiting().select_related("connection").order_by("next_try_at", "id")
    callback = waiting.select_for_update(of=("self",), skip_locked=True).first()
    if callback is None:
        return False
    try:
        outcome = _apply(callback, now)
        CarrierCallback.objects.filter(pk=callback.pk).update(outcome=outcome, applied_at=now)
        faultpoint("apply.before_commit")
    except Exception as error:
        raise _NotApplied(callback.pk) from error
    return True


@use_case
def _try_later(callback_id: int) -> None:
    callback = CarrierCallback.objects.select_for_update().get(pk=callback_id)
    callback.tries = min(callback.tries + 1, 1000)
    callback.next_try_at = database_now() + timedelta(seconds=min(LONGEST_WAIT, 2.0**callback.tries))
    callback.save(update_fields=["tries", "next_try_at"])


def _apply(callback: CarrierCallback, now: datetime) -> CallbackOutcome:
    found = ActivationJob.objects.filter(reference=callback.reference, connection=callback.connection).first()
    if found is None or not _was_sent(found):
        logger.error("callback for a job that was never sent", extra={"callback": callback.event_id})
        return CallbackOutcome.UNMATCHED
    serialize_on(f"order:{found.order_id}")
    job = ActivationJob.objects.get(pk=found.pk)
    if to_e164(job.number) != callback.number:
        logger.error("callback names another number", extra={"job": job.uid})
        return CallbackOutcome.CONFLICT
    if job.status == JobStatus.SUCCEEDED:
        return CallbackOutcome.REPEATED if callback.succeeded else _conflict(job)
    if job.status == JobStatus.FAILED and not job.is_dead_letter:
        return _conflict(job) if callback.succeeded else CallbackOutcome.REPEATED
    actor = Actor(
        kind=ActorKind.CARRIER,
        id=callback.connection.uid,
        label=f"callback {callback.event_id}"[:150],
        operator_id=job.operator_id,
    )
    if callback.succeeded:
        succeed_job(actor=actor, job=job, carrier_reference=callback.carrier_reference, token=None, now=now)
    else:
        end_refused_job(actor=actor, job=job, code=callback.code, detail=callback.detail, token=None, now=now)
    return CallbackOutcome.APPLIED


def _was_sent(job: ActivationJob) -> bool:
    """A callback about a job that no worker ever took up cannot be the carrier's answer to us."""
    return job.attempts > 0


def _conflict(job: ActivationJob) -> CallbackOutcome:
    logger.error("callback contradicts a final state", extra={"job": job.uid, "status": job.status})
    return CallbackOutcome.CONFLICT
