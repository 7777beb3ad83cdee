"""Numbers built as GB 11643 builds the citizen's: 6 area, 8 birth date, 3 sequence (odd male, even female), 1 check.

Area codes are never looked up in a list: they change, and cards with old ones stay valid.
"""

from __future__ import annotations

import re
from datetime import date

from apps.subscribers.realname.documents.numbers import (
    NumberFault,
    ParsedNumber,
    birth_date,
    mod_11_2,
    require_eighteen,
    require_mod_11_2,
    sex,
)

# Hong Kong, Macao, Taiwan: whole areas of residence permits, and of no citizen's card.
_PERMIT_AREAS = frozenset({"810000", "820000", "830000"})
_FIFTEEN = re.compile(r"[0-9]{15}")


def parse_resident(plain: str, today: date, *, accept_fifteen: bool = False) -> ParsedNumber:
    """The citizen's number: of the identity card, the temporary one and the household register.

    The 15 digits of first-generation cards, where accepted, become the 18 of the same person.

    :raises NumberFault: number_length, number_alphabet, number_area, number_birth_date, number_check_digit,
        or number_fifteen_digits when policy does not accept the old form.
    """
    if len(plain) == 15 and _FIFTEEN.fullmatch(plain):
        if not accept_fifteen:
            raise NumberFault("number_fifteen_digits", "Numbers of first-generation cards are not accepted.")
        body = f"{plain[:6]}19{plain[6:]}"
        plain = body + mod_11_2(body)
    require_eighteen(plain, "A resident identity number")
    if plain[0] in "09" or plain[:6] in _PERMIT_AREAS:
        raise NumberFault("number_area", "This is not the number of a resident identity card.")
    return _read(plain, today)


def parse_residence_permit(plain: str, today: date) -> ParsedNumber:
    """The residence permit for people of Hong Kong, Macao and Taiwan (2018).

    :raises NumberFault: number_length, number_alphabet, number_area, number_birth_date or number_check_digit.
    """
    require_eighteen(plain, "The number of a residence permit")
    if plain[:6] not in _PERMIT_AREAS:
        raise NumberFault("number_area", "Residence permits begin with 810000, 820000 or 830000.")
    return _read(plain, today)


def _read(plain: str, today: date) -> ParsedNumber:
    born = birth_date(plain[6:14], today)
    require_mod_11_2(plain)
    return ParsedNumber(plain, born, sex(plain[16]))
