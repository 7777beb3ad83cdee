"""How personal data is shown when nobody needs it in clear."""

import re

# An identity number (15 digits, or 17 and a check character) by itself or behind an escape such as %3A.
_IDENTITY_NUMBER = re.compile(
    r"(?:(?<![0-9A-Za-z])|(?<=%[0-9A-Fa-f]{2}))(?:\d{17}[\dXx]|\d{15})(?![0-9A-Za-z])"
)


def mask_name(name: str) -> str:
    """The first character and as many stars as are hidden, at most four: 张三丰 -> 张**."""
    return name[:1] + "*" * min(max(len(name) - 1, 1), 4)


def mask_document_number(number: str) -> str:
    """First three and last two characters; short numbers show only their last two, very short ones nothing."""
    if len(number) < 5:
        return "*" * len(number)
    if len(number) < 8:
        return "*" * (len(number) - 2) + number[-2:]
    return number[:3] + "*" * (len(number) - 5) + number[-2:]


def mask_phone(number: str) -> str:
    """Hides the four digits before the last four: 17012345678 -> 170****5678."""
    return number[:-8] + "****" + number[-4:] if len(number) >= 8 else "*" * len(number)


def last_four(number: str) -> str:
    """17012345678 -> *******5678: what its holder needs to know it again, and no more."""
    return "*" * max(len(number) - 4, 0) + number[-4:]


def hide_identity_numbers(text: str) -> str:
    """The text without what could be somebody's identity number; for what is echoed to callers."""
    return _IDENTITY_NUMBER.sub("[hidden]", text)
