"""Which numbers are in a person's name: the operator's side of the national one-ID lookup (MIIT, since 2021-09).

It is told to staff who say why, and to the partner app that has just had the person verified. To everybody else a
person whom we know and one whom we do not know look the same, cost the same, and are written down the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from apps.audit import services as audit
from apps.core import ratelimit
from apps.core.actor import Actor, ActorKind
from apps.core.db import operation, outside_transaction
from apps.core.errors import NotFound, RateLimited
from apps.lines import selectors
from apps.lines.errors import HolderCheckInvalid, HolderCheckReasonMissing
from apps.lines.models import HolderCheck
from apps.lines.states import HolderCheckStatus
from apps.operators import policies
from apps.operators import selectors as operators
from apps.operators.policies import PolicyKey
from apps.subscribers import selectors as subscribers
from apps.subscribers.errors import ReasonMissing
from apps.subscribers.realname import documents
from apps.subscribers.realname.documents import DocumentType, NumberFault
from apps.subscribers.services.reasons import checked_reason

CHECK = "holders.check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A person, by one document of theirs; the name only when it is to be compared too."""

    document_type: DocumentType
    document_number: str = field(repr=False)
    issuing_country: str = ""
    name: str = field(default="", repr=False)


@outside_transaction
def require_allowance(*, actor: Actor, operator_id: int, question: Question, now: datetime) -> None:
    """Spends one question of the caller and one about this document; counted in Redis, under a keyed hash.

    :raises RateLimited: with the seconds to wait. :raises HolderCheckInvalid: there is no such document.
    :raises NotFound: the operator is not the actor's.
    """
    operator = operators.list_operators(actor=actor).filter(pk=operator_id).first()
    if operator is None:
        raise NotFound
    most = policies.get_many(
        operator_id=operator_id,
        keys=(PolicyKey.HOLDER_CHECKS_PER_HOUR, PolicyKey.HOLDER_CHECKS_PER_DOCUMENT),
        now=now,
    )
    type, number, country = _read(question)
    person = documents.person_key(type=type, number=number, issuing_country=country)
    for key, burst, seconds in (
        (f"holder-checks:{actor.kind}:{actor.id}", most[PolicyKey.HOLDER_CHECKS_PER_HOUR], 3600),
        (f"holder-checks:{operator.uid}:{person}", most[PolicyKey.HOLDER_CHECKS_PER_DOCUMENT], 86400),
    ):
        spent = ratelimit.take(key, rate_per_second=burst / seconds, burst=burst)
        if not spent.allowed:
            raise RateLimited(retry_after=max(spent.retry_after, 1))


@operation
def ask_for_holdings(
    *, actor: Actor, operator_id: int, question: Question, now: datetime, reason: str = ""
) -> HolderCheck:
    """Which live lines of this operator are in the person's name, all documents of theirs together; written down.

    A partner app is told only when it has had the person verified itself, not longer ago than policy
    `holder.check_verified_minutes` says, and nothing newer says otherwise; else the check is NOT_VERIFIED, whether
    there is such a person or not. Call `require_allowance` before, outside of the transaction.

    :raises NotFound: the operator is not the actor's. :raises Forbidden: staff without the right `holders.check`.
    :raises HolderCheckReasonMissing: staff without a reason. :raises HolderCheckInvalid: there is no such document.
    """
    written = _authorise(actor, operator_id, reason)
    type, number, country = _read(question)
    minutes = policies.get(operator_id=operator_id, key=PolicyKey.HOLDER_CHECK_VERIFIED_MINUTES, now=now)
    found = subscribers.find_person(
        operator_id=operator_id,
        fingerprints=documents.fingerprints(type=type, number=number, issuing_country=country),
        name=question.name,
    )
    # Every question is asked for everybody: a person nobody knows has the key 0.
    person_id = found or 0
    verified = subscribers.was_verified_by(
        subscriber_id=person_id,
        requested_by=f"{actor.kind}:{actor.id}",
        since=now - timedelta(minutes=minutes),
    )
    line_ids = selectors.list_held_line_ids(subscriber_id=person_id)
    told = verified or actor.kind is not ActorKind.PARTNER
    check = HolderCheck.objects.create(
        operator_id=operator_id,
        subscriber_id=found if told else None,
        status=HolderCheckStatus.ANSWERED if told else HolderCheckStatus.NOT_VERIFIED,
        line_ids=line_ids if told else [],
        asked_by=f"{actor.kind}:{actor.id}",
        asked_by_label=actor.label,
        reason=written,
        created_at=now,
    )
    audit.record(
        actor=actor,
        action="holder_check.ask",
        target_type="holder_check",
        target_id=check.uid,
        operator_id=operator_id,
        after={"status": check.status, "count": len(check.line_ids)},
        reason=written,
        now=now,
    )
    return check


def _authorise(actor: Actor, operator_id: int, reason: str) -> str:
    """The reason as it may be kept. :raises NotFound: :raises HolderCheckReasonMissing:"""
    if not actor.sees(operator_id):
        raise NotFound
    if actor.kind is not ActorKind.STAFF:
        return ""
    actor.require(CHECK)
    try:
        return checked_reason(reason)
    except ReasonMissing:
        raise HolderCheckReasonMissing from None


def _read(question: Question) -> tuple[DocumentType, str, str]:
    """Type, number in normal form and country.

    :raises HolderCheckInvalid: no such document can exist, which says nothing about anybody.
    """
    try:
        country = documents.issuer(type=question.document_type, issuing_country=question.issuing_country)
        parsed = documents.parse(
            type=question.document_type,
            number=question.document_number,
            today=date.max,
            accept_fifteen=True,
        )
    except NumberFault:
        raise HolderCheckInvalid from None
    return question.document_type, parsed.number, country
