"""What this app refuses with."""

from __future__ import annotations

from apps.core.errors import Conflict, RuleViolation


class SimBatchInvalid(RuleViolation):
    """Nothing was imported; `errors` names every bad row as `/rows/<row of the file>/<column>`, the header is row 1."""

    code = "sim_batch_invalid"
    detail = "The file was not imported."


class SimBatchTooLarge(RuleViolation):
    """More bytes or rows than one import takes."""

    code = "sim_batch_too_large"
    detail = "The file is too large for one import."


class SimNotAvailable(Conflict):
    """Unknown, of another operator, or not in stock: all the same."""

    code = "sim_not_available"
    detail = "No such SIM card is in stock."


class SimWrongCarrier(Conflict):
    """The card is of another host carrier than what it is wanted for."""

    code = "sim_wrong_carrier"
    detail = "The SIM card belongs to another host carrier."
