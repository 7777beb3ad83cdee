"""The attempt protocol: claim, record behind the fence, doubt, ask, back off, run out."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest

from apps.carriers.base import Accepted, InProgress, NotFound, Rejected, Succeeded
from apps.core.db import database_now
from apps.events.models import OutboxEvent
from apps.lines.models import HolderSlot, Line
from apps.numbering.models import PhoneNumber
from apps.numbering.states import NumberStatus
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.provisioning import services
from apps.provisioning.errors import LineHasOpenOrder, OrderNotCancellable
from apps.provisioning.models import ActivationJob, Gate, JobAttempt, ServiceOrder
from apps.provisioning.services import jobs, recording
from apps.provisioning.services.jobs import Misconfigured, NotSent, Unavailable, Unknown
from apps.provisioning.services.recording import Result
from apps.provisioning.states import AttemptKind, JobStatus, OrderStatus
from apps.sims.models import SimCard
from tests.factories.operators import given_policy
from tests.factories.provisioning import SYSTEM, Seller, given_seller, make_due
from tests.provisioning.steps import asked, claimed, expire_lease, grow_old, job_of, settle
from tests.refusals import refused

pytestmark = pytest.mark.django_db


def test_a_claim_leases_counts_and_writes_the_intent_down(seller: Seller) -> None:
    claim = claimed(seller)
    job = job_of(claim)
    assert (job.status, job.attempts, job.token) == (JobStatus.SENDING, 1, claim.token)
    assert job.lease_until is not None
    assert job.lease_until > database_now() + timedelta(seconds=seller.connection.timeout_seconds)
    attempt = JobAttempt.objects.get(job=job)
    assert (attempt.token, attempt.kind, attempt.finished_at) == (claim.token, AttemptKind.SEND, None)
    assert seller.claim() == []


def test_claims_respect_the_limit_and_the_cap_of_the_connection(
    operator: VirtualOperator, now: datetime
) -> None:
    seller = given_seller(operator=operator, now=now, max_in_flight=3)
    for _ in range(5):
        seller.order()
    assert len(seller.claim(limit=2)) == 2
    assert len(seller.claim(limit=10)) == 1
    assert seller.claim(limit=10) == []


def test_jobs_of_another_connection_are_not_claimed(seller: Seller, other_operator: VirtualOperator) -> None:
    other = given_seller(operator=other_operator, now=seller.now)
    other.order()
    assert seller.claim() == []


def test_success_completes_everything_at_once(seller: Seller) -> None:
    claim = claimed(seller)
    assert seller.record(claim, Succeeded("UC-7"))
    job = job_of(claim)
    assert (job.status, job.carrier_reference) == (JobStatus.SUCCEEDED, "UC-7")
    assert job.order.status == OrderStatus.COMPLETED
    assert job.line.status == "ACTIVE"
    assert job.line.sim_assignments.get().sim.status == "BOUND"
    types = list(
        OutboxEvent.objects.filter(subject__in=[job.order.uid, job.line.uid]).values_list("type", flat=True)
    )
    assert sorted(types) == ["line.activated", "order.completed", "order.created"]


def test_a_refusal_gives_everything_back(seller: Seller) -> None:
    claim = claimed(seller)
    number = job_of(claim).line.number_assignments.get().number_id
    iccid = job_of(claim).line.sim_assignments.get().sim.iccid

    assert seller.record(claim, Rejected("carrier_plan_invalid", "The carrier does not sell this plan."))

    job = job_of(claim)
    assert (job.status, job.failure_kind, job.error_code) == (
        JobStatus.FAILED,
        "BUSINESS",
        "carrier_plan_invalid",
    )
    assert (job.order.status, job.order.reason) == (OrderStatus.FAILED, "carrier_plan_invalid")
    assert job.line.status == "TERMINATED"
    assert PhoneNumber.objects.get(pk=number).status == NumberStatus.AVAILABLE
    assert SimCard.objects.get(iccid=iccid).status == "IN_STOCK"
    assert not HolderSlot.objects.exists()
    # What came back can be sold again.
    again = seller.order(wish=services.NumberWish(number=number), iccid=iccid)
    assert again.status == OrderStatus.IN_PROGRESS


def test_accepted_waits_for_the_callback_then_asks(seller: Seller) -> None:
    job = seller.accepted_job()
    assert job.status == JobStatus.ACCEPTED
    wait = (job.next_attempt_at - database_now()).total_seconds()
    assert 0 < wait <= seller.connection.callback_wait_seconds
    assert seller.claim() == []
    claim = asked(seller, job)
    assert seller.record(claim, Succeeded("UC-1"))
    assert job_of(claim).order.status == OrderStatus.COMPLETED


def test_no_answer_is_doubt_and_is_never_sent_again_unasked(seller: Seller) -> None:
    claim = claimed(seller)
    assert seller.record(claim, Unknown("carrier_outcome_unknown", "timed out"))
    job = job_of(claim)
    assert (job.status, job.order.status) == (JobStatus.IN_DOUBT, OrderStatus.IN_PROGRESS)
    assert asked(seller, job).reference == claim.reference
    assert job_of(claim).attempts == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Succeeded("UC-2"), JobStatus.SUCCEEDED),
        (InProgress("UC-2"), JobStatus.ACCEPTED),
        (Rejected("carrier_rejected", "no"), JobStatus.FAILED),
        (Unknown("carrier_outcome_unknown", "again no answer"), JobStatus.IN_DOUBT),
        (Unavailable("carrier_unavailable", "busy"), JobStatus.IN_DOUBT),
        (Misconfigured("carrier_misconfigured", "bad key"), JobStatus.IN_DOUBT),
    ],
)
def test_doubt_ends_with_what_the_carrier_knows(seller: Seller, answer: object, status: JobStatus) -> None:
    claim = claimed(seller)
    seller.record(claim, Unknown("carrier_outcome_unknown", "timed out"))
    assert seller.record(asked(seller, job_of(claim)), answer)
    job = job_of(claim)
    assert job.status == status
    if status == JobStatus.IN_DOUBT:
        assert job.next_attempt_at > database_now()


def test_not_found_is_not_believed_before_the_horizon(operator: VirtualOperator, now: datetime) -> None:
    seller = given_seller(operator=operator, now=now, settle_seconds=600.0)
    claim = claimed(seller)
    seller.record(claim, Unknown("carrier_outcome_unknown", "timed out"))
    seller.record(asked(seller, job_of(claim)), NotFound())
    job = job_of(claim)
    assert job.status == JobStatus.IN_DOUBT
    assert job.told_at is not None
    assert job.next_attempt_at == job.told_at + timedelta(seconds=600)


def test_not_found_after_the_horizon_sends_again_with_the_same_reference(seller: Seller) -> None:
    claim = claimed(seller)
    seller.record(claim, Unknown("carrier_outcome_unknown", "timed out"))
    settle(job_of(claim))
    seller.record(asked(seller, job_of(claim)), NotFound())
    assert job_of(claim).status == JobStatus.QUEUED
    (again,) = seller.claim()
    assert (again.kind, again.reference) == (AttemptKind.SEND, claim.reference)
    assert job_of(claim).attempts == 2


def test_not_found_at_a_carrier_that_does_not_dedupe_waits_for_a_person(
    operator: VirtualOperator, now: datetime
) -> None:
    seller = given_seller(operator=operator, now=now, dedupes_by_reference=False)
    claim = claimed(seller)
    seller.record(claim, Unknown("carrier_outcome_unknown", "timed out"))
    settle(job_of(claim))
    seller.record(asked(seller, job_of(claim)), NotFound())
    job = job_of(claim)
    assert (job.status, job.failure_kind, job.order.status) == (
        JobStatus.FAILED,
        "SYSTEM",
        OrderStatus.IN_PROGRESS,
    )


def test_an_accepted_job_the_carrier_forgot_is_doubted_first(seller: Seller) -> None:
    job = seller.accepted_job()
    settle(job)
    seller.record(asked(seller, job), NotFound())
    job.refresh_from_db()
    assert job.status == JobStatus.IN_DOUBT


def test_a_busy_carrier_is_tried_again_later(seller: Seller) -> None:
    claim = claimed(seller)
    seller.record(claim, Unavailable("carrier_unavailable", "429", retry_after=30.0))
    job = job_of(claim)
    assert job.status == JobStatus.QUEUED
    assert job.next_attempt_at >= database_now() + timedelta(seconds=29)
    assert seller.claim() == []


def test_a_carrier_that_is_down_costs_patience_not_attempts(seller: Seller) -> None:
    order = seller.order()
    for _ in range(20):
        make_due(order.jobs.get())
        (claim,) = seller.claim()
        seller.record(claim, Unavailable("carrier_unavailable", "down"))
        # As if the circuit had closed in between.
        Gate.objects.update(failures=0, is_open=False)
    assert order.jobs.get().status == JobStatus.QUEUED
    grow_old(order.jobs.get())
    make_due(order.jobs.get())
    (claim,) = seller.claim()
    seller.record(claim, Unavailable("carrier_unavailable", "down"))
    job = order.jobs.get()
    assert (job.status, job.failure_kind, job.attempts) == (JobStatus.FAILED, "SYSTEM", 21)
    order.refresh_from_db()
    assert order.status == OrderStatus.IN_PROGRESS
    assert Line.objects.get(pk=order.line_id).status == "PENDING"
    assert HolderSlot.objects.count() == 1


@pytest.mark.parametrize(
    "answer", [InProgress("UC-1"), Unknown("x", "x"), Unavailable("x", "x"), Misconfigured("x", "x")]
)
def test_asking_has_an_end_too(seller: Seller, answer: object) -> None:
    job = seller.accepted_job()
    seller.record(asked(seller, job), answer)
    assert ActivationJob.objects.get(pk=job.pk).status == JobStatus.ACCEPTED
    grow_old(job)
    seller.record(asked(seller, job), answer)
    job.refresh_from_db()
    assert (job.status, job.failure_kind) == (JobStatus.FAILED, "SYSTEM")


def test_a_job_that_kills_its_worker_runs_out_too(seller: Seller) -> None:
    given_policy(
        key=PolicyKey.JOB_MAX_ATTEMPTS,
        value=2,
        now=seller.now,
        operator=seller.operator,
        valid_from=seller.now,
    )
    order = seller.order()
    for _ in range(2):
        make_due(order.jobs.get())
        (claim,) = seller.claim()
        assert claim.kind is AttemptKind.SEND
        expire_lease(order.jobs.get())
        assert services.expire_leases() == 1
        settle(order.jobs.get())
        seller.record(asked(seller, order.jobs.get()), NotFound())
    assert (order.jobs.get().status, order.jobs.get().failure_kind) == (JobStatus.FAILED, "SYSTEM")


def test_accepting_and_forgetting_has_an_end(seller: Seller) -> None:
    order = seller.order()
    for _ in range(40):
        make_due(order.jobs.get())
        settle(order.jobs.get())
        Gate.objects.update(next_call_at="2000-01-01T00:00:00Z")
        if not (claims := seller.claim()):
            break
        seller.record(claims[0], Accepted("UC-1") if claims[0].kind == AttemptKind.SEND else NotFound())
    job = order.jobs.get()
    assert (job.is_dead_letter, job.error_code) == (True, "carrier_knows_nothing")
    assert job.attempts <= 13


@pytest.mark.parametrize(
    ("is_doubted", "code"), [(False, "carrier_never_ends"), (True, "carrier_knows_nothing")]
)
def test_not_found_ends_with_patience_too(seller: Seller, is_doubted: bool, code: str) -> None:
    job = seller.accepted_job()
    settle(job)
    if is_doubted:
        seller.record(asked(seller, job), NotFound())
    grow_old(job)
    seller.record(asked(seller, job), NotFound())
    job.refresh_from_db()
    assert (job.is_dead_letter, job.error_code) == (True, code)


def test_a_busy_carrier_is_not_asked_before_it_wants_to(seller: Seller) -> None:
    job = seller.accepted_job()
    seller.record(asked(seller, job), Unavailable("carrier_unavailable", "429", retry_after=600.0))
    job.refresh_from_db()
    assert job.next_attempt_at > database_now() + timedelta(seconds=590)


def test_a_lost_worker_leaves_doubt_not_a_second_send(seller: Seller) -> None:
    claim = claimed(seller)
    assert services.expire_leases() == 0
    expire_lease(job_of(claim))
    assert services.expire_leases() == 1
    assert (job_of(claim).status, job_of(claim).error_code) == (JobStatus.IN_DOUBT, "worker_lost")
    assert JobAttempt.objects.get(job_id=claim.job_id, token=claim.token).outcome == "LOST"
    (question,) = seller.claim()
    assert question.kind is AttemptKind.QUERY


def test_a_zombie_is_fenced_out(seller: Seller) -> None:
    claim = claimed(seller)
    expire_lease(job_of(claim))
    services.expire_leases()
    before = ActivationJob.objects.values().get(pk=claim.job_id)
    for outcome in (Succeeded("UC-1"), Rejected("x", "x"), Accepted("UC-1"), Unavailable("x", "x")):
        assert seller.record(claim, outcome) is False
    assert ActivationJob.objects.values().get(pk=claim.job_id) == before
    assert ServiceOrder.objects.get(pk=claim.order_id).status == OrderStatus.IN_PROGRESS
    assert JobAttempt.objects.get(job_id=claim.job_id, token=claim.token).outcome == "FENCED"


def test_a_call_kept_back_told_the_carrier_nothing(seller: Seller) -> None:
    claim = claimed(seller)
    seller.record(claim, NotSent("lease_too_short", "slept"))
    assert (job_of(claim).status, job_of(claim).told_at, job_of(claim).unknowns) == (
        JobStatus.QUEUED,
        None,
        0,
    )
    (again,) = seller.claim()
    assert again.never_told


@pytest.mark.parametrize(
    ("code", "number", "sim"),
    [
        ("carrier_sim_invalid", NumberStatus.AVAILABLE, "RETIRED"),
        ("carrier_sim_in_use", NumberStatus.AVAILABLE, "RETIRED"),
        ("carrier_number_invalid", NumberStatus.WITHHELD, "IN_STOCK"),
        ("carrier_number_in_use", NumberStatus.WITHHELD, "IN_STOCK"),
    ],
)
def test_what_the_carrier_refuses_itself_is_not_sold_again(
    seller: Seller, code: str, number: NumberStatus, sim: str
) -> None:
    claim = claimed(seller)
    line = job_of(claim).line
    seller.record(claim, Rejected(code, "no"))
    assert line.number_assignments.get().number.status == number
    assert line.sim_assignments.get().sim.status == sim
    assert not HolderSlot.objects.exists()


def test_over_an_ended_connection_nothing_is_sent_but_the_known_is_asked_about(seller: Seller) -> None:
    known, fresh = seller.accepted_job(), seller.order().jobs.get()
    seller.connection.disconnect(now=seller.now)
    make_due(known)
    (question,) = seller.claim()
    assert (question.job_id, question.kind) == (known.pk, AttemptKind.QUERY)
    assert jobs.strand_queued_jobs(actor=SYSTEM, carrier=seller.connection, now=seller.now) == 1
    fresh.refresh_from_db()
    assert (fresh.is_dead_letter, fresh.error_code) == (True, "carrier_not_connected")


@pytest.mark.parametrize(
    ("code", "status"), [("carrier_line_closed", "TERMINATED"), ("carrier_line_not_found", "ACTIVE")]
)
def test_terminating_what_the_carrier_has_not(seller: Seller, code: str, status: str) -> None:
    line = seller.active_line()
    order = services.place_termination_order(
        actor=SYSTEM, line=line.uid, reason="user_request", now=seller.now
    )
    (claim,) = seller.claim()
    seller.record(claim, Rejected(code, "no"))
    line.refresh_from_db()
    assert line.status == status
    assert order.jobs.get().is_dead_letter is (status == "ACTIVE")


def test_many_outcomes_are_written_together_each_behind_its_own_token(seller: Seller) -> None:
    claims = [claimed(seller) for _ in range(4)]
    outcomes = [
        Accepted("UC-1"),
        Unknown("carrier_outcome_unknown", "x"),
        Unavailable("busy", "x"),
        Accepted("UC-4"),
    ]
    # Somebody else has taken up the last one since.
    expire_lease(job_of(claims[3]))
    assert services.expire_leases() == 1
    results = [
        Result(claim, seller.connection, outcome) for claim, outcome in zip(claims, outcomes, strict=True)
    ]
    assert recording.record_steps(results=results, places=[None] * 4, now=seller.now) == 3
    assert [job_of(claim).status for claim in claims] == ["ACCEPTED", "IN_DOUBT", "QUEUED", "IN_DOUBT"]
    assert [job_of(claim).error_code for claim in claims] == [
        "",
        "carrier_outcome_unknown",
        "busy",
        "worker_lost",
    ]
    logged = [JobAttempt.objects.get(job_id=claim.job_id, token=claim.token).outcome for claim in claims]
    assert logged == ["ACCEPTED", "UNKNOWN", "UNAVAILABLE", "FENCED"]


def test_cancel_before_the_carrier_knows_gives_everything_back(seller: Seller) -> None:
    order = seller.order()
    services.cancel_order(actor=SYSTEM, order=order.uid, now=seller.now)
    order.refresh_from_db()
    assert (order.status, order.reason) == (OrderStatus.CANCELLED, "cancelled_by_system")
    assert Line.objects.get(pk=order.line_id).status == "TERMINATED"
    assert seller.claim() == []
    assert not PhoneNumber.objects.exclude(status=NumberStatus.AVAILABLE).exists()


@pytest.mark.parametrize("outcome", [None, Accepted("UC-1"), Unknown("x", "x"), Succeeded("UC-1")])
def test_cancel_is_refused_once_the_carrier_may_know(seller: Seller, outcome: object) -> None:
    claim = claimed(seller)
    if outcome is not None:
        seller.record(claim, outcome)
    before = ServiceOrder.objects.values().get(pk=claim.order_id)
    with refused(OrderNotCancellable):
        services.cancel_order(actor=SYSTEM, order=job_of(claim).order.uid, now=seller.now)
    assert ServiceOrder.objects.values().get(pk=claim.order_id) == before


def test_termination_quarantines_the_number_and_frees_the_slot(seller: Seller) -> None:
    line = seller.active_line()
    order = services.place_termination_order(
        actor=SYSTEM, line=line.uid, reason="user_request", now=seller.now
    )
    with refused(LineHasOpenOrder):
        services.place_termination_order(actor=SYSTEM, line=line.uid, reason="arrears", now=seller.now)
    (claim,) = seller.claim()
    assert (claim.operation, claim.order_id) == ("TERMINATE", order.pk)
    seller.record(claim, Succeeded("UC-9"))

    line.refresh_from_db()
    assert line.status == "TERMINATED"
    number = line.number_assignments.get().number
    assert (number.status, number.quarantined_until) == (
        NumberStatus.QUARANTINED,
        seller.now + timedelta(days=90),
    )
    assert line.sim_assignments.get().sim.status == "RETIRED"
    assert not HolderSlot.objects.exists()


def test_a_refused_termination_leaves_the_line_as_it_was(seller: Seller) -> None:
    line = seller.active_line()
    order = services.place_termination_order(
        actor=SYSTEM, line=line.uid, reason="user_request", now=seller.now
    )
    (claim,) = seller.claim()
    seller.record(claim, Rejected("carrier_line_unknown", "no"))
    order.refresh_from_db()
    line.refresh_from_db()
    assert (order.status, line.status) == (OrderStatus.FAILED, "ACTIVE")
    assert HolderSlot.objects.count() == 1


def test_backoff_grows_and_stays_under_the_cap() -> None:

    for attempts in itertools.chain(range(1, 12), [10_000]):
        delays = [recording._backoff(attempts) for _ in range(50)]
        assert 0 <= min(delays) <= max(delays) <= min(recording.BACKOFF_CAP, 2 ** min(attempts, 60))
