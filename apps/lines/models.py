"""Tables of lines and of what belongs to them."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import OuterRef, Q, Subquery

from apps.core.public_ids import MalformedId, PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.lines.states import (
    GRAVE,
    LINE,
    LIVE_LINE,
    HolderCheckStatus,
    LineStatus,
    SuspensionCause,
    SuspensionKind,
    SuspensionOwner,
)


class Plan(models.Model):
    """What a subscriber can order from one operator on one host carrier's network."""

    uid = PublicIdField(prefix="pln")
    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT)
    host_carrier = models.ForeignKey("operators.HostCarrier", on_delete=models.PROTECT)
    # Also what the carrier calls it.
    code = models.CharField(max_length=32)
    name = models.CharField(max_length=100)
    monthly_fee = models.DecimalField(max_digits=10, decimal_places=2)
    is_orderable = models.BooleanField(verbose_name="orderable", default=True)

    objects = TenantQuerySet["Plan"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["operator", "code"], name="plan_code_unique"),
            models.CheckConstraint(condition=Q(monthly_fee__gte=0), name="plan_fee_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"


class LineQuerySet(TenantQuerySet["Line"]):
    def with_fittings(self) -> Self:
        """Adds `number` (as it is dialled in China) and `iccid`: those the line holds, or held last."""
        numbers = NumberAssignment.objects.filter(line=OuterRef("pk")).order_by("-id").values("number_id")[:1]
        cards = SimAssignment.objects.filter(line=OuterRef("pk")).order_by("-id").values("sim__iccid")[:1]
        return self.annotate(number=Subquery(numbers), iccid=Subquery(cards))

    def held_by(self, subscriber_id: int) -> Self:
        """In the network and in that person's name: what they are told when they ask for their numbers."""
        return self.filter(subscriber_id=subscriber_id, status__in=LIVE_LINE, detached_at=None)

    def search(self, text: str) -> Self:
        """By whole line id, number (with or without +86) or ICCID; whatever else it is finds nothing."""
        digits = text.removeprefix("+86")
        if text.startswith("lin_"):
            try:
                return self.filter(uid=text)
            except MalformedId:
                return self.none()
        if digits.isascii() and digits.isdigit() and len(digits) in (11, 13):
            return self.filter(number_assignments__number_id=int(digits)).distinct()
        if 19 <= len(text) <= 20:
            return self.filter(sim_assignments__sim__iccid=text.upper()).distinct()
        return self.none()


class Line(models.Model):
    """One mobile service: PENDING until the host carrier has it, TERMINATED for ever after."""

    uid = PublicIdField(prefix="lin")
    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT)
    subscriber = models.ForeignKey("subscribers.Subscriber", on_delete=models.PROTECT)
    host_carrier = models.ForeignKey("operators.HostCarrier", on_delete=models.PROTECT)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT)
    dealer = models.ForeignKey("operators.Dealer", on_delete=models.PROTECT, null=True, blank=True)
    status = models.CharField(max_length=10, choices=LineStatus, default=LineStatus.PENDING)
    suspension_kind = models.CharField(max_length=7, choices=SuspensionKind, null=True, blank=True)  # noqa: DJ001
    created_at = models.DateTimeField()
    activated_at = models.DateTimeField(null=True, blank=True)
    terminated_at = models.DateTimeField(null=True, blank=True)
    # Since then not its subscriber's any more, who has said so, and nobody else's yet: it counts for nobody.
    detached_at = models.DateTimeField(null=True, blank=True)

    objects = LineQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="line_status_matches_times",
                condition=(
                    Q(status="PENDING", activated_at=None, terminated_at=None, suspension_kind=None)
                    | Q(status="ACTIVE", activated_at__isnull=False, terminated_at=None, suspension_kind=None)
                    | Q(
                        status="SUSPENDED",
                        activated_at__isnull=False,
                        terminated_at=None,
                        suspension_kind__isnull=False,
                    )
                    | Q(status="TERMINATED", terminated_at__isnull=False, suspension_kind=None)
                ),
            )
        ]
        indexes = [
            models.Index(fields=["operator", "-uid"], name="line_operator"),
            models.Index(fields=["subscriber"], name="line_subscriber"),
        ]

    def __str__(self) -> str:
        return str(self.uid)

    def activate(self, now: datetime) -> None:
        """PENDING -> ACTIVE."""
        LINE.check(self.status, LineStatus.ACTIVE)
        self.status = LineStatus.ACTIVE
        self.activated_at = now
        self.save(update_fields=["status", "activated_at"])

    def suspend(self, kind: SuspensionKind) -> None:
        """ACTIVE -> SUSPENDED, or another kind of being suspended."""
        if self.status != LineStatus.SUSPENDED:
            LINE.check(self.status, LineStatus.SUSPENDED)
        self.status = LineStatus.SUSPENDED
        self.suspension_kind = kind
        self.save(update_fields=["status", "suspension_kind"])

    def resume(self) -> None:
        """SUSPENDED -> ACTIVE."""
        LINE.check(self.status, LineStatus.ACTIVE)
        self.status = LineStatus.ACTIVE
        self.suspension_kind = None
        self.save(update_fields=["status", "suspension_kind"])

    def take_plan(self, plan_id: int) -> None:
        self.plan_id = plan_id
        self.save(update_fields=["plan"])

    def pass_to(self, subscriber_id: int) -> None:
        self.subscriber_id = subscriber_id
        self.detached_at = None
        self.save(update_fields=["subscriber", "detached_at"])

    def detach(self, now: datetime) -> None:
        self.detached_at = now
        self.save(update_fields=["detached_at"])

    def terminate(self, now: datetime) -> None:
        """Any live state -> TERMINATED."""
        LINE.check(self.status, LineStatus.TERMINATED)
        self.status = LineStatus.TERMINATED
        self.suspension_kind = None
        self.terminated_at = now
        self.save(update_fields=["status", "suspension_kind", "terminated_at"])


class SuspensionQuerySet(TenantQuerySet["SuspensionReason"]):
    def in_force(self) -> Self:
        return self.filter(lifted_at=None)

    def liftable_by(self, *, owner: str, actor_id: str) -> Self:
        """A partner app and the system lift what they placed themselves, staff all but what a demand stands behind.

        What a re-verification has placed goes when it is passed or withdrawn, and not before.
        """
        if owner in (SuspensionOwner.PARTNER, SuspensionOwner.SYSTEM):
            return self.filter(owner=owner, placed_by=actor_id)
        return self.exclude(owner=SuspensionOwner.SYSTEM, cause=SuspensionCause.REVERIFICATION)

    def not_the_partners(self) -> Self:
        """Placed by the operator or on somebody's order, or of the kind that only these may place."""
        return self.exclude(owner=SuspensionOwner.PARTNER) | self.filter(cause__in=GRAVE)


class SuspensionReason(models.Model):
    """One reason why a line stands still. The line is as still as the strongest of those in force, and runs without."""

    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT)
    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="suspensions")
    kind = models.CharField(max_length=7, choices=SuspensionKind)
    cause = models.CharField(max_length=14, choices=SuspensionCause)
    owner = models.CharField(max_length=9, choices=SuspensionOwner)
    # Who may lift it, when it is a partner's: actor id and label, as in the audit.
    placed_by = models.CharField(max_length=64)
    placed_by_label = models.CharField(max_length=150)
    placed_at = models.DateTimeField()
    # What the subscriber is told, and what helps; `note` is the caller's own.
    notice = models.CharField(max_length=700)
    remedy = models.CharField(max_length=700)
    note = models.CharField(max_length=200, blank=True)
    lifted_by = models.CharField(max_length=64, blank=True)
    lifted_by_label = models.CharField(max_length=150, blank=True)
    lifted_at = models.DateTimeField(null=True, blank=True)

    objects = SuspensionQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["placed_by"],
                condition=Q(lifted_at=None, owner="SYSTEM"),
                name="suspension_by_system",
            )
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["line", "cause", "kind", "placed_by"],
                condition=Q(lifted_at=None),
                name="one_suspension_of_a_kind",
            ),
            models.CheckConstraint(
                condition=Q(lifted_at=None, lifted_by="") | (Q(lifted_at__isnull=False) & ~Q(lifted_by="")),
                name="suspension_lifted_by_somebody",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.cause} {self.kind}"


class Assignment(models.Model):
    """What a line holds from `assigned_at` until `released_at` (exclusive, null while it lasts)."""

    assigned_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class NumberAssignment(Assignment):
    """Who had which number when."""

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="number_assignments")
    number = models.ForeignKey("numbering.PhoneNumber", on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["line"], condition=Q(released_at=None), name="one_live_number_per_line"
            ),
            models.UniqueConstraint(
                fields=["number"], condition=Q(released_at=None), name="one_live_line_per_number"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number_id} at {self.line_id}"


class SimAssignment(Assignment):
    """Which SIM served which line when."""

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="sim_assignments")
    sim = models.ForeignKey("sims.SimCard", on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["line"], condition=Q(released_at=None), name="one_live_sim_per_line"
            ),
            models.UniqueConstraint(
                fields=["sim"], condition=Q(released_at=None), name="one_live_line_per_sim"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sim_id} at {self.line_id}"


class UserAssignment(Assignment):
    """Who used which line of an organization when: a person, verified like a holder."""

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="user_assignments")
    user = models.ForeignKey("subscribers.Subscriber", on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["line"], condition=Q(released_at=None), name="one_actual_user_per_line"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} at {self.line_id}"


class Handover(models.Model):
    """The line went from one holder to another: until then it was `former`'s. Lines that never did have none."""

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="handovers")
    former = models.ForeignKey(
        "subscribers.Subscriber", on_delete=models.PROTECT, db_index=False, related_name="+"
    )
    handed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.line_id} from {self.former_id}"


class HolderSlot(models.Model):
    """One of the places a person may fill at one operator; the row exists while it is filled.

    Unique (operator, fingerprint, slot): two orders at once can never both take the last place. `coming_line` is the
    line that is being transferred to the person and still fills its old holder's place. Who uses a line of an
    organization fills a place too (`as_user`), so one line may fill two: its holder's and its user's.
    """

    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT)
    fingerprint = models.BinaryField(max_length=36)
    slot = models.PositiveSmallIntegerField()
    line = models.ForeignKey(
        Line, on_delete=models.PROTECT, null=True, db_index=False, related_name="holder_slots"
    )
    coming_line = models.ForeignKey(
        Line, on_delete=models.PROTECT, null=True, db_index=False, related_name="coming_holder_slots"
    )
    as_user = models.BooleanField(default=False, db_default=False)

    objects = TenantQuerySet["HolderSlot"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["operator", "fingerprint", "slot"], name="holder_slot_unique"),
            models.UniqueConstraint(fields=["line", "as_user"], name="holder_slot_of_line"),
            models.UniqueConstraint(fields=["coming_line", "as_user"], name="holder_slot_of_coming_line"),
            models.CheckConstraint(condition=Q(slot__gte=1), name="holder_slot_from_one"),
            models.CheckConstraint(
                condition=Q(line=None) | Q(coming_line=None), name="holder_slot_for_one_line"
            ),
        ]

    def __str__(self) -> str:
        return f"slot {self.slot}"


class HolderCheck(models.Model):
    """Somebody has asked which numbers are in a person's name, and what they were told.

    Nothing of the document is kept; the subscriber is named only where the caller was told of one.
    """

    uid = PublicIdField(prefix="hch")
    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT, db_index=False)
    subscriber = models.ForeignKey("subscribers.Subscriber", on_delete=models.PROTECT, null=True, blank=True)
    status = models.CharField(max_length=12, choices=HolderCheckStatus)
    # Keys of the lines, in the order in which they were told.
    line_ids = ArrayField(models.BigIntegerField(), default=list)
    # "KIND:id" of who asked, and the name as it was.
    asked_by = models.CharField(max_length=80)
    asked_by_label = models.CharField(max_length=150)
    reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()

    objects = TenantQuerySet["HolderCheck"].as_manager()

    class Meta:
        indexes = [models.Index(fields=["operator", "-id"], name="holder_check_operator")]
        constraints = [
            models.CheckConstraint(
                condition=Q(status=HolderCheckStatus.ANSWERED, subscriber__isnull=False)
                | Q(subscriber__isnull=True, line_ids=[]),
                name="holder_check_tells_of_somebody",
            )
        ]

    def __str__(self) -> str:
        return str(self.uid)
