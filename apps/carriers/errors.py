"""What staff and callers can do wrong with carrier connections. How calls to carriers fail is in `base`."""

from apps.core.errors import Conflict, NotFound, RuleViolation


class CarrierNotConnected(RuleViolation):
    """The operator has no live connection to that host carrier."""

    code = "carrier_not_connected"
    detail = "There is no live connection to this carrier."


class ConnectionUnknown(NotFound):
    """No carrier connection with that id."""

    detail = "There is no such carrier connection."


class ConnectionExists(Conflict):
    """One live connection per operator and carrier, one operator per carrier account."""

    code = "carrier_connection_exists"
    detail = "There is a live connection already."


class ConnectionNotLive(Conflict):
    """It was disconnected before."""

    code = "carrier_connection_not_live"
    detail = "This connection is not live any more."


class ConnectionInvalid(RuleViolation):
    """Address, credentials or limits cannot be used; `errors` says which."""

    code = "carrier_connection_invalid"
    detail = "These connection settings cannot be used."
