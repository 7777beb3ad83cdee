"""Leased ranges and the numbers in them; reservations, grades, stock counts, and work on many at once."""

from apps.numbering.models.bulk import BulkRow, BulkRun
from apps.numbering.models.grades import GradedTail, GradePolicy, GradeRule
from apps.numbering.models.numbers import EarlyRelease, PhoneNumber
from apps.numbering.models.ranges import NumberRange
from apps.numbering.models.reservations import Reservation
from apps.numbering.models.stock import RangeStock, StockChange, StockDay

__all__ = [
    "BulkRow",
    "BulkRun",
    "EarlyRelease",
    "GradePolicy",
    "GradeRule",
    "GradedTail",
    "NumberRange",
    "PhoneNumber",
    "RangeStock",
    "Reservation",
    "StockChange",
    "StockDay",
]
