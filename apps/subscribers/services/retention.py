"""How long personal data is kept, and how it ends: destroyed for good, with proof, and a tombstone in its place.

Erasing destroys the ciphertexts themselves, in place: every sealed column and the fingerprint are overwritten and
the keys of the images are dropped, which makes their files noise. A key per person would be one more secret to keep in
every row, and would lie beside the ciphertext in the same backups. Copies in backups end with the backups, or at once
when the master key is replaced: they hold the wrapped keys of their day only.

When a person's service has ended is known to lines, which calls `erase_subscriber` when the time is up.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import InvalidTransition
from apps.core.public_ids import get_by_uid
from apps.subscribers import errors
from apps.subscribers.models import (
    IdentityDocument,
    IdentityImage,
    LegalHold,
    Representative,
    Subscriber,
    Verification,
)
from apps.subscribers.services import cases
from apps.subscribers.services.reasons import checked_reason
from apps.subscribers.services.reverification import forget_demands
from apps.subscribers.services.verify import note_decision
from apps.subscribers.states import VerificationStatus

HOLD = "retention.hold"


@operation
def lock_for_erasure(*, subscriber_id: int) -> None:
    """Keeps everybody from giving the person a line until the caller's transaction ends.

    A line's foreign key takes a share of this lock; see `require_not_erased`.
    """
    Subscriber.objects.select_for_update().get(pk=subscriber_id)


def require_not_erased(*, subscriber_id: int) -> None:
    """To be asked in the transaction that has given the person a line, after it. :raises SubscriberErased:"""
    if Subscriber.objects.filter(pk=subscriber_id, erased_at__isnull=False).exists():
        raise errors.SubscriberErased


@operation
def note_handed_on(*, subscriber_id: int, now: datetime) -> None:
    """A line of the person went to somebody else: from here on the clock of retention runs. Audited with the line."""
    Subscriber.objects.select_for_update(no_key=True).get(pk=subscriber_id).note_handed_on(now=now)


@operation
def erase_subscriber(*, actor: Actor, subscriber_id: int, now: datetime) -> bool:
    """Destroys what is known of a person; True when it was done, False when a hold forbids it or it is done already.

    The caller holds the subscriber's row locked and has made sure, under that lock, that no line of theirs lives. The
    audit row is the proof: what was destroyed, when, and the hash of all ciphertexts as they were.
    """
    subscriber = Subscriber.objects.visible_to(actor).select_for_update().get(pk=subscriber_id)
    if subscriber.erased_at is not None or subscriber.legal_holds.filter(lifted_at=None).exists():
        return False
    documents = list(IdentityDocument.objects.filter(subscriber=subscriber).order_by("id"))
    images = list(IdentityImage.objects.filter(subscriber=subscriber).order_by("id"))
    representatives = list(Representative.objects.filter(subscriber=subscriber).order_by("id"))
    digest = _digest(subscriber, documents, images, representatives)
    _end_verifications(actor, subscriber, now)
    forget_demands(actor=actor, subscriber=subscriber, now=now)
    for document in documents:
        document.erase()
    for image in images:
        image.erase()
    for representative in representatives:
        representative.erase()
    subscriber.erase(now=now)
    audit.record(
        actor=actor,
        action="subscriber.erase",
        target_type="subscriber",
        target_id=subscriber.uid,
        operator_id=subscriber.operator_id,
        after={
            "documents": [document.uid for document in documents],
            "images": [image.uid for image in images],
            "representatives": [representative.uid for representative in representatives],
            "sha256": digest,
        },
        reason="The time that the law demands to keep it is over.",
        now=now,
    )
    return True


@operation
def place_legal_hold(*, actor: Actor, subscriber_uid: str, reason: str, now: datetime) -> LegalHold:
    """From now on nothing of this person is erased.

    :raises Forbidden: without the right `retention.hold`. :raises ReasonMissing: no reason.
    :raises NotFound: unknown or another operator's. :raises SubscriberErased: too late.
    """
    actor.require(HOLD)
    written = checked_reason(reason)
    subscriber = get_by_uid(
        Subscriber.objects.visible_to(actor).select_for_update(no_key=True), subscriber_uid
    )
    if subscriber.erased_at is not None:
        raise errors.SubscriberErased
    hold = LegalHold.objects.create(
        operator_id=subscriber.operator_id,
        subscriber=subscriber,
        reason=written,
        placed_at=now,
        placed_by=f"{actor.kind}:{actor.id}",
    )
    _note_hold(actor, "legal_hold.place", hold, subscriber, written, now)
    return hold


@operation
def lift_legal_holds(*, actor: Actor, subscriber_uid: str, reason: str, now: datetime) -> int:
    """Ends every hold on this person; returns how many.

    :raises Forbidden: without the right `retention.hold`. :raises ReasonMissing: no reason.
    :raises NotFound: unknown or another operator's. :raises InvalidTransition: there is none.
    """
    actor.require(HOLD)
    written = checked_reason(reason)
    subscriber = get_by_uid(
        Subscriber.objects.visible_to(actor).select_for_update(no_key=True), subscriber_uid
    )
    holds = list(subscriber.legal_holds.filter(lifted_at=None).order_by("id"))
    if not holds:
        raise InvalidTransition("There is no legal hold on this person.")
    for hold in holds:
        hold.lift(now=now)
        _note_hold(actor, "legal_hold.lift", hold, subscriber, written, now)
    return len(holds)


def _digest(
    subscriber: Subscriber,
    documents: list[IdentityDocument],
    images: list[IdentityImage],
    representatives: list[Representative],
) -> str:
    """Over everything that is destroyed, in the order of the columns and rows; anybody with a copy can compute it."""
    digest = hashlib.sha256()
    for part in (
        subscriber.name_sealed,
        subscriber.address_sealed,
        subscriber.contact_phone_sealed,
        *(document.number_sealed for document in documents),
        *(image.sha256 for image in images),
        *(sealed for each in representatives for sealed in (each.name_sealed, each.number_sealed)),
    ):
        digest.update(bytes(part or b""))
    return digest.hexdigest()


def _end_verifications(actor: Actor, subscriber: Subscriber, now: datetime) -> None:
    """Nothing may rest any longer on what was verified, and what is open cannot be decided any more."""
    rows = Verification.objects.select_related("subscriber").filter(subscriber=subscriber)
    for verification in rows.select_for_update(of=("self",), no_key=True).order_by("id"):
        before = VerificationStatus(verification.status)
        if before in (VerificationStatus.PENDING, VerificationStatus.REVIEW):
            verification.fail(now=now)
            note_decision(actor=actor, verification=verification, before=before, now=now, reason="erased")
        elif before == VerificationStatus.PASSED:
            verification.expire()
        verification.forget_evidence()
    cases.drop_cases(subscriber_id=subscriber.pk, now=now)


def _note_hold(
    actor: Actor, action: str, hold: LegalHold, subscriber: Subscriber, reason: str, now: datetime
) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="subscriber",
        target_id=subscriber.uid,
        operator_id=subscriber.operator_id,
        after={"hold": hold.uid},
        reason=reason,
        now=now,
    )
