"""One drain per process and host carrier: woken, not doubled; nothing left behind at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from apps.carriers import transport
from apps.core import clock
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.models import ActivationJob, JobAttempt
from apps.provisioning.services import calling
from apps.provisioning.services.calling import Calls
from apps.provisioning.states import JobStatus
from tests.factories.operators import given_operator
from tests.factories.provisioning import SYSTEM, Seller, given_connection, given_seller
from tests.simulator import running_simulator, set_knobs

NOBODY = -1


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    with running_simulator(latency_ms=0, callbacks="none", callback_delay_ms=0) as url:
        yield url


@pytest.fixture
def seller(simulator: str, operator: VirtualOperator, now: datetime) -> Seller:
    return given_seller(operator=operator, now=now, base_url=f"{simulator}/unicom")


def work(seller: Seller) -> None:
    services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=clock.now)


def test_a_second_drain_wakes_the_first_and_leaves_the_work_to_it() -> None:
    first, second = Calls(4), Calls(4)
    assert calling.take_up(NOBODY, first)
    assert not calling.take_up(NOBODY, second)
    # The nudge came while the first was about to end: it looks once more.
    assert not calling.lay_down(NOBODY, first)
    assert first.collect(0.0) == []
    assert calling.lay_down(NOBODY, first)
    assert calling.take_up(NOBODY, second)
    calling.give_up(NOBODY, second)


@pytest.mark.django_db
def test_a_drain_works_for_every_operator_at_the_carrier(
    seller: Seller, simulator: str, now: datetime
) -> None:
    other = given_seller(operator=given_operator(now=now), now=now, base_url=f"{simulator}/unicom")
    orders = [each.order() for each in (seller, other, seller)]
    work(seller)
    assert {order.jobs.get().status for order in orders} == {JobStatus.ACCEPTED}


@pytest.mark.django_db
def test_no_socket_is_left_open(seller: Seller) -> None:
    seller.order()
    work(seller)
    assert seller.connection.pk not in transport._shared


@pytest.mark.django_db
def test_one_that_cannot_be_recorded_takes_no_other_with_it(
    seller: Seller, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [seller.order().jobs.get() for _ in range(3)]
    broken = jobs[1].pk
    accept = ActivationJob.accept

    def break_one(self: ActivationJob, **facts: object) -> None:
        if self.pk == broken:
            raise RuntimeError("a bug")
        accept(self, **facts)

    monkeypatch.setattr(ActivationJob, "accept", break_one)
    work(seller)
    assert [ActivationJob.objects.get(pk=job.pk).status for job in jobs] == [
        "ACCEPTED",
        "IN_DOUBT",
        "ACCEPTED",
    ]


@pytest.mark.django_db
def test_a_worker_that_is_told_to_end_claims_nothing(seller: Seller) -> None:
    job = seller.order().jobs.get()
    services.stopping.set()
    try:
        work(seller)
    finally:
        services.stopping.clear()
    assert not JobAttempt.objects.filter(job=job).exists()


@pytest.mark.django_db
def test_no_more_calls_at_once_than_slots(seller: Seller, simulator: str) -> None:
    for _ in range(6):
        seller.order()
    set_knobs(simulator, latency_ms=50)
    started = time.monotonic()
    services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=clock.now, slots=2)
    assert time.monotonic() - started >= 3 * 0.05
    set_knobs(simulator, latency_ms=0)


@pytest.mark.django_db
def test_what_an_ended_connection_still_had_to_send_waits_for_staff(seller: Seller) -> None:
    job = seller.order().jobs.get()
    seller.connection.disconnect(now=seller.now)
    given_connection(
        operator=seller.operator, carrier=seller.carrier, now=seller.now, base_url="http://127.0.0.1:9"
    )
    work(seller)
    job.refresh_from_db()
    assert (job.is_dead_letter, job.error_code) == (True, "carrier_not_connected")
