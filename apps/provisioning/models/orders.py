"""Tables of orders, jobs, attempts and callbacks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce, Now

from apps.core.public_ids import MalformedId, PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.lines.states import SuspensionKind
from apps.provisioning.states import (
    DUE_JOB,
    JOB,
    OPEN_JOB,
    OPEN_ORDER,
    ORDER,
    AttemptKind,
    AttemptOutcome,
    CallbackOutcome,
    FailureKind,
    JobStatus,
    OrderStatus,
    OrderType,
)

OPEN_ORDERS = Q(status__in=[status.value for status in OPEN_ORDER]) | Q(status="ACKNOWLEDGED", due_at=None)
SCHEDULED_ORDERS = Q(status="ACKNOWLEDGED", due_at__isnull=False)
OPEN_JOBS = Q(status__in=[status.value for status in OPEN_JOB])


def _comes_with(order_type: OrderType, field: str) -> models.CheckConstraint:
    """Orders of this type, and no others, have that column filled."""
    return models.CheckConstraint(
        name=f"order_{field}",
        condition=Q(("type", order_type.value), (f"{field}__isnull", False))
        | (~Q(type=order_type.value) & Q((field, None))),
    )


class OrderQuerySet(TenantQuerySet["ServiceOrder"]):
    def open(self) -> Self:
        """In the way of any other order for the line."""
        return self.filter(OPEN_ORDERS)

    def scheduled(self) -> Self:
        """For a later day."""
        return self.filter(SCHEDULED_ORDERS)

    def held_for(self, subscriber_ids: Sequence[int]) -> Self:
        """HELD until one of these people is verified."""
        return self.with_person().filter(status=OrderStatus.HELD, person__in=subscriber_ids)

    def with_person(self) -> Self:
        """Adds `person`: who has to be verified for it, the coming holder or else the present one."""
        return self.annotate(person=Coalesce("new_holder_id", "line__subscriber_id"))

    def search(self, text: str) -> Self:
        """By whole order id, line id or the partner's own id."""
        try:
            if text.startswith("ord_"):
                return self.filter(uid=text)
            if text.startswith("lin_"):
                return self.filter(line__uid=text)
        except MalformedId:
            return self.none()
        return self.filter(external_id=text)


class ServiceOrder(models.Model):
    """What somebody asked for. It ends COMPLETED, FAILED or CANCELLED, and stays."""

    uid = PublicIdField(prefix="ord")
    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT)
    type = models.CharField(max_length=16, choices=OrderType)
    status = models.CharField(max_length=12, choices=OrderStatus, default=OrderStatus.ACKNOWLEDGED)
    line = models.ForeignKey("lines.Line", on_delete=models.PROTECT, related_name="orders")
    # The real-name check it stands on, or (HELD) that it names; looked at again before the first send.
    verification = models.ForeignKey(
        "subscribers.Verification", on_delete=models.PROTECT, null=True, blank=True
    )
    # Why it is held, failed or was cancelled: a stable code.
    reason = models.CharField(max_length=48, blank=True)
    # Why the line is to stand still, run again or end, as whoever asked said.
    request_reason = models.CharField(max_length=32, blank=True)
    note = models.CharField(max_length=200, blank=True)
    # What it brings; no index, since nobody asks from that side and most orders have none of it.
    suspension_kind = models.CharField(  # noqa: DJ001 - a resumed line has no kind
        max_length=7, choices=SuspensionKind, null=True, blank=True
    )
    new_sim = models.ForeignKey(
        "sims.SimCard", on_delete=models.PROTECT, null=True, blank=True, db_index=False, related_name="+"
    )
    new_number = models.ForeignKey(
        "numbering.PhoneNumber",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="+",
    )
    new_plan = models.ForeignKey(
        "lines.Plan", on_delete=models.PROTECT, null=True, blank=True, db_index=False, related_name="+"
    )
    new_holder = models.ForeignKey(
        "subscribers.Subscriber",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="+",
    )
    # Who is going to use the line, when the new holder is an organization.
    new_user = models.ForeignKey(
        "subscribers.Subscriber",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="+",
    )
    # Of an order that asks the carrier to make a line what it is here already (reconciliation): the card that the
    # carrier has in it. Nothing changes here when it ends. Empty for every other.
    restores_iccid = models.CharField(max_length=20, blank=True, db_default="")
    external_id = models.CharField(max_length=64, blank=True)
    placed_by = models.CharField(max_length=64)
    placed_by_kind = models.CharField(max_length=8, blank=True)
    placed_by_label = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField()
    held_until = models.DateTimeField(null=True, blank=True)
    # When it is to be carried out, if not at once.
    due_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = OrderQuerySet.as_manager()

    class Meta:
        verbose_name = "order"
        constraints = [
            models.UniqueConstraint(fields=["line"], condition=OPEN_ORDERS, name="one_open_order_per_line"),
            models.UniqueConstraint(
                fields=["line"], condition=SCHEDULED_ORDERS, name="one_scheduled_order_per_line"
            ),
            _comes_with(OrderType.CHANGE_SIM, "new_sim"),
            _comes_with(OrderType.CHANGE_NUMBER, "new_number"),
            _comes_with(OrderType.CHANGE_PLAN, "new_plan"),
            _comes_with(OrderType.TRANSFER, "new_holder"),
            models.CheckConstraint(
                name="order_new_user", condition=Q(new_user=None) | Q(new_holder__isnull=False)
            ),
            models.CheckConstraint(
                name="order_status_matches_times",
                condition=(
                    Q(status="HELD", held_until__isnull=False, finished_at=None)
                    | Q(status__in=["ACKNOWLEDGED", "IN_PROGRESS"], held_until=None, finished_at=None)
                    | Q(status="COMPLETED", held_until=None, finished_at__isnull=False)
                    | (
                        Q(status__in=["FAILED", "CANCELLED"], held_until=None, finished_at__isnull=False)
                        & ~Q(reason="")
                    )
                ),
            ),
        ]
        indexes = [
            models.Index(fields=["operator", "-uid"], name="order_operator"),
            models.Index(
                fields=["operator", "external_id"], condition=~Q(external_id=""), name="order_external_id"
            ),
            models.Index(fields=["held_until"], condition=Q(status="HELD"), name="order_held"),
            models.Index(fields=["due_at"], condition=SCHEDULED_ORDERS, name="order_scheduled"),
        ]

    def __str__(self) -> str:
        return str(self.uid)

    @property
    def is_restoring(self) -> bool:
        """Whether the carrier is asked for what the line is here already."""
        return self.restores_iccid != ""

    @property
    def is_scheduled(self) -> bool:
        return self.status == OrderStatus.ACKNOWLEDGED and self.due_at is not None

    def hold(self, *, reason: str, until: datetime) -> None:
        self._move(OrderStatus.HELD, reason=reason, held_until=until)

    def start(self, verification_id: int | None) -> None:
        self._move(OrderStatus.IN_PROGRESS, reason="", held_until=None, verification_id=verification_id)

    def complete(self, now: datetime) -> None:
        self._move(OrderStatus.COMPLETED, reason="", finished_at=now)

    def fail(self, *, reason: str, now: datetime) -> None:
        self._move(OrderStatus.FAILED, reason=reason, held_until=None, finished_at=now)

    def cancel(self, *, reason: str, now: datetime) -> None:
        self._move(OrderStatus.CANCELLED, reason=reason, held_until=None, finished_at=now)

    def _move(self, target: OrderStatus, **changes: object) -> None:
        ORDER.check(self.status, target)
        self.status = target
        for field, value in changes.items():
            setattr(self, field, value)
        self.save(update_fields=["status", *changes])


# What verbs look at or write, and those who decide which.
_MOVED = (
    "operator",
    "connection",
    "status",
    "token",
    "attempts",
    "queries",
    "unknowns",
    "next_attempt_at",
    "refreshed_at",
    "told_at",
    "lease_until",
    "finished_at",
    "carrier_reference",
    "failure_kind",
    "error_code",
    "error_detail",
)


class JobQuerySet(TenantQuerySet["ActivationJob"]):
    def lock_together(self, job_ids: Collection[int]) -> list[ActivationJob]:
        """Those jobs, locked; their verbs write nothing: whoever locks them does, all at once."""
        jobs = list(self.select_for_update().filter(pk__in=job_ids).order_by("pk").only(*_MOVED))
        for job in jobs:
            job.is_written_together = True
        return jobs

    def dead_letters(self) -> Self:
        """Jobs that wait for staff."""
        return self.filter(status=JobStatus.FAILED, failure_kind=FailureKind.SYSTEM)

    def search(self, text: str) -> Self:
        """By whole job, order or line id, or the carrier's own reference."""
        field = {"job": "uid", "ord": "order__uid", "lin": "line__uid"}.get(text[:3], "carrier_reference")
        try:
            return self.filter(**{field: text})
        except MalformedId:
            return self.none()


class ActivationJob(models.Model):
    """One operation at the host carrier. `reference` is ours, made once and sent with every attempt for life."""

    uid = PublicIdField(prefix="job")
    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT)
    order = models.ForeignKey(ServiceOrder, on_delete=models.PROTECT, related_name="jobs")
    line = models.ForeignKey("lines.Line", on_delete=models.PROTECT, related_name="jobs")
    connection = models.ForeignKey("carriers.CarrierConnection", on_delete=models.PROTECT)
    # Of the request that asked for it: sent to the carrier with every call, and found in logs, audit and events.
    request_id = models.CharField(max_length=64, blank=True)
    # What the carrier is asked for: not the order's type where a line is resumed in part.
    operation = models.CharField(max_length=16, choices=OrderType)
    # What the line had when it was made: by it the carrier's answers name the line, whatever it has since.
    number = models.PositiveBigIntegerField()
    status = models.CharField(max_length=9, choices=JobStatus, default=JobStatus.QUEUED)
    reference = models.CharField(max_length=40, unique=True)
    carrier_reference = models.CharField(max_length=64, blank=True)
    # Sends so far, counted when claimed.
    attempts = models.PositiveIntegerField(default=0)
    # Of these, those nobody knows the outcome of (no answer, worker lost): they may run out, others only grow old.
    unknowns = models.PositiveSmallIntegerField(default=0)
    queries = models.PositiveIntegerField(default=0)
    # By the database's clock, like everything that is compared with it.
    next_attempt_at = models.DateTimeField(db_default=Now())
    # Patience is counted from here: from its making, or from when staff gave it another chance.
    refreshed_at = models.DateTimeField(db_default=Now())
    # The carrier may know of the job: when the last byte of the last such call had left. Null: it knows nothing.
    told_at = models.DateTimeField(null=True, blank=True)
    # Who holds the lease writes with its token; a higher token fences the older holder out.
    token = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    failure_kind = models.CharField(max_length=9, choices=FailureKind, blank=True)
    error_code = models.CharField(max_length=48, blank=True)
    error_detail = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    # Whoever has locked many jobs moves each, and then writes them all in one statement.
    is_written_together = False

    objects = JobQuerySet.as_manager()

    class Meta:
        verbose_name = "carrier job"
        constraints = [
            models.UniqueConstraint(fields=["line"], condition=OPEN_JOBS, name="one_open_job_per_line"),
            models.CheckConstraint(
                name="job_status_matches_times",
                condition=(
                    Q(status="SENDING", lease_until__isnull=False, finished_at=None, failure_kind="")
                    | Q(status__in=["QUEUED", "ACCEPTED", "IN_DOUBT"], finished_at=None, failure_kind="")
                    | Q(status="SUCCEEDED", lease_until=None, finished_at__isnull=False, failure_kind="")
                    | Q(
                        status="FAILED",
                        lease_until=None,
                        finished_at__isnull=False,
                        failure_kind__in=FailureKind.values,
                    )
                ),
            ),
        ]
        indexes = [
            models.Index(
                fields=["connection", "next_attempt_at"],
                condition=Q(status__in=[status.value for status in DUE_JOB]),
                name="job_due",
            ),
            models.Index(
                fields=["connection", "lease_until"],
                condition=Q(lease_until__isnull=False),
                name="job_leased_over",
            ),
            models.Index(fields=["operator", "-uid"], name="job_operator"),
            models.Index(
                fields=["operator", "finished_at"], condition=Q(failure_kind="SYSTEM"), name="job_dead_letter"
            ),
        ]

    def __str__(self) -> str:
        return str(self.uid)

    @property
    def is_dead_letter(self) -> bool:
        """Out of attempts or misconfigured: waits for staff, and its order stays open."""
        return self.failure_kind == FailureKind.SYSTEM

    def tell(self, at: datetime, *, unknown: bool) -> None:
        """A call of ours may have reached the carrier; kept with the next transition."""
        self.told_at = at
        self.unknowns += int(unknown)
        self._keep("told_at", "unknowns")

    def refresh(self, connection_id: int, at: datetime) -> None:
        """Another allowance of attempts and patience, over that connection."""
        self.connection_id = connection_id
        self.unknowns = 0
        self.refreshed_at = at
        self.save(update_fields=["connection", "unknowns", "refreshed_at"])

    def accept(self, *, carrier_reference: str, ask_at: datetime) -> None:
        """The carrier has it; ask for news at `ask_at` unless it calls back before."""
        self._move(JobStatus.ACCEPTED, carrier_reference=carrier_reference, next_attempt_at=ask_at)

    def succeed(self, *, carrier_reference: str, now: datetime) -> None:
        self._move(
            JobStatus.SUCCEEDED,
            carrier_reference=carrier_reference or self.carrier_reference,
            finished_at=now,
            failure_kind="",
            error_code="",
            error_detail="",
        )

    def fail(self, *, kind: FailureKind, code: str, detail: str, now: datetime) -> None:
        self._move(
            JobStatus.FAILED, failure_kind=kind, error_code=code, error_detail=detail[:200], finished_at=now
        )

    def doubt(self, *, code: str, detail: str, ask_at: datetime) -> None:
        """Nobody knows whether the carrier did it: ask at `ask_at`, never resend without."""
        self._move(
            JobStatus.IN_DOUBT,
            error_code=code,
            error_detail=detail[:200],
            next_attempt_at=ask_at,
            failure_kind="",
            finished_at=None,
        )

    def requeue(self, *, code: str, detail: str, at: datetime) -> None:
        """Certainly not done by the carrier: send again, with the same reference."""
        self._move(
            JobStatus.QUEUED,
            error_code=code,
            error_detail=detail[:200],
            next_attempt_at=at,
            failure_kind="",
            finished_at=None,
        )

    def postpone(self, *, code: str, detail: str, at: datetime) -> None:
        """No news: same state, ask again at `at`."""
        self.error_code, self.error_detail, self.next_attempt_at = code, detail[:200], at
        self.lease_until = None
        self._keep("error_code", "error_detail", "next_attempt_at", "lease_until")

    def _move(self, target: JobStatus, **changes: object) -> None:
        JOB.check(self.status, target)
        self.status = target
        # Whoever still holds the old lease must not write after this.
        self.token += 1
        self.lease_until = None
        for field, value in changes.items():
            setattr(self, field, value)
        self._keep("status", "token", "lease_until", *changes)

    def _keep(self, *fields: str) -> None:
        if not self.is_written_together:
            self.save(update_fields=fields)


class JobAttempt(models.Model):
    """One call to the carrier: written before it, completed after it. The trail of a job, one row per step."""

    job = models.ForeignKey(ActivationJob, on_delete=models.PROTECT, related_name="attempt_log")
    token = models.PositiveIntegerField()
    kind = models.CharField(max_length=5, choices=AttemptKind)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=13, choices=AttemptOutcome, blank=True)
    code = models.CharField(max_length=48, blank=True)
    detail = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "token"], name="one_attempt_per_token")]

    def __str__(self) -> str:
        return f"{self.kind} {self.token}"


class CallbackQuerySet(TenantQuerySet["CarrierCallback"]):
    def waiting(self) -> Self:
        """Not yet applied, and due to be tried."""
        return self.filter(applied_at=None, next_try_at__lte=Now())

    def odd(self) -> Self:
        """For staff to look at."""
        return self.filter(outcome__in=[CallbackOutcome.CONFLICT, CallbackOutcome.UNMATCHED])


class CarrierCallback(models.Model):
    """One message a carrier sent us, stored once, as it came, before anything is done about it."""

    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT)
    connection = models.ForeignKey("carriers.CarrierConnection", on_delete=models.PROTECT)
    # The carrier's event id, and the digest of the body in case it reuses ids.
    event_id = models.CharField(max_length=80)
    digest = models.BinaryField(max_length=32)
    reference = models.CharField(max_length=64)
    carrier_reference = models.CharField(max_length=64, blank=True)
    number = models.CharField(max_length=16)
    succeeded = models.BooleanField()
    code = models.CharField(max_length=48, blank=True)
    detail = models.CharField(max_length=200, blank=True)
    body = models.BinaryField()
    received_at = models.DateTimeField()
    applied_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=9, choices=CallbackOutcome, blank=True)
    # One that cannot be applied (a bug, a lock) is tried again later and holds up no other.
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(db_default=Now())

    objects = CallbackQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["connection", "event_id", "digest"], name="callback_stored_once"),
        ]
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(applied_at=None), name="callback_waiting"),
            models.Index(
                fields=["-id"], condition=Q(outcome__in=["CONFLICT", "UNMATCHED"]), name="callback_for_staff"
            ),
        ]

    def __str__(self) -> str:
        return self.event_id
