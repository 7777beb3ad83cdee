"""A new line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from apps.carriers import selectors as carriers
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import NotFound
from apps.lines import selectors as line_selectors
from apps.lines import services as lines
from apps.numbering import services as numbering
from apps.numbering.services import NumberCriteria
from apps.operators import selectors as operators
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.opening import hold, require_not_failed, require_right, start, write_down
from apps.provisioning.services.order_types.papers import require_covered, require_papers
from apps.provisioning.services.order_types.shape import BLAME, OrderKind
from apps.provisioning.states import OrderType
from apps.sims import services as sims
from apps.subscribers import selectors as subscribers
from apps.subscribers.states import Standing


@dataclass(frozen=True, slots=True)
class NumberWish:
    """Which number an order takes: one of a reservation, that number, or else the next free one that fits."""

    reservation: str | None = None
    number: int | None = None
    criteria: NumberCriteria | None = None


@operation
def place_activation_order(
    *,
    actor: Actor,
    operator_id: int,
    subscriber: str,
    plan: str,
    wish: NumberWish,
    iccid: str | None = None,
    actual_user: str | None = None,
    dealer: str | None = None,
    external_id: str = "",
    now: datetime,
) -> ServiceOrder:
    """Opens a line for a subscriber: takes a holder slot, a number and a SIM, and queues the carrier job.

    All or nothing: a refusal leaves nothing behind. Without a passed and fresh real-name check the order is HELD with
    everything it took, and goes on by itself when the check passes (cybersecurity law art. 24: no identity, no
    service).

    `actual_user`: the verified person who is going to use a line of an organization.

    :raises NotFound: no such subscriber or reservation of this operator. :raises Forbidden: staff without orders.place.
    :raises LicenceNotValid, AgreementNotValid: the operator may not sell on this carrier today, or not in this area.
    :raises IdentityNotVerified, IdentityExpired: the last check failed, or is too old.
    :raises HolderLimitReached, PlanNotAvailable, DealerNotAllowed, NumberNotAvailable, ReservationExpired:
    :raises SimNotAvailable, SimWrongCarrier:
    :raises ActualUserMissing, ActualUserNotAccepted: see `lines.find_user`; as to being verified, `errors` says who.
    """
    require_right(actor, "orders.place")
    person = subscribers.get_subscriber(actor=actor, uid=subscriber)
    if person.operator_id != operator_id:
        raise NotFound
    ordered_plan = line_selectors.get_orderable_plan(actor=actor, operator_id=operator_id, plan=plan)
    carrier_id = ordered_plan.host_carrier_id
    papers = require_papers(operator_id=operator_id, host_carrier_id=carrier_id, now=now)
    seller = None
    if dealer:
        seller = operators.require_dealer(operator_id=operator_id, dealer_code_or_uid=dealer, now=now)
    connection = carriers.get_connection(operator_id=operator_id, host_carrier_id=carrier_id)
    verification = subscribers.get_verification_state(subscriber_id=person.pk, now=now)
    require_not_failed(verification.standing)
    user = lines.find_user(actor=actor, holder=person, uid=actual_user, now=now)

    places = lines.take_places(operator_id=operator_id, holder=person, user=user, now=now)
    number = numbering.take_number(
        actor=actor,
        operator_id=operator_id,
        host_carrier_id=carrier_id,
        number=wish.number,
        reservation_uid=wish.reservation,
        criteria=wish.criteria,
        now=now,
    )
    # Only now is it known where the line is at home.
    require_covered(papers, number, now)
    sim = sims.take_sim(
        actor=actor, operator_id=operator_id, host_carrier_id=carrier_id, iccid=iccid, now=now
    )
    line = lines.open_line(
        actor=actor,
        operator_id=operator_id,
        subscriber=person,
        plan=ordered_plan,
        number=number,
        sim=sim,
        places=places,
        user=user,
        dealer=seller,
        now=now,
    )
    order = write_down(
        actor=actor, line=line, order_type=OrderType.ACTIVATE, external_id=external_id, now=now
    )
    if verification.standing is Standing.PASSED_FRESH:
        start(
            actor=actor,
            order=order,
            connection=connection,
            verification_id=verification.verification_id,
            number=number.pk,
            now=now,
        )
    else:
        hold(actor=actor, order=order, now=now)
    return order


def _complete(actor: Actor, order: ServiceOrder, now: datetime) -> None:
    lines.activate_line(actor=actor, line_id=order.line_id, now=now)


def _undo(actor: Actor, order: ServiceOrder, reason: str, now: datetime) -> None:
    lines.abandon_line(actor=actor, line_id=order.line_id, reason=reason, blame=BLAME.get(reason), now=now)


KIND = OrderKind(complete=_complete, undo=_undo, needs_line=False)
