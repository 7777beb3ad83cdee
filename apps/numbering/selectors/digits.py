"""Which numbers of a range have the wanted digits, worked out without looking at them.

All numbers of a range lie in one ten-thousand block: its leading digits (`head`) are the same for all, and the last
four (`tail`) tell them apart. So what a filter leaves of a range is a list of tails, and what it leaves of the ranges
follows from their heads.
"""

from __future__ import annotations

import functools
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from apps.numbering.numbers import BLOCK, BLOCK_DIGITS, DIGITS, MACHINE_DIGITS

_TAILS = tuple(f"{tail:0{BLOCK_DIGITS}d}" for tail in range(BLOCK))


@dataclass(frozen=True, slots=True)
class Digits:
    """The conditions on digits of one search; None means any. See NumberFilter."""

    prefix: str | None = None
    suffix: str | None = None
    contains: str | None = None
    without: str | None = None

    @property
    def are_many(self) -> bool:
        """Whether anything but the beginning matters; without, whole stretches of numbers match."""
        return any((self.suffix, self.contains, self.without))

    @property
    def contradict(self) -> bool:
        """Whether no number can ever match."""
        if self.prefix is not None and not self.prefix.startswith("1"):
            return True
        return self.without is not None and any(
            self.without in wanted for wanted in (self.prefix or "1", self.suffix or "", self.contains or "")
        )

    def spans(self) -> Iterator[tuple[int, int]]:
        """First and last number that begin like this: of persons, then of machines; without a prefix both in one."""
        if self.prefix is None:
            yield 10 ** (DIGITS - 1), 2 * 10 ** (MACHINE_DIGITS - 1) - 1
            return
        for digits in (DIGITS, MACHINE_DIGITS):
            if len(self.prefix) <= digits:
                unit = 10 ** (digits - len(self.prefix))
                yield int(self.prefix) * unit, int(self.prefix) * unit + unit - 1

    def heads(self) -> list[str] | None:
        """Patterns (LIKE) of heads that can have matching numbers; None: all can."""
        if self.suffix is not None and len(self.suffix) > BLOCK_DIGITS:
            return [f"%{self.suffix[:-BLOCK_DIGITS]}"]
        if self.contains is not None and len(self.contains) > BLOCK_DIGITS:
            start = len(self.contains) - BLOCK_DIGITS
            ends = [f"%{self.contains[:split]}" for split in range(start, len(self.contains))]
            return [f"%{self.contains}%", *ends]
        return None

    def tails(self, head: str) -> array[int] | None:
        """The matching tails of a block, ascending; None: all of them."""
        suffix = self.suffix
        if suffix is not None and len(suffix) > BLOCK_DIGITS:
            if not head.endswith(suffix[:-BLOCK_DIGITS]):
                return _NONE
            suffix = suffix[-BLOCK_DIGITS:]
        if self.without is not None and self.without in head:
            return _NONE
        contains = self.contains
        starts: tuple[str, ...] = ()
        if contains is not None and contains in head:
            contains = None
        elif contains is not None:
            # It may begin in the head and end in the tail.
            starts = tuple(
                contains[split:]
                for split in range(max(1, len(contains) - BLOCK_DIGITS), len(contains))
                if head.endswith(contains[:split])
            )
        if suffix is contains is self.without is None:
            return None
        return _matching(suffix or "", contains, starts, self.without)


_NONE: array[int] = array("H")


@functools.lru_cache(maxsize=256)
def _matching(suffix: str, contains: str | None, starts: tuple[str, ...], without: str | None) -> array[int]:
    """Two bytes a tail, so what is remembered is at most 20 kB each."""
    return array(
        "H",
        (
            number
            for number, tail in enumerate(_TAILS)
            if tail.endswith(suffix)
            and (contains is None or contains in tail or tail.startswith(starts))
            and (without is None or without not in tail)
        ),
    )


def between(tails: array[int], low: int, high: int) -> array[int]:
    """Those from `low` to `high`, both numbers of one block."""
    return tails[bisect_left(tails, low % BLOCK) : bisect_right(tails, high % BLOCK)]
