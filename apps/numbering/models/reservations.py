"""Numbers kept for a caller while it sells them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.numbering.errors import ReservationClosed
from apps.numbering.states import RESERVATION, ReservationStatus
from apps.operators.models import VirtualOperator


class ReservationQuerySet(TenantQuerySet["Reservation"]):
    def close(self, reservations: Sequence[Reservation], status: ReservationStatus, *, now: datetime) -> None:
        """CONSUMED, RELEASED or EXPIRED, for locked rows, in one statement.

        :raises InvalidTransition: one of them is closed already.
        """
        for reservation in reservations:
            RESERVATION.check(reservation.status, status)
        self.filter(pk__in=[reservation.pk for reservation in reservations]).update(
            status=status, closed_at=now
        )
        for reservation in reservations:
            reservation.status = status
            reservation.closed_at = now


class Reservation(models.Model):
    """Numbers kept for one caller until `expires_at`; orders use them up one by one."""

    uid = PublicIdField(prefix="res")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, db_index=False)
    # Actor.id of who made it: a partner app, a member of staff.
    owner = models.CharField(max_length=64)
    status = models.CharField(max_length=8, choices=ReservationStatus)
    # What was reserved, ascending; which of them are still held says PhoneNumber.reservation.
    numbers = ArrayField(models.BigIntegerField())
    # What the grade of each number costs, frozen when it was reserved; a number without an entry costs nothing extra:
    # {number: {grade, deposit, min_monthly_spend, months}}.
    terms = models.JSONField(default=dict)
    expires_at = models.DateTimeField()
    extended_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    objects = ReservationQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["expires_at"],
                condition=Q(status=ReservationStatus.ACTIVE),
                name="reservation_running_out",
            ),
            models.Index(fields=["operator", "-id"], name="reservation_operator"),
            models.Index(
                fields=["operator", "owner"],
                condition=Q(status=ReservationStatus.ACTIVE),
                name="reservation_held",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=ReservationStatus.values), name="reservation_status"
            ),
            models.CheckConstraint(
                condition=Q(status=ReservationStatus.ACTIVE, closed_at__isnull=True)
                | (~Q(status=ReservationStatus.ACTIVE) & Q(closed_at__isnull=False)),
                name="reservation_closed_at",
            ),
            models.CheckConstraint(condition=Q(numbers__len__gt=0), name="reservation_has_numbers"),
            models.CheckConstraint(condition=Q(expires_at__gt=F("created_at")), name="reservation_term"),
        ]

    def __str__(self) -> str:
        return str(self.uid)

    def has_lapsed(self, *, now: datetime) -> bool:
        """Whether its time is over, be it swept already or not."""
        return self.status == ReservationStatus.EXPIRED or (
            self.status == ReservationStatus.ACTIVE and self.expires_at <= now
        )

    def extend(self, *, until: datetime, now: datetime) -> None:
        self.expires_at = until
        self.extended_at = now
        self.save(update_fields=["expires_at", "extended_at"])

    def require_open(self) -> None:
        """:raises ReservationClosed: used up, released or expired."""
        if self.status != ReservationStatus.ACTIVE:
            raise ReservationClosed
