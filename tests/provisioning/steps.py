"""One job, taken step by step."""

from __future__ import annotations

from apps.provisioning.models import ActivationJob
from apps.provisioning.services.jobs import Claim
from apps.provisioning.states import AttemptKind
from tests.factories.provisioning import Seller, make_due


def job_of(claim: Claim) -> ActivationJob:
    return ActivationJob.objects.select_related("order", "line").get(pk=claim.job_id)


def claimed(seller: Seller) -> Claim:
    """One fresh job, claimed for sending."""
    order = seller.order()
    return next(claim for claim in seller.claim() if claim.order_id == order.pk)


def asked(seller: Seller, job: ActivationJob) -> Claim:
    """The waiting job, due and claimed for a question."""
    make_due(job)
    (claim,) = seller.claim()
    assert claim.kind is AttemptKind.QUERY
    return claim


def expire_lease(job: ActivationJob) -> None:
    ActivationJob.objects.filter(pk=job.pk).update(lease_until="2000-01-01T00:00:00Z")


def settle(job: ActivationJob) -> None:
    """Lets the last call be so long ago that a "not found" is believed."""
    ActivationJob.objects.filter(pk=job.pk).update(told_at="2000-01-01T00:00:00Z")


def grow_old(job: ActivationJob) -> None:
    """Lets the job be older than anybody's patience."""
    ActivationJob.objects.filter(pk=job.pk).update(refreshed_at="2000-01-01T00:00:00Z")
