"""Ranges and what lives in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, QuerySet

from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.core.public_ids import get_by_uid
from apps.numbering.models import NumberRange, PhoneNumber
from apps.numbering.numbers import BLOCK
from apps.numbering.states import NumberStatus, RangeStatus, WithheldBy
from apps.operators import policies
from apps.operators.calendar import china_date
from apps.operators.policies import PolicyKey

# What stops a return: somebody has the number, is about to, or may still get its last holder's calls.
LIVING = (NumberStatus.RESERVED, NumberStatus.IN_USE, NumberStatus.QUARANTINED)
# As many as somebody looks through.
LIVING_LISTED = 100


@dataclass(frozen=True, slots=True)
class ReturnPlan:
    """What a range's return waits for: numbers per state (words of the API), and the first that still live."""

    counts: Mapping[str, int]
    living: tuple[PhoneNumber, ...]

    @property
    def is_ready(self) -> bool:
        return not self.living


def get_range(*, actor: Actor, uid: str) -> NumberRange:
    """:raises NotFound: malformed, unknown, or another operator's."""
    return get_by_uid(list_ranges(actor=actor), uid)


def get_range_for_update(*, actor: Actor, uid: str) -> NumberRange:
    """Locks the row, not its key: who refers to it meanwhile need not wait. Its agreement comes along unlocked.

    :raises NotFound: malformed, unknown, or another operator's.
    """
    ranges = NumberRange.objects.visible_to(actor).select_for_update(of=("self",), no_key=True)
    return get_by_uid(ranges.select_related("agreement"), uid)


def list_ranges(*, actor: Actor) -> QuerySet[NumberRange]:
    """All ranges the actor may see, returned ones too, unordered, with operator, host carrier and agreement."""
    return NumberRange.objects.visible_to(actor).select_related("operator", "host_carrier", "agreement")


def has_range(*, actor: Actor, operator_id: int, prefix: str) -> bool:
    """Whether the operator holds exactly this block (not returned)."""
    ranges = NumberRange.objects.visible_to(actor).filter(operator_id=operator_id, prefix=prefix)
    return ranges.exclude(status=RangeStatus.RETURNED).exists()


def get_next_range(*, actor: Actor, leased: NumberRange) -> NumberRange:
    """The range that begins where this one ends.

    :raises NotFound: none of the same operator does.
    """
    ranges = NumberRange.objects.visible_to(actor).exclude(status=RangeStatus.RETURNED)
    found = ranges.filter(operator_id=leased.operator_id, first=leased.last + 1).first()
    if found is None:
        raise NotFound("No range of this operator begins where this one ends.")
    return found


def has_next_range(*, leased: NumberRange) -> bool:
    """Whether another range of the operator, in the same ten-thousand block and state, begins where this one ends."""
    if leased.status == RangeStatus.RETURNED or (leased.last + 1) % BLOCK == 0:
        return False
    following = NumberRange.objects.filter(operator_id=leased.operator_id, first=leased.last + 1)
    return following.filter(status=leased.status).exists()


def list_ending(*, actor: Actor, now: datetime, days: int | None = None) -> QuerySet[NumberRange]:
    """Active ranges whose lease ends within so many days (policy's number when None) or is over, not yet renewed."""
    if days is None:
        days = policies.get(operator_id=actor.operator_id, key=PolicyKey.LEASE_WARNING_DAYS, now=now)
    return NumberRange.objects.visible_to(actor).ending(until=china_date(now) + timedelta(days=days))


def list_due_plans(*, now: datetime, limit: int) -> list[NumberRange]:
    """The first of the planned ranges of all operators whose first day has come, the latest leases first."""
    due = NumberRange.objects.filter(status=RangeStatus.PLANNED, leased_from__lte=china_date(now))
    # What could not begin for long is tried last.
    return list(due.order_by("-leased_from", "first")[:limit])


def count_numbers(*, leased: NumberRange) -> dict[NumberStatus, int]:
    """How many numbers of the range are in each state, counted, not remembered; states without any are left out."""
    counted = _numbers_of(leased).order_by("status").values_list("status").annotate(count=Count("*"))
    return {NumberStatus(status): count for status, count in counted}


def count_kept(*, leased: NumberRange, now: datetime) -> int:
    """Withheld numbers of the range that no return may let loose."""
    return _numbers_of(leased).filter(_kept(now)).count()


def plan_return(*, actor: Actor, leased: NumberRange, now: datetime) -> ReturnPlan:
    """What still lives in the range, and what is kept in it.

    :raises NotFound: another operator's.
    """
    if not actor.sees(leased.operator_id):
        raise NotFound
    counts = count_numbers(leased=leased)
    living: tuple[PhoneNumber, ...] = ()
    if any(counts.get(status) for status in (*LIVING, NumberStatus.WITHHELD)):
        numbers = _numbers_of(leased).filter(Q(status__in=LIVING) | _kept(now))
        living = tuple(numbers.select_related("reservation").order_by("number")[:LIVING_LISTED])
    return ReturnPlan({status.name: count for status, count in counts.items()}, living)


def _numbers_of(leased: NumberRange) -> QuerySet[PhoneNumber]:
    return PhoneNumber.objects.filter(number__range=(leased.first, leased.last), range_id=leased.pk)


def _kept(now: datetime) -> Q:
    """Out of a quarantine that is not over, or for police or fraud: whoever leases the block next must not sell it."""
    return Q(withheld_by__isnull=False) & (
        Q(quarantined_until__gt=now) | Q(withheld_by__in=(WithheldBy.POLICE, WithheldBy.FRAUD))
    )
