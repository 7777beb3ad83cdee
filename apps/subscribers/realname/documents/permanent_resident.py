"""The foreign permanent resident's identity card, both versions that are valid (National Immigration Administration).

Since 2023-12-01: 9, 2 region, 3 country (ISO numeric), 8 birth date, 3 sequence, MOD 11-2. Before (2017): 3 country
letters (ISO alpha-3), 4 region, 6 birth date, 1 sex, ICAO 7-3-1. What the sex digit means is not published: it is not
read. One number cannot be computed from the other; the new card prints the old number, and says so to whoever asks.
"""

from __future__ import annotations

import re
from datetime import date

from apps.subscribers.realname.documents import countries
from apps.subscribers.realname.documents.numbers import (
    NumberFault,
    ParsedNumber,
    birth_date,
    require_eighteen,
    require_icao,
    require_mod_11_2,
)

_OLD = re.compile(r"[A-Z]{3}[0-9]{12}")
_FOREIGNER = "9"


def parse_permanent_resident(plain: str, today: date) -> ParsedNumber:
    """:raises NumberFault: number_length, number_alphabet, number_area, number_country, number_birth_date or
    number_check_digit.
    """
    if len(plain) == 15:
        return _parse_old(plain, today)
    if len(plain) != 18:
        raise NumberFault("number_length", "A permanent resident's card has 18 characters, the old one 15.")
    require_eighteen(plain, "A permanent resident's number")
    if plain[0] != _FOREIGNER or plain[1] == "0":
        raise NumberFault("number_area", "A permanent resident's number begins with 9 and a region.")
    if plain[3:6] not in countries.ALPHA_3:
        raise NumberFault("number_country", "The number names no country.")
    born = birth_date(plain[6:14], today)
    require_mod_11_2(plain)
    return ParsedNumber(plain, born)


def is_former(*, old: str, new: str) -> bool:
    """Whether a card of 2017 can have become this one: the same country and birth date. Both in normal form."""
    return (
        len(old) == 15
        and len(new) == 18
        and countries.NUMERIC[old[:3]] == new[3:6]
        and old[7:13] == new[8:14]
    )


def _parse_old(plain: str, today: date) -> ParsedNumber:
    if _OLD.fullmatch(plain) is None:
        raise NumberFault("number_alphabet", "The card of 2017 has 3 letters and 12 digits.")
    if plain[:3] not in countries.NUMERIC:
        raise NumberFault("number_country", "The number names no country.")
    if plain[3] == "0":
        raise NumberFault("number_area", "The number names no region.")
    born = _birth_date(plain[7:13], today)
    require_icao(plain)
    return ParsedNumber(plain, born)


def _birth_date(digits: str, today: date) -> date:
    """YYMMDD in the later century that is possible: who is taken for too young is looked at, not let through."""
    try:
        return birth_date(f"20{digits}", today)
    except NumberFault:
        return birth_date(f"19{digits}", today)
