"""How patterns of pretty numbers are written, and which endings they mean. A pattern speaks of the last digits:

- AAA, AABB, ABAB: letters are digits, the same letter the same digit, different letters different ones;
- +4, -5: so many digits, each one higher (or lower) than the one before, as in 3456 and 98765;
- 168, 8888: these very digits;
- MMDD, YYYYMMDD: a day of the calendar, from 1950 to 2030.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from datetime import date, timedelta

from apps.numbering.errors import GradePatternInvalid

# Endings are spelled out as rows: nobody needs a rule for most of all numbers.
MOST_TAILS = 100_000

# Letters in the order of their first appearance, so that each pattern is written in one way only.
_LETTERS = re.compile(r"[A-H]{1,8}")
_RUN = re.compile(r"([+-])([2-8])")
_DIGITS = re.compile(r"[0-9]{1,8}")
_DAY, _DATE = "MMDD", "YYYYMMDD"
_FIRST_DAY, _LAST_DAY = date(1950, 1, 1), date(2030, 12, 31)
_ALL = "0123456789"


def length_of(pattern: str) -> int:
    """How many digits the pattern speaks of."""
    run = _RUN.fullmatch(pattern)
    return int(run[2]) if run else len(pattern)


def expand(pattern: str, without: str = "") -> list[str]:
    """All endings that the pattern means and that have none of the digits in `without`, ascending.

    :raises GradePatternInvalid: not written like one, without any ending, or with more than MOST_TAILS of them.
    """
    if not re.fullmatch(r"[0-9]{0,9}", without) or len(set(without)) != len(without):
        raise GradePatternInvalid("The digits that it must not have: each once, at most nine of them.")
    allowed = "".join(digit for digit in _ALL if digit not in without)
    tails = sorted(tail for tail in _tails(pattern, allowed) if set(tail) <= set(allowed))
    if not tails:
        raise GradePatternInvalid("No number ends like this.")
    return tails


def _tails(pattern: str, allowed: str) -> Iterator[str]:
    if _LETTERS.fullmatch(pattern):
        return _by_letters(pattern, allowed)
    if run := _RUN.fullmatch(pattern):
        return _runs(rising=run[1] == "+", length=int(run[2]))
    if _DIGITS.fullmatch(pattern):
        return iter((pattern,))
    if pattern in (_DAY, _DATE):
        return _days(len(pattern))
    raise GradePatternInvalid(
        "Letters from A on (AABB), a run (+4, -5), digits (168), MMDD or YYYYMMDD; at most 8 digits."
    )


def _by_letters(pattern: str, allowed: str) -> Iterator[str]:
    letters = list(dict.fromkeys(pattern))
    if letters != list("ABCDEFGH"[: len(letters)]):
        raise GradePatternInvalid("The letters are named in the order in which they first appear.")
    if math.perm(len(allowed), len(letters)) > MOST_TAILS:
        raise GradePatternInvalid(f"More than {MOST_TAILS:,} endings look like this.")
    for digits in itertools.permutations(allowed, len(letters)):
        yield pattern.translate(str.maketrans("".join(letters), "".join(digits)))


def _runs(*, rising: bool, length: int) -> Iterator[str]:
    for first in range(10 - length + 1):
        digits = _ALL[first : first + length]
        yield digits if rising else digits[::-1]


def _days(length: int) -> Iterator[str]:
    days = (_FIRST_DAY + timedelta(days=n) for n in range((_LAST_DAY - _FIRST_DAY).days + 1))
    return iter({f"{day:%Y%m%d}"[-length:] for day in days})
