"""How many places of the holder limit people fill: known to a higher app, which registers itself at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from django.utils.module_loading import import_string


@dataclass(frozen=True, slots=True)
class Holder:
    """A person as places are counted: at one operator, over all fingerprints their documents may stand under."""

    operator_id: int
    fingerprints: frozenset[bytes]


class Count(Protocol):
    def __call__(self, *, holders: Mapping[int, Holder]) -> Mapping[int, int]: ...


_registered: list[str] = []


def register(selector: str) -> None:
    """The dotted name of a `Count`: subscriber id -> holder becomes subscriber id -> filled places, in one query."""
    _registered[:] = [selector]


def count_places(*, holders: Mapping[int, Holder]) -> Mapping[int, int]:
    """Filled places of each subscriber; without a counter nobody's are known, which holds every check back."""
    if not _registered or not holders:
        return {}
    count: Count = import_string(_registered[0])
    return count(holders=holders)
