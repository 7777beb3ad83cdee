"""Card serial numbers (ITU-T E.118): 89, 86, issuer, account, and on some cards a check digit as the 20th character.

Real cards break the standard: letters occur, and whole series fail the Luhn check. So a number is 19 or 20 characters
out of 0-9 A-Z, the check digit is not checked, and the first 19 characters identify the card.
"""

from __future__ import annotations

import re

IDENTIFYING = 19

_SEPARATORS = re.compile(r"[ \t\u00a0-]")
_FORM = re.compile(r"89[0-9A-Z]{17,18}")


class MalformedIccid(ValueError):
    """The text is no card serial number."""


def normalise(text: str) -> str:
    """Upper case, without the blanks and hyphens that people print between groups of digits.

    :raises MalformedIccid: when 19 or 20 characters out of 0-9 A-Z, the first two 89, do not remain.
    """
    iccid = _SEPARATORS.sub("", text)
    # Upper case makes ASCII of some characters that are none.
    if not iccid.isascii() or not _FORM.fullmatch(iccid.upper()):
        raise MalformedIccid("19 or 20 characters out of 0-9 A-Z, beginning with 89.")
    return iccid.upper()
