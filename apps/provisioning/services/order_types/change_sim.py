"""Another SIM card for a line: the favourite of thieves, so the holder is verified for this very order."""

from __future__ import annotations

from datetime import datetime, timedelta

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines import selectors as line_selectors
from apps.lines import services as lines
from apps.lines.errors import LineNotActive
from apps.lines.services import Blame
from apps.lines.states import LIVE_LINE
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.provisioning.errors import VerificationNotHolders
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.opening import (
    hold,
    lock_free,
    require_free,
    require_not_failed,
    require_right,
    standing_of_check,
    start,
    write_down,
)
from apps.provisioning.services.order_types.papers import needs_papers, require_papers
from apps.provisioning.services.order_types.shape import BLAME, OrderKind
from apps.provisioning.states import OrderType
from apps.sims import services as sims
from apps.subscribers import selectors as subscribers
from apps.subscribers.errors import IdentityExpired, ProxyNotAccepted
from apps.subscribers.states import Standing


@operation
def place_sim_change_order(
    *, actor: Actor, line: str, iccid: str, verification: str, external_id: str = "", now: datetime
) -> ServiceOrder:
    """Takes the card from stock; once the carrier has it, it is BOUND and the old one RETIRED.

    HELD while the named check is undecided. A line that its own partner has suspended (lost phone) may have its card
    changed; one that the operator or an authority keeps still may not.

    :raises NotFound: no such line or verification of this operator. :raises Forbidden: staff without orders.place.
    :raises LineNotActive: pending, terminated, or kept still by others. :raises LineHasOpenOrder:
    :raises VerificationNotHolders: it is a check of somebody else. :raises ProxyNotAccepted: a proxy came for them.
    :raises IdentityNotVerified, IdentityExpired: it failed; or it was begun longer ago than policy allows for this.
    :raises LicenceNotValid, AgreementNotValid: only where policy demands papers for it.
    :raises SimNotAvailable, SimWrongCarrier: :raises CarrierNotConnected:
    """
    require_right(actor, "orders.place")
    found = line_selectors.get_line(actor=actor, uid=line)
    require_free(found, LIVE_LINE)
    if line_selectors.is_held_by_others(line_id=found.pk):
        raise LineNotActive
    if needs_papers(order_type=OrderType.CHANGE_SIM, operator_id=found.operator_id, now=now):
        require_papers(operator_id=found.operator_id, host_carrier_id=found.host_carrier_id, now=now)
    check = subscribers.get_verification(actor=actor, uid=verification)
    if check.subscriber_id != found.subscriber_id:
        raise VerificationNotHolders
    if check.is_by_proxy:
        raise ProxyNotAccepted
    standing = standing_of_check(check, now)
    require_not_failed(standing)
    # One made for some earlier order proves that the holder was there then, not that they ask for this.
    hours = policies.get(operator_id=found.operator_id, key=PolicyKey.SIM_CHANGE_CHECK_HOURS, now=now)
    if now - check.proved_at > timedelta(hours=hours):
        raise IdentityExpired
    card = sims.take_sim(
        actor=actor,
        operator_id=found.operator_id,
        host_carrier_id=found.host_carrier_id,
        iccid=iccid,
        now=now,
    )
    locked = lock_free(found.pk, LIVE_LINE)
    # Since we looked it may have become another's.
    if locked.subscriber_id != found.subscriber_id:
        raise VerificationNotHolders
    order = write_down(
        actor=actor,
        line=locked,
        order_type=OrderType.CHANGE_SIM,
        external_id=external_id,
        new_sim=card,
        verification=check,
        now=now,
    )
    if standing is Standing.PASSED_FRESH:
        start(actor=actor, order=order, verification_id=check.pk, now=now)
    else:
        hold(actor=actor, order=order, now=now)
    return order


def _complete(actor: Actor, order: ServiceOrder, now: datetime) -> None:
    assert order.new_sim_id is not None  # noqa: S101 - constraint order_new_sim
    lines.change_sim(actor=actor, line_id=order.line_id, sim_id=order.new_sim_id, now=now)


def _undo(actor: Actor, order: ServiceOrder, reason: str, now: datetime) -> None:
    """The card goes back to stock, unless it is what the carrier refuses."""
    assert order.new_sim_id is not None  # noqa: S101 - constraint order_new_sim
    give_back = sims.retire_sim if BLAME.get(reason) is Blame.SIM else sims.return_sim_to_stock
    give_back(actor=actor, sim_id=order.new_sim_id, now=now)


KIND = OrderKind(complete=_complete, undo=_undo)
