"""What staff see of ranges, numbers and reservations, and what they may do to them."""

from apps.numbering.admin import bulk, grades, numbers, ranges, reservations, stock

__all__ = ["bulk", "grades", "numbers", "ranges", "reservations", "stock"]
