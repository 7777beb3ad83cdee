"""Identity documents: which there are, how their numbers are written, and when two of them are one person's.

Formats and check digits: domain rule 2.4. One module for each way of building a number; what is in here knows all ten.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from apps.core import sealing
from apps.subscribers.realname.documents import countries
from apps.subscribers.realname.documents.numbers import (
    FAULTS,
    LONGEST_TYPED,
    NumberFault,
    ParsedNumber,
    Sex,
    normalise,
)
from apps.subscribers.realname.documents.organizations import parse_uscc
from apps.subscribers.realname.documents.papers import parse_military_id, parse_passport
from apps.subscribers.realname.documents.permanent_resident import is_former, parse_permanent_resident
from apps.subscribers.realname.documents.permits import parse_hk_macao_permit, parse_taiwan_permit
from apps.subscribers.realname.documents.resident import parse_residence_permit, parse_resident

__all__ = [
    "FAULTS",
    "FIRST_GENERATION",
    "PERSONAL_DOCUMENTS",
    "DocumentInput",
    "DocumentType",
    "NumberFault",
    "ParsedNumber",
    "Sex",
    "accepts",
    "age_on",
    "fingerprint",
    "issuer",
    "normalise",
    "parse",
    "parse_former",
    "search_fingerprint",
]


class DocumentType(StrEnum):
    """The words of the API."""

    RESIDENT_ID = "resident_id"
    TEMPORARY_RESIDENT_ID = "temporary_resident_id"
    HOUSEHOLD_REGISTER = "household_register"
    HK_MACAO_PERMIT = "hk_macao_permit"
    TAIWAN_PERMIT = "taiwan_permit"
    HKMT_RESIDENCE_PERMIT = "hkmt_residence_permit"
    FOREIGN_PERMANENT_RESIDENT = "foreign_permanent_resident"
    PASSPORT = "passport"
    MILITARY_ID = "military_id"
    USCC = "uscc"


# All but the code of an organization.
PERSONAL_DOCUMENTS = tuple(type for type in DocumentType if type is not DocumentType.USCC)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInput:
    """A document as somebody gave it. `valid_until` is the last day printed on it; None means long-term.

    `former_number` is what a foreign permanent resident's card of today prints of the one of 2017.
    """

    type: DocumentType
    number: str = field(repr=False)
    valid_from: date | None = None
    valid_until: date | None = None
    issuing_country: str = ""
    former_number: str = field(default="", repr=False)


# A word of the policy `realname.accepted_document_types`: numbers of first-generation cards (15 digits) are taken too.
FIRST_GENERATION = "resident_id_15"
_CHINA = "CHN"
_PURPOSE = "subscribers.identitydocument.fingerprint"

# Documents whose numbers are the same for the same person share a family, and so a fingerprint. What only may be the
# same (a travel and a residence permit, a passport and the one before) is not guessed.
_FAMILIES: Mapping[DocumentType, str] = MappingProxyType(
    {
        DocumentType.RESIDENT_ID: "resident",
        DocumentType.TEMPORARY_RESIDENT_ID: "resident",
        DocumentType.HOUSEHOLD_REGISTER: "resident",
        DocumentType.HK_MACAO_PERMIT: "hk_macao_permit",
        DocumentType.TAIWAN_PERMIT: "taiwan_permit",
        DocumentType.HKMT_RESIDENCE_PERMIT: "hkmt_residence_permit",
        DocumentType.FOREIGN_PERMANENT_RESIDENT: "foreign_permanent_resident",
        DocumentType.PASSPORT: "passport",
        DocumentType.MILITARY_ID: "military_id",
        DocumentType.USCC: "uscc",
    }
)
_DATED: Mapping[DocumentType, Callable[[str, date], ParsedNumber]] = MappingProxyType(
    {
        DocumentType.HKMT_RESIDENCE_PERMIT: parse_residence_permit,
        DocumentType.FOREIGN_PERMANENT_RESIDENT: parse_permanent_resident,
    }
)
_UNDATED: Mapping[DocumentType, Callable[[str], ParsedNumber]] = MappingProxyType(
    {
        DocumentType.HK_MACAO_PERMIT: parse_hk_macao_permit,
        DocumentType.TAIWAN_PERMIT: parse_taiwan_permit,
        DocumentType.PASSPORT: parse_passport,
        DocumentType.MILITARY_ID: parse_military_id,
        DocumentType.USCC: parse_uscc,
    }
)


def accepts(accepted: Collection[str], type: DocumentType, *, channel: str = "") -> bool:
    """Whether the policy `realname.accepted_document_types` takes this type, in this channel or (none given) in any.

    Its words are types, and `type@channel` (`passport@in_store`) for one channel only.
    """
    if type in accepted:
        return True
    if channel:
        return f"{type}@{channel.lower()}" in accepted
    return any(word.startswith(f"{type}@") for word in accepted)


def parse(*, type: DocumentType, number: str, today: date, accept_fifteen: bool = False) -> ParsedNumber:
    """Reads a number of this type; old forms and renewals of one person's document have one normal form.

    :raises NumberFault: number_length, number_alphabet, number_form, number_area, number_country, number_birth_date,
        number_check_digit, or number_fifteen_digits when policy does not accept the old form.
    """
    if len(number) > LONGEST_TYPED:
        raise NumberFault("number_length", "No document has such a long number.")
    plain = normalise(number)
    if undated := _UNDATED.get(type):
        return undated(plain)
    if dated := _DATED.get(type):
        return dated(plain, today)
    return parse_resident(plain, today, accept_fifteen=accept_fifteen)


def parse_former(*, type: DocumentType, number: str, former_number: str, today: date) -> ParsedNumber:
    """The number of the card of 2017 that a permanent resident's card prints; `number` in normal form.

    :raises NumberFault: the faults of `parse`, or number_former when it cannot be the same person's.
    """
    former = parse(type=type, number=former_number, today=today)
    if type != DocumentType.FOREIGN_PERMANENT_RESIDENT or not is_former(old=former.number, new=number):
        raise NumberFault("number_former", "This is not the number of the same person's card of 2017.")
    return former


def issuer(*, type: DocumentType, issuing_country: str) -> str:
    """The country that issued the document, ISO 3166 alpha-3: a passport names it, all others are China's.

    :raises NumberFault: country_missing or country_invalid.
    """
    if type != DocumentType.PASSPORT:
        if issuing_country not in ("", _CHINA):
            raise NumberFault("country_invalid", f"Documents of this type are issued by {_CHINA}.")
        return _CHINA
    if not issuing_country:
        raise NumberFault("country_missing", "Name the country that issued the passport.")
    if issuing_country not in countries.NUMERIC or issuing_country in countries.CHINESE:
        raise NumberFault("country_invalid", "This is no country that issues foreign passports.")
    return issuing_country


def fingerprint(*, type: DocumentType, number: str, issuing_country: str = "") -> bytes:
    """Bytes that stand for one person's document family; `number` in normal form (`ParsedNumber.number`).

    A passport's family is its country, as `issuer` gives it. The first of `fingerprints`: the one to store.
    """
    return sealing.blind_index(_family_number(type, number, issuing_country), purpose=_PURPOSE)


def fingerprints(*, type: DocumentType, number: str, issuing_country: str = "") -> tuple[bytes, ...]:
    """Every fingerprint under which the document may be stored while the key of the blind indexes is rotated."""
    return sealing.blind_indexes(_family_number(type, number, issuing_country), purpose=_PURPOSE)


def person_key(*, type: DocumentType, number: str, issuing_country: str = "") -> str:
    """Equal for what has equal fingerprints, whatever key those are made with: to lock on, never to store."""
    return sealing.keyed_hash(_family_number(type, number, issuing_country), purpose=_PURPOSE).hex()


def search_fingerprints(*, type: DocumentType, number: str, issuing_country: str = "") -> tuple[bytes, ...]:
    """The fingerprints to search by for a number as somebody typed it; none when no such document can be stored."""
    try:
        country = issuer(type=type, issuing_country=issuing_country)
        parsed = parse(type=type, number=number, today=date.max, accept_fifteen=True)
    except NumberFault:
        return ()
    return fingerprints(type=type, number=parsed.number, issuing_country=country)


def search_fingerprint(*, type: DocumentType, number: str, issuing_country: str = "") -> bytes | None:
    """The first of `search_fingerprints`; None when there are none."""
    return next(iter(search_fingerprints(type=type, number=number, issuing_country=issuing_country)), None)


def _family_number(type: DocumentType, number: str, issuing_country: str) -> str:
    family = _FAMILIES[type]
    if type == DocumentType.PASSPORT:
        family = f"{family}.{issuing_country}"
    return f"{family}:{number}"


def age_on(birth_date: date, today: date) -> int:
    """Completed years; a birthday counts from its first minute, one of 29 February from 1 March in other years."""
    return today.year - birth_date.year - ((today.month, today.day) < (birth_date.month, birth_date.day))
