"""Reading carrier connections."""

from __future__ import annotations

from django.db.models import QuerySet

from apps.carriers.errors import CarrierNotConnected, ConnectionUnknown
from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.core.public_ids import get_by_uid


def get_connection(*, operator_id: int, host_carrier_id: int) -> CarrierConnection:
    """The live connection of that operator to that carrier.

    :raises CarrierNotConnected: there is none.
    """
    connection = (
        CarrierConnection.objects.live()
        .filter(operator_id=operator_id, host_carrier_id=host_carrier_id)
        .first()
    )
    if connection is None:
        raise CarrierNotConnected
    return connection


def get_connection_by_uid(*, uid: str) -> CarrierConnection:
    """Any connection, disconnected ones too: callbacks of old jobs still come.

    For the endpoint that carriers call, where a signature and not a tenant decides who may speak.

    :raises ConnectionUnknown: malformed and unknown ids alike.
    """
    try:
        return get_by_uid(CarrierConnection.objects.all(), uid)
    except NotFound:
        raise ConnectionUnknown from None


def list_connections(*, actor: Actor) -> QuerySet[CarrierConnection]:
    """All connections the actor may see, with operator and carrier."""
    return CarrierConnection.objects.visible_to(actor).select_related("operator", "host_carrier")
