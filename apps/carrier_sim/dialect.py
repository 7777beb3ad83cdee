"""What one carrier's language has to be able to say, and how it checks what it is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from starlette.responses import Response

from apps.carrier_sim.ledger import Entry
from apps.carrier_sim.lines import Line
from apps.carrier_sim.orders import Call, Problem, Refused

SecretOf = Callable[[str], str]

_NUMBER = r"1[0-9]{10}"
_REFERENCE = r"[A-Za-z0-9_-]{8,64}"
SHAPES = {
    name: re.compile(shape)
    for name, shape in {
        "app_key": r"[A-Za-z0-9._-]{4,64}",
        "reference": _REFERENCE,
        "number": _NUMBER,
        "iccid": r"[0-9A-Z]{19,20}",
        "imsi": r"[0-9]{15}",
        "plan": r"[A-Za-z0-9._-]{1,64}",
        "notify_url": r"https?://[^\s]{1,500}",
        "name": r"[^\x00-\x1f]{1,200}",
        "document": r"[A-Za-z0-9()-]{4,40}",
        "cursor": r"[0-9a-f]{2,64}",
    }.items()
}
LARGEST_PAGE = 1000


class Dialect(Protocol):
    """Pure: bytes in, our words out, and back. Raises `Refused` for what it cannot read or believe."""

    name: str
    # Before the carrier's order numbers.
    prefix: str
    # Where it listens, below its own name.
    path: str
    calls_back: bool
    # It answers when the order is done, not when it is taken.
    answers_when_done: bool
    # For a carrier that says something nobody has documented: what is replaced by what.
    strange: tuple[tuple[bytes, bytes], ...]

    def read(self, *, headers: Mapping[str, str], method: str, body: bytes, secret_of: SecretOf) -> Call: ...

    def taken(self, call: Call, entry: Entry, *, is_new: bool) -> Response: ...

    def problem(self, reference: str | None, problem: Problem, detail: str) -> Response: ...

    def found(self, call: Call, entry: Entry | None) -> Response: ...

    def page(self, call: Call, lines: list[Line], after: str | None) -> Response: ...


def text(data: Mapping[str, Any], name: str, shape: str) -> str:
    """A member of the right shape, or `Refused`."""
    value = data.get(name)
    if not isinstance(value, str) or not SHAPES[shape].fullmatch(value):
        raise Refused(Problem.FIELD, name)
    return value


def choice(data: Mapping[str, Any], name: str, known: Mapping[Any, str]) -> str:
    """What one of the known values stands for, or `Refused`."""
    value = data.get(name)
    if not isinstance(value, str | int) or value not in known:
        raise Refused(Problem.FIELD, name)
    return known[value]


def resale_number(number: str, pattern: re.Pattern[str]) -> str:
    """A number of the ranges that this carrier gives to resellers, or `Refused`."""
    if not pattern.fullmatch(number):
        raise Refused(Problem.NUMBER_INVALID)
    return number


def cursor_of(number: str | None) -> str | None:
    """A cursor that nobody should read anything into."""
    return None if number is None else f"{int(number) * 7 + 3:x}"


def number_of(cursor: str) -> str:
    """The number that a cursor stands for; empty for the first page."""
    if not cursor:
        return ""
    if not SHAPES["cursor"].fullmatch(cursor):
        raise Refused(Problem.FIELD, "cursor")
    return str((int(cursor, 16) - 3) // 7)


def page_size(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= LARGEST_PAGE:
        raise Refused(Problem.FIELD, f"a page has 1 to {LARGEST_PAGE} rows")
    return value
