"""Looking over what somebody wants to register: all faults together, each with its pointer, and nobody looked up.

Nothing here reads who is on file, so no answer can tell whether somebody else's document is known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from apps.core import masking, personal
from apps.core.errors import FieldError, RuleViolation
from apps.operators import policies
from apps.operators.calendar import china_date
from apps.operators.policies import PolicyKey
from apps.subscribers import errors
from apps.subscribers.realname import documents, names, text
from apps.subscribers.realname.documents import DocumentInput, DocumentType, ParsedNumber

ADDRESS_CHARACTERS = 200
EXTERNAL_ID_CHARACTERS = 64
_PHONE = re.compile(r"\+?[0-9]{5,20}\Z")
_PHONE_FILLERS = re.compile(r"[ ()-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonInput:
    """Somebody who stands for a subscriber, as they were given."""

    name: str = field(repr=False)
    document: DocumentInput


@dataclass(frozen=True, slots=True)
class Examined:
    """A document as it will be stored."""

    type: DocumentType
    parsed: ParsedNumber
    issuing_country: str
    valid_from: date | None
    valid_until: date | None
    # The permanent resident's card of 2017, when the one of today names it.
    former: ParsedNumber | None = None

    @property
    def numbers(self) -> tuple[str, ...]:
        """In normal form: that of today and, after it, the former one."""
        return tuple(each.number for each in (self.parsed, self.former) if each is not None)

    @property
    def person_keys(self) -> tuple[str, ...]:
        """See `documents.person_key`; one for each number."""
        return tuple(
            documents.person_key(type=self.type, number=number, issuing_country=self.issuing_country)
            for number in self.numbers
        )

    def columns(self, number: str) -> dict[str, Any]:
        """Those that tables of documents share, in clear or masked, for one of the numbers."""
        return {
            "number_masked": masking.mask_document_number(number),
            "fingerprint": documents.fingerprint(
                type=self.type, number=number, issuing_country=self.issuing_country
            ),
            "issuing_country": self.issuing_country,
        }


class Examination:
    """Collects the faults of one input; `finish` raises them, if there are any, as the error of the first."""

    def __init__(self, *, operator_id: int, now: datetime) -> None:
        self.today = china_date(now)
        self.rules = policies.get_many(
            operator_id=operator_id,
            keys=(
                PolicyKey.ACCEPTED_DOCUMENT_TYPES,
                PolicyKey.MINIMUM_AGE,
                PolicyKey.MINIMUM_AGE_WITH_GUARDIAN,
                PolicyKey.REPRESENTATIVE_AGE,
                PolicyKey.PROXY_CHANNELS,
            ),
            now=now,
        )
        self._refusals: list[tuple[type[RuleViolation], FieldError]] = []

    def finish(self) -> None:
        """:raises RuleViolation: the first fault's own, with all of them."""
        if self._refusals:
            raise self._refusals[0][0](errors=[fault for _, fault in self._refusals])

    def refuse(self, error: type[RuleViolation], pointer: str, detail: str = "", *, code: str = "") -> None:
        self._refusals.append((error, FieldError(pointer, code or error.code, detail or error.detail)))

    def person(self, person: PersonInput, *, at: str = "") -> Examined | None:
        """Name and document of somebody."""
        found = self.document(person.document, documents.PERSONAL_DOCUMENTS, at=at)
        try:
            names.check(person.name)
        except names.NameFault as fault:
            self.refuse(errors.NameInvalid, f"{at}/name", fault.detail, code=fault.code)
        return found

    def representative(self, person: PersonInput, *, at: str) -> Examined | None:
        """Somebody of age."""
        found = self.person(person, at=at)
        born = None if found is None else found.parsed.birth_date
        if born is not None and documents.age_on(born, self.today) < self.rules[PolicyKey.REPRESENTATIVE_AGE]:
            self.refuse(errors.RepresentativeUnderAge, f"{at}/document/number")
        return found

    def not_the_holder(self, representative: Examined, holder_keys: Collection[str], *, at: str) -> None:
        if not set(representative.person_keys).isdisjoint(holder_keys):
            self.refuse(errors.RepresentativeIsHolder, f"{at}/document/number")

    def organization(self, name: str, document: DocumentInput) -> Examined | None:
        found = self.document(document, (DocumentType.USCC,))
        try:
            names.check_organization(name)
        except names.NameFault as fault:
            self.refuse(errors.NameInvalid, "/name", fault.detail, code=fault.code)
        return found

    def document(
        self, document: DocumentInput, among: Collection[DocumentType], *, at: str = ""
    ) -> Examined | None:
        """The document in normal form, as far as its number can be read. `among` are types that can be meant at all."""
        accepted = self.rules[PolicyKey.ACCEPTED_DOCUMENT_TYPES]
        at = f"{at}/document"
        if document.type not in among or not documents.accepts(accepted, document.type):
            self.refuse(errors.DocumentTypeNotAccepted, f"{at}/type")
            return None
        parsed = former = issuing_country = None
        try:
            parsed = documents.parse(
                type=document.type,
                number=document.number,
                today=self.today,
                accept_fifteen=documents.FIRST_GENERATION in accepted,
            )
        except documents.NumberFault as number_fault:
            self._refuse_document(f"{at}/number", number_fault)
        if parsed is not None and document.former_number:
            try:
                former = documents.parse_former(
                    type=document.type,
                    number=parsed.number,
                    former_number=document.former_number,
                    today=self.today,
                )
            except documents.NumberFault as number_fault:
                self._refuse_document(f"{at}/former_number", number_fault)
        self._check_term(document, at)
        try:
            issuing_country = documents.issuer(type=document.type, issuing_country=document.issuing_country)
        except documents.NumberFault as country_fault:
            self._refuse_document(f"{at}/issuing_country", country_fault)
        if parsed is None:
            return None
        return Examined(
            document.type, parsed, issuing_country or "", document.valid_from, document.valid_until, former
        )

    def age(self, holder: Examined | None, *, has_guardian: bool) -> None:
        """Old enough alone, with a guardian, or not at all. Where the number does not tell, a person will look."""
        if holder is None or holder.parsed.birth_date is None:
            return
        age = documents.age_on(holder.parsed.birth_date, self.today)
        if age >= self.rules[PolicyKey.MINIMUM_AGE]:
            if has_guardian:
                self.refuse(errors.GuardianNotNeeded, "/guardian")
            return
        too_young = age < self.rules[PolicyKey.MINIMUM_AGE_WITH_GUARDIAN]
        if has_guardian and not too_young:
            return
        self.refuse(
            errors.SubscriberUnderAge, "/document/number", "The person is too young." if too_young else ""
        )
        if not too_young:
            detail = "A person of this age registers with a guardian."
            self.refuse(errors.SubscriberUnderAge, "/guardian", detail, code="guardian_missing")

    def texts(self, *, address: str, contact_phone: str) -> None:
        if len(address) > ADDRESS_CHARACTERS or text.has_refused(address):
            self.refuse(errors.TextInvalid, "/address", f"At most {ADDRESS_CHARACTERS} visible characters.")
        if contact_phone and not _PHONE.match(plain_phone(contact_phone)):
            detail = "5 to 20 digits, with + in front when international."
            self.refuse(errors.TextInvalid, "/contact_phone", detail)

    def external_id(self, external_id: str, people: Collection[tuple[PersonInput, Examined | None]]) -> None:
        """It is stored and shown in clear: no number or name of these people, nor of anybody else."""
        if len(external_id) > EXTERNAL_ID_CHARACTERS or text.has_refused(external_id):
            detail = f"At most {EXTERNAL_ID_CHARACTERS} visible characters."
            self.refuse(errors.TextInvalid, "/external_id", detail)
        elif personal.looks_like_resident_id(external_id) or any(
            holds_identity(external_id, person, examined) for person, examined in people
        ):
            detail = "Use a key of your own, not a person's name or identity number."
            self.refuse(errors.TextInvalid, "/external_id", detail)

    def _check_term(self, document: DocumentInput, at: str) -> None:
        valid_from, valid_until = document.valid_from, document.valid_until
        if valid_from is not None and valid_until is not None and valid_until < valid_from:
            detail = "The document ends before it begins."
            self.refuse(errors.DocumentInvalid, f"{at}/valid_until", detail, code="term_invalid")
            return
        if valid_from is not None and valid_from > self.today:
            detail = "The document is not valid yet."
            self.refuse(errors.DocumentInvalid, f"{at}/valid_from", detail, code="term_invalid")
        if valid_until is not None and valid_until < self.today:
            self.refuse(errors.DocumentExpired, f"{at}/valid_until", "The document has expired.")

    def _refuse_document(self, pointer: str, fault: documents.NumberFault) -> None:
        self.refuse(errors.DocumentInvalid, pointer, fault.detail, code=fault.code)


def holds_identity(clear: str, person: PersonInput, examined: Examined | None) -> bool:
    """Whether somebody's name, or number as typed or in normal form, stands in a text that is kept in clear."""
    return names_somebody(clear, person.name, tuple(_written_numbers(person.document, examined)))


def names_somebody(clear: str, name: str, numbers: Collection[str]) -> bool:
    """The same, for what is on file. Numbers of fewer than eight characters are in too many texts."""
    key = documents.normalise(clear)
    if any(len(number) >= 8 and number in key for number in numbers):
        return True
    plain = names.canonical(name).casefold()
    return bool(plain) and plain in names.canonical(clear).casefold()


def plain_phone(contact_phone: str) -> str:
    return _PHONE_FILLERS.sub("", documents.normalise(contact_phone))


def _written_numbers(document: DocumentInput, examined: Examined | None) -> Iterator[str]:
    yield documents.normalise(document.number)
    yield documents.normalise(document.former_number)
    if examined is not None:
        yield from examined.numbers
