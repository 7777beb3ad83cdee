"""Registering a person with an identity document (Order 25 arts. 6 and 9: type, name, number, address)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar

from django.db import IntegrityError, transaction

from apps.audit import services as audit
from apps.core import masking, personal
from apps.core.actor import Actor, ActorKind
from apps.core.db import operation, serialize_on, violated_constraint
from apps.core.errors import FieldError, NotFound, RuleViolation
from apps.operators import policies
from apps.operators.calendar import china_date
from apps.operators.policies import PolicyKey
from apps.subscribers import errors
from apps.subscribers.models import IdentityDocument, Subscriber
from apps.subscribers.realname import documents, names, text
from apps.subscribers.realname.documents import DocumentInput, DocumentType, ParsedNumber
from apps.subscribers.services.consents import ConsentInput, add_consents, require_consents
from apps.subscribers.states import SubscriberKind

REGISTER = "subscribers.register"
ADDRESS_CHARACTERS = 200
EXTERNAL_ID_CHARACTERS = 64
_PHONE = re.compile(r"\+?[0-9]{5,20}\Z")
_PHONE_FILLERS = re.compile(r"[ ()-]")

T = TypeVar("T")
Refusal = tuple[type[RuleViolation], FieldError]


@dataclass(frozen=True, slots=True)
class _Examined:
    """A document as it will be stored."""

    parsed: ParsedNumber
    issuing_country: str
    # The permanent resident's card of 2017, when the one of today names it.
    former: ParsedNumber | None


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
    consents: Sequence[ConsentInput] = (),
) -> tuple[Subscriber, bool]:
    """Registers one person, or finds the one that the operator already has under this document: (subscriber, created).

    Whoever is found, by the number or by `former_number`, is left as they are. However many ask at once for one person,
    one subscriber comes of it. Only the operator's own documents are looked at, so the answer says nothing about other
    operators' subscribers. All faults of the input are reported together; the error's class is that of the first.

    :raises DocumentTypeNotAccepted, DocumentInvalid, DocumentExpired, SubscriberUnderAge, NameInvalid, TextInvalid:
        the input cannot be accepted (policies `realname.accepted_document_types` and `realname.minimum_age`).
    :raises DocumentNameConflict: the operator has the document under another name.
    :raises ExternalIdTaken: another person of the operator carries the external_id.
    :raises ConsentMissing: policy `realname.consent_required` wants a consent with purpose REAL_NAME.
    :raises NotFound: the operator is not the actor's. :raises Forbidden: staff without `subscribers.register`.
    """
    require_register(actor)
    if not actor.sees(operator_id):
        raise NotFound
    require_consents(operator_id=operator_id, consents=consents, now=now)
    examined = _examine(
        operator_id=operator_id,
        name=name,
        document=document,
        address=address,
        contact_phone=contact_phone,
        external_id=external_id,
        now=now,
    )
    rows = _rows(operator_id, document, examined, now)
    # One person at a time, whatever keys the processes index with just now.
    for key in sorted(_of_each_number(documents.person_key, document, examined)):
        serialize_on(f"subscribers.person:{operator_id}:{key}")
    if existing := _existing(operator_id, document, examined, name):
        return existing, False

    subscriber = Subscriber(
        operator_id=operator_id,
        kind=SubscriberKind.INDIVIDUAL,
        external_id=external_id,
        name_masked=masking.mask_name(names.canonical(name)),
        entered_by=f"{actor.kind}:{actor.id}",
        created_at=now,
    )
    subscriber.seal_name(name)
    subscriber.seal_contact(address=address, contact_phone=_plain_phone(contact_phone))
    try:
        with transaction.atomic():
            subscriber.save(force_insert=True)
            for row in rows:
                row.subscriber_id = subscriber.pk
                row.save(force_insert=True)
    except IntegrityError as error:
        # Somebody was faster. The same person may also hold the external_id by now, so the person is looked at first.
        if existing := _existing(operator_id, document, examined, name):
            return existing, False
        if violated_constraint(error) == "subscriber_external_id":
            raise errors.ExternalIdTaken from None
        raise
    add_consents(actor=actor, subscriber=subscriber, consents=consents, now=now)
    audit.record(
        actor=actor,
        action="subscriber.register",
        target_type="subscriber",
        target_id=subscriber.uid,
        operator_id=operator_id,
        after={"kind": subscriber.kind, "document": rows[-1].uid, "document_type": rows[-1].type},
        now=now,
    )
    return subscriber, True


def require_register(actor: Actor) -> None:
    """Staff need a right of their own; a partner app's scope was asked for at the door."""
    if actor.kind is ActorKind.STAFF:
        actor.require(REGISTER)


def _rows(
    operator_id: int, document: DocumentInput, examined: _Examined, now: datetime
) -> list[IdentityDocument]:
    """The documents to store, the one of today last: it is the one that counts."""
    terms = [(examined.parsed.number, document.valid_from, document.valid_until)]
    if examined.former is not None:
        terms.insert(0, (examined.former.number, None, None))
    rows = []
    for number, valid_from, valid_until in terms:
        row = IdentityDocument(
            operator_id=operator_id,
            type=document.type,
            number_masked=masking.mask_document_number(number),
            fingerprint=documents.fingerprint(
                type=document.type, number=number, issuing_country=examined.issuing_country
            ),
            valid_from=valid_from,
            valid_until=valid_until,
            issuing_country=examined.issuing_country,
            created_at=now,
        )
        row.seal_number(number)
        rows.append(row)
    return rows


def _of_each_number(make: Callable[..., T], document: DocumentInput, examined: _Examined) -> list[T]:
    """What it makes of the number of today and, after it, of the former one."""
    return [
        make(type=document.type, number=parsed.number, issuing_country=examined.issuing_country)
        for parsed in (examined.parsed, examined.former)
        if parsed is not None
    ]


def _existing(operator_id: int, document: DocumentInput, examined: _Examined, name: str) -> Subscriber | None:
    for fingerprints in _of_each_number(documents.fingerprints, document, examined):
        known = (
            IdentityDocument.objects.filter(operator_id=operator_id, fingerprint__in=fingerprints)
            .select_related("subscriber")
            .first()
        )
        if known is None:
            continue
        if not names.same(known.subscriber.open_name(), name):
            raise errors.DocumentNameConflict(
                errors=[
                    FieldError(
                        "/name", "document_name_conflict", "Not the name this document is registered with."
                    )
                ]
            )
        return known.subscriber
    return None


def _examine(
    *,
    operator_id: int,
    name: str,
    document: DocumentInput,
    address: str,
    contact_phone: str,
    external_id: str,
    now: datetime,
) -> _Examined:
    """The document in normal form, when nothing at all is wrong with the input."""
    rules = policies.get_many(
        operator_id=operator_id, keys=(PolicyKey.ACCEPTED_DOCUMENT_TYPES, PolicyKey.MINIMUM_AGE), now=now
    )
    today = china_date(now)
    refusals: list[Refusal] = []
    examined = _examine_document(document, rules, today, refusals)
    try:
        names.check(name)
    except names.NameFault as fault:
        refusals.append((errors.NameInvalid, FieldError("/name", fault.code, fault.detail)))
    if len(address) > ADDRESS_CHARACTERS or text.has_refused(address):
        refusals.append(_text_refusal("/address", f"At most {ADDRESS_CHARACTERS} visible characters."))
    if contact_phone and not _PHONE.match(_plain_phone(contact_phone)):
        refusals.append(
            _text_refusal("/contact_phone", "5 to 20 digits, with + in front when international.")
        )
    if len(external_id) > EXTERNAL_ID_CHARACTERS or text.has_refused(external_id):
        refusals.append(
            _text_refusal("/external_id", f"At most {EXTERNAL_ID_CHARACTERS} visible characters.")
        )
    elif _holds_identity(external_id, name, document, examined) or personal.looks_like_resident_id(
        external_id
    ):
        # It is stored and shown in clear: neither this person's number nor anybody else's.
        refusals.append(
            _text_refusal("/external_id", "Use a key of your own, not a person's name or identity number.")
        )
    if refusals:
        raise refusals[0][0](errors=[fault for _, fault in refusals])
    assert examined is not None  # noqa: S101 - without a document that is read there is a refusal
    return examined


def _examine_document(
    document: DocumentInput, rules: dict[PolicyKey, Any], today: date, refusals: list[Refusal]
) -> _Examined | None:
    accepted = rules[PolicyKey.ACCEPTED_DOCUMENT_TYPES]
    # A code of a company is nobody's document, whatever policy says.
    if document.type == DocumentType.USCC or not documents.accepts(accepted, document.type):
        detail = "This type of document is not accepted."
        fault = FieldError("/document/type", errors.DocumentTypeNotAccepted.code, detail)
        refusals.append((errors.DocumentTypeNotAccepted, fault))
        return None
    parsed = former = issuing_country = None
    try:
        parsed = documents.parse(
            type=document.type,
            number=document.number,
            today=today,
            accept_fifteen=documents.FIRST_GENERATION in accepted,
        )
    except documents.NumberFault as number_fault:
        refusals.append(_document_refusal("/document/number", number_fault))
    if parsed is not None and document.former_number:
        try:
            former = documents.parse_former(
                type=document.type, number=parsed.number, former_number=document.former_number, today=today
            )
        except documents.NumberFault as number_fault:
            refusals.append(_document_refusal("/document/former_number", number_fault))
    refusals.extend(_term_refusals(document, today))
    try:
        issuing_country = documents.issuer(type=document.type, issuing_country=document.issuing_country)
    except documents.NumberFault as country_fault:
        refusals.append(_document_refusal("/document/issuing_country", country_fault))
    if parsed is None:
        return None
    # Where the number does not tell the age, the verification asks a person to look.
    born = parsed.birth_date
    if born is not None and documents.age_on(born, today) < rules[PolicyKey.MINIMUM_AGE]:
        fault = FieldError(
            "/document/number", errors.SubscriberUnderAge.code, errors.SubscriberUnderAge.detail
        )
        refusals.append((errors.SubscriberUnderAge, fault))
    return _Examined(parsed, issuing_country or "", former)


def _document_refusal(pointer: str, fault: documents.NumberFault) -> Refusal:
    return errors.DocumentInvalid, FieldError(pointer, fault.code, fault.detail)


def _term_refusals(document: DocumentInput, today: date) -> list[Refusal]:
    found: list[Refusal] = []
    valid_from, valid_until = document.valid_from, document.valid_until
    if valid_from is not None and valid_until is not None and valid_until < valid_from:
        fault = FieldError("/document/valid_until", "term_invalid", "The document ends before it begins.")
        return [(errors.DocumentInvalid, fault)]
    if valid_from is not None and valid_from > today:
        fault = FieldError("/document/valid_from", "term_invalid", "The document is not valid yet.")
        found.append((errors.DocumentInvalid, fault))
    if valid_until is not None and valid_until < today:
        fault = FieldError("/document/valid_until", errors.DocumentExpired.code, "The document has expired.")
        found.append((errors.DocumentExpired, fault))
    return found


def _text_refusal(pointer: str, detail: str) -> Refusal:
    return errors.TextInvalid, FieldError(pointer, errors.TextInvalid.code, detail)


def _holds_identity(external_id: str, name: str, document: DocumentInput, examined: _Examined | None) -> bool:
    key = documents.normalise(external_id)
    numbers = [documents.normalise(document.number), documents.normalise(document.former_number)]
    if examined is not None:
        numbers.append(examined.parsed.number)
    if any(len(candidate) >= 8 and candidate in key for candidate in numbers):
        return True
    plain = names.canonical(name).casefold()
    return bool(plain) and plain in names.canonical(external_id).casefold()


def _plain_phone(contact_phone: str) -> str:
    return _PHONE_FILLERS.sub("", documents.normalise(contact_phone))
