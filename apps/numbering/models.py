"""Leased ranges, the numbers in them, and reservations of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, BigIntegerRangeField, RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, Left, Length, Random

from apps.core.errors import InvalidTransition
from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.numbering.errors import ReservationClosed
from apps.numbering.numbers import DIGITS, to_e164
from apps.numbering.states import (
    NUMBER,
    RESERVATION,
    NumberGrade,
    NumberStatus,
    RangeStatus,
    ReservationStatus,
)
from apps.operators.calendar import china_date
from apps.operators.models import HostCarrier, VirtualOperator, WholesaleAgreement


def _literal(value: str | int) -> RawSQL:
    """A status of ours as part of the statement's text: with a parameter in its place a prepared statement's generic
    plan could not use the partial indexes."""
    return RawSQL(repr(value), ())  # noqa: S611 - only our own constants come here


class NumberRange(models.Model):
    """A block of numbers that a host carrier lets an operator use, for days from `leased_from` up to `leased_until`.

    The legal word is allocation (Telecom Regulations art. 28 forbids leasing numbers); everybody says lease.
    """

    uid = PublicIdField(prefix="rng")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, db_index=False)
    agreement = models.ForeignKey(WholesaleAgreement, on_delete=models.PROTECT)
    host_carrier = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, db_index=False)
    # The 7 or 8 leading digits that all numbers of the range share.
    prefix = models.CharField(max_length=8)
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    span = models.GeneratedField(
        expression=Func(F("first"), F("last"), Value("[]"), function="int8range"),
        output_field=BigIntegerRangeField(),
        db_persist=True,
    )
    # As the host carrier gives it: the home of a resale number cannot be derived from its digits.
    home_province = models.CharField(max_length=32)
    home_city = models.CharField(max_length=32)
    status = models.CharField(max_length=9, choices=RangeStatus)
    leased_from = models.DateField()
    leased_until = models.DateField()
    # Where claims, which start at a random range, find it: drawn once from 0 to 1, so that the next one above a random
    # point is any of the operator's ranges and no list of them has to be shuffled.
    draw = models.FloatField(db_default=Random())
    created_at = models.DateTimeField()

    objects = TenantQuerySet["NumberRange"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["operator", "first"], name="number_range_operator"),
            models.Index(
                fields=["operator", "draw"], condition=Q(status=RangeStatus.ACTIVE), name="number_range_draw"
            ),
        ]
        constraints = [
            ExclusionConstraint(
                name="number_range_no_overlap",
                expressions=[("span", RangeOperators.OVERLAPS)],
                condition=~Q(status=RangeStatus.RETURNED),
            ),
            models.CheckConstraint(condition=Q(status__in=RangeStatus.values), name="number_range_status"),
            models.CheckConstraint(
                condition=Q(
                    first__gte=10 ** (DIGITS - 1), last__gte=F("first"), last__lt=2 * 10 ** (DIGITS - 1)
                ),
                name="number_range_numbers",
            ),
            models.CheckConstraint(
                condition=Q(prefix__regex=r"^1[0-9]{6,7}$")
                & Q(prefix=Left(Cast("first", models.TextField()), Length("prefix")))
                & Q(prefix=Left(Cast("last", models.TextField()), Length("prefix"))),
                name="number_range_prefix",
            ),
            models.CheckConstraint(
                condition=~Q(home_province="") & ~Q(home_city=""), name="number_range_home"
            ),
            models.CheckConstraint(condition=Q(leased_until__gt=F("leased_from")), name="number_range_term"),
        ]

    def __str__(self) -> str:
        return self.prefix

    def is_leased(self, *, now: datetime) -> bool:
        return self.status == RangeStatus.ACTIVE and self.leased_from <= china_date(now) < self.leased_until


class ReservationQuerySet(TenantQuerySet["Reservation"]):
    def over(self, *, now: datetime) -> Self:
        """Those whose time has passed and that nobody has closed yet."""
        return self.filter(status=_literal(ReservationStatus.ACTIVE.value), expires_at__lte=now)

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


class PhoneNumberQuerySet(TenantQuerySet["PhoneNumber"]):
    def quarantine_over(self, *, now: datetime) -> Self:
        return self.filter(status=_literal(NumberStatus.QUARANTINED.value), quarantined_until__lte=now)

    def end_quarantine(self, numbers: Sequence[PhoneNumber]) -> None:
        """QUARANTINED -> AVAILABLE, for locked rows, in one statement; rows in another state stay as they are."""
        quarantined = self.filter(pk__in=[number.pk for number in numbers], status=NumberStatus.QUARANTINED)
        quarantined.update(status=NumberStatus.AVAILABLE, quarantined_until=None)
        for number in numbers:
            number.status = NumberStatus.AVAILABLE
            number.quarantined_until = None


class PhoneNumber(models.Model):
    """One number. There are tens of millions, so rows are narrow and the indexes beside the key partial.

    Range and operator have no foreign key constraint: a check per row would cut the speed at which a range is
    materialised to a third. Triggers (migration 0002) guarantee more, at a cost per statement: every number lies within
    its range and belongs to the range's operator, whatever is inserted, moved or deleted.
    """

    number = models.BigIntegerField(primary_key=True)
    range = models.ForeignKey(NumberRange, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    operator = models.ForeignKey(
        VirtualOperator, on_delete=models.PROTECT, db_constraint=False, db_index=False
    )
    reservation = models.ForeignKey(Reservation, null=True, on_delete=models.PROTECT, db_index=False)
    quarantined_until = models.DateTimeField(null=True)
    status = models.SmallIntegerField(choices=NumberStatus, default=NumberStatus.AVAILABLE)
    grade = models.SmallIntegerField(choices=NumberGrade, default=NumberGrade.ORDINARY)

    objects = PhoneNumberQuerySet.as_manager()

    class Meta:
        verbose_name = "number"
        indexes = [
            # Lists and claims: the numbers of one range lie side by side, since ranges never overlap.
            models.Index(
                fields=["operator", "number"],
                condition=Q(status=NumberStatus.AVAILABLE),
                name="phone_number_free",
            ),
            models.Index(
                fields=["reservation"], condition=Q(reservation__isnull=False), name="phone_number_reserved"
            ),
            models.Index(
                fields=["quarantined_until"],
                condition=Q(status=NumberStatus.QUARANTINED),
                name="phone_number_quarantined",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=NumberStatus.values), name="phone_number_status"),
            models.CheckConstraint(
                condition=Q(status=NumberStatus.RESERVED, reservation__isnull=False)
                | (~Q(status=NumberStatus.RESERVED) & Q(reservation__isnull=True)),
                name="phone_number_reservation",
            ),
            models.CheckConstraint(
                condition=Q(status=NumberStatus.QUARANTINED, quarantined_until__isnull=False)
                | (~Q(status=NumberStatus.QUARANTINED) & Q(quarantined_until__isnull=True)),
                name="phone_number_quarantine",
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

    def withhold(self) -> None:
        """:raises InvalidTransition: it is RESERVED, WITHHELD or RETURNED."""
        self._become(NumberStatus.WITHHELD)

    def quarantine(self, *, until: datetime) -> None:
        """:raises InvalidTransition: it is not IN_USE."""
        self._become(NumberStatus.QUARANTINED, quarantined_until=until)

    def _become(
        self,
        status: NumberStatus,
        *,
        reservation_id: int | None = None,
        quarantined_until: datetime | None = None,
    ) -> None:
        NUMBER.check(self.status, status)
        self.status = status
        self.reservation_id = reservation_id
        self.quarantined_until = quarantined_until
        self.save(update_fields=["status", "reservation", "quarantined_until"])
