"""The life of ranges and numbers as a whole, in any order of events, beside a plain model of what should be."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Count
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apps.core import clock
from apps.core.errors import DomainError, InvalidTransition
from apps.numbering import services as numbering
from apps.numbering.errors import NumberNotAvailable, RangeNotEmpty
from apps.numbering.models import NumberRange, PhoneNumber, RangeStock, Reservation, StockChange
from apps.numbering.states import NumberStatus, RangeStatus, ReservationStatus, WithheldBy
from apps.operators.calendar import china_date
from apps.operators.models import HostCarrier, VirtualOperator
from tests.factories.numbering import SYSTEM, given_range
from tests.factories.operators import given_operator, given_policies

S = NumberStatus
LIVING = {S.RESERVED, S.IN_USE, S.QUARANTINED}
# Thousand blocks of one ten-thousand block: neighbours that can be merged, few enough to be looked at whole.
BLOCKS = ["17190000", "17190001", "17190003"]
# Rules act on these places of a block alone, so that they meet each other's numbers.
PLACES = [0, 1, 2, 500, 999]
places = st.sampled_from(PLACES)
blocks = st.sampled_from(BLOCKS)


class Life(RuleBasedStateMachine):
    """`should` holds the status of every number that is not simply AVAILABLE; `of` the status of each block's range."""

    def __init__(self) -> None:
        super().__init__()
        # As Django's own test cases do, so that a use case may be the outermost transaction.
        self.around = transaction.atomic()
        self.around._from_testcase = True  # type: ignore[attr-defined]
        self.around.__enter__()
        self.now = self.began = clock.now()
        given_policies(now=self.now)
        self.operator: VirtualOperator = given_operator(now=self.now)
        self.other: VirtualOperator = given_operator(now=self.now)
        self.until_day = china_date(self.now) + timedelta(days=300)
        self.unicom = HostCarrier.objects.get(code="unicom").pk
        self.should: dict[int, NumberStatus] = {}
        self.of: dict[str, RangeStatus | None] = dict.fromkeys(BLOCKS)
        self.until: dict[int, datetime] = {}
        self.held: dict[str, tuple[set[int], datetime]] = {}

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.around.__exit__(None, None, None)

    # --- What the model knows -----------------------------------------------------------------------------------
    def status(self, number: int) -> NumberStatus:
        return self.should.get(number, S.AVAILABLE)

    def sells(self, number: int) -> bool:
        return self.of[str(number)[:8]] is RangeStatus.ACTIVE

    def become(self, number: int, status: NumberStatus) -> None:
        if status is S.AVAILABLE:
            self.should.pop(number, None)
        else:
            self.should[number] = status

    def attempt(self, allowed: bool, call: Any, *errors: type[DomainError]) -> Any:
        """The call succeeds exactly when the model says so; a refusal changes nothing."""
        refusal, result = None, None
        try:
            with transaction.atomic():
                result = call()
        except errors as error:
            refusal = error
        assert (refusal is None) is allowed, refusal or "went through"
        return result

    def range_of(self, block: str) -> NumberRange:
        return NumberRange.objects.exclude(status=RangeStatus.RETURNED).get(
            first__lte=int(block) * 1000, last__gte=int(block) * 1000
        )

    # --- Ranges -------------------------------------------------------------------------------------------------
    @rule(block=blocks)
    def lease(self, block: str) -> None:
        allowed = self.of[block] in (None, RangeStatus.RETURNED)
        leased = self.attempt(
            allowed,
            lambda: given_range(
                operator=self.operator, now=self.now, prefix=block, leased_until=self.until_day
            ),
            DomainError,
        )
        if leased is not None:
            self.of[block] = RangeStatus.ACTIVE
            for number in [n for n in self.should if str(n).startswith(block)]:
                self.become(number, S.AVAILABLE)

    @precondition(lambda self: any(self.of.values()))
    @rule(block=blocks)
    def begin_return(self, block: str) -> None:
        if self.of[block] in (None, RangeStatus.RETURNED):
            return
        leased = self.range_of(block)
        done = self.attempt(
            self.of[block] is RangeStatus.ACTIVE,
            lambda: numbering.begin_return(actor=SYSTEM, range_uid=leased.uid, now=self.now),
            InvalidTransition,
        )
        if done is not None:
            self.cover(leased, RangeStatus.RETURNING)

    @precondition(lambda self: RangeStatus.RETURNING in self.of.values())
    @rule(block=blocks, keep=st.booleans())
    def end_return(self, block: str, keep: bool) -> None:
        if self.of[block] is not RangeStatus.RETURNING:
            return
        leased = self.range_of(block)
        mine = [n for n in self.should if leased.first <= n <= leased.last]
        if keep:
            numbering.keep_range(actor=SYSTEM, range_uid=leased.uid, now=self.now)
            self.cover(leased, RangeStatus.ACTIVE)
            return
        done = self.attempt(
            not any(self.should[n] in LIVING for n in mine),
            lambda: numbering.finish_return(actor=SYSTEM, range_uid=leased.uid, now=self.now),
            RangeNotEmpty,
        )
        if done is not None:
            self.cover(leased, RangeStatus.RETURNED)
            for number in range(leased.first, leased.last + 1):
                self.should[number] = S.RETURNED
                self.until.pop(number, None)

    def cover(self, leased: NumberRange, status: RangeStatus) -> None:
        for block in BLOCKS:
            if leased.first <= int(block) * 1000 <= leased.last:
                self.of[block] = status

    @rule()
    def merge_or_split(self) -> None:
        low, high = BLOCKS[0], BLOCKS[1]
        if self.of[low] in (None, RangeStatus.RETURNED) or self.of[low] is not self.of[high]:
            return
        lower, upper = self.range_of(low), self.range_of(high)
        if lower.pk == upper.pk:
            numbering.split_range(actor=SYSTEM, range_uid=lower.uid, at=int(high) * 1000, now=self.now)
        else:
            try:
                with transaction.atomic():
                    numbering.merge_ranges(
                        actor=SYSTEM, range_uid=lower.uid, other_uid=upper.uid, now=self.now
                    )
            except DomainError:
                # Leased on different days: their terms differ.
                assert (lower.leased_from, lower.leased_until) != (upper.leased_from, upper.leased_until)

    # --- Numbers ------------------------------------------------------------------------------------------------
    @rule(block=blocks, place=places, minutes=st.sampled_from([1, 30, 600]))
    def reserve(self, block: str, place: int, minutes: int) -> None:
        number = int(block) * 1000 + place
        allowed = self.sells(number) and self.status(number) is S.AVAILABLE
        made = self.attempt(
            allowed,
            lambda: numbering.reserve(
                actor=SYSTEM,
                operator_id=self.operator.pk,
                number=number,
                ttl_seconds=minutes * 60,
                now=self.now,
            ),
            NumberNotAvailable,
        )
        if made is not None:
            self.become(number, S.RESERVED)
            self.held[made.uid] = ({number}, self.now + timedelta(minutes=minutes))

    @precondition(lambda self: RangeStatus.ACTIVE in self.of.values())
    @rule(quantity=st.integers(2, 5))
    def reserve_some(self, quantity: int) -> None:
        made = numbering.reserve(
            actor=SYSTEM, operator_id=self.operator.pk, quantity=quantity, ttl_seconds=300, now=self.now
        )
        assert len(set(made.numbers)) == quantity
        for number in made.numbers:
            assert self.sells(number)
            assert self.status(number) is S.AVAILABLE
            self.become(number, S.RESERVED)
        self.held[made.uid] = (set(made.numbers), self.now + timedelta(seconds=300))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(self.held)))
        numbering.release_reservation(actor=SYSTEM, reservation_uid=uid, now=self.now)
        for number in self.held.pop(uid)[0]:
            self.become(number, S.AVAILABLE)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def take_reserved(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(self.held)))
        numbers, until = self.held[uid]
        lowest = min(numbers)
        taken = self.attempt(
            until > self.now and self.sells(lowest),
            lambda: numbering.take_number(
                actor=SYSTEM,
                operator_id=self.operator.pk,
                host_carrier_id=self.unicom,
                reservation_uid=uid,
                now=self.now,
            ),
            DomainError,
        )
        if taken is not None:
            assert taken.number == lowest
            self.become(lowest, S.IN_USE)
            numbers.remove(lowest)
            if not numbers:
                del self.held[uid]

    @rule()
    def take_next(self) -> None:
        # A thousand free numbers in each block, of which rules touch a few: there is one whenever a block sells.
        taken = self.attempt(
            RangeStatus.ACTIVE in self.of.values(),
            lambda: numbering.take_number(
                actor=SYSTEM, operator_id=self.operator.pk, host_carrier_id=self.unicom, now=self.now
            ),
            NumberNotAvailable,
        )
        if taken is not None:
            assert self.sells(taken.number)
            assert self.status(taken.number) is S.AVAILABLE
            self.become(taken.number, S.IN_USE)

    @rule(block=blocks, place=places)
    def another_operator_gets_nothing(self, block: str, place: int) -> None:
        self.attempt(
            False,
            lambda: numbering.reserve(
                actor=SYSTEM, operator_id=self.other.pk, number=int(block) * 1000 + place, now=self.now
            ),
            NumberNotAvailable,
        )

    @precondition(lambda self: S.IN_USE in self.should.values())
    @rule(data=st.data(), used=st.booleans())
    def give_back(self, data: st.DataObject, used: bool) -> None:
        number = data.draw(st.sampled_from(sorted(n for n, s in self.should.items() if s is S.IN_USE)))
        if used:
            numbering.quarantine_number(actor=SYSTEM, number=number, now=self.now)
            self.become(number, S.QUARANTINED)
            self.until[number] = self.now + timedelta(days=90)
        else:
            numbering.return_unused_number(actor=SYSTEM, number=number, now=self.now)
            self.become(number, S.AVAILABLE)

    @rule(block=blocks, place=places)
    def withhold(self, block: str, place: int) -> None:
        number = int(block) * 1000 + place
        if self.of[block] is None:
            return
        done = self.attempt(
            # In use: a carrier may refuse a number that was just taken.
            self.status(number) in (S.AVAILABLE, S.IN_USE, S.QUARANTINED),
            lambda: numbering.withhold_number(
                actor=SYSTEM, number=number, by=WithheldBy.POLICE, reason="case", now=self.now
            ),
            DomainError,
        )
        if done is not None:
            self.become(number, S.WITHHELD)

    @precondition(lambda self: S.WITHHELD in self.should.values())
    @rule(data=st.data())
    def release_withheld(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(n for n, s in self.should.items() if s is S.WITHHELD)))
        numbering.release_withheld_number(actor=SYSTEM, number=number, reason="over", now=self.now)
        still = self.until.get(number, self.now) > self.now
        self.become(number, S.QUARANTINED if still else S.AVAILABLE)
        if not still:
            self.until.pop(number, None)

    # --- Time ---------------------------------------------------------------------------------------------------
    # Within the factories' agreements and leases, whose end is another test's.
    @precondition(lambda self: self.now < self.began + timedelta(days=60))
    @rule(hours=st.sampled_from([1, 24 * 31, 24 * 91]))
    def time_passes_and_is_swept(self, hours: int) -> None:
        self.now += timedelta(hours=hours)
        numbering.expire_reservations(actor=SYSTEM, now=self.now, limit=500)
        numbering.end_quarantines(actor=SYSTEM, now=self.now, limit=500)
        for uid, (numbers, until) in list(self.held.items()):
            if until <= self.now:
                del self.held[uid]
                for number in numbers:
                    self.become(number, S.AVAILABLE)
        for number, until in list(self.until.items()):
            if self.status(number) is S.QUARANTINED and until <= self.now:
                self.become(number, S.AVAILABLE)
                del self.until[number]

    @rule()
    def counts_are_folded(self) -> None:
        numbering.fold_stock()

    # --- What must never be false -------------------------------------------------------------------------------
    @invariant()
    def every_number_is_what_it_should_be(self) -> None:
        rows = dict(
            PhoneNumber.objects.filter(operator=self.operator)
            .exclude(status=S.AVAILABLE)
            .values_list("number", "status")
        )
        assert rows == self.should

    @invariant()
    def every_number_lies_in_its_range(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM numbering_phonenumber AS n LEFT JOIN numbering_numberrange AS r"
                " ON r.id = n.range_id AND n.number BETWEEN r.first AND r.last AND r.operator_id = n.operator_id"
                " WHERE r.id IS NULL"
            )
            assert cursor.fetchone() == (0,)

    @invariant()
    def open_reservations_hold_what_they_should(self) -> None:
        held = {
            reservation.uid: set(
                PhoneNumber.objects.filter(reservation=reservation).values_list("number", flat=True)
            )
            for reservation in Reservation.objects.filter(status=ReservationStatus.ACTIVE)
        }
        assert held == {uid: numbers for uid, (numbers, _) in self.held.items()}

    @invariant()
    def counts_are_the_truth(self) -> None:
        counted: Counter[tuple[int, int, str]] = Counter()
        rows = PhoneNumber.objects.values("range_id", "grade", "status").annotate(many=Count("*"))
        for row in rows:
            counted[row["range_id"], row["grade"], NumberStatus(row["status"]).name.lower()] = row["many"]
        said: Counter[tuple[int, int, str]] = Counter()
        for table in (RangeStock, StockChange):
            for kept in table.objects.all():
                for status in NumberStatus:
                    name = status.name.lower()
                    said[kept.range_id, kept.grade, name] += getattr(kept, name)
        assert counted == {key: many for key, many in said.items() if many != 0}


@pytest.mark.django_db
def test_life() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            # Each step is a transaction: making a failure smaller would take longer than reading it.
            phases=[Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
