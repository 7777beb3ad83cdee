"""Placing and cancelling orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.carriers import selectors as carriers
from apps.carriers.models import CarrierConnection
from apps.core import dispatch
from apps.core.actor import Actor, ActorKind
from apps.core.db import operation, serialize_on
from apps.core.errors import NotFound
from apps.lines import selectors as line_selectors
from apps.lines import services as lines
from apps.lines.errors import LineNotActive
from apps.lines.models import Line
from apps.lines.states import LineStatus
from apps.numbering import services as numbering
from apps.numbering.services import NumberCriteria
from apps.operators import policies, territory
from apps.operators import selectors as operators
from apps.operators.policies import PolicyKey
from apps.provisioning.errors import LineHasOpenOrder, OrderNotCancellable
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.provisioning.selectors import get_order
from apps.provisioning.services.outcomes import end_order
from apps.provisioning.services.tracing import announce, trace
from apps.provisioning.states import OPEN_ORDER, FailureKind, JobStatus, OrderStatus, OrderType, drain_queue
from apps.sims import services as sims
from apps.subscribers import selectors as subscribers
from apps.subscribers.errors import IdentityExpired, IdentityNotVerified
from apps.subscribers.selectors import VerificationState
from apps.subscribers.states import Standing

# Shown as the reason of an order that waits for its real-name check.
AWAITING_IDENTITY = "identity_not_verified"


@dataclass(frozen=True, slots=True)
class NumberWish:
    """Which number an activation takes: one of a reservation, that number, or else the next free one that fits."""

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
    dealer: str | None = None,
    external_id: str = "",
    now: datetime,
) -> ServiceOrder:
    """Opens a line for a subscriber: takes a holder slot, a number and a SIM, and queues the carrier job.

    All or nothing: a refusal leaves nothing behind. Without a passed and fresh real-name check the order is HELD with
    everything it took, and goes on by itself when the check passes (cybersecurity law art. 24: no identity, no
    service).

    :raises NotFound: no such subscriber or reservation of this operator. :raises Forbidden: staff without orders.place.
    :raises LicenceNotValid, AgreementNotValid: the operator may not sell on this carrier today, or not in this area.
    :raises IdentityNotVerified, IdentityExpired: the last check failed, or is too old.
    :raises HolderLimitReached, PlanNotAvailable, DealerNotAllowed, NumberNotAvailable, ReservationExpired:
    :raises SimNotAvailable, SimWrongCarrier:
    """
    _require(actor, "orders.place")
    person = subscribers.get_subscriber(actor=actor, uid=subscriber)
    if person.operator_id != operator_id:
        raise NotFound
    ordered_plan = line_selectors.get_orderable_plan(actor=actor, operator_id=operator_id, plan=plan)
    carrier_id = ordered_plan.host_carrier_id
    licence = operators.require_valid_licence(operator_id=operator_id, now=now)
    agreement = operators.require_valid_agreement(
        operator_id=operator_id, host_carrier_id=carrier_id, now=now
    )
    seller = None
    if dealer:
        seller = operators.require_dealer(operator_id=operator_id, dealer_code_or_uid=dealer, now=now)
    connection = carriers.get_connection(operator_id=operator_id, host_carrier_id=carrier_id)
    verification = _require_no_failed_check(person.pk, now)

    slot_id = lines.take_holder_slot(
        operator_id=operator_id,
        fingerprint=subscribers.get_holder_fingerprint(subscriber_id=person.pk),
        limit=policies.get(operator_id=operator_id, key=PolicyKey.HOLDER_LIMIT, now=now),
    )
    number = numbering.take_number(
        actor=actor,
        operator_id=operator_id,
        host_carrier_id=carrier_id,
        number=wish.number,
        reservation_uid=wish.reservation,
        criteria=wish.criteria,
        now=now,
    )
    # Only now is it known where the line is at home. Some other paper may cover the place if these two do not.
    province, city = number.range.home_province, number.range.home_city
    place = territory.area(province, city)
    if not territory.covers(licence.areas, place):
        operators.require_valid_licence(operator_id=operator_id, now=now, area=place)
    if not territory.covers(agreement.areas, place):
        operators.require_valid_agreement(
            operator_id=operator_id, host_carrier_id=carrier_id, now=now, province=province, city=city
        )
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
        slot_id=slot_id,
        dealer=seller,
        now=now,
    )
    order = _create(actor, line, OrderType.ACTIVATE, external_id=external_id, request_reason="", now=now)
    if verification.standing is Standing.PASSED_FRESH:
        start_order(
            actor=actor,
            order=order,
            connection=connection,
            verification_id=verification.verification_id,
            now=now,
        )
    else:
        hours = policies.get(operator_id=operator_id, key=PolicyKey.HELD_ORDER_HOURS, now=now)
        order.hold(reason=AWAITING_IDENTITY, until=now + timedelta(hours=hours))
        trace(actor, order, "order.hold", OrderStatus.ACKNOWLEDGED, now)
        announce(actor, order, "order.held", OrderStatus.ACKNOWLEDGED, now)
    return order


@operation
def place_termination_order(
    *, actor: Actor, line: str, reason: str, external_id: str = "", now: datetime
) -> ServiceOrder:
    """Asks the host carrier to end a live line; when it has, the number goes into quarantine and the slot is free.

    Allowed after the licence or agreement has ended: running lines must be able to leave.

    :raises NotFound: no such line of this operator. :raises Forbidden: staff without the right lines.terminate.
    :raises LineNotActive: it is pending or terminated.
    :raises LineHasOpenOrder: another order for it is open.
    """
    _require(actor, "lines.terminate")
    found = line_selectors.get_line(actor=actor, uid=line)
    locked = Line.objects.select_for_update().get(pk=found.pk)
    if ServiceOrder.objects.filter(line=locked, status__in=OPEN_ORDER).exists():
        raise LineHasOpenOrder
    if locked.status not in (LineStatus.ACTIVE, LineStatus.SUSPENDED):
        raise LineNotActive
    order = _create(
        actor, locked, OrderType.TERMINATE, external_id=external_id, request_reason=reason, now=now
    )
    connection = carriers.get_connection(
        operator_id=locked.operator_id, host_carrier_id=locked.host_carrier_id
    )
    start_order(actor=actor, order=order, connection=connection, verification_id=None, now=now)
    return order


@operation
def start_order(
    *,
    actor: Actor,
    order: ServiceOrder,
    connection: CarrierConnection,
    verification_id: int | None,
    now: datetime,
) -> ActivationJob:
    """ACKNOWLEDGED or HELD -> IN_PROGRESS with a QUEUED job and a nudge for the workers; the caller holds the order."""
    before = order.status
    order.start(verification_id)
    job = ActivationJob(
        operator_id=order.operator_id,
        order=order,
        line_id=order.line_id,
        connection=connection,
        operation=order.type,
        status=JobStatus.QUEUED,
        request_id=actor.request_id,
        created_at=now,
    )
    # The job's own id: unique for ever, and never reused, not even after a restore (reliability 2.2 row 30).
    job.reference = job.uid
    job.save()
    trace(actor, order, "order.start", before, now)
    dispatch.after_commit(
        "provisioning.drain", queue=drain_queue(connection.host_carrier.code), connection_id=connection.pk
    )
    return job


@operation
def cancel_order(
    *,
    actor: Actor,
    order: str,
    now: datetime,
    reason: str = "",
    precondition: Callable[[ServiceOrder], None] | None = None,
) -> ServiceOrder:
    """Cancels what the carrier has certainly not been told of, and gives back everything it took.

    That includes a dead letter that was never sent. `precondition` is called with the order once nobody else can move
    it, and may refuse.

    :raises NotFound: no such order of this operator. :raises Forbidden: staff without the right orders.place.
    :raises OrderNotCancellable: it is finished, or a job may have reached the carrier.
    """
    _require(actor, "orders.place")
    found = get_order(actor=actor, uid=order)
    serialize_on(f"order:{found.pk}")
    current = get_order(actor=actor, uid=order)
    if precondition is not None:
        precondition(current)
    if current.status not in (OrderStatus.HELD, OrderStatus.IN_PROGRESS):
        raise OrderNotCancellable
    if not all(_is_unknown_to_carrier(job) for job in current.jobs.all()):
        raise OrderNotCancellable
    code = {ActorKind.PARTNER: "cancelled_by_partner", ActorKind.STAFF: "cancelled_by_staff"}.get(
        actor.kind, "cancelled_by_system"
    )
    ended = end_order(
        actor=actor, order_id=found.pk, status=OrderStatus.CANCELLED, reason=code, note=reason, now=now
    )
    for job in ActivationJob.objects.select_for_update().filter(order=ended).order_by("pk"):
        # A worker may have claimed it since we looked: then the carrier may know, and the order is not cancellable.
        if not _is_unknown_to_carrier(job):
            raise OrderNotCancellable
        job.fail(
            kind=FailureKind.CANCELLED,
            code="order_cancelled",
            detail="Cancelled before it was sent.",
            now=now,
        )
    return ended


def _is_unknown_to_carrier(job: ActivationJob) -> bool:
    return job.told_at is None and (job.status == JobStatus.QUEUED or job.is_dead_letter)


def _require(actor: Actor, right: str) -> None:
    """Staff need the right; what a partner may do is in its scopes, which its request was asked for."""
    if actor.kind is ActorKind.STAFF:
        actor.require(right)


def _require_no_failed_check(subscriber_id: int, now: datetime) -> VerificationState:
    verification = subscribers.get_verification_state(subscriber_id=subscriber_id, now=now)
    if verification.standing is Standing.FAILED:
        raise IdentityNotVerified
    if verification.standing is Standing.EXPIRED:
        raise IdentityExpired
    return verification


def _create(
    actor: Actor, line: Line, order_type: OrderType, *, external_id: str, request_reason: str, now: datetime
) -> ServiceOrder:
    order = ServiceOrder(
        operator_id=line.operator_id,
        type=order_type,
        status=OrderStatus.ACKNOWLEDGED,
        line=line,
        external_id=external_id,
        request_reason=request_reason,
        placed_by=actor.id,
        created_at=now,
    )
    # Callers have made sure that no order is open on the line, under its lock; one_open_order_per_line stands behind.
    order.save()
    trace(actor, order, "order.place", None, now)
    announce(actor, order, "order.created", None, now)
    return order
