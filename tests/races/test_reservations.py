"""Many hands that reserve: nobody holds more than he may, and nobody is refused what is there."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from apps.core.actor import Actor
from apps.core.errors import DomainError
from apps.numbering import services as numbering
from apps.numbering.errors import ReservationLimitReached
from apps.numbering.models import PhoneNumber, Reservation
from apps.numbering.states import NumberStatus
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from tests.factories.numbering import given_few_numbers, given_partner, given_range, given_reservation
from tests.factories.operators import given_policy
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 5


def test_one_caller_in_many_threads_never_holds_more_than_policy_says(
    operator: VirtualOperator, now: datetime
) -> None:
    given_range(operator=operator, now=now)
    given_policy(key=PolicyKey.RESERVATION_HELD_MAX, value=10, now=now, operator=operator)
    partner = given_partner(operator=operator)

    def reserve() -> Reservation:
        return given_reservation(operator=operator, now=now, actor=partner, quantity=3)

    for _ in range(ROUNDS):
        results = at_once(*[reserve] * 8)
        assert sum(isinstance(result, Reservation) for result in results) == 3
        assert sum(isinstance(result, ReservationLimitReached) for result in results) == 5
        assert PhoneNumber.objects.filter(status=NumberStatus.RESERVED).count() == 9
        later = now + timedelta(hours=1)
        assert numbering.expire_reservations(actor=Actor.system("t"), now=later, limit=10) == 3


def test_who_wants_several_is_not_refused_what_nobody_keeps(operator: VirtualOperator, now: datetime) -> None:
    """100 free numbers, six times 60 wanted: one gets them. Each locking a part, all would be refused."""
    for _ in range(4):
        given_few_numbers(operator=operator, now=now, free=25)

    def reserve() -> Reservation | DomainError:
        partner = given_partner(operator=operator)
        return given_reservation(operator=operator, now=now, actor=partner, quantity=60)

    for _ in range(ROUNDS):
        results = at_once(*[reserve] * 6)
        (made,) = (result for result in results if isinstance(result, Reservation))
        assert [result.code for result in results if isinstance(result, DomainError)] == [
            "number_not_available"
        ] * 5
        numbering.release_reservation(actor=Actor.system("t"), reservation_uid=made.uid, now=now)
