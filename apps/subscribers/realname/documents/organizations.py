"""The unified social credit code (GB 32100-2015): 1 authority, 1 class, 6 area, 9 organisation code, 1 check."""

from __future__ import annotations

import re
from operator import mul

from apps.subscribers.realname.documents.numbers import NumberFault, ParsedNumber

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"

_CODE = re.compile(f"[{ALPHABET}]{{18}}")
_VALUES = bytes.maketrans(ALPHABET.encode(), bytes(range(31)))
# Powers of 3; the check character counts once, so that the whole is a multiple of 31.
_WEIGHTS = (*(pow(3, place, 31) for place in range(17)), 1)


def parse_uscc(plain: str) -> ParsedNumber:
    """Some authorities and classes are letters (python-stdnum takes digits only, so the sum is our own).

    :raises NumberFault: number_length, number_alphabet, number_area or number_check_digit.
    """
    if len(plain) != 18:
        raise NumberFault("number_length", "A unified social credit code has 18 characters.")
    if _CODE.fullmatch(plain) is None:
        raise NumberFault(
            "number_alphabet", "A unified social credit code has no I, O, S, V, Z and no marks."
        )
    if not plain[2:8].isdecimal():
        raise NumberFault("number_area", "The third to eighth character are the digits of an area.")
    if sum(map(mul, plain.encode().translate(_VALUES), _WEIGHTS)) % 31:
        raise NumberFault("number_check_digit", "The check character does not fit.")
    return ParsedNumber(plain)
