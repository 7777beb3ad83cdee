"""Another number for a line."""

from __future__ import annotations

from datetime import datetime

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines import selectors as line_selectors
from apps.lines import services as lines
from apps.lines.services import Blame
from apps.lines.states import LineStatus
from apps.numbering import services as numbering
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.opening import lock_free, require_free, require_right, start, write_down
from apps.provisioning.services.order_types.activate import NumberWish
from apps.provisioning.services.order_types.papers import needs_papers, require_covered, require_papers
from apps.provisioning.services.order_types.shape import BLAME, OrderKind
from apps.provisioning.states import OrderType

_STATES = (LineStatus.ACTIVE,)


@operation
def place_number_change_order(
    *, actor: Actor, line: str, wish: NumberWish, external_id: str = "", now: datetime
) -> ServiceOrder:
    """Takes a number of the line's carrier; once the carrier has it, the old one goes into quarantine.

    A number is newly sold, so licence and agreement must be valid, there too, unless policy says otherwise.

    :raises NotFound: no such line or reservation of this operator. :raises Forbidden: staff without orders.place.
    :raises LineNotActive: it is not running. :raises LineHasOpenOrder:
    :raises LicenceNotValid, AgreementNotValid, NumberNotAvailable, NumberWrongCarrier, ReservationExpired:
    :raises CarrierNotConnected:
    """
    require_right(actor, "orders.place")
    found = line_selectors.get_line(actor=actor, uid=line)
    require_free(found, _STATES)
    papers = None
    if needs_papers(order_type=OrderType.CHANGE_NUMBER, operator_id=found.operator_id, now=now):
        papers = require_papers(operator_id=found.operator_id, host_carrier_id=found.host_carrier_id, now=now)
    number = numbering.take_number(
        actor=actor,
        operator_id=found.operator_id,
        host_carrier_id=found.host_carrier_id,
        number=wish.number,
        reservation_uid=wish.reservation,
        criteria=wish.criteria,
        now=now,
    )
    if papers is not None:
        require_covered(papers, number, now)
    order = write_down(
        actor=actor,
        line=lock_free(found.pk, _STATES),
        order_type=OrderType.CHANGE_NUMBER,
        external_id=external_id,
        new_number=number,
        now=now,
    )
    start(actor=actor, order=order, now=now)
    return order


def _complete(actor: Actor, order: ServiceOrder, now: datetime) -> None:
    assert order.new_number_id is not None  # noqa: S101 - constraint order_new_number
    lines.change_number(actor=actor, line_id=order.line_id, number=order.new_number_id, now=now)


def _undo(actor: Actor, order: ServiceOrder, reason: str, now: datetime) -> None:
    """The number is for sale again at once, unless it is what the carrier refuses."""
    assert order.new_number_id is not None  # noqa: S101 - constraint order_new_number
    if BLAME.get(reason) is Blame.NUMBER:
        numbering.withhold_number(actor=actor, number=order.new_number_id, reason=reason, now=now)
    else:
        numbering.return_unused_number(actor=actor, number=order.new_number_id, now=now)


KIND = OrderKind(complete=_complete, undo=_undo)
