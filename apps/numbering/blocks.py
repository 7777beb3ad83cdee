"""Spans of numbers as hosts allocate them: whole thousand blocks (千号段) within one ten-thousand block (万号段)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from apps.core.errors import FieldError
from apps.numbering.errors import RangeCrossesHomeArea, RangeInvalid
from apps.numbering.numbers import BLOCK, BLOCK_DIGITS, DIGITS, MACHINE_DIGITS, THOUSAND, prefix_of

# Of a ten-thousand or a thousand block: 7 or 8 digits where numbers have 11, 9 or 10 where they have 13.
_PREFIX = re.compile(r"1[0-9]{6,9}")
_LENGTHS = (DIGITS, MACHINE_DIGITS)


@dataclass(frozen=True, slots=True)
class Block:
    first: int
    last: int

    @classmethod
    def of_prefix(cls, prefix: str) -> Block:
        """All numbers with these leading digits.

        :raises RangeInvalid: not 7 to 10 digits, the first a 1.
        """
        if not _PREFIX.fullmatch(prefix):
            raise RangeInvalid(errors=[FieldError("/prefix", "invalid", "7 to 10 digits, the first a 1.")])
        digits = DIGITS if len(prefix) <= DIGITS - BLOCK_DIGITS + 1 else MACHINE_DIGITS
        size = 10 ** (digits - len(prefix))
        return cls(int(prefix) * size, int(prefix) * size + size - 1)

    @classmethod
    def between(cls, first: int, last: int) -> Block:
        """From the one to the other number, both included.

        :raises RangeInvalid: not whole thousand blocks. :raises RangeCrossesHomeArea: of several ten-thousand blocks.
        """
        found = []
        if len(str(first)) not in _LENGTHS or str(first)[0] != "1" or first % THOUSAND != 0:
            found.append(FieldError("/first", "invalid", "The first number of a thousand block."))
        if len(str(last)) != len(str(first)) or last < first or last % THOUSAND != THOUSAND - 1:
            found.append(
                FieldError("/last", "invalid", "The last number of a thousand block, not below the first.")
            )
        if found:
            raise RangeInvalid(errors=found)
        if first // BLOCK != last // BLOCK:
            raise RangeCrossesHomeArea
        return cls(first, last)

    @property
    def digits(self) -> int:
        return len(str(self.first))

    @property
    def prefix(self) -> str:
        """The leading digits that all its numbers share, as far as a thousand block goes."""
        return prefix_of(self.first, self.last)

    @property
    def home_block(self) -> int:
        """Which ten-thousand block: its numbers share one home area."""
        return self.first // BLOCK
