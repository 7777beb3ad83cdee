"""Registering a person with an identity document (Order 25 arts. 6 and 9: type, name, number, address)."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

from django.db import IntegrityError, transaction

from apps.audit import services as audit
from apps.core import masking, personal
from apps.core.actor import Actor, ActorKind
from apps.core.db import operation, violated_constraint
from apps.core.errors import FieldError, NotFound, RuleViolation
from apps.operators import policies
from apps.operators.calendar import china_date
from apps.operators.policies import PolicyKey
from apps.subscribers import errors
from apps.subscribers.models import IdentityDocument, Subscriber
from apps.subscribers.realname import documents, names, text
from apps.subscribers.realname.documents import DocumentInput, DocumentType, ParsedNumber
from apps.subscribers.states import SubscriberKind

REGISTER = "subscribers.register"
ADDRESS_CHARACTERS = 200
EXTERNAL_ID_CHARACTERS = 64
# A mainland resident identity card is issued by one country only; others come with their own document types.
_ISSUER = "CHN"
_PHONE = re.compile(r"\+?[0-9]{5,20}\Z")
_PHONE_FILLERS = re.compile(r"[ ()-]")

Refusal = tuple[type[RuleViolation], FieldError]


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
) -> tuple[Subscriber, bool]:
    """Registers one person, or finds the one that the operator already has under this document: (subscriber, created).

    Whoever is found is left as they are. However many ask at once for one person, one subscriber comes of it. Only the
    operator's own documents are looked at, so the answer says nothing about other operators' subscribers. All faults of
    the input are reported together; the error's class is that of the first.

    :raises DocumentTypeNotAccepted, DocumentInvalid, DocumentExpired, SubscriberUnderAge, NameInvalid, TextInvalid:
        the input cannot be accepted (policies `realname.accepted_document_types` and `realname.minimum_age`).
    :raises DocumentNameConflict: the operator has the document under another name.
    :raises ExternalIdTaken: another person of the operator carries the external_id.
    :raises NotFound: the operator is not the actor's. :raises Forbidden: staff without `subscribers.register`.
    """
    require_register(actor)
    if not actor.sees(operator_id):
        raise NotFound
    parsed = _examine(
        operator_id=operator_id,
        name=name,
        document=document,
        address=address,
        contact_phone=contact_phone,
        external_id=external_id,
        now=now,
    )
    fingerprint = documents.fingerprint(type=document.type, number=parsed.number)
    if existing := _existing(operator_id, fingerprint, name):
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
    row = IdentityDocument(
        operator_id=operator_id,
        subscriber=subscriber,
        type=document.type,
        number_masked=masking.mask_document_number(parsed.number),
        fingerprint=fingerprint,
        valid_from=document.valid_from,
        valid_until=document.valid_until,
        issuing_country=document.issuing_country or _ISSUER,
        created_at=now,
    )
    row.seal_number(parsed.number)
    try:
        with transaction.atomic():
            subscriber.save(force_insert=True)
            row.subscriber_id = subscriber.pk
            row.save(force_insert=True)
    except IntegrityError as error:
        # Somebody was faster. The same person may also hold the external_id by now, so the person is looked at first.
        if existing := _existing(operator_id, fingerprint, name):
            return existing, False
        if violated_constraint(error) == "subscriber_external_id":
            raise errors.ExternalIdTaken from None
        raise
    audit.record(
        actor=actor,
        action="subscriber.register",
        target_type="subscriber",
        target_id=subscriber.uid,
        operator_id=operator_id,
        after={"kind": subscriber.kind, "document": row.uid, "document_type": row.type},
        now=now,
    )
    return subscriber, True


def require_register(actor: Actor) -> None:
    """Staff need a right of their own; a partner app's scope was asked for at the door."""
    if actor.kind is ActorKind.STAFF:
        actor.require(REGISTER)


def _existing(operator_id: int, fingerprint: bytes, name: str) -> Subscriber | None:
    row = (
        IdentityDocument.objects.filter(operator_id=operator_id, fingerprint=fingerprint)
        .select_related("subscriber")
        .first()
    )
    if row is None:
        return None
    if not names.same(row.subscriber.open_name(), name):
        raise errors.DocumentNameConflict(
            errors=[
                FieldError(
                    "/name", "document_name_conflict", "Not the name this document is registered with."
                )
            ]
        )
    return row.subscriber


def _examine(
    *,
    operator_id: int,
    name: str,
    document: DocumentInput,
    address: str,
    contact_phone: str,
    external_id: str,
    now: datetime,
) -> ParsedNumber:
    """The number in normal form, when nothing at all is wrong with the input."""
    rules = policies.get_many(
        operator_id=operator_id, keys=(PolicyKey.ACCEPTED_DOCUMENT_TYPES, PolicyKey.MINIMUM_AGE), now=now
    )
    today = china_date(now)
    refusals: list[Refusal] = []
    parsed = _examine_document(document, rules, today, refusals)
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
    elif _holds_identity(external_id, name, document.number, parsed) or personal.looks_like_resident_id(
        external_id
    ):
        # It is stored and shown in clear: neither this person's number nor anybody else's.
        refusals.append(
            _text_refusal("/external_id", "Use a key of your own, not a person's name or identity number.")
        )
    if refusals:
        raise refusals[0][0](errors=[fault for _, fault in refusals])
    assert parsed is not None  # noqa: S101 - without a parsed number there is a refusal
    return parsed


def _examine_document(
    document: DocumentInput, rules: dict[PolicyKey, Any], today: date, refusals: list[Refusal]
) -> ParsedNumber | None:
    accepted = rules[PolicyKey.ACCEPTED_DOCUMENT_TYPES]
    parser = documents.PARSERS.get(document.type)
    if parser is None or document.type not in accepted:
        detail = "This type of document is not accepted."
        fault = FieldError("/document/type", errors.DocumentTypeNotAccepted.code, detail)
        refusals.append((errors.DocumentTypeNotAccepted, fault))
        return None
    parsed = None
    try:
        parsed = parser(document.number, today=today, accept_fifteen=documents.FIRST_GENERATION in accepted)
    except documents.NumberFault as number_fault:
        fault = FieldError("/document/number", number_fault.code, number_fault.detail)
        refusals.append((errors.DocumentInvalid, fault))
    refusals.extend(_term_refusals(document, today))
    if document.type == DocumentType.RESIDENT_ID and document.issuing_country not in ("", _ISSUER):
        fault = FieldError(
            "/document/issuing_country", "country_invalid", "Resident identity cards are issued by CHN."
        )
        refusals.append((errors.DocumentInvalid, fault))
    if parsed is not None and documents.age_on(parsed.birth_date, today) < rules[PolicyKey.MINIMUM_AGE]:
        fault = FieldError(
            "/document/number", errors.SubscriberUnderAge.code, errors.SubscriberUnderAge.detail
        )
        refusals.append((errors.SubscriberUnderAge, fault))
    return parsed


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


def _holds_identity(external_id: str, name: str, number: str, parsed: ParsedNumber | None) -> bool:
    key = documents.normalise(external_id).upper()
    numbers = [documents.normalise(number).upper(), *([parsed.number] if parsed else [])]
    if any(len(candidate) >= 8 and candidate in key for candidate in numbers):
        return True
    plain = names.canonical(name).casefold()
    return bool(plain) and plain in names.canonical(external_id).casefold()


def _plain_phone(contact_phone: str) -> str:
    return _PHONE_FILLERS.sub("", documents.normalise(contact_phone))
