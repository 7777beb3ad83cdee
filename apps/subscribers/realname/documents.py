"""Identity documents: which there are, how their numbers are written, and when two of them are one person's.

Formats and check digits: GB 11643 for the resident identity card (domain rule 2.4). Area codes are never looked up in a
list: they change, and cards with old ones stay valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from stdnum.iso7064 import mod_11_2

from apps.core import sealing


class DocumentType(StrEnum):
    """The words of the API; a type can be used once `PARSERS` knows how its number is written."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInput:
    """A document as somebody gave it. `valid_until` is the last day printed on it; None means long-term."""

    type: DocumentType
    number: str = field(repr=False)
    valid_from: date | None = None
    valid_until: date | None = None
    issuing_country: str = ""


@dataclass(frozen=True, slots=True)
class ParsedNumber:
    """A number in its one normal form, and the birth date it states."""

    number: str = field(repr=False)
    birth_date: date = field(repr=False)


class NumberFault(ValueError):
    """Why a number cannot be right; `code` and the message never repeat it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


# A word of the policy `realname.accepted_document_types`: numbers of first-generation cards (15 digits) are taken too.
FIRST_GENERATION = "resident_id_15"

_FULL_WIDTH = {0xFF10 + digit: str(digit) for digit in range(10)} | dict.fromkeys(
    (0xFF38, 0xFF58, ord("x")), "X"
)
_BLANKS = re.compile(r"[ \t\u00a0\u2002\u2003\u2009\u3000]+")
_EIGHTEEN = re.compile(r"[0-9]{17}[0-9X]")
_FIFTEEN = re.compile(r"[0-9]{15}")
# Residence permits for people of Hong Kong, Macao and Taiwan: the same 18 characters, but another document.
_RESIDENCE_PERMIT_AREAS = frozenset({"810000", "820000", "830000"})
# Nobody alive was born before; the first cards could not state another century either.
_EARLIEST_BIRTH = date(1900, 1, 1)


def normalise(number: str) -> str:
    """Full-width digits and x to plain ones, X in upper case, no blanks; nothing else is changed."""
    return _BLANKS.sub("", number).translate(_FULL_WIDTH)


def parse_resident_id(number: str, *, today: date, accept_fifteen: bool) -> ParsedNumber:
    """Reads a resident identity number; the 15 digits of first-generation cards become the 18 of the same person.

    :raises NumberFault: number_length, number_alphabet, number_area, number_birth_date, number_check_digit,
        or number_fifteen_digits when policy does not accept the old form.
    """
    plain = normalise(number)
    if len(plain) == 15 and _FIFTEEN.fullmatch(plain):
        if not accept_fifteen:
            raise NumberFault("number_fifteen_digits", "Numbers of first-generation cards are not accepted.")
        body = f"{plain[:6]}19{plain[6:]}"
        plain = body + mod_11_2.calc_check_digit(body)
    if len(plain) != 18:
        raise NumberFault("number_length", "A resident identity number has 18 characters.")
    if not _EIGHTEEN.fullmatch(plain):
        raise NumberFault("number_alphabet", "A resident identity number is 17 digits and a digit or X.")
    if plain[0] in "09" or plain[:6] in _RESIDENCE_PERMIT_AREAS:
        raise NumberFault("number_area", "This is not the number of a resident identity card.")
    birth_date = _birth_date(plain[6:14], today)
    if not mod_11_2.is_valid(plain):
        raise NumberFault("number_check_digit", "The check digit does not fit.")
    return ParsedNumber(plain, birth_date)


def _birth_date(digits: str, today: date) -> date:
    try:
        born = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        raise NumberFault("number_birth_date", "The birth date does not exist.") from None
    if not _EARLIEST_BIRTH <= born <= today:
        raise NumberFault("number_birth_date", "The birth date cannot be right.")
    return born


Parser = Callable[..., ParsedNumber]
PARSERS: Mapping[DocumentType, Parser] = MappingProxyType({DocumentType.RESIDENT_ID: parse_resident_id})

# Documents whose numbers are the same for the same person share a family, and so a fingerprint.
_FAMILIES: Mapping[DocumentType, str] = MappingProxyType({DocumentType.RESIDENT_ID: "resident"})


def fingerprint(*, type: DocumentType, number: str) -> bytes:
    """32 bytes that stand for one person's document family; `number` in normal form (`ParsedNumber.number`).

    :raises KeyError: for a type that has no parser.
    """
    return sealing.blind_index(
        f"{_FAMILIES[type]}:{number}", purpose="subscribers.identitydocument.fingerprint"
    )


def search_fingerprint(*, type: DocumentType, number: str) -> bytes | None:
    """The fingerprint to search by for a number as somebody typed it; None when no such document can be stored."""
    if type not in PARSERS:
        return None
    try:
        parsed = PARSERS[type](number, today=date.max, accept_fifteen=True)
    except NumberFault:
        return None
    return fingerprint(type=type, number=parsed.number)


def age_on(birth_date: date, today: date) -> int:
    """Completed years; a birthday counts from its first minute, one of 29 February from 1 March in other years."""
    return today.year - birth_date.year - ((today.month, today.day) < (birth_date.month, birth_date.day))
