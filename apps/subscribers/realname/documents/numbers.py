"""What the validators share: how numbers are typed, dates and check characters in them, and how they say no."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from operator import mul
from types import MappingProxyType

from stdnum.cn import ric

# No document has more characters, however many blanks are typed between them.
LONGEST_TYPED = 64

_BLANKS = "\t \u00a0\u2002\u2003\u2009\u3000"
_TYPED = (
    dict.fromkeys(map(ord, _BLANKS), "")
    | {0xFF10 + digit: str(digit) for digit in range(10)}
    | {first + letter: chr(0x41 + letter) for first in (0x61, 0xFF21, 0xFF41) for letter in range(26)}
)
_EIGHTEEN = re.compile(r"[0-9]{17}[0-9X]")
# Nobody alive was born before; the first cards could not state another century either.
_EARLIEST_BIRTH = date(1900, 1, 1)
# ICAO 9303: digits are themselves, A is 10 and Z 35; the weights repeat.
_ICAO_VALUES = bytes.maketrans(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", bytes(range(36)))
_ICAO_WEIGHTS = (7, 3, 1) * 5


class Sex(StrEnum):
    """As the number states it."""

    MALE = "male"
    FEMALE = "female"


@dataclass(frozen=True, slots=True)
class ParsedNumber:
    """A number in its one normal form, and what it states of its holder; None is what it does not tell."""

    number: str = field(repr=False)
    birth_date: date | None = field(default=None, repr=False)
    sex: Sex | None = field(default=None, repr=False)


# What callers are told in `errors[]`, by code.
FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "number_length": "too short or too long for its type",
        "number_alphabet": "characters that this type does not have, or not in this place",
        "number_form": "the right characters in no order that this type has",
        "number_area": "an area of another type of document",
        "number_country": "no country",
        "number_birth_date": "a birth date that does not exist, lies in the future or before 1900",
        "number_check_digit": "the check character does not fit",
        "number_fifteen_digits": "a first-generation number where policy takes none",
        "number_former": "the former number is another person's or no card of 2017",
        "country_missing": "a passport without its country",
        "country_invalid": "not a country that issues this type",
    }
)


class NumberFault(ValueError):
    """Why a number or its issuing country cannot be right; `code` (see `FAULTS`) and message never repeat it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def normalise(number: str) -> str:
    """Full-width digits and letters to plain ones, letters in upper case, no blanks; nothing else is changed."""
    if number.isascii() and number.isalnum():
        return number.upper()
    return number.translate(_TYPED)


def require_eighteen(plain: str, what: str) -> None:
    """:raises NumberFault: number_length or number_alphabet, unless it is 17 digits and a digit or X."""
    if len(plain) != 18:
        raise NumberFault("number_length", f"{what} has 18 characters.")
    if _EIGHTEEN.fullmatch(plain) is None:
        raise NumberFault("number_alphabet", f"{what} is 17 digits and a digit or X.")


def require_mod_11_2(plain: str) -> None:
    """ISO 7064 MOD 11-2 over 18 characters, as GB 11643 wants it. :raises NumberFault: number_check_digit."""
    if ric.calc_check_digit(plain) != plain[17]:
        raise NumberFault("number_check_digit", "The check digit does not fit.")


def mod_11_2(body: str) -> str:
    """The check character for 17 digits."""
    return str(ric.calc_check_digit(f"{body}0"))


def require_icao(plain: str) -> None:
    """ICAO 9303 weights 7-3-1 over all but the last of 15 characters. :raises NumberFault: number_check_digit."""
    values = plain.encode().translate(_ICAO_VALUES)
    if sum(map(mul, values[:14], _ICAO_WEIGHTS)) % 10 != values[14]:
        raise NumberFault("number_check_digit", "The check digit does not fit.")


def birth_date(digits: str, today: date) -> date:
    """Reads YYYYMMDD. :raises NumberFault: number_birth_date."""
    try:
        born = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        raise NumberFault("number_birth_date", "The birth date does not exist.") from None
    if not _EARLIEST_BIRTH <= born <= today:
        raise NumberFault("number_birth_date", "The birth date cannot be right.")
    return born


def sex(digit: str) -> Sex:
    """Odd sequence numbers are men's, even ones women's (GB 11643)."""
    return Sex.MALE if digit in "13579" else Sex.FEMALE
