"""Phone numbers as text: stored as an integer without the country code, shown in E.164."""

from __future__ import annotations

import re

COUNTRY_CODE = "86"
# Numbers of persons: 3 digits of the access code, 4 of the home register, 4 of the user. Machines (IoT) have two more.
DIGITS = 11
MACHINE_DIGITS = 13
# Hosts allocate ten-thousand blocks (万号段): all but the last four digits. One also gives thousand blocks (千号段).
BLOCK_DIGITS = 4
BLOCK: int = 10**BLOCK_DIGITS
THOUSAND = 1000

_ACCEPTED = re.compile(rf"(?:\+?{COUNTRY_CODE})?(1[0-9]{{10}}|1[0-9]{{12}})")


class MalformedNumber(ValueError):
    """The text is not a mobile number of mainland China."""


def prefix_of(first: int, last: int) -> str:
    """The digits that a thousand block has in common, or the ten-thousand block that the numbers lie in."""
    return str(first // THOUSAND if first // THOUSAND == last // THOUSAND else first // BLOCK)


def to_e164(number: int) -> str:
    """17090001234 -> "+8617090001234"."""
    return f"+{COUNTRY_CODE}{number}"


def parse_e164(text: str) -> int:
    """Reads "+8617090001234", "8617090001234" or "17090001234" (11 or 13 digits after the country code).

    :raises MalformedNumber: for anything else.
    """
    match = _ACCEPTED.fullmatch(text)
    if match is None:
        raise MalformedNumber("Expected a mobile number such as +8617000000000.")
    return int(match[1])
