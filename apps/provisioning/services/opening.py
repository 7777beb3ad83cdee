"""The steps that orders of all types share: finding the line free, writing the order down, starting or holding it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from apps.carriers import selectors as carriers
from apps.carriers.models import CarrierConnection
from apps.core import dispatch
from apps.core.actor import Actor, ActorKind
from apps.core.db import operation
from apps.lines import selectors as line_selectors
from apps.lines.errors import LineNotActive
from apps.lines.models import Line
from apps.lines.states import LineStatus
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.provisioning.errors import LineHasOpenOrder
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.provisioning.services.tracing import announce, trace
from apps.provisioning.states import JobStatus, OrderStatus, OrderType, drain_queue
from apps.subscribers import selectors as subscribers
from apps.subscribers.errors import IdentityExpired, IdentityNotVerified
from apps.subscribers.models import Verification
from apps.subscribers.states import Standing, VerificationStatus

# Shown as the reason of an order that waits for its real-name check.
AWAITING_IDENTITY = "identity_not_verified"


def require_right(actor: Actor, right: str) -> None:
    """Staff need the right; what a partner may do is in its scopes, which its request was asked for."""
    if actor.kind is ActorKind.STAFF:
        actor.require(right)


def require_free(line: Line, states: Collection[LineStatus]) -> None:
    """:raises LineHasOpenOrder: another order for it is open. :raises LineNotActive: it is in no such state."""
    if ServiceOrder.objects.open().filter(line=line).exists():
        raise LineHasOpenOrder
    if line.status not in states:
        raise LineNotActive


def lock_free(line_id: int, states: Collection[LineStatus]) -> Line:
    """The line, locked, so that nobody else can order anything for it. Raises like `require_free`."""
    line = Line.objects.select_for_update().get(pk=line_id)
    require_free(line, states)
    return line


def require_not_failed(standing: Standing) -> None:
    """:raises IdentityNotVerified: the check that counts failed. :raises IdentityExpired: it is too old."""
    if standing is Standing.FAILED:
        raise IdentityNotVerified
    if standing is Standing.EXPIRED:
        raise IdentityExpired


def standing_of_check(verification: Verification, now: datetime) -> Standing:
    """How a subscriber stands by this very check; a later failure, or doubt, counts against every earlier one."""
    latest = subscribers.get_verification_state(subscriber_id=verification.subscriber_id, now=now)
    if latest.standing is Standing.FAILED:
        return Standing.FAILED
    if latest.standing is Standing.REVIEW:
        return Standing.REVIEW
    if verification.status != VerificationStatus.PASSED:
        return Standing[verification.status]
    fresh = verification.fresh_until is not None and verification.fresh_until > now
    return Standing.PASSED_FRESH if fresh else Standing.EXPIRED


@operation
def write_down(
    *, actor: Actor, line: Line, order_type: OrderType, now: datetime, external_id: str = "", **brings: Any
) -> ServiceOrder:
    """An ACKNOWLEDGED order. Callers hold the line and have found it free; one_open_order_per_line stands behind."""
    order = ServiceOrder(
        operator_id=line.operator_id,
        type=order_type,
        status=OrderStatus.ACKNOWLEDGED,
        line=line,
        external_id=external_id,
        placed_by=actor.id,
        placed_by_kind=actor.kind,
        placed_by_label=actor.label,
        created_at=now,
        **brings,
    )
    order.save()
    trace(actor, order, "order.place", None, now)
    announce(actor, order, "order.created", None, now)
    return order


@operation
def start(
    *,
    actor: Actor,
    order: ServiceOrder,
    now: datetime,
    connection: CarrierConnection | None = None,
    verification_id: int | None = None,
    asks_for: OrderType | None = None,
    number: int | None = None,
) -> ActivationJob:
    """ACKNOWLEDGED or HELD -> IN_PROGRESS with a QUEUED job and a nudge for the workers; the caller holds the order.

    :raises CarrierNotConnected: no connection is given and there is none.
    """
    if connection is None:
        connection = carriers.get_connection(
            operator_id=order.operator_id, host_carrier_id=order.line.host_carrier_id
        )
    before = order.status
    order.start(verification_id)
    job = ActivationJob(
        operator_id=order.operator_id,
        order=order,
        line_id=order.line_id,
        connection=connection,
        operation=asks_for or order.type,
        number=number or line_selectors.get_number(line_id=order.line_id),
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
def hold(*, actor: Actor, order: ServiceOrder, now: datetime) -> None:
    """ACKNOWLEDGED -> HELD until somebody is verified, or for as long as policy allows."""
    hours = policies.get(operator_id=order.operator_id, key=PolicyKey.HELD_ORDER_HOURS, now=now)
    order.hold(reason=AWAITING_IDENTITY, until=now + timedelta(hours=hours))
    trace(actor, order, "order.hold", OrderStatus.ACKNOWLEDGED, now)
    announce(actor, order, "order.held", OrderStatus.ACKNOWLEDGED, now)


@operation
def complete(*, actor: Actor, order: ServiceOrder, now: datetime) -> None:
    """To COMPLETED; the caller holds the order, and its line is as it was to be."""
    before = order.status
    order.complete(now)
    trace(actor, order, "order.complete", before, now)
    announce(actor, order, "order.completed", before, now)


@operation
def cancel_scheduled(*, actor: Actor, line_id: int, reason: str, now: datetime) -> None:
    """Nothing that was planned for the line will happen: it has ended, or is somebody else's."""
    for order in ServiceOrder.objects.scheduled().select_for_update().filter(line_id=line_id).order_by("pk"):
        order.cancel(reason=reason, now=now)
        trace(actor, order, "order.cancel", OrderStatus.ACKNOWLEDGED, now)
        announce(actor, order, "order.cancelled", OrderStatus.ACKNOWLEDGED, now)
