"""Dead letters: what staff can do about jobs that machines gave up."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from apps.audit.models import AuditEvent
from apps.carriers.base import InProgress, NotFound, Rejected
from apps.carriers.errors import CarrierNotConnected
from apps.core.errors import RuleViolation
from apps.lines.models import HolderSlot
from apps.numbering.models import PhoneNumber
from apps.numbering.states import NumberStatus
from apps.operators.errors import LicenceNotValid
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.errors import JobNotResolvable, JobNotRetryable, OrderNotCancellable
from apps.provisioning.models import ActivationJob
from apps.provisioning.services import jobs
from apps.provisioning.services.jobs import Misconfigured, Unknown
from apps.provisioning.states import AttemptKind, JobStatus, OrderStatus
from apps.subscribers.errors import IdentityExpired
from apps.subscribers.realname.providers.base import AuthorityAnswer
from tests.factories.provisioning import SYSTEM, Seller, decide, given_connection, given_seller
from tests.provisioning.steps import asked, claimed, grow_old, job_of, settle
from tests.refusals import refused

pytestmark = pytest.mark.django_db


def unanswered(seller: Seller) -> ActivationJob:
    """A dead letter at a carrier that knows no repetitions: sent, no answer, and asked: never heard of it."""
    claim = claimed(seller)
    seller.record(claim, Unknown("carrier_outcome_unknown", "timed out"))
    settle(job_of(claim))
    seller.record(asked(seller, job_of(claim)), NotFound())
    return job_of(claim)


def test_misconfiguration_waits_for_staff(seller: Seller) -> None:
    claim = claimed(seller)
    seller.record(claim, Misconfigured("carrier_misconfigured", "bad signature"))
    assert (job_of(claim).status, job_of(claim).failure_kind) == (JobStatus.FAILED, "SYSTEM")


def dead_letter(seller: Seller) -> ActivationJob:
    claim = claimed(seller)
    seller.record(claim, Misconfigured("carrier_misconfigured", "bad signature"))
    return job_of(claim)


def test_staff_retry_sends_what_the_carrier_certainly_never_heard_of(seller: Seller) -> None:
    job = dead_letter(seller)
    services.retry_job(actor=SYSTEM, job=job.uid, reason="key mended", now=seller.now)
    (again,) = seller.claim()
    assert (again.kind, again.reference) == (AttemptKind.SEND, job.reference)


def test_staff_retry_asks_first_about_what_the_carrier_may_know(seller: Seller) -> None:
    job = seller.accepted_job()
    grow_old(job)
    seller.record(asked(seller, job), InProgress("UC-1"))
    job.refresh_from_db()
    assert job.is_dead_letter
    services.retry_job(actor=SYSTEM, job=job.uid, reason="they are back", now=seller.now)
    job.refresh_from_db()
    assert (job.status, job.finished_at, job.unknowns) == (JobStatus.IN_DOUBT, None, 0)
    (question,) = seller.claim()
    assert question.kind is AttemptKind.QUERY
    # After a retry the carrier is still one that may know: the order is not cancellable.
    with refused(OrderNotCancellable):
        services.cancel_order(actor=SYSTEM, order=job.order.uid, now=seller.now)


def test_a_dead_letter_that_was_never_sent_can_be_cancelled(seller: Seller) -> None:
    job = dead_letter(seller)
    services.cancel_order(actor=SYSTEM, order=job.order.uid, reason="customer left", now=seller.now)
    job.refresh_from_db()
    assert (job.order.status, job.failure_kind) == (OrderStatus.CANCELLED, "CANCELLED")
    assert not HolderSlot.objects.exists()
    assert not PhoneNumber.objects.exclude(status=NumberStatus.AVAILABLE).exists()


def test_a_retry_moves_what_was_never_sent_to_the_new_connection(seller: Seller) -> None:
    fresh = seller.order().jobs.get()
    seller.connection.disconnect(now=seller.now)
    jobs.strand_queued_jobs(actor=SYSTEM, carrier=seller.connection, now=seller.now)
    with refused(CarrierNotConnected):
        services.retry_job(actor=SYSTEM, job=fresh.uid, now=seller.now)
    live = given_connection(
        operator=seller.operator, carrier=seller.carrier, now=seller.now, base_url="http://127.0.0.1:9"
    )
    services.retry_job(actor=SYSTEM, job=fresh.uid, now=seller.now)
    fresh.refresh_from_db()
    assert (fresh.connection_id, fresh.status) == (live.pk, JobStatus.QUEUED)


def test_what_a_carrier_without_dedupe_never_heard_of_is_sent_again_once_staff_say_so(
    operator: VirtualOperator, now: datetime
) -> None:
    seller = given_seller(operator=operator, now=now, dedupes_by_reference=False)
    job = unanswered(seller)
    assert job.is_dead_letter
    services.retry_job(actor=SYSTEM, job=job.uid, reason="looked together", now=seller.now)
    (again,) = seller.claim()
    assert (again.kind, again.reference) == (AttemptKind.SEND, job.reference)
    # No answer again: now the last call was no question, and the next retry asks first.
    seller.record(again, Unknown("carrier_outcome_unknown", "timed out"))
    grow_old(job)
    seller.record(asked(seller, job), Unknown("carrier_outcome_unknown", "timed out"))
    services.retry_job(actor=SYSTEM, job=job.uid, reason="once more", now=seller.now)
    job.refresh_from_db()
    assert job.status == JobStatus.IN_DOUBT


@pytest.mark.parametrize("is_done", [True, False])
def test_staff_resolve_a_dead_letter_as_the_carrier_says(
    operator: VirtualOperator, now: datetime, is_done: bool
) -> None:
    seller = given_seller(operator=operator, now=now, dedupes_by_reference=False)
    job = unanswered(seller)
    with refused(RuleViolation):
        services.resolve_job(actor=SYSTEM, job=job.uid, is_done=is_done, reason=" ", now=seller.now)
    services.resolve_job(actor=SYSTEM, job=job.uid, is_done=is_done, reason="Mr Li looked", now=seller.now)
    job.refresh_from_db()
    if is_done:
        assert (job.status, job.order.status, job.line.status) == ("SUCCEEDED", "COMPLETED", "ACTIVE")
    else:
        assert (job.status, job.failure_kind) == ("FAILED", "BUSINESS")
        assert (job.order.status, job.order.reason) == ("FAILED", "not_done_by_carrier")
        assert not HolderSlot.objects.exists()
    assert AuditEvent.objects.get(action="job.resolve").reason == "Mr Li looked"
    with refused(JobNotResolvable):
        services.resolve_job(actor=SYSTEM, job=job.uid, is_done=is_done, reason="again", now=seller.now)


def test_what_the_carrier_was_never_told_of_is_not_resolved(seller: Seller) -> None:
    job = dead_letter(seller)
    with refused(JobNotResolvable):
        services.resolve_job(actor=SYSTEM, job=job.uid, is_done=True, reason="sure", now=seller.now)


def test_only_dead_letters_are_retried(seller: Seller) -> None:
    waiting = seller.order().jobs.get()
    with refused(JobNotRetryable):
        services.retry_job(actor=SYSTEM, job=waiting.uid, now=seller.now)
    claim = next(claim for claim in seller.claim() if claim.job_id == waiting.pk)
    seller.record(claim, Rejected("carrier_rejected", "no"))
    with refused(JobNotRetryable):
        services.retry_job(actor=SYSTEM, job=waiting.uid, now=seller.now)


@pytest.mark.parametrize("was_told", [True, False])
def test_staff_send_nothing_for_somebody_whose_check_has_failed(
    operator: VirtualOperator, now: datetime, was_told: bool
) -> None:
    seller = given_seller(operator=operator, now=now, dedupes_by_reference=False)
    job = unanswered(seller) if was_told else dead_letter(seller)
    later = now + timedelta(days=3)
    decide(job.line.subscriber, later, AuthorityAnswer.DOCUMENT_VOID)
    with refused(IdentityExpired):
        services.retry_job(actor=SYSTEM, job=job.uid, now=later)
    job.refresh_from_db()
    assert job.is_dead_letter


def test_staff_send_nothing_that_the_papers_do_not_cover_any_more(seller: Seller) -> None:
    job = dead_letter(seller)
    with refused(LicenceNotValid):
        services.retry_job(actor=SYSTEM, job=job.uid, now=seller.now + timedelta(days=3650))


def test_a_line_that_the_carrier_does_not_know_may_be_resolved(seller: Seller) -> None:
    order = seller.ask("suspend", seller.active_line())
    seller.answer(order, Rejected("carrier_line_not_found", "no"))
    job = order.jobs.get()
    assert job.is_dead_letter
    services.resolve_job(actor=SYSTEM, job=job.uid, is_done=False, reason="Mr Li looked", now=seller.now)
    order.refresh_from_db()
    assert order.status == "FAILED"
