"""Names as identity documents print them: Chinese, minority names with the middle dot, foreign ones; and of units.

A name is stored as it was given and compared in its normal form.
"""

from __future__ import annotations

import itertools
import re
import unicodedata

from apps.subscribers.realname import text

MAX_CHARACTERS = 100
MIDDLE_DOT = "\u00b7"

# What keyboards and other systems write instead of U+00B7.
_DOTS = dict.fromkeys(
    map(
        ord,
        "\u0387\u1427\u16eb\u2022\u2024\u2027\u2219\u22c5\u25cf\u25e6\u26ab\u2981\u2e30\u2e31\u2e33"
        "\u30fb\u318d\ua78f\ufe45\uff65\U00010101",
    ),
    MIDDLE_DOT,
)
_FULL_STOPS = dict.fromkeys(map(ord, "\u3002\ufe52\uff0e\uff61"), ".")
_APOSTROPHES = dict.fromkeys(map(ord, "\u0060\u00b4\u2018\u2019\u02b9\u02bb\u02bc\u2032\uff07"), "'")
_HYPHENS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"), "-")
# Latin letters from a Chinese keyboard.
_FULL_WIDTH = {
    first + letter: chr(plain + letter)
    for first, plain in ((0xFF21, 65), (0xFF41, 97))
    for letter in range(26)
}
_LOOK_ALIKES = _DOTS | _FULL_STOPS | _APOSTROPHES | _HYPHENS | _FULL_WIDTH
# No script stacks so many marks on one letter; more hide what stands around them.
_MOST_MARKS = 3
# Marks that only names of organizations have, and how a Chinese keyboard writes them.
_MARKS_OF_UNITS = frozenset('()&,/+:"')
_AS_UNITS_WRITE = str.maketrans(
    "\uff08\uff09\uff06\uff0c\u3001\uff0f\uff0b\uff1a\u201c\u201d", '()&,,/+:""'
) | {0xFF10 + digit: str(digit) for digit in range(10)}
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
    if sum(not _is_mark(character) for character in letters) < 2:
        raise NameFault("name_length", "A name has at least two letters.")
    if any(len(list(run)) > _MOST_MARKS for marks, run in itertools.groupby(plain, _is_mark) if marks):
        raise NameFault("name_characters", "The name stacks marks on a letter.")
    if (
        _is_mark(plain[0])
        or plain[0] in _PUNCTUATION
        or plain[-1] in f"{MIDDLE_DOT}'-"
        or MIDDLE_DOT * 2 in plain
    ):
        raise NameFault("name_form", "A name begins and ends with a letter and has no two dots in a row.")


def check_organization(name: str) -> None:
    """The name of a unit may have digits, brackets and the like. :raises NameFault: as of a person's name."""
    if len(name) > MAX_CHARACTERS:
        raise NameFault("name_length", f"A name has at most {MAX_CHARACTERS} characters.")
    if text.has_refused(name):
        raise NameFault("name_characters", "The name holds invisible or undefined characters.")
    plain = canonical(name, organization=True)
    others = [each for each in plain if each not in _PUNCTUATION and each not in _MARKS_OF_UNITS]
    letters = [each for each in others if not (each.isascii() and each.isdigit())]
    if not all(map(_is_letter, letters)):
        raise NameFault("name_characters", "The name holds characters that no name has.")
    if sum(not _is_mark(each) for each in letters) < 2:
        raise NameFault("name_length", "A name has at least two letters.")
    if plain[0] not in others or _is_mark(plain[0]) or plain[-1] in f"{MIDDLE_DOT}'-(&,/+:":
        raise NameFault("name_form", "A name begins with a letter or a digit, and ends like one.")


def canonical(name: str, *, organization: bool = False) -> str:
    """One spelling for providers and carriers: NFC, one kind of dot, hyphen and apostrophe, no stray spaces."""
    if organization:
        name = name.translate(_AS_UNITS_WRITE)
    plain = unicodedata.normalize("NFC", name).translate(_LOOK_ALIKES)
    plain = _SPACES.sub(" ", plain).strip()
    if _HAN.search(plain):
        # Chinese names have neither blanks nor full stops: both are typed for the look or for want of the right key.
        plain = plain.replace(" ", "").replace(".", MIDDLE_DOT)
    return unicodedata.normalize("NFC", plain)


def same(one: str, other: str, *, organization: bool = False) -> bool:
    """Whether both are the same name: alike in canonical form, whatever the case of Latin letters."""
    first, second = (canonical(name, organization=organization) for name in (one, other))
    return first.casefold() == second.casefold()


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def _is_letter(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LM" or character == _IDEOGRAPHIC_ZERO or text.is_ideograph_plane(ord(character))
