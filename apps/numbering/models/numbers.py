"""Single numbers."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q

from apps.core.errors import InvalidTransition
from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.numbering.models.ranges import NumberRange
from apps.numbering.models.reservations import Reservation
from apps.numbering.numbers import to_e164
from apps.numbering.states import (
    NUMBER,
    RELEASE,
    NumberGrade,
    NumberStatus,
    ReleaseStatus,
    WithheldBy,
)
from apps.operators.models import VirtualOperator


class PhoneNumber(models.Model):
    """One number. There are tens of millions, so rows are narrow and the indexes beside the key partial.

    Range, operator and reservation have no foreign key constraint: a check per row would cut the speed at which a range
    is materialised to a third. Triggers guarantee more, at a cost per statement: every number lies within its range and
    belongs to the range's operator, whatever is inserted, moved or deleted (migration 0002), and a reserved one to a
    reservation that exists (0004).
    """

    number = models.BigIntegerField(primary_key=True)
    range = models.ForeignKey(NumberRange, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    operator = models.ForeignKey(
        VirtualOperator, on_delete=models.PROTECT, db_constraint=False, db_index=False
    )
    reservation = models.ForeignKey(
        Reservation, null=True, on_delete=models.PROTECT, db_constraint=False, db_index=False
    )
    quarantined_until = models.DateTimeField(null=True)
    status = models.SmallIntegerField(choices=NumberStatus, default=NumberStatus.AVAILABLE)
    grade = models.SmallIntegerField(choices=NumberGrade, default=NumberGrade.ORDINARY)
    withheld_by = models.SmallIntegerField(choices=WithheldBy, null=True)

    objects = TenantQuerySet["PhoneNumber"].as_manager()

    class Meta:
        verbose_name = "number"
        indexes = [
            # No index speaks of the status. Lists and claims walk a range through the key: its numbers lie side by
            # side, and on the way to a free one few others are passed (docs/adr/0005). So a change of status is a
            # heap-only update: it writes no index and leaves no dead entries in any.
            models.Index(
                fields=["grade", "number"],
                condition=Q(grade__gt=NumberGrade.ORDINARY),
                name="phone_number_graded",
            ),
            models.Index(
                fields=["reservation"], condition=Q(reservation__isnull=False), name="phone_number_reserved"
            ),
            models.Index(
                fields=["quarantined_until"],
                condition=Q(quarantined_until__isnull=False),
                name="phone_number_quarantined",
            ),
            # Few of many: their list would walk the whole table for them.
            models.Index(
                fields=["number"], condition=Q(withheld_by__isnull=False), name="phone_number_withheld"
            ),
        ]
        constraints = [
            # One for all, the usual case first: every row of a range of ten thousand is checked.
            models.CheckConstraint(
                condition=Q(
                    status__in=[NumberStatus.AVAILABLE, NumberStatus.IN_USE, NumberStatus.RETURNED],
                    reservation__isnull=True,
                    quarantined_until__isnull=True,
                    withheld_by__isnull=True,
                )
                | Q(
                    status=NumberStatus.RESERVED,
                    reservation__isnull=False,
                    quarantined_until__isnull=True,
                    withheld_by__isnull=True,
                )
                | Q(
                    status=NumberStatus.QUARANTINED,
                    reservation__isnull=True,
                    quarantined_until__isnull=False,
                    withheld_by__isnull=True,
                )
                # A withheld number goes back to the quarantine that it was taken from. isnull too: NULL among the
                # values would be neither true nor false, and that passes a check.
                | Q(
                    status=NumberStatus.WITHHELD,
                    reservation__isnull=True,
                    withheld_by__isnull=False,
                    withheld_by__in=WithheldBy.values,
                ),
                name="phone_number_status_matches",
            ),
        ]

    def __str__(self) -> str:
        return self.e164

    @property
    def e164(self) -> str:
        return to_e164(self.number)

    def reserve(self, reservation: Reservation) -> None:
        """:raises InvalidTransition: it is not AVAILABLE."""
        self._become(NumberStatus.RESERVED, reservation_id=reservation.pk)

    def take(self) -> None:
        """:raises InvalidTransition: it is neither AVAILABLE nor RESERVED."""
        self._become(NumberStatus.IN_USE)

    def return_unused(self) -> None:
        """:raises InvalidTransition: it is not IN_USE; the other ways back to AVAILABLE are other verbs."""
        if self.status != NumberStatus.IN_USE:
            raise InvalidTransition("Only a number in use can be returned unused.")
        self._become(NumberStatus.AVAILABLE)

    def withhold(self, *, by: WithheldBy) -> None:
        """:raises InvalidTransition: it is RESERVED, WITHHELD or RETURNED."""
        self._become(NumberStatus.WITHHELD, withheld_by=by, quarantined_until=self.quarantined_until)

    def end_withholding(self, *, now: datetime) -> None:
        """Back to what is left of its quarantine, else AVAILABLE.

        :raises InvalidTransition: it is not WITHHELD.
        """
        if self.status != NumberStatus.WITHHELD:
            raise InvalidTransition("Only a withheld number can be released.")
        if self.quarantined_until is not None and self.quarantined_until > now:
            self._become(NumberStatus.QUARANTINED, quarantined_until=self.quarantined_until)
        else:
            self._become(NumberStatus.AVAILABLE)

    def quarantine(self, *, until: datetime) -> None:
        """:raises InvalidTransition: it is not IN_USE."""
        if self.status != NumberStatus.IN_USE:
            raise InvalidTransition("Only a number in use goes into quarantine.")
        self._become(NumberStatus.QUARANTINED, quarantined_until=until)

    def end_quarantine(self) -> None:
        """:raises InvalidTransition: it is not QUARANTINED."""
        if self.status != NumberStatus.QUARANTINED:
            raise InvalidTransition("Only a quarantine can be ended.")
        self._become(NumberStatus.AVAILABLE)

    def _become(
        self,
        status: NumberStatus,
        *,
        reservation_id: int | None = None,
        quarantined_until: datetime | None = None,
        withheld_by: WithheldBy | None = None,
    ) -> None:
        NUMBER.check(self.status, status)
        self.status = status
        self.reservation_id = reservation_id
        self.quarantined_until = quarantined_until
        self.withheld_by = withheld_by
        self.save(update_fields=["status", "reservation", "quarantined_until", "withheld_by"])


class EarlyRelease(models.Model):
    """Somebody's wish to sell a quarantined number before its time; somebody else decides."""

    uid = PublicIdField(prefix="erl")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, db_index=False)
    number = models.ForeignKey(PhoneNumber, on_delete=models.PROTECT)
    status = models.CharField(max_length=9, choices=ReleaseStatus, default=ReleaseStatus.REQUESTED)
    reason = models.CharField(max_length=500)
    # Actor.id of both, and their names as they were.
    requested_by = models.CharField(max_length=64)
    requested_by_label = models.CharField(max_length=150)
    requested_at = models.DateTimeField()
    decided_by = models.CharField(max_length=64, blank=True, default="")
    decided_by_label = models.CharField(max_length=150, blank=True, default="")
    decided_at = models.DateTimeField(null=True)

    objects = TenantQuerySet["EarlyRelease"].as_manager()

    class Meta:
        indexes = [models.Index(fields=["operator", "-id"], name="early_release_operator")]
        constraints = [
            models.UniqueConstraint(
                fields=["number"], condition=Q(status=ReleaseStatus.REQUESTED), name="early_release_open_once"
            ),
            models.CheckConstraint(
                condition=Q(status=ReleaseStatus.REQUESTED, decided_at__isnull=True, decided_by="")
                | (~Q(status=ReleaseStatus.REQUESTED) & Q(decided_at__isnull=False) & ~Q(decided_by="")),
                name="early_release_decided",
            ),
            models.CheckConstraint(
                condition=~Q(decided_by=models.F("requested_by")), name="early_release_second_person"
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="early_release_reason"),
        ]

    def __str__(self) -> str:
        return str(self.uid)

    def decide(self, status: ReleaseStatus, *, by: str, label: str, now: datetime) -> None:
        """REQUESTED -> APPROVED or REJECTED.

        :raises InvalidTransition: it is decided.
        """
        RELEASE.check(self.status, status)
        self.status = status
        self.decided_by = by
        self.decided_by_label = label
        self.decided_at = now
        self.save(update_fields=["status", "decided_by", "decided_by_label", "decided_at"])
