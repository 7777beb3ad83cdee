"""Reading orders and jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import (
    BigIntegerField,
    BooleanField,
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    Min,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    When,
)
from django.db.models.functions import Coalesce, Random

from apps.audit import selectors as audit
from apps.audit.models import AuditEvent
from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor
from apps.core.db import database_now
from apps.core.public_ids import MalformedId, get_by_uid
from apps.lines import selectors as line_selectors
from apps.lines.models import Line, SuspensionReason, UserAssignment
from apps.lines.states import LIVE_LINE, SuspensionOwner
from apps.provisioning.models import (
    ActivationJob,
    CarrierCallback,
    Discrepancy,
    Gate,
    HolderDispute,
    ReconciliationRun,
    ServiceOrder,
)
from apps.provisioning.states import DUE_JOB, OPEN_JOB, JobStatus, OrderStatus, OrderType
from apps.subscribers.models import ReverificationDemand, Verification
from apps.subscribers.states import VerificationStatus


@dataclass(frozen=True, slots=True)
class SendingFacts:
    """What the carrier call needs to know of an order: who and what the line is to have, and why."""

    holder_id: int
    plan_code: str
    request_reason: str
    suspension_kind: str | None
    new_iccid: str | None
    new_imsi: str | None
    new_number: int | None
    # The check that the order stands on has passed, and none after it has failed, and the last one of whoever is going
    # to use the line has passed; or it needs none.
    identity_holds: bool
    # The card that the carrier has in the line, where the order only asks for what the line is here already.
    restores_iccid: str

    @property
    def is_restoring(self) -> bool:
        return self.restores_iccid != ""


def list_orders(
    *,
    actor: Actor,
    status: str | None = None,
    type: str | None = None,
    line_uid: str | None = None,
    external_id: str | None = None,
    created_after: datetime | None = None,
) -> QuerySet[ServiceOrder]:
    """Orders the actor may see, with line and jobs loaded."""
    orders = ServiceOrder.objects.visible_to(actor).select_related("line")
    if status:
        orders = orders.filter(status=status)
    if type:
        orders = orders.filter(type=type)
    if external_id:
        orders = orders.filter(external_id=external_id)
    if created_after:
        orders = orders.filter(created_at__gt=created_after)
    if line_uid:
        try:
            orders = orders.filter(line__uid=line_uid)
        except MalformedId:
            orders = orders.none()
    return orders.prefetch_related(Prefetch("jobs", ActivationJob.objects.order_by("id")))


def get_order(*, actor: Actor, uid: str) -> ServiceOrder:
    """:raises NotFound: unknown, malformed or of another operator."""
    return get_by_uid(list_orders(actor=actor), uid)


def get_timelines(*, actor: Actor, order_uids: Sequence[str]) -> dict[str, list[AuditEvent]]:
    """Every step of these orders, oldest first: the audit trail is the timeline."""
    timelines: dict[str, list[AuditEvent]] = {uid: [] for uid in order_uids}
    for event in audit.list_for_target(actor=actor, target_type="order", target_ids=order_uids):
        timelines[event.target_id].append(event)
    return timelines


def get_host_carrier_id(*, connection_id: int) -> int | None:
    """Of which host carrier the connection is; None when it has never existed."""
    found = CarrierConnection.objects.filter(pk=connection_id).values_list("host_carrier_id", flat=True)
    return found.first()


def list_connections_of_carrier(*, host_carrier_id: int) -> list[CarrierConnection]:
    """Of every operator, ended ones too: what went over them is still asked about."""
    return list(CarrierConnection.objects.filter(host_carrier_id=host_carrier_id).order_by("pk"))


def list_ended_connections_with_queued_jobs(*, connection_ids: Collection[int]) -> list[int]:
    """Those that nothing can be sent over any more, and something waits to be."""
    queued = ActivationJob.objects.filter(connection_id=OuterRef("pk"), status=JobStatus.QUEUED)
    ended = CarrierConnection.objects.filter(pk__in=connection_ids, disconnected_at__isnull=False)
    return list(ended.filter(Exists(queued)).values_list("pk", flat=True))


def get_sending_facts(*, order_ids: Iterable[int]) -> dict[int, SendingFacts]:
    """In one query, for any number of orders."""
    failed_since = Verification.objects.filter(
        subscriber_id=OuterRef("verification__subscriber_id"),
        id__gt=OuterRef("verification_id"),
        status=VerificationStatus.FAILED,
    )
    passed = Q(verification__status=VerificationStatus.PASSED) & ~Exists(failed_since)
    # Whoever is going to use the line of an organization: they may have failed since the order was placed.
    using = UserAssignment.objects.filter(line_id=OuterRef("line_id"), released_at=None).values("user_id")[:1]
    user = Case(
        When(type=OrderType.ACTIVATE, then=Subquery(using)),
        When(type=OrderType.TRANSFER, then=F("new_user_id")),
        output_field=BigIntegerField(),
    )
    decided = Verification.objects.filter(subscriber_id=OuterRef("user")).exclude(
        status=VerificationStatus.PENDING
    )
    of_user = Subquery(decided.order_by("-id").values("status")[:1])
    holds = (passed & (Q(user=None) | Q(status_of_user=VerificationStatus.PASSED))) | ~Q(restores_iccid="")
    rows = (
        ServiceOrder.objects.filter(pk__in=set(order_ids))
        .with_person()
        .annotate(user=user)
        .annotate(status_of_user=of_user)
        .annotate(identity_holds=ExpressionWrapper(holds, output_field=BooleanField()))
        .annotate(plan_code=Coalesce("new_plan__code", "line__plan__code"))
        .values_list(
            "pk",
            "person",
            "plan_code",
            "request_reason",
            "suspension_kind",
            "new_sim__iccid",
            "new_sim__imsi",
            "new_number_id",
            "identity_holds",
            "restores_iccid",
        )
    )
    return {row[0]: SendingFacts(*row[1:]) for row in rows}


def list_connections_with_due_jobs(*, at: datetime) -> list[tuple[int, str]]:
    """Key and host carrier's code of connections for which a worker has something to do; `at`: the database's clock."""
    unclaimed = Q(lease_until=None) | Q(lease_until__lte=at)
    due = ActivationJob.objects.filter(
        unclaimed, connection_id=OuterRef("pk"), status__in=DUE_JOB, next_attempt_at__lte=at
    )
    # One look into the index per connection, however much is due behind it.
    found = CarrierConnection.objects.filter(Exists(due), stopped_at=None)
    return list(found.order_by("pk").values_list("pk", "host_carrier__code"))


def has_waiting_callbacks() -> bool:
    """Whether one could be applied now."""
    return CarrierCallback.objects.waiting().exists()


def list_subscribers_with_news(*, limit: int = 500) -> list[int]:
    """Subscribers whose latest check is decided while an order of theirs is HELD: somebody missed the news.

    Orders of those who are not connected to the carrier cannot go on, and are in nobody's way.
    """
    latest = Verification.objects.filter(subscriber_id=OuterRef("person")).order_by("-id")
    decided = [VerificationStatus.PASSED, VerificationStatus.FAILED, VerificationStatus.EXPIRED]
    held = ServiceOrder.objects.with_person().filter(status=OrderStatus.HELD)
    waiting = (
        held.filter(_has_connection())
        .annotate(latest_check=Subquery(latest.values("status")[:1]))
        .filter(Q(latest_check__in=decided) | Q(verification__status__in=decided))
    )
    return sorted(set(waiting.order_by("held_until").values_list("person", flat=True)[:limit]))


def list_scheduled_orders_due(*, now: datetime, limit: int) -> list[int]:
    """Keys of orders whose day has come, except where another order for the line is open; longest due first.

    Those of operators that are not connected to the carrier just now cannot be started, and are in nobody's way.
    """
    in_the_way = ServiceOrder.objects.open().filter(line_id=OuterRef("line_id"))
    due = ServiceOrder.objects.scheduled().filter(~Exists(in_the_way), _has_connection(), due_at__lte=now)
    return list(due.order_by("due_at").values_list("id", flat=True)[:limit])


def _has_connection() -> Exists:
    """Of an order: its operator is connected to the line's host carrier."""
    live = CarrierConnection.objects.filter(
        operator_id=OuterRef("operator_id"),
        host_carrier_id=OuterRef("line__host_carrier_id"),
        disconnected_at=None,
    )
    return Exists(live)


def list_disputes(*, actor: Actor, status: str | None = None) -> QuerySet[HolderDispute]:
    """Disputes the actor may see, with line and question loaded."""
    disputes = HolderDispute.objects.visible_to(actor).select_related("line", "holder_check")
    return disputes.filter(status=status) if status else disputes


def get_dispute(*, actor: Actor, uid: str) -> HolderDispute:
    """:raises NotFound: unknown, malformed or of another operator."""
    return get_by_uid(list_disputes(actor=actor), uid)


def get_dispute_for_update(*, actor: Actor, uid: str) -> HolderDispute:
    """Locked, its line loaded. :raises NotFound: unknown, malformed or of another operator."""
    disputes = HolderDispute.objects.visible_to(actor).select_related("line")
    return get_by_uid(disputes.select_for_update(of=("self",)), uid)


def is_disputed(*, line_id: int) -> bool:
    """Whether somebody says that the line is not theirs, and nobody has decided yet."""
    return HolderDispute.objects.undecided().filter(line_id=line_id).exists()


@dataclass(frozen=True, slots=True)
class WaitingDisputes:
    """Those that nobody has decided, and of them those whose time is up."""

    count: int
    overdue: int


def get_waiting_disputes(*, actor: Actor, now: datetime) -> WaitingDisputes:
    """As far as the actor may see them; from a partial index."""
    found = (
        HolderDispute.objects.visible_to(actor)
        .undecided()
        .aggregate(count=Count("id"), overdue=Count("id", filter=Q(due_at__lte=now)))
    )
    return WaitingDisputes(found["count"], found["overdue"])


def list_lines_to_move(*, demand: ReverificationDemand, limit: int) -> list[tuple[str, bool]]:
    """Lines that are not as the demand wants them, as (public id, whether an order for it can be placed now).

    While it is open: the subscriber's, or the one line, without its reason of this step. Afterwards: those where a
    reason of it stands or is on its way. Lines that can be dealt with now come first.
    """
    busy = ServiceOrder.objects.open().filter(line_id=OuterRef("pk"))
    lines = _lines_under(demand)
    placed = SuspensionReason.objects.in_force().filter(
        line_id=OuterRef("pk"), owner=SuspensionOwner.SYSTEM, placed_by=demand.uid
    )
    if demand.is_open:
        lines = lines.filter(~Exists(placed.filter(kind=demand.status)))
    else:
        # From the reasons, by their index; an order that is on its way stands at a line of the subscriber's.
        standing = SuspensionReason.objects.in_force().filter(
            owner=SuspensionOwner.SYSTEM, placed_by=demand.uid
        )
        coming = lines.filter(Exists(busy.filter(placed_by=demand.uid)))
        ids = {*standing.values_list("line_id", flat=True), *coming.values_list("pk", flat=True)}
        lines = Line.objects.filter(pk__in=ids)
    free = ~Exists(busy) & Q(status__in=LIVE_LINE)
    rows = lines.annotate(free=ExpressionWrapper(free, output_field=BooleanField()))
    # Any of them, so that some that cannot be moved are not always in the way; then in one order, as they are locked.
    return sorted(rows.order_by("-free", Random()).values_list("uid", "free")[:limit])


def has_line_under(*, demand: ReverificationDemand) -> bool:
    """Whether there is a line that the demand could suspend, now or when it has been activated."""
    return _lines_under(demand).exists()


def _lines_under(demand: ReverificationDemand) -> QuerySet[Line]:
    """Those of the person, and of organizations those that the person uses."""
    used = line_selectors.list_lines_used_by(user_ids=[demand.subscriber_id])
    lines = Line.objects.filter(Q(subscriber_id=demand.subscriber_id) | Q(pk__in=used), terminated_at=None)
    return lines.filter(uid=demand.line_uid) if demand.line_uid else lines


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not finished, as far as the actor may see it; every figure comes from a partial index."""

    dead_letters: int
    in_doubt: int
    open_jobs: int
    held_orders: int
    # Of the oldest open job, in whole minutes; None when none is open.
    oldest_open_minutes: int | None
    # Callbacks that contradict what is final, or speak of no job of ours.
    odd_callbacks: int


def list_reconciliations_due(*, at: datetime) -> list[int]:
    """Keys of open runs that a worker can take further; `at`: the database's clock."""
    unclaimed = Q(lease_until=None) | Q(lease_until__lte=at)
    due = ReconciliationRun.objects.open().filter(unclaimed, next_attempt_at__lte=at)
    return list(due.order_by("id").values_list("id", flat=True))


def has_accepted_discrepancies() -> bool:
    """Whether a repair waits for a worker."""
    return Discrepancy.objects.accepted().exists()


def count_discrepancies(*, actor: Actor, run: ReconciliationRun) -> dict[tuple[str, str], int]:
    """How many the run found, as far as the actor may see them, by kind and status."""
    rows = Discrepancy.objects.visible_to(actor).filter(run=run).values_list("kind", "status")
    return {
        (kind, status): count
        for kind, status, count in rows.annotate(count=Count("id")).order_by("kind", "status")
    }


def count_open_discrepancies(*, actor: Actor, most: int = 1000) -> int:
    """That wait for a decision; counted up to `most` and no further."""
    return Discrepancy.objects.visible_to(actor).waiting()[:most].count()


def get_backlog(*, actor: Actor) -> Backlog:
    """Counts of what is open, in four queries; ages by the database's clock."""
    jobs = ActivationJob.objects.visible_to(actor)
    opened = jobs.filter(status__in=OPEN_JOB).aggregate(
        count=Count("id"), doubt=Count("id", filter=Q(status=JobStatus.IN_DOUBT)), oldest=Min("created_at")
    )
    age = database_now() - opened["oldest"] if opened["oldest"] else None
    return Backlog(
        dead_letters=jobs.dead_letters().count(),
        in_doubt=opened["doubt"],
        open_jobs=opened["count"],
        held_orders=ServiceOrder.objects.visible_to(actor).filter(status=OrderStatus.HELD).count(),
        oldest_open_minutes=int(age.total_seconds() // 60) if age is not None else None,
        odd_callbacks=CarrierCallback.objects.visible_to(actor).odd().count(),
    )


@dataclass(frozen=True, slots=True)
class Traffic:
    """How calls over one connection go just now."""

    is_open: bool
    changed_at: datetime | None
    failures: int
    why: str
    in_flight: int
    # Counted up to `MOST_WAITING`.
    waiting: int


MOST_WAITING = 1000


def is_stopped(*, connection_id: int) -> bool:
    """Whether nothing should be called over it now: by the kill switch, or while its circuit is open."""
    stopped = Q(stopped_at__isnull=False) | Q(gate__is_open=True)
    return CarrierConnection.objects.filter(stopped, pk=connection_id).exists()


def get_traffic(*, connection_id: int) -> Traffic:
    """The circuit of a connection, its calls in flight and what is due over it, by the database's clock."""
    at = database_now()
    gate = Gate.objects.filter(pk=connection_id).first()
    jobs = ActivationJob.objects.filter(connection_id=connection_id)
    due = jobs.filter(
        Q(lease_until=None) | Q(lease_until__lte=at), status__in=DUE_JOB, next_attempt_at__lte=at
    )
    return Traffic(
        is_open=gate.is_open if gate else False,
        changed_at=gate.changed_at if gate else None,
        failures=gate.failures if gate else 0,
        why=gate.why if gate else "",
        in_flight=jobs.filter(lease_until__gt=at).count(),
        waiting=due.order_by()[:MOST_WAITING].count(),
    )
