"""Recognising personal data where it does not belong: in texts that are stored and shown in clear."""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from stdnum.iso7064 import mod_11_2

# 17 digits and a digit or X, not part of a longer row of digits; no area code begins with 0.
_EIGHTEEN = re.compile(r"(?<!\d)[1-9]\d{16}(?:\d(?!\d)|[Xx])", re.ASCII)
_SEPARATORS = re.compile(r"[\s.-]+")
_BIRTH_YEARS = range(1900, 2100)


def looks_like_resident_id(text: str) -> bool:
    """Whether somebody's resident identity number stands in the text: 18 characters, birth date, check digit.

    Full-width forms count, and so does a number written in groups. Numbers of first-generation cards (15 digits) are
    not looked for: without check digit they look like an IMEI or an order number. Of random numbers of 18 digits fewer
    than one in ten thousand is taken for somebody's.
    """
    plain = unicodedata.normalize("NFKC", text)
    return any(
        _is_resident_id(found[0].upper())
        for written in (plain, _SEPARATORS.sub("", plain))
        for found in _EIGHTEEN.finditer(written)
    )


def _is_resident_id(number: str) -> bool:
    year, month, day = int(number[6:10]), int(number[10:12]), int(number[12:14])
    if year not in _BIRTH_YEARS:
        return False
    try:
        date(year, month, day)
    except ValueError:
        return False
    return bool(mod_11_2.is_valid(number))
