"""Blocks of numbers leased from host carriers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Self

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import BigIntegerRangeField, RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Cast, Left, Length

from apps.core.errors import InvalidTransition
from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.numbering.numbers import BLOCK_DIGITS, DIGITS, MACHINE_DIGITS, prefix_of
from apps.numbering.states import RANGE, RangeStatus
from apps.operators.calendar import china_date
from apps.operators.models import HostCarrier, VirtualOperator, WholesaleAgreement

# What neighbours must have in common to become one range.
TERMS = (
    "operator_id",
    "agreement_id",
    "host_carrier_id",
    "digits",
    "home_province",
    "home_city",
    "leased_from",
    "leased_until",
    "contract_reference",
    "monthly_fee",
    "minimum_use",
)


class NumberRangeQuerySet(TenantQuerySet["NumberRange"]):
    def ending(self, *, until: date) -> Self:
        """Leases still running whose last day comes before that day, and that nobody gives back yet."""
        return self.filter(status=RangeStatus.ACTIVE, leased_until__lte=until)


class NumberRange(models.Model):
    """A block of numbers that a host carrier lets an operator use, for days from `leased_from` up to `leased_until`.

    The legal word is allocation (Telecom Regulations art. 28 forbids leasing numbers); everybody says lease. The lessor
    is the agreement's host carrier. The numbers lie in one ten-thousand block (万号段), whose digits say at which home
    location register they live: so all ranges of the block have one home area (trigger, migration 0004).
    """

    uid = PublicIdField(prefix="rng")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, db_index=False)
    agreement = models.ForeignKey(WholesaleAgreement, on_delete=models.PROTECT)
    host_carrier = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, db_index=False)
    # Of each number: 11 digits for persons, 13 for machines.
    digits = models.SmallIntegerField(default=DIGITS)
    # The leading digits that all numbers of the range share: of a ten-thousand block or of a thousand block (千号段).
    prefix = models.CharField(max_length=MACHINE_DIGITS - BLOCK_DIGITS + 1)
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
    # What the host calls this allocation in its own papers; "" when it has no name of its own.
    contract_reference = models.CharField(max_length=64, blank=True, default="")
    # CNY, what the host charges per number.
    monthly_fee = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    # Percent of the numbers that the contract wants in use; 0 when it does not ask.
    minimum_use = models.SmallIntegerField(default=0)
    created_at = models.DateTimeField()
    activated_at = models.DateTimeField(null=True)
    returning_at = models.DateTimeField(null=True)
    returned_at = models.DateTimeField(null=True)

    objects = NumberRangeQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["operator", "first"], name="number_range_operator"),
            models.Index(
                fields=["leased_until"], condition=Q(status=RangeStatus.ACTIVE), name="number_range_ending"
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
                condition=Q(digits=DIGITS, first__gte=10 ** (DIGITS - 1), last__lt=2 * 10 ** (DIGITS - 1))
                | Q(
                    digits=MACHINE_DIGITS,
                    first__gte=10 ** (MACHINE_DIGITS - 1),
                    last__lt=2 * 10 ** (MACHINE_DIGITS - 1),
                ),
                name="number_range_numbers",
            ),
            models.CheckConstraint(condition=Q(last__gte=F("first")), name="number_range_order"),
            models.CheckConstraint(
                condition=Q(prefix__regex=r"^1[0-9]{6,9}$")
                & Q(prefix=Left(Cast("first", models.TextField()), Length("prefix")))
                & Q(prefix=Left(Cast("last", models.TextField()), Length("prefix"))),
                name="number_range_prefix",
            ),
            models.CheckConstraint(
                condition=~Q(home_province="") & ~Q(home_city=""), name="number_range_home"
            ),
            models.CheckConstraint(condition=Q(leased_until__gt=F("leased_from")), name="number_range_term"),
            models.CheckConstraint(
                condition=Q(monthly_fee__gte=0, minimum_use__gte=0, minimum_use__lte=100),
                name="number_range_terms",
            ),
            models.CheckConstraint(
                condition=Q(
                    status=RangeStatus.PLANNED,
                    activated_at__isnull=True,
                    returning_at__isnull=True,
                    returned_at__isnull=True,
                )
                | Q(
                    status=RangeStatus.ACTIVE,
                    activated_at__isnull=False,
                    returning_at__isnull=True,
                    returned_at__isnull=True,
                )
                | Q(
                    status=RangeStatus.RETURNING,
                    activated_at__isnull=False,
                    returning_at__isnull=False,
                    returned_at__isnull=True,
                )
                | Q(status=RangeStatus.RETURNED, returned_at__isnull=False),
                name="number_range_status_matches_times",
            ),
        ]

    def __str__(self) -> str:
        return self.prefix

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def is_leased(self, *, now: datetime) -> bool:
        return self.status == RangeStatus.ACTIVE and self.leased_from <= china_date(now) < self.leased_until

    @staticmethod
    def activate(*planned: NumberRange, now: datetime) -> None:
        """PLANNED -> ACTIVE, all of them or none.

        :raises InvalidTransition: one is in another state.
        """
        for each in planned:
            RANGE.check(each.status, RangeStatus.ACTIVE)
        for each in planned:
            each.status, each.activated_at = RangeStatus.ACTIVE, now
        keys = [each.pk for each in planned]
        NumberRange.objects.filter(pk__in=keys).update(status=RangeStatus.ACTIVE, activated_at=now)

    def renew(self, *, until: date, agreement: WholesaleAgreement) -> None:
        self.leased_until = until
        self.agreement = agreement
        self.save(update_fields=["leased_until", "agreement"])

    def begin_return(self, *, now: datetime) -> None:
        """ACTIVE -> RETURNING: nothing of it is sold any more.

        :raises InvalidTransition: it is in another state.
        """
        RANGE.check(self.status, RangeStatus.RETURNING)
        self.status = RangeStatus.RETURNING
        self.returning_at = now
        self.save(update_fields=["status", "returning_at"])

    def keep(self) -> None:
        """RETURNING -> ACTIVE: it is not given back after all.

        :raises InvalidTransition: it is in another state.
        """
        if self.status != RangeStatus.RETURNING:
            raise InvalidTransition("Only a range that is being returned can be kept.")
        self.status = RangeStatus.ACTIVE
        self.returning_at = None
        self.save(update_fields=["status", "returning_at"])

    def finish_return(self, *, now: datetime) -> None:
        """RETURNING -> RETURNED; or PLANNED -> RETURNED for a plan that is given up.

        :raises InvalidTransition: it is in another state.
        """
        RANGE.check(self.status, RangeStatus.RETURNED)
        self.status = RangeStatus.RETURNED
        self.returned_at = now
        self.save(update_fields=["status", "returned_at"])

    def give_to(self, other: NumberRange, *, now: datetime) -> None:
        """Its numbers become the other's, which is leased on the same terms; what is left here is RETURNED and empty.

        :raises InvalidTransition: it is RETURNED.
        """
        if self.status == RangeStatus.RETURNED:
            raise InvalidTransition("A returned range has no numbers to give.")
        self.status = RangeStatus.RETURNED
        self.returned_at = now
        self.save(update_fields=["status", "returned_at"])
        other._stretch(other.first, self.last)

    def split_off(self, *, at: int, now: datetime) -> NumberRange:
        """The part from that number on, as a range leased on the same terms; not in force before `take_over`.

        Two ranges that hold one number are refused, and so is one whose numbers lie outside: so the part is RETURNED
        until its numbers are moved.

        :raises InvalidTransition: it is RETURNED.
        """
        if self.status == RangeStatus.RETURNED:
            raise InvalidTransition("A returned range cannot be split.")
        return NumberRange.objects.create(
            **{name: getattr(self, name) for name in TERMS},
            prefix=prefix_of(at, self.last),
            first=at,
            last=self.last,
            status=RangeStatus.RETURNED,
            created_at=now,
            activated_at=self.activated_at,
            returning_at=self.returning_at,
            returned_at=now,
        )

    def take_over(self, whole: NumberRange) -> None:
        """Ends `split_off`: what is left of the whole ends where this part begins, which has the whole's state now."""
        whole._stretch(whole.first, self.first - 1)
        self.status = whole.status
        self.returned_at = None
        self.save(update_fields=["status", "returned_at"])

    def _stretch(self, first: int, last: int) -> None:
        self.prefix, self.first, self.last = prefix_of(first, last), first, last
        self.save(update_fields=["prefix", "first", "last"])
