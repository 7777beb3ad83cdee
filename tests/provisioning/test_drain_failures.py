"""What goes wrong with one job, or once, stops nothing else: not to be loaded, not to be written, not to be claimed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from apps.carriers import services as carriers
from apps.carriers.base import Accepted, CarrierRejected, NotFound, Succeeded
from apps.carriers.models import CarrierConnection
from apps.core import clock
from apps.core.db import database_now
from apps.provisioning import services
from apps.provisioning.models import ActivationJob, Gate, JobAttempt
from apps.provisioning.services.calling import Calls, Work
from apps.provisioning.services.jobs import Unknown
from apps.provisioning.services.recording import Result
from apps.subscribers.models import Subscriber
from apps.subscribers.realname.providers.base import AuthorityAnswer
from tests.factories.operators import given_operator
from tests.factories.provisioning import SYSTEM, Seller, decide, given_seller, make_due
from tests.provisioning.steps import asked, claimed, expire_lease, grow_old, settle

pytestmark = pytest.mark.django_db

# The package has a function of the same name.
drain_module = importlib.import_module("apps.provisioning.services.drain")
LONG_AGO = "2000-01-01T00:00:00Z"


class Carrier:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, answer: object = Accepted("UC-1")) -> None:
        self.answer, self.sent, self.asked = answer, 0, 0

    async def activate(self, request: object) -> object:
        self.sent += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def query(self, request: object) -> object:
        self.asked += 1
        return self.answer


@pytest.fixture
def carrier(monkeypatch: pytest.MonkeyPatch) -> Carrier:
    """Every connection leads to it; what cannot be opened of one is noticed as always."""
    fake, real = Carrier(), carriers.adapter_for

    def lead(connection: CarrierConnection) -> Carrier:
        real(connection)
        return fake

    monkeypatch.setattr(carriers, "adapter_for", lead)
    return fake


def work(seller: Seller) -> None:
    services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=clock.now)


def pass_time(job: ActivationJob) -> None:
    Gate.objects.update(next_call_at=LONG_AGO)
    make_due(job)


def given_open_circuit(seller: Seller) -> None:
    """As it stands after many calls without an answer, with the next probe due."""
    seller.claim(limit=1)
    Gate.objects.update_or_create(
        pk=seller.connection.pk,
        defaults={"failures": 10, "why": "x", "is_open": True, "probe_at": LONG_AGO, "changed_at": LONG_AGO},
    )


def test_a_secret_that_does_not_open_stops_only_its_own_connection(
    seller: Seller, carrier: Carrier, now: datetime
) -> None:
    other = given_seller(operator=given_operator(now=now), now=now)
    known = other.accepted_job()
    bad = other.order().jobs.get()
    good = [seller.order().jobs.get() for _ in range(3)]
    pass_time(known)
    CarrierConnection.objects.filter(pk=other.connection.pk).update(secret_sealed=b"t1\0\0" + bytes(40))
    work(seller)
    for job in (*good, bad, known):
        job.refresh_from_db()
    assert [job.status for job in good] == ["ACCEPTED"] * 3
    assert (bad.is_dead_letter, bad.error_code, bad.told_at) == (True, "not_loadable", None)
    assert (known.status, known.error_code) == ("ACCEPTED", "not_loadable")


def test_what_cannot_be_read_for_all_is_tried_again(
    seller: Seller, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [seller.order().jobs.get() for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(drain_module.lines, "get_fittings", lambda **_: 1 / 0)
        work(seller)
    for job in jobs:
        job.refresh_from_db()
        assert (job.status, job.error_code, job.told_at) == ("QUEUED", "not_loaded", None)
        pass_time(job)
    assert carrier.sent == 0
    work(seller)
    assert {ActivationJob.objects.get(pk=job.pk).status for job in jobs} == {"ACCEPTED"}


def test_an_end_that_cannot_be_written_is_asked_about_and_then_waits_for_staff(
    seller: Seller, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier.answer = Succeeded("UC-1")
    monkeypatch.setattr("apps.lines.services.activate_line", lambda **_: 1 / 0)
    job = seller.order().jobs.get()
    work(seller)
    job.refresh_from_db()
    assert (job.status, job.error_code, job.unknowns) == ("IN_DOUBT", "outcome_not_recorded", 1)
    assert job.told_at is not None
    assert job.next_attempt_at > job.told_at
    assert JobAttempt.objects.get(job=job).outcome == "SUCCEEDED"
    pass_time(job)
    work(seller)
    job.refresh_from_db()
    assert (job.status, job.queries) == ("IN_DOUBT", 1)
    grow_old(job)
    pass_time(job)
    work(seller)
    job.refresh_from_db()
    assert (job.is_dead_letter, job.error_code) == (True, "outcome_not_recorded")
    assert (carrier.sent, carrier.asked) == (1, 2)


def test_a_refusal_of_our_own_that_cannot_be_written_told_the_carrier_nothing(
    seller: Seller, carrier: Carrier, monkeypatch: pytest.MonkeyPatch, now: datetime
) -> None:
    order = seller.order()
    decide(order.line.subscriber, now + timedelta(seconds=1), AuthorityAnswer.DOCUMENT_VOID)
    monkeypatch.setattr("apps.lines.services.abandon_line", lambda **_: 1 / 0)
    work(seller)
    job = order.jobs.get()
    assert (job.status, job.error_code, job.told_at) == ("QUEUED", "outcome_not_recorded", None)


def test_what_we_refuse_ourselves_does_not_close_the_circuit(
    seller: Seller, carrier: Carrier, now: datetime
) -> None:
    given_open_circuit(seller)
    order = seller.order()
    decide(order.line.subscriber, now + timedelta(seconds=1), AuthorityAnswer.DOCUMENT_VOID)
    work(seller)
    assert order.jobs.get().error_code == "identity_expired"
    gate = Gate.objects.get(pk=seller.connection.pk)
    assert (gate.is_open, gate.failures, carrier.sent) == (True, 10, 0)


def test_what_the_adapter_refuses_itself_does_not_close_the_circuit(seller: Seller, carrier: Carrier) -> None:
    given_open_circuit(seller)
    carrier.answer = CarrierRejected("document_type_not_accepted_by_carrier", "no")
    order = seller.order()
    work(seller)
    assert order.jobs.get().failure_kind == "BUSINESS"
    assert Gate.objects.get(pk=seller.connection.pk).is_open


def test_people_who_cannot_be_read_do_not_open_the_circuit(seller: Seller, carrier: Carrier) -> None:
    orders = [seller.order() for _ in range(10)]
    holders = [order.line.subscriber_id for order in orders]
    Subscriber.objects.filter(pk__in=holders).update(name_sealed=b"t1\0\0" + bytes(40))
    work(seller)
    assert {order.jobs.get().error_code for order in orders} == {"identity_unreadable"}
    assert not Gate.objects.get(pk=seller.connection.pk).is_open


def test_after_a_claim_that_failed_another_one_is_tried(
    seller: Seller, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "CLAIM_AGAIN", 0.0)
    job = seller.order().jobs.get()
    real, failures = drain_module.claim_due_jobs, iter([True])

    def claim(**wanted: object) -> object:
        if next(failures, False):
            raise RuntimeError("lock timeout")
        return real(**wanted)

    monkeypatch.setattr(drain_module, "claim_due_jobs", claim)
    services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=clock.now, linger=0.5)
    job.refresh_from_db()
    assert job.status == "ACCEPTED"


def test_told_or_not_nothing_is_sent_for_somebody_whose_check_has_failed(
    seller: Seller, carrier: Carrier, now: datetime
) -> None:
    """The carrier knew nothing of it when asked, so it would be sent again."""
    order = seller.order()
    (claim,) = seller.claim()
    seller.record(claim, Unknown("carrier_outcome_unknown", "timed out"))
    settle(order.jobs.get())
    seller.record(asked(seller, order.jobs.get()), NotFound())
    assert order.jobs.get().status == "QUEUED"
    decide(order.line.subscriber, now + timedelta(seconds=1), AuthorityAnswer.DOCUMENT_VOID)
    pass_time(order.jobs.get())
    work(seller)
    job = order.jobs.get()
    assert (job.is_dead_letter, job.error_code, carrier.sent) == (True, "identity_expired", 0)


def test_answers_that_wait_to_be_written_keep_their_leases(
    seller: Seller, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier.answer = Succeeded("UC-1")
    jobs = [seller.order().jobs.get().pk for _ in range(3)]
    monkeypatch.setattr(drain_module, "ENDS_AT_ONCE", 1)
    monkeypatch.setattr(drain_module, "RENEW_EVERY", 0.0)
    left: list[int] = []
    real = drain_module.record_end

    def record(*, result: Result, **more: object) -> bool:
        now = database_now()
        # As if writing one took as long as a lease.
        held = ActivationJob.objects.filter(pk__in=jobs, status="SENDING", lease_until__gt=now)
        left.append(held.count())
        done = real(result=result, **more)
        ActivationJob.objects.filter(pk__in=jobs, status="SENDING").update(lease_until=LONG_AGO)
        return bool(done)

    monkeypatch.setattr(drain_module, "record_end", record)
    work(seller)
    assert left == [3, 2, 1]
    assert set(ActivationJob.objects.values_list("status", flat=True)) == {"SUCCEEDED"}


def test_a_lease_that_somebody_else_has_is_not_renewed(seller: Seller) -> None:
    claim = claimed(seller)
    expire_lease(ActivationJob.objects.get(pk=claim.job_id))
    services.expire_leases()
    drain_module.renew_leases(claims=[(claim, 2.0)])
    assert ActivationJob.objects.get(pk=claim.job_id).lease_until is None


def test_one_connection_of_several_has_half_of_the_slots(
    seller: Seller, carrier: Carrier, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[object] = []
    real = drain_module.claim_due_jobs

    def claim(**asked: object) -> object:
        wanted.append(asked["rooms"])
        return real(**asked)

    monkeypatch.setattr(drain_module, "claim_due_jobs", claim)
    work(seller)
    assert wanted == [{}]
    other = given_seller(operator=given_operator(now=now), now=now)
    services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=clock.now, slots=6)
    assert wanted[1] == {seller.connection.pk: 3, other.connection.pk: 3}


def test_a_share_is_all_that_is_claimed(seller: Seller) -> None:
    for _ in range(3):
        seller.order()
    pk = seller.connection.pk
    assert len(services.claim_due_jobs(connection_ids=[pk], limit=10, rooms={pk: 2})) == 2
    assert services.claim_due_jobs(connection_ids=[pk], limit=10, rooms={pk: 0}) == []


def test_what_was_claimed_before_calls_were_stopped_is_kept_back(
    seller: Seller, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = seller.order().jobs.get()
    real = Calls.begin

    def begin(self: Calls, pieces: Sequence[Work]) -> None:
        uid = seller.connection.uid
        carriers.stop_calls(actor=SYSTEM, connection_uid=uid, reason="asked to", now=seller.now)
        self.stopped = frozenset({seller.connection.pk})
        real(self, pieces)

    monkeypatch.setattr(Calls, "begin", begin)
    work(seller)
    job.refresh_from_db()
    assert (job.status, job.error_code, job.told_at, carrier.sent) == ("QUEUED", "calls_stopped", None, 0)
