"""Identity data in clear: for a person with a right and a reason, and for the carrier that must be told the holder."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.public_ids import get_by_uid
from apps.subscribers.models import IdentityDocument
from apps.subscribers.realname import names
from apps.subscribers.services.reasons import checked_reason

REVEAL = "identity.reveal"


@dataclass(frozen=True, slots=True)
class HolderIdentity:
    """Who a line belongs to, in clear; it shows nothing when printed."""

    name: str = field(repr=False)
    document_type: str
    document_number: str = field(repr=False)


@operation
def reveal_document(*, actor: Actor, document_uid: str, reason: str, now: datetime) -> HolderIdentity:
    """Name and number of one document in clear, as they were given; who looked, when and why is in the audit.

    :raises Forbidden: without the right `identity.reveal`. :raises ReasonMissing: no reason.
    :raises NotFound: unknown or another operator's. :raises SealBroken: the ciphertext is not this row's.
    """
    actor.require(REVEAL)
    written = checked_reason(reason)
    documents = IdentityDocument.objects.visible_to(actor).select_related("subscriber")
    document = get_by_uid(documents, document_uid)
    identity = HolderIdentity(document.subscriber.open_name(), document.type, document.open_number())
    audit.record(
        actor=actor,
        action="identity.reveal",
        target_type="identity_document",
        target_id=document.uid,
        operator_id=document.operator_id,
        after={"subscriber": document.subscriber.uid},
        reason=written,
        now=now,
    )
    return identity


def open_identity_for_carrier(*, actor: Actor, subscriber_ids: Collection[int]) -> dict[int, HolderIdentity]:
    """Holders by subscriber id, with their latest document, for the call that opens their line. One query.

    The job attempt that makes the call is the record of who was told; ids of other operators are left out.

    :raises SealBroken: a ciphertext is not its row's.
    """
    rows = (
        IdentityDocument.objects.visible_to(actor)
        .filter(subscriber_id__in=subscriber_ids)
        .select_related("subscriber")
        .order_by("subscriber_id", "-id")
        .distinct("subscriber_id")
    )
    return {
        row.subscriber_id: HolderIdentity(
            names.canonical(row.subscriber.open_name()), row.type, row.open_number()
        )
        for row in rows
    }
