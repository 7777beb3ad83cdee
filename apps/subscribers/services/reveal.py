"""Identity data in clear: for a person with a right and a reason, and for the carrier that must be told the holder."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from apps.audit import services as audit
from apps.core import ratelimit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.public_ids import get_by_uid
from apps.core.sealing import SealBroken
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.subscribers import errors
from apps.subscribers.models import IdentityDocument, Representative
from apps.subscribers.realname import names
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.services.reasons import checked_reason

logger = logging.getLogger(__name__)

REVEAL = "identity.reveal"


@dataclass(frozen=True, slots=True)
class HolderIdentity:
    """Who a line belongs to, in clear; it shows nothing when printed."""

    name: str = field(repr=False)
    document_type: str
    document_number: str = field(repr=False)


def reveal_document(*, actor: Actor, document_uid: str, reason: str, now: datetime) -> HolderIdentity:
    """Name and number of one document in clear, as they were given; who looked, when and why is in the audit.

    :raises Forbidden: without the right `identity.reveal`. :raises TooManyReveals: policy `identity.reveals_per_hour`.
    :raises ReasonMissing: no reason. :raises NotFound: unknown or another operator's. :raises SubscriberErased:
    :raises SealBroken: the ciphertext is not this row's.
    """
    written = checked_reason(reason)
    require_reveal(actor, now)
    return _reveal(actor=actor, document_uid=document_uid, reason=written, now=now)


def reveal_representative(
    *, actor: Actor, representative_uid: str, reason: str, now: datetime
) -> HolderIdentity:
    """The same for somebody who stands for a subscriber."""
    written = checked_reason(reason)
    require_reveal(actor, now)
    return _reveal_representative(actor=actor, uid=representative_uid, reason=written, now=now)


def require_reveal(actor: Actor, now: datetime) -> None:
    """The right to see people in clear, so many times an hour; counted outside of any transaction, in Redis.

    :raises Forbidden: :raises TooManyReveals:
    """
    actor.require(REVEAL)
    most = policies.get(operator_id=actor.operator_id, key=PolicyKey.REVEALS_PER_HOUR, now=now)
    spent = ratelimit.take(f"reveal:{actor.kind}:{actor.id}", rate_per_second=most / 3600, burst=most)
    if not spent.allowed:
        raise errors.TooManyReveals


@operation
def _reveal(*, actor: Actor, document_uid: str, reason: str, now: datetime) -> HolderIdentity:
    documents = IdentityDocument.objects.visible_to(actor).select_related("subscriber")
    document = get_by_uid(documents, document_uid)
    if document.subscriber.erased_at is not None:
        raise errors.SubscriberErased
    identity = HolderIdentity(document.subscriber.open_name(), document.type, document.open_number())
    audit.record(
        actor=actor,
        action="identity.reveal",
        target_type="identity_document",
        target_id=document.uid,
        operator_id=document.operator_id,
        after={"subscriber": document.subscriber.uid},
        reason=reason,
        now=now,
    )
    return identity


@operation
def _reveal_representative(*, actor: Actor, uid: str, reason: str, now: datetime) -> HolderIdentity:
    row = get_by_uid(Representative.objects.visible_to(actor).select_related("subscriber"), uid)
    if row.subscriber.erased_at is not None:
        raise errors.SubscriberErased
    identity = HolderIdentity(row.open_name(), row.document_type, row.open_number())
    audit.record(
        actor=actor,
        action="identity.reveal",
        target_type="representative",
        target_id=row.uid,
        operator_id=row.operator_id,
        after={"subscriber": row.subscriber.uid, "role": row.role},
        reason=reason,
        now=now,
    )
    return identity


def open_identity_for_carrier(*, actor: Actor, subscriber_ids: Collection[int]) -> dict[int, HolderIdentity]:
    """Holders by subscriber id, with their latest document, for the call that opens their line. One query.

    Only those who could be opened are in it, so that one broken row holds nobody else back: an id of another operator,
    without a document, or whose ciphertext is not its row's is missing, and the caller must say what becomes of it.
    The job attempt that makes the call is the record of who was told.
    """
    rows = (
        IdentityDocument.objects.visible_to(actor)
        .filter(subscriber_id__in=subscriber_ids)
        .select_related("subscriber")
        .order_by("subscriber_id", "-id")
        .distinct("subscriber_id")
    )
    opened: dict[int, HolderIdentity] = {}
    for row in rows:
        try:
            name, number = row.subscriber.open_name(), row.open_number()
        except SealBroken:
            logger.error(
                "sealed identity does not open",
                extra={"subscriber": row.subscriber.uid, "document": row.uid},
            )
            continue
        opened[row.subscriber_id] = HolderIdentity(
            names.canonical(name, organization=row.type == DocumentType.USCC), row.type, number
        )
    if missing := set(subscriber_ids) - set(opened):
        logger.error("holders not opened for the carrier", extra={"subscriber_ids": sorted(missing)})
    return opened
