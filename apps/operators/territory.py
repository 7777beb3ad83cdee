"""Areas as licences and agreements write them: "*" is nationwide, "广东" a province, "广东/深圳" one city."""

from __future__ import annotations

from collections.abc import Collection

NATIONWIDE = "*"


def area(province: str, city: str = "") -> str:
    return f"{province}/{city}" if city else province


def covers(areas: Collection[str], place: str) -> bool:
    """Whether the areas contain the place ("省" or "省/市"); a single city does not cover its whole province."""
    if NATIONWIDE in areas or place in areas:
        return True
    province, separator, _ = place.partition("/")
    return bool(separator) and province in areas


def is_well_formed(place: str) -> bool:
    """A place is written as one or two names without blanks around them."""
    parts = place.split("/")
    return len(parts) <= 2 and all(part and part == part.strip() for part in parts)
