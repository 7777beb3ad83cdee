"""Reading ranges, numbers and reservations."""

from apps.numbering.selectors.rows import (
    get_holding_reservation_for_update,
    get_next_reserved_for_update,
    get_number,
    get_number_for_update,
    get_reservation,
    get_reservation_for_update,
    has_range,
    has_reserved,
    list_ranges,
)
from apps.numbering.selectors.selling import NumberFilter, list_sellable_numbers

__all__ = [
    "NumberFilter",
    "get_holding_reservation_for_update",
    "get_next_reserved_for_update",
    "get_number",
    "get_number_for_update",
    "get_reservation",
    "get_reservation_for_update",
    "has_range",
    "has_reserved",
    "list_ranges",
    "list_sellable_numbers",
]
