"""Mainland travel permits: their numbers belong to the person, what follows counts renewals and is cut.

Hong Kong and Macao: H or M and 8 digits for life, on older cards 2 digits more. Taiwan: 8 digits for life; until
2008-09-25 followed by 2 digits that count the booklets and, in brackets, a letter or digit of the office.
"""

from __future__ import annotations

import re

from apps.subscribers.realname.documents.numbers import NumberFault, ParsedNumber

_HK_MACAO = re.compile(r"[HM][0-9]{8}(?:[0-9]{2})?")
_TAIWAN = re.compile(r"[0-9]{8}(?:[0-9]{2}[A-Z]?)?")
_OFFICE = re.compile(r"([0-9]{10})[(\uff08]([A-Z0-9])[)\uff09]")


def parse_hk_macao_permit(plain: str) -> ParsedNumber:
    """:raises NumberFault: number_length or number_alphabet."""
    if len(plain) not in (9, 11):
        raise NumberFault("number_length", "The permit has 9 characters, older ones 11.")
    if _HK_MACAO.fullmatch(plain) is None:
        raise NumberFault("number_alphabet", "The permit has H or M and then digits.")
    return ParsedNumber(plain[:9])


def parse_taiwan_permit(plain: str) -> ParsedNumber:
    """:raises NumberFault: number_length or number_alphabet."""
    if len(plain) == 13 and _OFFICE.fullmatch(plain):
        return ParsedNumber(plain[:8])
    if len(plain) not in (8, 10, 11):
        raise NumberFault("number_length", "The permit has 8 digits, older ones 10 and a letter.")
    if _TAIWAN.fullmatch(plain) is None:
        raise NumberFault("number_alphabet", "The permit has 8 digits, older ones 10 and a letter.")
    return ParsedNumber(plain[:8])
