"""A document that was renewed under its number: the person shows it again, and its term is known from then on."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.operators.calendar import china_date
from apps.subscribers.models import IdentityDocument, Subscriber


@operation
def renew_document(
    *,
    actor: Actor,
    subscriber: Subscriber,
    fingerprints: Collection[bytes],
    valid_from: date | None,
    valid_until: date | None,
    now: datetime,
) -> bool:
    """Takes the term of a newer card over, when the subscriber's document that counts has this number; whether it did.

    Newer is one that ends later, or is long-term and was issued after the one on file. A term is never shortened, nor
    taken for long-term because it was left out. It proves nothing yet: a verification has to follow.
    """
    document = (
        IdentityDocument.objects.select_for_update(no_key=True)
        .filter(subscriber=subscriber)
        .order_by("-id")
        .first()
    )
    if document is None or bytes(document.fingerprint) not in fingerprints or document.valid_until is None:
        return False
    if valid_until is not None:
        newer = valid_until > document.valid_until
    else:
        issued = document.valid_from or china_date(document.created_at)
        newer = valid_from is not None and valid_from > issued
    if not newer:
        return False
    document.renew(valid_from=valid_from or document.valid_from, valid_until=valid_until)
    audit.record(
        actor=actor,
        action="identity_document.renew",
        target_type="identity_document",
        target_id=document.uid,
        operator_id=document.operator_id,
        after={"subscriber": subscriber.uid},
        now=now,
    )
    return True
