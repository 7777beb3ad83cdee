"""A pass, a step and a withdrawal of one demand at the same time; two workers at one demand's lines."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import pytest

from apps.carriers.base import Succeeded
from apps.core.db import use_case
from apps.core.errors import InvalidTransition
from apps.events.models import OutboxEvent
from apps.lines.models import Line
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.models import ServiceOrder
from apps.subscribers import services as subscribers
from apps.subscribers.errors import DemandAlreadyOpen
from apps.subscribers.models import ReverificationDemand
from apps.subscribers.services.verify import note_decision
from apps.subscribers.states import DemandReason
from tests.factories.provisioning import SYSTEM, Seller, given_seller
from tests.factories.subscribers import answering, given_notices, given_verification
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

SOON = timedelta(seconds=1)


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    given_notices(now=now)
    return given_seller(operator=operator, now=now)


def demand_of(line: Line, now: datetime) -> ReverificationDemand:
    return subscribers.demand_reverification(
        actor=SYSTEM,
        subscriber_uid=line.subscriber.uid,
        reason=DemandReason.ABNORMAL_USE,
        note="a pattern of calls",
        now=now,
    )


def passes(at: datetime) -> int:
    """What waits for its checks passes them."""
    return subscribers.run_due_verifications(clock=lambda: at, providers=answering())


def settle(seller: Seller, at: datetime) -> None:
    while services.apply_demands(now=at + timedelta(hours=1)):
        for claim in seller.claim():
            assert seller.record(claim, Succeeded("UC-1"))


def test_a_pass_and_a_step_at_once_leave_nothing_behind(seller: Seller, now: datetime) -> None:
    """Whoever is first: the demand ends PASSED, and no reason of it stays on the line."""
    for round_ in range(6):
        line = seller.active_line()
        demand = demand_of(line, now)
        given_verification(subscriber=line.subscriber, now=now + SOON)
        at = now + 2 * SOON
        calls = [
            partial(passes, at),
            partial(subscribers.take_due_steps, actor=SYSTEM, now=at),
        ]
        results = at_once(*(calls if round_ % 2 else calls[::-1]))
        assert not [result for result in results if isinstance(result, Exception)], results
        demand.refresh_from_db()
        assert demand.status == "PASSED"
        steps = list(demand.steps.order_by("id").values_list("status", flat=True))
        assert steps in (["WARNED", "PASSED"], ["WARNED", "ONE_WAY", "PASSED"])
        settle(seller, at)
        line.refresh_from_db()
        assert (line.status, line.suspensions.filter(lifted_at=None).count()) == ("ACTIVE", 0)
        assert OutboxEvent.objects.filter(subject=demand.uid, type="reverification.passed").count() == 1


def test_a_step_waits_for_the_pass_that_holds_the_demand(seller: Seller, now: datetime) -> None:
    """The other order of things, made certain: while a pass is being written, no step goes by it."""
    line = seller.active_line()
    demand = demand_of(line, now)
    verification = given_verification(subscriber=line.subscriber, now=now + SOON)
    stepped: list[object] = []

    @use_case
    def pass_while_stepping() -> None:
        verification.refresh_from_db()
        verification.pass_(now=now + 2 * SOON, fresh_until=now + timedelta(days=30))
        note_decision(actor=SYSTEM, verification=verification, before="PENDING", now=now + 2 * SOON)
        stepped.extend(at_once(partial(subscribers.take_due_steps, actor=SYSTEM, now=now + 2 * SOON)))

    pass_while_stepping()
    assert stepped == [0]
    demand.refresh_from_db()
    assert demand.status == "PASSED"


def test_a_pass_and_a_withdrawal_at_once_end_it_once(seller: Seller, now: datetime) -> None:
    line = seller.active_line()
    demand = demand_of(line, now)
    verification = given_verification(subscriber=line.subscriber, now=now + SOON)
    withdraw = partial(
        subscribers.withdraw_demand,
        actor=SYSTEM,
        demand_uid=demand.uid,
        reason="a mistake of ours",
        now=now + 2 * SOON,
    )
    results = at_once(partial(passes, now + 2 * SOON), withdraw)
    demand.refresh_from_db()
    verification.refresh_from_db()
    assert verification.status == "PASSED"
    assert demand.status == ("PASSED" if isinstance(results[1], InvalidTransition) else "WITHDRAWN")
    assert demand.steps.count() == 2


def test_two_workers_take_each_step_and_place_each_order_once(seller: Seller, now: datetime) -> None:
    person = seller.subscriber()
    lines = [seller.active_line(subscriber=person) for _ in range(3)]
    demand = demand_of(lines[0], now)
    step = partial(subscribers.take_due_steps, actor=SYSTEM, now=now)
    assert sorted(at_once(step, step, step), key=str) == [0, 0, 1]
    apply = partial(services.apply_demands, now=now)
    assert sorted(at_once(apply, apply, apply), key=str) == [0, 0, 1]
    assert ServiceOrder.objects.filter(type="SUSPEND", placed_by=demand.uid).count() == 3
    assert demand.steps.count() == 2


def test_the_same_demand_made_twice_at_once(seller: Seller, now: datetime) -> None:
    line = seller.active_line()
    results = at_once(*[partial(demand_of, line, now)] * 3)
    assert sorted(type(result).__name__ for result in results) == [
        *[DemandAlreadyOpen.__name__] * 2,
        "ReverificationDemand",
    ]
    assert ReverificationDemand.objects.count() == 1
