"""Characters that must not be in personal data: invisible ones, direction tricks, and those that do not exist."""

from __future__ import annotations

import unicodedata

# Letters and marks that show nothing (Unicode Default_Ignorable_Code_Point): a name with one looks like another name.
_INVISIBLE = frozenset(
    (
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164, 0xFFA0),
        *range(0xFE00, 0xFE10),
        *range(0xE0100, 0xE01F0),
    )
)
# Controls, format characters (bidi, zero width), lone surrogates, private use, line and paragraph separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def is_ideograph_plane(point: int) -> bool:
    """CJK Extensions B and up: planes 2 and 3 hold nothing else, and grow faster than Python's character table."""
    return 0x20000 <= point <= 0x3FFFD and point & 0xFFFF < 0xFFFE


def is_refused(character: str) -> bool:
    """Whether no personal data may hold this character."""
    point = ord(character)
    if point in _INVISIBLE:
        return True
    category = unicodedata.category(character)
    return category in _REFUSED_CATEGORIES or (category == "Cn" and not is_ideograph_plane(point))


def has_refused(value: str) -> bool:
    return any(map(is_refused, value))
