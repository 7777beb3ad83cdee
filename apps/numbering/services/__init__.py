"""What others may do with numbers; one module per use case family."""

from apps.numbering.services.allocation import (
    end_quarantines,
    quarantine_number,
    return_unused_number,
    take_number,
    withhold_number,
)
from apps.numbering.services.claim import NumberCriteria
from apps.numbering.services.leasing import lease_range
from apps.numbering.services.reservations import (
    expire_reservations,
    extend_reservation,
    release_reservation,
    reserve,
)

__all__ = [
    "NumberCriteria",
    "end_quarantines",
    "expire_reservations",
    "extend_reservation",
    "lease_range",
    "quarantine_number",
    "release_reservation",
    "reserve",
    "return_unused_number",
    "take_number",
    "withhold_number",
]
