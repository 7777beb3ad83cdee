"""One range into two, two into one: the numbers stay as they are, whatever is sold meanwhile.

The range that ends at the higher number is another row afterwards, never the same one with other numbers under it: who
has looked at the numbers' old range a moment ago finds it still there.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from apps.core.actor import Actor
from apps.core.db import operation, serialize_on
from apps.core.errors import FieldError, InvalidTransition
from apps.numbering import selectors
from apps.numbering.errors import RangeCrossesHomeArea, RangeInvalid, RangesNotMergeable
from apps.numbering.models import NumberRange
from apps.numbering.models.ranges import TERMS
from apps.numbering.numbers import BLOCK, THOUSAND
from apps.numbering.services.single import MANAGE_NUMBERS, record_range
from apps.numbering.services.stock import fold_ranges
from apps.numbering.states import RangeStatus

_MOVE = """
WITH held AS MATERIALIZED (
    SELECT number FROM numbering_phonenumber
    WHERE number BETWEEN %(first)s::bigint AND %(last)s::bigint AND range_id = %(from)s::bigint
    ORDER BY number FOR UPDATE
)
UPDATE numbering_phonenumber AS n SET range_id = %(to)s::bigint
FROM held WHERE n.number = held.number AND n.number BETWEEN %(first)s::bigint AND %(last)s::bigint
"""

# The daily counts of both parts, for days on which both were there.
_ADD_DAYS = """
WITH moved AS (DELETE FROM numbering_stockday WHERE range_id = %(from)s::bigint RETURNING *)
INSERT INTO numbering_stockday AS d (range_id, operator_id, grade, counted_on, available, in_use)
SELECT %(to)s::bigint, operator_id, grade, counted_on, available, in_use FROM moved
ON CONFLICT (range_id, grade, counted_on) DO UPDATE
SET available = d.available + excluded.available, in_use = d.in_use + excluded.in_use
"""
_FORGET_DAYS = "DELETE FROM numbering_stockday WHERE range_id = %s::bigint"


@operation
def split_range(*, actor: Actor, range_uid: str, at: int, now: datetime) -> tuple[NumberRange, NumberRange]:
    """The range up to, not including, the number `at`, and a new one from there on, leased on the same terms.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: unknown or another operator's.
    :raises RangeInvalid: `at` does not begin a thousand block inside the range. :raises InvalidTransition: RETURNED.
    """
    actor.require(MANAGE_NUMBERS)
    _hold_counts()
    lower = selectors.get_range_for_update(actor=actor, uid=range_uid)
    if at % THOUSAND != 0 or not lower.first < at <= lower.last:
        detail = "The first number of a thousand block inside the range, but not its first."
        raise RangeInvalid(errors=[FieldError("/at", "invalid", detail)])
    before = _span(lower)
    upper = lower.split_off(at=at, now=now)
    _move(lower, upper)
    upper.take_over(lower)
    with connection.cursor() as cursor:
        # They were of more numbers than it has now.
        cursor.execute(_FORGET_DAYS, [lower.pk])
    _fold(lower, upper)
    record_range(actor, "range.split", lower, now, before=before, after=_span(lower) | {"rest": upper.uid})
    record_range(actor, "range.split_off", upper, now, before=None, after=_span(upper) | {"from": lower.uid})
    return lower, upper


@operation
def merge_ranges(*, actor: Actor, range_uid: str, other_uid: str, now: datetime) -> NumberRange:
    """One range out of two neighbours with the same terms and state: the lower one grows, the other is left empty.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: RETURNED. :raises RangesNotMergeable: not side by side, or `errors` names what differs.
    :raises RangeCrossesHomeArea: they lie in two ten-thousand blocks.
    """
    actor.require(MANAGE_NUMBERS)
    _hold_counts()
    first, second = sorted((range_uid, other_uid))  # as everywhere: by age, which the ids sort by
    found = [selectors.get_range_for_update(actor=actor, uid=uid) for uid in (first, second)]
    lower, upper = sorted(found, key=lambda each: each.first)
    _check_mergeable(lower, upper)
    before = _span(lower)
    upper.give_to(lower, now=now)
    _move(upper, lower)
    with connection.cursor() as cursor:
        cursor.execute(_ADD_DAYS, {"from": upper.pk, "to": lower.pk})
    _fold(lower, upper)
    record_range(actor, "range.merge", lower, now, before=before, after=_span(lower) | {"with": upper.uid})
    record_range(actor, "range.merge_into", upper, now, before=_span(upper), after={"into": lower.uid})
    return lower


def _check_mergeable(lower: NumberRange, upper: NumberRange) -> None:
    """:raises InvalidTransition: :raises RangesNotMergeable: :raises RangeCrossesHomeArea:"""
    if RangeStatus.RETURNED in (lower.status, upper.status):
        raise InvalidTransition("A returned range is over.")
    if lower.last + 1 != upper.first:
        raise RangesNotMergeable("The one does not begin where the other ends.")
    if lower.first // BLOCK != upper.last // BLOCK:
        raise RangeCrossesHomeArea
    differing = [name for name in (*TERMS, "status") if getattr(lower, name) != getattr(upper, name)]
    if differing:
        raise RangesNotMergeable(
            errors=[
                FieldError(f"/{name.removesuffix('_id')}", "differs", "Not the same in both ranges.")
                for name in differing
            ]
        )


def _hold_counts() -> None:
    """Keeps services.stock.fold_stock out until we are through: it takes counts of ranges in another order than we."""
    serialize_on("numbering.fold")


def _move(source: NumberRange, target: NumberRange) -> None:
    """Numbers of the source that lie within the target's span. Waits for whoever holds one of them."""
    with connection.cursor() as cursor:
        cursor.execute(
            _MOVE,
            {
                "first": max(source.first, target.first),
                "last": min(source.last, target.last),
                "from": source.pk,
                "to": target.pk,
            },
        )


def _fold(lower: NumberRange, upper: NumberRange) -> None:
    """Claims look for free numbers where counts say there are some."""
    for each in sorted((lower, upper), key=lambda leased: leased.pk):
        fold_ranges(range_ids=[each.pk])


def _span(leased: NumberRange) -> dict[str, str]:
    return {"status": leased.status, "numbers": f"{leased.first}-{leased.last}"}
