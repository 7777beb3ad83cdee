"""Giving cards to lines and getting them back."""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import NotFound
from apps.sims import selectors
from apps.sims.errors import SimNotAvailable, SimWrongCarrier
from apps.sims.models import SimCard
from apps.sims.states import SimStatus

_COLUMNS = (
    "id",
    "iccid",
    "imsi",
    "operator_id",
    "host_carrier_id",
    "batch_id",
    "form_factor",
    "status",
    "is_magic",
)

_TAKE = f"""
UPDATE sims_simcard SET status = '{SimStatus.RESERVED.value}'
WHERE id = (
    SELECT id FROM sims_simcard
    WHERE operator_id = %s AND host_carrier_id = %s AND status = '{SimStatus.IN_STOCK.value}' AND NOT is_magic
    ORDER BY id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING {", ".join(_COLUMNS)}
"""  # noqa: S608 - only our own constants are formatted in


@operation
def take_sim(
    *, actor: Actor, operator_id: int, host_carrier_id: int, now: datetime, iccid: str | None = None
) -> SimCard:
    """IN_STOCK -> RESERVED for that card, or for any plain one (no magic ending) of the host carrier.

    :raises SimWrongCarrier: the card is of another host carrier. :raises NotFound: another operator's business.
    :raises SimNotAvailable: unknown, of another operator, not in stock; or the stock is empty.
    """
    if not actor.sees(operator_id):
        raise NotFound
    if iccid is None:
        card = _take_next(operator_id, host_carrier_id)
    else:
        card = _take_that(operator_id, host_carrier_id, iccid)
    _record(actor, "sim.take", card, SimStatus.IN_STOCK, now)
    return card


@operation
def bind_sim(*, actor: Actor, sim_id: int, now: datetime) -> SimCard:
    """RESERVED -> BOUND: the line is active.

    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is not reserved.
    """
    card = selectors.get_sim_for_update(sim_id=sim_id, operator_id=actor.operator_id)
    before = SimStatus(card.status)
    card.bind()
    _record(actor, "sim.bind", card, before, now)
    return card


@operation
def return_sim_to_stock(*, actor: Actor, sim_id: int, now: datetime) -> SimCard:
    """RESERVED -> IN_STOCK: the line was never activated.

    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is not reserved.
    """
    card = selectors.get_sim_for_update(sim_id=sim_id, operator_id=actor.operator_id)
    before = SimStatus(card.status)
    card.return_to_stock()
    _record(actor, "sim.return_to_stock", card, before, now)
    return card


@operation
def retire_sim(*, actor: Actor, sim_id: int, now: datetime) -> SimCard:
    """To RETIRED: its line has ended or has another card, or the carrier refuses it; it is never given out again.

    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is retired already.
    """
    card = selectors.get_sim_for_update(sim_id=sim_id, operator_id=actor.operator_id)
    before = SimStatus(card.status)
    card.retire()
    _record(actor, "sim.retire", card, before, now)
    return card


def _take_next(operator_id: int, host_carrier_id: int) -> SimCard:
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [operator_id, host_carrier_id])
        row = cursor.fetchone()
    if row is None:
        raise SimNotAvailable
    return SimCard.from_db(connection.alias, _COLUMNS, row)


def _take_that(operator_id: int, host_carrier_id: int, iccid: str) -> SimCard:
    card = selectors.get_sim_of_operator_for_update(operator_id=operator_id, iccid=iccid)
    if card is None:
        raise SimNotAvailable
    if card.host_carrier_id != host_carrier_id:
        raise SimWrongCarrier
    if card.status != SimStatus.IN_STOCK:
        raise SimNotAvailable
    card.reserve()
    return card


def _record(actor: Actor, action: str, card: SimCard, before: SimStatus, now: datetime) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="sim_card",
        target_id=card.iccid,
        operator_id=card.operator_id,
        before={"status": before},
        after={"status": card.status},
        now=now,
    )
