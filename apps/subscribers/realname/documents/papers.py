"""Documents whose numbers have no check digit and no form in common: passports and the armed forces' own."""

from __future__ import annotations

import re

from apps.subscribers.realname.documents.numbers import NumberFault, ParsedNumber

_PASSPORT = re.compile(r"[A-Z0-9]+")
_MILITARY_CHARACTERS = re.compile(r"[A-Z0-9\u4e00-\u9fff-]+")
_MILITARY = re.compile(r"[A-Z\u4e00-\u9fff]+-?[0-9]{4,12}\u53f7?")


def parse_passport(plain: str) -> ParsedNumber:
    """:raises NumberFault: number_length or number_alphabet."""
    if not 5 <= len(plain) <= 17:
        raise NumberFault("number_length", "A passport number has 5 to 17 characters.")
    if _PASSPORT.fullmatch(plain) is None:
        raise NumberFault("number_alphabet", "A passport number is letters and digits.")
    return ParsedNumber(plain)


def parse_military_id(plain: str) -> ParsedNumber:
    """A unit's prefix and digits; digits alone are somebody's resident number, and counted as that.

    :raises NumberFault: number_length, number_alphabet or number_form.
    """
    if not 5 <= len(plain) <= 24:
        raise NumberFault("number_length", "A military document has 5 to 24 characters.")
    if _MILITARY_CHARACTERS.fullmatch(plain) is None:
        raise NumberFault("number_alphabet", "A military document has Chinese or Latin letters and digits.")
    if _MILITARY.fullmatch(plain) is None:
        raise NumberFault("number_form", "A military document is a unit's prefix and 4 to 12 digits.")
    return ParsedNumber(plain)
