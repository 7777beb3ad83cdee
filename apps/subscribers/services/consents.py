"""What people have agreed to: by purpose and version of the text, and until when (PIPL arts. 13 to 15 and 29)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import NotFound
from apps.core.public_ids import get_by_uid
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.subscribers import errors
from apps.subscribers.models import Consent, Subscriber
from apps.subscribers.services.representatives import require_register
from apps.subscribers.states import Channel, ConsentPurpose, RepresentativeRole


@dataclass(frozen=True, slots=True)
class ConsentInput:
    purpose: ConsentPurpose
    text_version: str
    channel: Channel


@operation
def record_consent(
    *, actor: Actor, subscriber_uid: str, consent: ConsentInput, now: datetime
) -> tuple[Consent, bool]:
    """The person agrees, from now on: (row, is new). An older agreement to the same purpose ends with it, unless it is
    to the same text: then that one stands.

    :raises NotFound: the subscriber is unknown or another operator's. :raises SubscriberErased:
    :raises Forbidden: staff without `subscribers.register`.
    """
    require_register(actor)
    subscriber = _locked(actor, subscriber_uid)
    if subscriber.erased_at is not None:
        raise errors.SubscriberErased
    standing = subscriber.consents.filter(purpose=consent.purpose, withdrawn_at=None).first()
    if standing is not None and standing.text_version == consent.text_version:
        return standing, False
    if standing is not None:
        standing.withdraw(now=now)
    [row] = add_consents(actor=actor, subscriber=subscriber, consents=[consent], now=now)
    return row, True


@operation
def withdraw_consent(*, actor: Actor, subscriber_uid: str, purpose: ConsentPurpose, now: datetime) -> Consent:
    """The person takes the agreement back, which is always possible; what was lawful until now stays so.

    :raises NotFound: the subscriber is unknown, another operator's, or has not agreed to this purpose.
    :raises Forbidden: staff without `subscribers.register`.
    """
    require_register(actor)
    subscriber = _locked(actor, subscriber_uid)
    row = subscriber.consents.filter(purpose=purpose, withdrawn_at=None).first()
    if row is None:
        raise NotFound
    row.withdraw(now=now)
    _note(actor, "consent.withdraw", row, subscriber, now)
    return row


def require_consents(*, operator_id: int, consents: Sequence[ConsentInput], now: datetime) -> None:
    """:raises ConsentMissing: policy wants one with purpose REAL_NAME, and it is not among these."""
    if any(consent.purpose == ConsentPurpose.REAL_NAME for consent in consents):
        return
    if policies.get(operator_id=operator_id, key=PolicyKey.CONSENT_REQUIRED, now=now):
        raise errors.ConsentMissing


def add_consents(
    *, actor: Actor, subscriber: Subscriber, consents: Sequence[ConsentInput], now: datetime
) -> list[Consent]:
    """Rows for what a person agrees to, or the guardian for them; in the transaction that has locked or made them."""
    if not consents:
        return []
    guardian = subscriber.representatives.filter(role=RepresentativeRole.GUARDIAN, ended_at=None).first()
    rows = []
    for consent in consents:
        row = Consent.objects.create(
            operator_id=subscriber.operator_id,
            subscriber=subscriber,
            purpose=consent.purpose,
            text_version=consent.text_version,
            channel=consent.channel,
            given_by=guardian,
            given_at=now,
            recorded_by=f"{actor.kind}:{actor.id}",
        )
        _note(actor, "consent.give", row, subscriber, now)
        rows.append(row)
    return rows


def _locked(actor: Actor, uid: str) -> Subscriber:
    return get_by_uid(Subscriber.objects.visible_to(actor).select_for_update(no_key=True), uid)


def _note(actor: Actor, action: str, row: Consent, subscriber: Subscriber, now: datetime) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="subscriber",
        target_id=subscriber.uid,
        operator_id=subscriber.operator_id,
        after={"consent": row.uid, "purpose": row.purpose, "text_version": row.text_version},
        now=now,
    )
