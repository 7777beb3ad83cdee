"""Orders against each other: whoever starts together, limits and stock hold, and nothing happens twice."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from functools import partial

import pytest

from apps.carriers.base import Rejected, Succeeded
from apps.carriers.services import MOST_PER_SECOND
from apps.core.db import serialize_on, use_case
from apps.core.errors import DomainError
from apps.events.models import OutboxEvent
from apps.lines.errors import HolderLimitReached
from apps.lines.models import HolderSlot, Line
from apps.numbering.errors import NumberNotAvailable
from apps.numbering.models import PhoneNumber
from apps.numbering.states import NumberStatus
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.models import ActivationJob, JobAttempt, ServiceOrder
from apps.provisioning.services import NumberWish
from apps.provisioning.services.outcomes import succeed_job
from apps.provisioning.states import JobStatus
from apps.sims.errors import SimNotAvailable
from apps.sims.models import SimCard
from tests.factories.provisioning import SYSTEM, Seller, given_seller
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    return given_seller(operator=operator, now=now)


def kinds(results: object) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)  # type: ignore[attr-defined]


def test_twelve_orders_for_one_person_open_five_lines(seller: Seller) -> None:
    person = seller.subscriber()
    results = at_once(*[partial(seller.order, subscriber=person)] * 12)
    assert kinds(results) == {"ServiceOrder": 5, HolderLimitReached.__name__: 7}
    assert Line.objects.count() == HolderSlot.objects.count() == 5
    assert sorted(HolderSlot.objects.values_list("slot", flat=True)) == [1, 2, 3, 4, 5]
    # The seven gave back whatever they had taken.
    assert PhoneNumber.objects.exclude(status=NumberStatus.AVAILABLE).count() == 5
    assert SimCard.objects.exclude(status="IN_STOCK").count() == 5


def test_two_orders_for_the_last_number(seller: Seller) -> None:
    last = seller.range.first
    PhoneNumber.objects.exclude(number=last).update(status=NumberStatus.WITHHELD, withheld_by=4)
    people = [seller.subscriber(), seller.subscriber()]
    results = at_once(*[partial(seller.order, subscriber=person) for person in people])
    assert kinds(results) == {"ServiceOrder": 1, NumberNotAvailable.__name__: 1}
    assert Line.objects.count() == 1
    assert HolderSlot.objects.count() == 1


def test_two_orders_for_one_named_number(seller: Seller) -> None:
    wish = NumberWish(number=seller.range.first + 5)
    people = [seller.subscriber(), seller.subscriber()]
    results = at_once(*[partial(seller.order, subscriber=person, wish=wish) for person in people])
    assert kinds(results) == {"ServiceOrder": 1, NumberNotAvailable.__name__: 1}


def test_two_orders_for_the_last_sim(operator: VirtualOperator, now: datetime) -> None:
    seller = given_seller(operator=operator, now=now, cards=1)
    people = [seller.subscriber(), seller.subscriber()]
    results = at_once(*[partial(seller.order, subscriber=person) for person in people])
    assert kinds(results) == {"ServiceOrder": 1, SimNotAvailable.__name__: 1}
    assert PhoneNumber.objects.exclude(status=NumberStatus.AVAILABLE).count() == 1


def test_workers_never_claim_one_job_twice_and_keep_the_cap(operator: VirtualOperator, now: datetime) -> None:
    # So fast that its rate lets all of them pass: the cap alone is asked here, the rate in test_gates.
    seller = given_seller(
        operator=operator, now=now, cards=30, max_in_flight=24, calls_per_second=MOST_PER_SECOND
    )
    for _ in range(30):
        seller.order()
    claims = [claim for result in at_once(*[partial(seller.claim, 8)] * 4) for claim in result]  # type: ignore[union-attr]
    assert len(claims) == len({claim.job_id for claim in claims}) == 24
    assert seller.claim() == []


def test_callback_and_record_of_one_job_end_it_once(seller: Seller) -> None:
    for _ in range(5):
        order = seller.order()
        (claim,) = seller.claim()
        results = at_once(
            partial(seller.record, claim, Succeeded("UC-1")),
            partial(called_back, order.jobs.get().pk, seller.now),
        )
        assert not [
            result
            for result in results
            if isinstance(result, Exception) and not isinstance(result, DomainError)
        ]
        order.refresh_from_db()
        assert order.status == "COMPLETED"
        assert OutboxEvent.objects.filter(subject=order.uid, type="order.completed").count() == 1
        assert OutboxEvent.objects.filter(subject=order.line.uid, type="line.activated").count() == 1


@use_case
def called_back(job_id: int, now: datetime) -> None:
    """What applying a callback does once it has found the job."""
    job = ActivationJob.objects.get(pk=job_id)
    serialize_on(f"order:{job.order_id}")
    job.refresh_from_db()
    if job.status != JobStatus.SUCCEEDED:
        succeed_job(actor=SYSTEM, job=job, carrier_reference="UC-1", token=None, now=now)


def test_cancel_against_claim_never_lets_a_cancelled_order_be_sent(seller: Seller) -> None:
    for _ in range(6):
        order = seller.order()
        cancel = partial(services.cancel_order, actor=SYSTEM, order=order.uid, now=seller.now)
        results = at_once(cancel, seller.claim)
        order.refresh_from_db()
        sent = JobAttempt.objects.filter(job__order=order).exists()
        assert (order.status == "CANCELLED") != sent, results
        if sent:
            (claim,) = results[1]  # type: ignore[misc]
            seller.record(claim, Rejected("carrier_rejected", "no"))


def test_two_cancels_give_back_once(seller: Seller) -> None:
    order = seller.order()
    cancel = partial(services.cancel_order, actor=SYSTEM, order=order.uid, now=seller.now)
    assert kinds(at_once(cancel, cancel)) == {"ServiceOrder": 1, "OrderNotCancellable": 1}
    assert OutboxEvent.objects.filter(subject=order.uid, type="order.cancelled").count() == 1


def test_two_terminations_of_one_line(seller: Seller) -> None:
    line = seller.active_line()
    end = partial(
        services.place_termination_order, actor=SYSTEM, line=line.uid, reason="user_request", now=seller.now
    )
    assert kinds(at_once(end, end)) == {"ServiceOrder": 1, "LineHasOpenOrder": 1}
    assert ServiceOrder.objects.filter(line=line, type="TERMINATE").count() == 1
