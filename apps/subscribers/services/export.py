"""Everything we hold about one person, for that person (PIPL arts. 44 and 45): data in clear, facts of pictures."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.public_ids import get_by_uid
from apps.subscribers import errors
from apps.subscribers.models import (
    IdentityDocument,
    Representative,
    ReverificationDemand,
    Subscriber,
    Verification,
)
from apps.subscribers.realname import documents
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.services.notices import WORDS
from apps.subscribers.services.reasons import checked_reason

EXPORT = "identity.export"


@operation
def export_subscriber(*, actor: Actor, subscriber_uid: str, reason: str, now: datetime) -> dict[str, Any]:
    """What this app holds of one person, as plain JSON values; who took it, when and why is in the audit.

    Also where the person stands for others; of others who stand for the person only what is masked: it is their data.

    :raises Forbidden: without the right `identity.export`. :raises ReasonMissing: no reason.
    :raises NotFound: unknown or another operator's. :raises SubscriberErased: nothing is left.
    :raises SealBroken: a ciphertext is not its row's.
    """
    actor.require(EXPORT)
    written = checked_reason(reason)
    row = get_by_uid(Subscriber.objects.visible_to(actor), subscriber_uid)
    if row.erased_at is not None:
        raise errors.SubscriberErased
    audit.record(
        actor=actor,
        action="identity.export",
        target_type="subscriber",
        target_id=row.uid,
        operator_id=row.operator_id,
        reason=written,
        now=now,
    )
    return {
        "id": row.uid,
        "kind": row.kind,
        "external_id": row.external_id,
        "name": row.open_name(),
        "address": row.open_address(),
        "contact_phone": row.open_contact_phone(),
        "registered_at": _plain(row.created_at),
        "documents": [_document(document) for document in row.documents.order_by("id")],
        "verifications": [
            _verification(check)
            for check in row.verifications.select_related("representative").order_by("id")
        ],
        "representatives": [_representative(each) for each in row.representatives.order_by("id")],
        "acts_for": [_own_part(each) for each in _acts_for(row)],
        "images": [
            {
                "id": image.uid,
                "kind": image.kind,
                "width": image.width,
                "height": image.height,
                "created_at": _plain(image.created_at),
            }
            for image in row.images.order_by("id")
        ],
        "consents": [
            {
                "purpose": consent.purpose,
                "text_version": consent.text_version,
                "channel": consent.channel,
                "given_by": consent.given_by.uid if consent.given_by else None,
                "given_at": _plain(consent.given_at),
                "withdrawn_at": _plain(consent.withdrawn_at),
            }
            for consent in row.consents.select_related("given_by").order_by("id")
        ],
        "reverifications": [_demand(demand) for demand in row.demands.order_by("id")],
    }


def _document(row: IdentityDocument) -> dict[str, Any]:
    return {
        "id": row.uid,
        "type": row.type,
        "number": row.open_number(),
        "valid_from": _plain(row.valid_from),
        "valid_until": _plain(row.valid_until),
        "issuing_country": row.issuing_country,
    }


def _acts_for(row: Subscriber) -> list[Representative]:
    """Where the person, by any of their documents, stands for another subscriber of the operator."""
    fingerprints = [
        fingerprint
        for document in row.documents.all()
        for fingerprint in documents.fingerprints(
            type=DocumentType(document.type),
            number=document.open_number(),
            issuing_country=document.issuing_country,
        )
    ]
    return list(
        Representative.objects.filter(operator_id=row.operator_id, fingerprint__in=fingerprints)
        .select_related("subscriber")
        .order_by("id")
    )


def _representative(row: Representative) -> dict[str, Any]:
    return {
        "id": row.uid,
        "role": row.role,
        "name": row.name_masked,
        "document_type": row.document_type,
        "document_number": row.number_masked,
        "from": _plain(row.created_at),
        "until": _plain(row.ended_at),
    }


def _own_part(row: Representative) -> dict[str, Any]:
    return {
        "id": row.uid,
        "role": row.role,
        "for": row.subscriber.uid,
        "name": row.open_name(),
        "document": {
            "type": row.document_type,
            "number": row.open_number(),
            "valid_from": _plain(row.valid_from),
            "valid_until": _plain(row.valid_until),
            "issuing_country": row.issuing_country,
        },
        "from": _plain(row.created_at),
        "until": _plain(row.ended_at),
    }


def _verification(row: Verification) -> dict[str, Any]:
    return {
        "id": row.uid,
        "status": row.status,
        "channel": row.channel,
        "representative": row.representative.uid if row.representative else None,
        "created_at": _plain(row.created_at),
        "decided_at": _plain(row.decided_at),
        "checks": [
            {"name": check.name, "outcome": check.outcome, "code": check.code, "provider": check.provider}
            for check in row.checks.order_by("position")
        ],
    }


def _demand(row: ReverificationDemand) -> dict[str, Any]:
    return {
        "id": row.uid,
        "reason": row.reason,
        "line": row.line_uid or None,
        "note": row.note,
        "created_at": _plain(row.created_at),
        "closed_at": _plain(row.closed_at),
        "steps": [
            {
                "status": step.status,
                "taken_at": _plain(step.taken_at),
                **{name: getattr(step, name) for name in WORDS},
            }
            for step in row.steps.order_by("id")
        ],
    }


def _plain(moment: date | None) -> str | None:
    return moment.isoformat() if moment else None
