"""What goes wrong with one order, person, callback or connection touches no other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.carriers import services as carriers
from apps.carriers.base import Accepted, NotFound, Succeeded
from apps.core import clock
from apps.core.db import database_now
from apps.core.errors import Forbidden
from apps.core.errors import NotFound as ResourceNotFound
from apps.lines.models import Line
from apps.numbering.models import PhoneNumber
from apps.numbering.states import NumberStatus, WithheldBy
from apps.operators.models import VirtualOperator
from apps.provisioning import selectors, services, tasks
from apps.provisioning.models import ActivationJob, CarrierCallback
from apps.provisioning.services import outcomes
from apps.provisioning.services.jobs import Misconfigured, Unavailable
from apps.provisioning.states import OrderType
from apps.subscribers import services as subscribers
from apps.subscribers.models import Subscriber, Verification
from apps.subscribers.realname.providers.base import AuthorityAnswer, FaceAnswer
from tests.factories.accounts import ApiClient, given_user
from tests.factories.callbacks import callback_body, send_callback
from tests.factories.provisioning import SYSTEM, Seller, given_seller, make_due
from tests.factories.subscribers import (
    answering,
    given_subscriber,
    given_verification,
    given_verified_subscriber,
)
from tests.refusals import refused

pytestmark = pytest.mark.django_db


class Carrier:
    """An adapter in memory that accepts whatever it is sent, and remembers it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def activate(self, request: Any) -> Accepted:
        self.sent.append(request)
        return Accepted("UC-1")

    terminate = activate

    async def query(self, request: Any) -> NotFound:
        return NotFound()


@pytest.fixture
def carrier(monkeypatch: pytest.MonkeyPatch) -> Carrier:
    carrier = Carrier()
    monkeypatch.setattr(carriers, "adapter_for", lambda connection: carrier)
    return carrier


def drain(seller: Seller) -> None:
    services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=clock.now)


def checked(person: Subscriber, now: datetime, **answers: Any) -> None:
    """Another real-name check of the person, with these answers."""
    given_verification(subscriber=person, now=now)
    subscribers.run_due_verifications(clock=lambda: now, providers=answering(**answers))


def test_a_holder_who_cannot_be_read_stops_nobody_else(seller: Seller, carrier: Carrier) -> None:
    bad, good = seller.order(), seller.order()
    holder = Line.objects.get(pk=bad.line_id).subscriber_id
    Subscriber.objects.filter(pk=holder).update(name_sealed=b"t1\0\0" + bytes(40))
    drain(seller)
    assert (good.jobs.get().status, len(carrier.sent)) == ("ACCEPTED", 1)
    job = bad.jobs.get()
    assert (job.is_dead_letter, job.error_code, job.told_at) == (True, "identity_unreadable", None)


def test_jobs_that_somebody_is_asking_about_call_for_no_other_worker(seller: Seller) -> None:
    make_due(seller.accepted_job())
    seller.claim()
    assert selectors.list_connections_with_due_jobs(at=database_now()) == []


def test_the_sweep_goes_on_behind_an_order_without_a_connection(
    seller: Seller, other_operator: VirtualOperator, now: datetime
) -> None:
    other = given_seller(operator=other_operator, now=now)
    orders = []
    for each in (seller, other):
        person = given_subscriber(operator=each.operator, now=now)
        given_verification(subscriber=person, now=now)
        orders.append(each.order(subscriber=person))
    # The event's task is lost.
    subscribers.run_due_verifications(clock=lambda: now, providers=answering())
    carriers.disconnect(actor=SYSTEM, connection_uid=seller.connection.uid, reason="moved", now=now)
    tasks.sweep()
    for order, status in zip(orders, ("HELD", "IN_PROGRESS"), strict=True):
        order.refresh_from_db()
        assert order.status == status


def test_a_callback_that_cannot_be_applied_waits_and_holds_up_no_other(seller: Seller, now: datetime) -> None:
    first, second = seller.accepted_job(), seller.accepted_job()
    # Any fault of one line's rows will do.
    number = first.line.number_assignments.get().number_id
    PhoneNumber.objects.filter(pk=number).update(
        status=NumberStatus.WITHHELD, withheld_by=WithheldBy.OPERATOR
    )
    send_callback(seller.connection, callback_body(first, now=now, result="REFUSED"), now=now)
    send_callback(seller.connection, callback_body(second, now=now), now=now)
    tasks.apply_callbacks()
    second.refresh_from_db()
    assert second.status == "SUCCEEDED"
    waiting = CarrierCallback.objects.get(applied_at=None)
    assert (waiting.reference, waiting.tries) == (first.reference, 1)
    assert waiting.next_try_at > now
    PhoneNumber.objects.filter(pk=number).update(status=NumberStatus.IN_USE, withheld_by=None)
    CarrierCallback.objects.filter(pk=waiting.pk).update(next_try_at=now)
    tasks.apply_callbacks()
    first.refresh_from_db()
    assert first.status == "FAILED"


def test_old_news_does_not_hide_new_news(seller: Seller, now: datetime) -> None:
    phantom = given_subscriber(operator=seller.operator, now=now)
    checked(phantom, now, authority=AuthorityAnswer.NAME_MISMATCH)
    given_verification(subscriber=phantom, now=now)
    assert seller.order(subscriber=phantom).status == "HELD"
    subscribers.run_due_verifications(clock=lambda: now, providers=answering(face=FaceAnswer.UNCERTAIN))
    real = given_subscriber(operator=seller.operator, now=now)
    given_verification(subscriber=real, now=now)
    order = seller.order(subscriber=real)
    subscribers.run_due_verifications(clock=lambda: now, providers=answering())
    services.continue_held_orders(
        actor=SYSTEM, subscriber_ids=selectors.list_subscribers_with_news(limit=1), now=now
    )
    order.refresh_from_db()
    assert order.status == "IN_PROGRESS"


def test_nothing_is_sent_for_somebody_whose_latest_check_failed(
    seller: Seller, carrier: Carrier, now: datetime
) -> None:
    person = seller.subscriber()
    order = seller.order(subscriber=person)
    checked(person, now, authority=AuthorityAnswer.DOCUMENT_VOID)
    drain(seller)
    order.refresh_from_db()
    assert (carrier.sent, order.status, order.reason) == ([], "FAILED", "identity_expired")


def test_nor_after_a_busy_carrier_when_the_check_has_expired(seller: Seller, carrier: Carrier) -> None:
    order = seller.order()
    (claim,) = seller.claim()
    seller.record(claim, Unavailable("carrier_unavailable", "429"))
    Verification.objects.update(status="EXPIRED")
    make_due(order.jobs.get())
    drain(seller)
    assert carrier.sent == []


def test_what_the_carrier_may_know_is_sent_again_although_the_check_has_expired(
    seller: Seller, carrier: Carrier
) -> None:
    """Giving the number back now could leave a line at the carrier that we have sold to somebody else."""
    order = seller.order()
    seller.claim()
    ActivationJob.objects.update(lease_until="2000-01-01T00:00:00Z")
    services.expire_leases()
    drain(seller)
    Verification.objects.update(status="EXPIRED")
    ActivationJob.objects.update(next_attempt_at="2000-01-01T00:00:00Z", told_at="2000-01-01T00:00:00Z")
    drain(seller)
    assert [request.reference for request in carrier.sent] == [order.jobs.get().reference]


def test_a_subscriber_of_another_operator_is_not_found_even_by_those_who_see_both(
    seller: Seller, other_operator: VirtualOperator, now: datetime, platform_admin: Any
) -> None:
    stranger = given_verified_subscriber(operator=other_operator, now=now)
    with refused(ResourceNotFound):
        services.place_activation_order(
            actor=platform_admin,
            operator_id=seller.operator.pk,
            subscriber=stranger.uid,
            plan=seller.plan.uid,
            wish=services.NumberWish(),
            now=now,
        )


@pytest.mark.parametrize("role", [Role.ENGINEER, Role.COMPLIANCE])
def test_staff_without_the_right_place_and_cancel_nothing(seller: Seller, role: Role, now: datetime) -> None:
    actor = actor_of_user(given_user(role=role, operator=seller.operator, now=now))
    order, person = seller.order(), seller.subscriber()
    with refused(Forbidden):
        services.cancel_order(actor=actor, order=order.uid, now=now)
    with refused(Forbidden):
        services.place_activation_order(
            actor=actor,
            operator_id=seller.operator.pk,
            subscriber=person.uid,
            plan=seller.plan.uid,
            wish=services.NumberWish(),
            now=now,
        )


def test_who_of_those_without_orders_ends_lines(seller: Seller, now: datetime) -> None:
    """Compliance may: a dispute about a number can ask for it. Engineers may not."""
    line = seller.active_line()
    engineer, officer = (
        actor_of_user(given_user(role=role, operator=seller.operator, now=now))
        for role in (Role.ENGINEER, Role.COMPLIANCE)
    )
    with refused(Forbidden):
        services.place_termination_order(actor=engineer, line=line.uid, reason="fraud", now=now)
    order = services.place_termination_order(actor=officer, line=line.uid, reason="fraud", now=now)
    assert order.type == OrderType.TERMINATE


def test_a_web_server_with_a_fast_clock_does_not_delay_jobs(seller: Seller) -> None:
    person = seller.subscriber()
    fast = Seller(**{**seller.__dict__, "now": seller.now + timedelta(minutes=10)})
    fast.order(subscriber=person)
    assert len(seller.claim()) == 1


def test_partners_do_not_see_who_of_the_staff_pressed_retry(
    seller: Seller, api: ApiClient, now: datetime
) -> None:
    order = seller.order()
    (claim,) = seller.claim()
    seller.record(claim, Misconfigured("carrier_misconfigured", "bad signature"))
    user = given_user(role=Role.PLATFORM, username="zhang.wei.oncall", now=now)
    services.retry_job(actor=actor_of_user(user), job=order.jobs.get().uid, reason="mended", now=now)
    assert "zhang.wei.oncall" not in api.get(f"/api/v1/orders/{order.uid}").content.decode()


@pytest.mark.django_db(transaction=True)
def test_recording_and_sweeping_do_not_deadlock(seller: Seller, monkeypatch: pytest.MonkeyPatch) -> None:
    seller.order()
    (claim,) = seller.claim()
    ActivationJob.objects.update(lease_until="2000-01-01T00:00:00Z")
    inside, go = threading.Event(), threading.Event()
    real = outcomes.lock_job

    def slow(job_id: int, token: int | None) -> ActivationJob:
        inside.set()
        go.wait(5)
        return real(job_id, token)

    monkeypatch.setattr(outcomes, "lock_job", slow)
    faults: list[str] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except OperationalError as error:
            faults.append(str(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(lambda: seller.record(claim, Succeeded("UC-1")),))]
    threads[0].start()
    assert inside.wait(5)
    threads.append(threading.Thread(target=run, args=(services.expire_leases,)))
    threads[1].start()
    threads[1].join(1)
    go.set()
    for thread in threads:
        thread.join(20)
    assert faults == []
