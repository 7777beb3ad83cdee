"""Patterns of pretty numbers read a second time, digit by digit, without spelling anything out: what tests believe."""

from __future__ import annotations

import itertools
from datetime import datetime


def matches(pattern: str, without: str, tail: str) -> bool:
    """Whether the ending looks like the pattern; both are of the same length."""
    return not any(digit in without for digit in tail) and _looks_like(pattern, tail)


def reach(pattern: str) -> int:
    """How many digits it looks at."""
    return int(pattern[1:]) if pattern[0] in "+-" else len(pattern)


def _looks_like(pattern: str, tail: str) -> bool:
    if pattern[0] in "+-":
        step = 1 if pattern[0] == "+" else -1
        return all(int(b) - int(a) == step for a, b in itertools.pairwise(tail))
    if pattern.isdigit():
        return pattern == tail
    if "M" in pattern:
        return _is_day(tail)
    pairs = [(i, j) for i in range(len(tail)) for j in range(i)]
    return all((pattern[i] == pattern[j]) == (tail[i] == tail[j]) for i, j in pairs)


def _is_day(tail: str) -> bool:
    # A birthday without a year may be a leap day.
    text = tail if len(tail) == 8 else f"2000{tail}"
    try:
        day = datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return False
    return 1950 <= day.year <= 2030
