"""Registering people and organizations (Order 25 arts. 6, 7 and 9: type of document, name, number, address)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import IntegrityError, transaction

from apps.audit import services as audit
from apps.core import masking
from apps.core.actor import Actor
from apps.core.db import operation, serialize_on, violated_constraint
from apps.core.errors import FieldError, NotFound
from apps.core.public_ids import get_by_uid
from apps.operators.policies import PolicyKey
from apps.subscribers import errors
from apps.subscribers.models import IdentityDocument, IdentityImage, Subscriber
from apps.subscribers.realname import documents, names
from apps.subscribers.realname.documents import DocumentInput
from apps.subscribers.services.consents import ConsentInput, add_consents, require_consents
from apps.subscribers.services.examining import Examination, Examined, PersonInput, plain_phone
from apps.subscribers.services.renewal import renew_document
from apps.subscribers.services.representatives import add_representative, require_register
from apps.subscribers.states import ImageKind, RepresentativeRole, SubscriberKind

Standing = tuple[RepresentativeRole, PersonInput, Examined]


@operation
def register_individual(
    *,
    actor: Actor,
    operator_id: int,
    name: str,
    document: DocumentInput,
    now: datetime,
    address: str = "",
    contact_phone: str = "",
    external_id: str = "",
    guardian: PersonInput | None = None,
    proxy: PersonInput | None = None,
    consents: Sequence[ConsentInput] = (),
) -> tuple[Subscriber, bool]:
    """Registers one person, or finds the one that the operator already has under this document: (subscriber, created).

    Whoever is found, by the number or by `former_number`, is left as they are, and so is whoever stands for them; only
    the term of a renewed document is taken over (`renew_document`). However many ask at once for one person, one
    subscriber comes of it. Only the operator's own documents are looked at, so the answer says nothing about other
    operators' subscribers, and nobody looks up a guardian or proxy at all. All faults of the input are reported
    together; the error's class is that of the first.

    A `guardian` makes up for years that are missing, and is checked with the person from then on. A `proxy` comes in
    the person's place this once.

    :raises DocumentTypeNotAccepted, DocumentInvalid, DocumentExpired, SubscriberUnderAge, NameInvalid, TextInvalid:
        the input cannot be accepted (policies `realname.accepted_document_types`, `realname.minimum_age` and
        `realname.minimum_age_with_guardian`).
    :raises RepresentativeUnderAge, RepresentativeIsHolder: guardian or proxy cannot stand for the person.
    :raises GuardianNotNeeded: the person is old enough to answer for themselves.
    :raises ProxyNotAccepted: policy `realname.proxy_channels` names no channel, or there is a guardian.
    :raises DocumentNameConflict: the operator has the document under another name.
    :raises ExternalIdTaken: another person of the operator carries the external_id.
    :raises ConsentMissing: policy `realname.consent_required` wants a consent with purpose REAL_NAME.
    :raises NotFound: the operator is not the actor's. :raises Forbidden: staff without `subscribers.register`.
    """
    _require_visible(actor, operator_id)
    require_consents(operator_id=operator_id, consents=consents, now=now)
    examination = Examination(operator_id=operator_id, now=now)
    holder = PersonInput(name=name, document=document)
    examined = examination.person(holder)
    examination.age(examined, has_guardian=guardian is not None)
    people: list[tuple[PersonInput, Examined | None]] = [(holder, examined)]
    standing: list[Standing] = []
    for role, person in ((RepresentativeRole.GUARDIAN, guardian), (RepresentativeRole.PROXY, proxy)):
        if person is None:
            continue
        at = f"/{role.lower()}"
        found = examination.representative(person, at=at)
        people.append((person, found))
        if found is not None:
            standing.append((role, person, found))
            if examined is not None:
                examination.not_the_holder(found, examined.person_keys, at=at)
    if proxy is not None and (guardian is not None or not examination.rules[PolicyKey.PROXY_CHANNELS]):
        examination.refuse(errors.ProxyNotAccepted, "/proxy")
    examination.texts(address=address, contact_phone=contact_phone)
    examination.external_id(external_id, people)
    examination.finish()
    assert examined is not None  # noqa: S101 - without a document that is read there is a refusal
    subscriber = Subscriber(operator_id=operator_id, kind=SubscriberKind.INDIVIDUAL, external_id=external_id)
    _fill(subscriber, actor=actor, name=name, address=address, contact_phone=contact_phone, now=now)
    return _write_down(actor, subscriber, name, examined, standing, None, consents, now)


@operation
def register_organization(
    *,
    actor: Actor,
    operator_id: int,
    name: str,
    document: DocumentInput,
    responsible_person: PersonInput,
    now: datetime,
    authorisation_letter: str = "",
    address: str = "",
    contact_phone: str = "",
    external_id: str = "",
) -> tuple[Subscriber, bool]:
    """Registers an organization by its unified social credit code, or finds it: (subscriber, created).

    Whoever is found is left as they are, with the responsible person they have. `authorisation_letter` is the id of a
    picture of that kind that this operator has uploaded; it becomes the organization's, and may come later as well.

    :raises DocumentTypeNotAccepted, DocumentInvalid, DocumentExpired, NameInvalid, TextInvalid: as of people; policy
        `realname.accepted_document_types` has to name `uscc`.
    :raises RepresentativeUnderAge: the responsible person is not of age.
    :raises AuthorisationLetterInvalid: no such letter of this operator, or it is another organization's.
    :raises DocumentNameConflict, ExternalIdTaken, NotFound, Forbidden: as of people.
    """
    _require_visible(actor, operator_id)
    examination = Examination(operator_id=operator_id, now=now)
    examined = examination.organization(name, document)
    at = "/responsible_person"
    answering = examination.representative(responsible_person, at=at)
    letter = _find_letter(operator_id, authorisation_letter) if authorisation_letter else None
    if authorisation_letter and letter is None:
        examination.refuse(errors.AuthorisationLetterInvalid, "/authorisation_letter")
    examination.texts(address=address, contact_phone=contact_phone)
    # The organization's own name and code are no secrets, and a partner may well call it by them.
    examination.external_id(external_id, [(responsible_person, answering)])
    examination.finish()
    assert examined is not None  # noqa: S101 - else there is a refusal
    assert answering is not None  # noqa: S101 - likewise
    subscriber = Subscriber(
        operator_id=operator_id, kind=SubscriberKind.ORGANIZATION, external_id=external_id
    )
    _fill(subscriber, actor=actor, name=name, address=address, contact_phone=contact_phone, now=now)
    standing = [(RepresentativeRole.RESPONSIBLE, responsible_person, answering)]
    return _write_down(actor, subscriber, name, examined, standing, letter, (), now)


def _require_visible(actor: Actor, operator_id: int) -> None:
    require_register(actor)
    if not actor.sees(operator_id):
        raise NotFound


def _fill(
    subscriber: Subscriber, *, actor: Actor, name: str, address: str, contact_phone: str, now: datetime
) -> None:
    subscriber.name_masked = masking.mask_name(names.canonical(name, organization=subscriber.is_organization))
    subscriber.entered_by = f"{actor.kind}:{actor.id}"
    subscriber.created_at = now
    subscriber.seal_name(name)
    subscriber.seal_contact(address=address, contact_phone=plain_phone(contact_phone))


def _write_down(
    actor: Actor,
    subscriber: Subscriber,
    name: str,
    examined: Examined,
    standing: Sequence[Standing],
    letter: IdentityImage | None,
    consents: Sequence[ConsentInput],
    now: datetime,
) -> tuple[Subscriber, bool]:
    """What was found to be without fault; or whoever was there before."""
    operator_id = subscriber.operator_id
    # One person at a time, whatever keys the processes index with just now.
    for key in sorted(examined.person_keys):
        serialize_on(f"subscribers.person:{operator_id}:{key}")
    if existing := _existing(subscriber, examined, name):
        renew_document(
            actor=actor,
            subscriber=existing,
            fingerprints=documents.fingerprints(
                type=examined.type, number=examined.parsed.number, issuing_country=examined.issuing_country
            ),
            valid_from=examined.valid_from,
            valid_until=examined.valid_until,
            now=now,
        )
        return existing, False

    rows = _rows(operator_id, examined, now)
    try:
        with transaction.atomic():
            subscriber.save(force_insert=True)
            for row in rows:
                row.subscriber_id = subscriber.pk
                row.save(force_insert=True)
    except IntegrityError as error:
        # Somebody was faster. The same person may also hold the external_id by now, so the person is looked at first.
        if existing := _existing(subscriber, examined, name):
            return existing, False
        if violated_constraint(error) == "subscriber_external_id":
            raise errors.ExternalIdTaken from None
        raise
    after = {"kind": subscriber.kind, "document": rows[-1].uid, "document_type": rows[-1].type}
    for role, person, found in standing:
        representative = add_representative(
            actor=actor, subscriber=subscriber, role=role, person=person, examined=found, now=now
        )
        after[role.lower()] = representative.uid
    if letter is not None:
        _take_letter(subscriber, letter)
        after["authorisation_letter"] = letter.uid
    add_consents(actor=actor, subscriber=subscriber, consents=consents, now=now)
    audit.record(
        actor=actor,
        action="subscriber.register",
        target_type="subscriber",
        target_id=subscriber.uid,
        operator_id=operator_id,
        after=after,
        now=now,
    )
    return subscriber, True


def _rows(operator_id: int, examined: Examined, now: datetime) -> list[IdentityDocument]:
    """The documents to store, the one of today last: it is the one that counts."""
    rows = []
    for number in reversed(examined.numbers):
        row = IdentityDocument(
            operator_id=operator_id, type=examined.type, created_at=now, **examined.columns(number)
        )
        row.seal_number(number)
        rows.append(row)
    rows[-1].valid_from, rows[-1].valid_until = examined.valid_from, examined.valid_until
    return rows


def _existing(coming: Subscriber, examined: Examined, name: str) -> Subscriber | None:
    for number in examined.numbers:
        fingerprints = documents.fingerprints(
            type=examined.type, number=number, issuing_country=examined.issuing_country
        )
        known = (
            IdentityDocument.objects.filter(operator_id=coming.operator_id, fingerprint__in=fingerprints)
            .select_related("subscriber")
            .first()
        )
        if known is None:
            continue
        if not names.same(known.subscriber.open_name(), name, organization=coming.is_organization):
            raise errors.DocumentNameConflict(
                errors=[
                    FieldError(
                        "/name", "document_name_conflict", "Not the name this document is registered with."
                    )
                ]
            )
        return known.subscriber
    return None


def _find_letter(operator_id: int, uid: str) -> IdentityImage | None:
    """The letter of that id, if this operator has it."""
    letters = IdentityImage.objects.filter(
        operator_id=operator_id, kind=ImageKind.AUTHORISATION_LETTER, key_sealed__isnull=False
    )
    try:
        return get_by_uid(letters, uid)
    except NotFound:
        return None


def _take_letter(subscriber: Subscriber, letter: IdentityImage) -> None:
    """From here on it is the organization's own.

    :raises AuthorisationLetterInvalid: it is another organization's, which has to keep it, or was erased meanwhile.
    """
    found = (
        IdentityImage.objects.select_related("subscriber").select_for_update(of=("self",)).get(pk=letter.pk)
    )
    if found.subscriber.is_organization or found.key_sealed is None:
        error = errors.AuthorisationLetterInvalid
        raise error(errors=[FieldError("/authorisation_letter", error.code, error.detail)])
    found.give_to(subscriber)
