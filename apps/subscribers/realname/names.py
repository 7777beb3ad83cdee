"""Names as identity documents print them: Chinese, minority names with the middle dot, foreign ones.

A name is stored as it was given and compared in its normal form.
"""

from __future__ import annotations

import re
import unicodedata

from apps.subscribers.realname import text

MAX_CHARACTERS = 100
MIDDLE_DOT = "\u00b7"

# What keyboards and other systems write instead of U+00B7.
_DOTS = dict.fromkeys(
    map(ord, "\u2022\u2027\u2219\u22c5\u30fb\uff65\u0387\u16eb\u2e31\u2e33\u25cf"), MIDDLE_DOT
)
_FULL_STOPS = dict.fromkeys(map(ord, "\ufe52\uff0e"), ".")
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc\uff07"), "'")
_PUNCTUATION = frozenset(f"{MIDDLE_DOT}'-. ")
# A zero in the tables of Unicode, a character in Chinese names (张〇).
_IDEOGRAPHIC_ZERO = "\u3007"
_SPACES = re.compile(r"\s+")
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003fffd]")


class NameFault(ValueError):
    """Why a text cannot be a name; `code` and the message never repeat it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def check(name: str) -> None:
    """:raises NameFault: name_length, name_characters (hidden, control or no letters of a name) or name_form."""
    if len(name) > MAX_CHARACTERS:
        raise NameFault("name_length", f"A name has at most {MAX_CHARACTERS} characters.")
    if text.has_refused(name):
        raise NameFault("name_characters", "The name holds invisible or undefined characters.")
    plain = canonical(name)
    letters = [character for character in plain if character not in _PUNCTUATION]
    if not all(map(_is_letter, letters)):
        raise NameFault("name_characters", "The name holds characters that no name has.")
    if len([character for character in letters if not unicodedata.category(character).startswith("M")]) < 2:
        raise NameFault("name_length", "A name has at least two letters.")
    if plain[0] in _PUNCTUATION or plain[-1] in f"{MIDDLE_DOT}'-" or MIDDLE_DOT * 2 in plain:
        raise NameFault("name_form", "A name begins and ends with a letter and has no two dots in a row.")


def canonical(name: str) -> str:
    """One spelling for providers and carriers: NFC, one kind of middle dot and apostrophe, no stray spaces."""
    plain = unicodedata.normalize("NFC", name).translate(_DOTS).translate(_FULL_STOPS).translate(_APOSTROPHES)
    plain = _SPACES.sub(" ", plain).strip()
    if _HAN.search(plain):
        # Chinese names have neither blanks nor full stops: both are typed for the look or for want of the right key.
        return plain.replace(" ", "").replace(".", MIDDLE_DOT)
    return plain


def same(one: str, other: str) -> bool:
    """Whether both are the same name: alike in canonical form, whatever the case of Latin letters."""
    return canonical(one).casefold() == canonical(other).casefold()


def _is_letter(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LM" or character == _IDEOGRAPHIC_ZERO or text.is_ideograph_plane(ord(character))
