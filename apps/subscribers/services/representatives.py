"""Who stands for a subscriber: guardians, proxies, responsible persons (Order 25 arts. 6 and 7). Kept like holders."""

from __future__ import annotations

from datetime import datetime

from apps.audit import services as audit
from apps.core import masking
from apps.core.actor import Actor, ActorKind
from apps.core.db import operation
from apps.core.errors import FieldError, NotFound, RuleViolation
from apps.core.public_ids import get_by_uid
from apps.operators import policies
from apps.operators.calendar import china_date
from apps.operators.policies import PolicyKey
from apps.subscribers import errors
from apps.subscribers.models import IdentityDocument, Representative, Subscriber
from apps.subscribers.realname import documents, names
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.services.examining import Examination, Examined, PersonInput
from apps.subscribers.states import Channel, RepresentativeRole, SubscriberKind

REGISTER = "subscribers.register"

_KIND_OF = {
    RepresentativeRole.GUARDIAN: SubscriberKind.INDIVIDUAL,
    RepresentativeRole.RESPONSIBLE: SubscriberKind.ORGANIZATION,
}


@operation
def replace_representative(
    *, actor: Actor, subscriber_uid: str, role: RepresentativeRole, person: PersonInput, now: datetime
) -> tuple[Representative, bool]:
    """From now on this is the guardian or responsible person, and whoever was it before no longer: (row, is new).

    The same person with the same name and document, again, changes nothing. Who is verified already stays so; the next
    verification looks at the new one.

    :raises RoleNotAccepted: a person has a guardian, an organization a responsible person, and nobody a lasting proxy.
    :raises DocumentTypeNotAccepted, DocumentInvalid, DocumentExpired, NameInvalid: as at registration.
    :raises RepresentativeUnderAge, RepresentativeIsHolder:
    :raises GuardianNotNeeded: the person is old enough to answer for themselves.
    :raises NotFound: the subscriber is unknown or another operator's. :raises SubscriberErased:
    :raises Forbidden: staff without `subscribers.register`.
    """
    require_register(actor)
    subscriber = _locked(actor, subscriber_uid)
    if _KIND_OF.get(role) != subscriber.kind:
        raise errors.RoleNotAccepted(errors=[_fault("/role", errors.RoleNotAccepted)])
    if role == RepresentativeRole.GUARDIAN and _is_of_age(subscriber, now):
        raise errors.GuardianNotNeeded(errors=[_fault("/role", errors.GuardianNotNeeded)])
    examined = examine_for(subscriber=subscriber, person=person, at="", now=now)
    standing = subscriber.representatives.filter(role=role, ended_at=None).first()
    if standing is not None and _is_the_same(standing, person, examined):
        return standing, False
    if standing is not None:
        standing.end(now=now)
    row = add_representative(
        actor=actor, subscriber=subscriber, role=role, person=person, examined=examined, now=now
    )
    audit.record(
        actor=actor,
        action="representative.replace",
        target_type="subscriber",
        target_id=subscriber.uid,
        operator_id=subscriber.operator_id,
        before={"representative": standing.uid} if standing else None,
        after={"representative": row.uid, "role": role, "document_type": row.document_type},
        now=now,
    )
    return row, True


@operation
def end_guardian(*, actor: Actor, subscriber_uid: str, now: datetime) -> Representative:
    """The guardian stands for the person no longer, who is old enough by now.

    :raises GuardianNeeded: younger than policy `realname.minimum_age`; or the document does not tell, and it is not
        staff who say so.
    :raises NotFound: no such subscriber of this operator, or without a guardian.
    :raises Forbidden: staff without `subscribers.register`.
    """
    require_register(actor)
    subscriber = _locked(actor, subscriber_uid)
    guardian = subscriber.representatives.filter(role=RepresentativeRole.GUARDIAN, ended_at=None).first()
    if guardian is None:
        raise NotFound
    if not _may_be_alone(actor, subscriber, now):
        raise errors.GuardianNeeded
    guardian.end(now=now)
    audit.record(
        actor=actor,
        action="representative.end",
        target_type="subscriber",
        target_id=subscriber.uid,
        operator_id=subscriber.operator_id,
        before={"representative": guardian.uid, "role": guardian.role},
        now=now,
    )
    return guardian


def choose_representative(
    *, actor: Actor, subscriber: Subscriber, proxy: PersonInput | None, channel: Channel, now: datetime
) -> Representative | None:
    """Who takes part in a verification beside the holder, who is locked by the caller; a proxy is recorded for it.

    Whoever has grown up answers for themselves, whatever guardian is still on file.

    :raises ProxyNotAccepted: policy `realname.proxy_channels` does not name the channel, or somebody else acts for the
        subscriber. :raises RepresentativeMissing: an organization for which nobody answers.
    :raises AuthorisationLetterMissing: policy `realname.authorisation_letter_required`. The faults of `proxy` as at
        registration, with pointers under /proxy.
    """
    standing = subscriber.representatives.filter(ended_at=None).exclude(role=RepresentativeRole.PROXY).first()
    if subscriber.kind == SubscriberKind.ORGANIZATION:
        if standing is None:
            raise errors.RepresentativeMissing
        _require_letter(subscriber, now)
    elif standing is not None and _is_of_age(subscriber, now):
        standing = None
    if proxy is None:
        return standing
    channels = policies.get(operator_id=subscriber.operator_id, key=PolicyKey.PROXY_CHANNELS, now=now)
    if standing is not None or channel.lower() not in channels:
        raise errors.ProxyNotAccepted(errors=[_fault("/proxy", errors.ProxyNotAccepted)])
    examined = examine_for(subscriber=subscriber, person=proxy, at="/proxy", now=now)
    return add_representative(
        actor=actor,
        subscriber=subscriber,
        role=RepresentativeRole.PROXY,
        person=proxy,
        examined=examined,
        now=now,
    )


def add_representative(
    *,
    actor: Actor,
    subscriber: Subscriber,
    role: RepresentativeRole,
    person: PersonInput,
    examined: Examined,
    now: datetime,
) -> Representative:
    """A row for somebody who was examined; in the transaction that has locked or made the subscriber."""
    row = Representative(
        operator_id=subscriber.operator_id,
        subscriber=subscriber,
        role=role,
        name_masked=masking.mask_name(names.canonical(person.name)),
        document_type=examined.type,
        valid_from=examined.valid_from,
        valid_until=examined.valid_until,
        recorded_by=f"{actor.kind}:{actor.id}",
        created_at=now,
        **examined.columns(examined.parsed.number),
    )
    row.seal(name=person.name, number=examined.parsed.number)
    row.save(force_insert=True)
    return row


def examine_for(*, subscriber: Subscriber, person: PersonInput, at: str, now: datetime) -> Examined:
    """Somebody's name and document, for a subscriber on file.

    :raises RuleViolation: see `Examination.representative`.
    """
    examination = Examination(operator_id=subscriber.operator_id, now=now)
    examined = examination.representative(person, at=at)
    if examined is not None:
        keys = {
            documents.person_key(
                type=DocumentType(row.type), number=row.open_number(), issuing_country=row.issuing_country
            )
            for row in subscriber.documents.all()
        }
        examination.not_the_holder(examined, keys, at=at)
    examination.finish()
    assert examined is not None  # noqa: S101 - without a document that is read there is a refusal
    return examined


def require_register(actor: Actor) -> None:
    """Staff need a right of their own; a partner app's scope was asked for at the door."""
    if actor.kind is ActorKind.STAFF:
        actor.require(REGISTER)


def _locked(actor: Actor, uid: str) -> Subscriber:
    subscriber = get_by_uid(Subscriber.objects.visible_to(actor).select_for_update(no_key=True), uid)
    if subscriber.erased_at is not None:
        raise errors.SubscriberErased
    return subscriber


def _require_letter(subscriber: Subscriber, now: datetime) -> None:
    needed = policies.get(
        operator_id=subscriber.operator_id, key=PolicyKey.AUTHORISATION_LETTER_REQUIRED, now=now
    )
    if needed and not subscriber.letters.exists():
        raise errors.AuthorisationLetterMissing


def _is_the_same(standing: Representative, person: PersonInput, examined: Examined) -> bool:
    return (
        standing.document_type == examined.type
        and standing.open_number() == examined.parsed.number
        and standing.issuing_country == examined.issuing_country
        and (standing.valid_from, standing.valid_until) == (examined.valid_from, examined.valid_until)
        and standing.open_name() == person.name
    )


def _may_be_alone(actor: Actor, subscriber: Subscriber, now: datetime) -> bool:
    old_enough = _is_of_age(subscriber, now)
    return actor.kind is ActorKind.STAFF if old_enough is None else old_enough


def _is_of_age(subscriber: Subscriber, now: datetime) -> bool | None:
    """Whether the person may be alone by policy `realname.minimum_age`; None where the document does not tell."""
    document = IdentityDocument.objects.filter(subscriber=subscriber).order_by("-id")[0]
    today = china_date(now)
    parsed = documents.parse(type=DocumentType(document.type), number=document.open_number(), today=today)
    if parsed.birth_date is None:
        return None
    least = policies.get(operator_id=subscriber.operator_id, key=PolicyKey.MINIMUM_AGE, now=now)
    return documents.age_on(parsed.birth_date, today) >= least


def _fault(pointer: str, error: type[RuleViolation]) -> FieldError:
    return FieldError(pointer, error.code, error.detail)
