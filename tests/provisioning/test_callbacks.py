"""Carrier callbacks: early, late, doubled, out of order, forged, for somebody else. Never a step back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from apps.carriers.base import Accepted, Rejected
from apps.lines.models import Line
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.models import ActivationJob, CarrierCallback, JobAttempt, ServiceOrder
from apps.provisioning.services.jobs import Unknown
from apps.provisioning.states import JobStatus, OrderStatus
from tests.factories.callbacks import callback_body, send_callback
from tests.factories.provisioning import Seller, given_seller

pytestmark = pytest.mark.django_db


def apply_all(seller: Seller) -> list[str]:
    """Applies what is stored; the outcomes, oldest first."""
    while services.apply_next_callback(now=seller.now):
        pass
    return list(CarrierCallback.objects.order_by("id").values_list("outcome", flat=True))


def test_done_completes_the_order(seller: Seller) -> None:
    job = seller.accepted_job()
    answer = send_callback(seller.connection, callback_body(job, now=seller.now), now=seller.now)
    assert (answer.status_code, answer.json()) == (200, {"status": "stored"})
    assert ServiceOrder.objects.get().status == OrderStatus.IN_PROGRESS
    assert apply_all(seller) == ["APPLIED"]
    job.refresh_from_db()
    assert (job.status, job.carrier_reference) == (JobStatus.SUCCEEDED, "UC-77")
    assert ServiceOrder.objects.get().status == OrderStatus.COMPLETED
    assert Line.objects.get().status == "ACTIVE"


def test_refused_gives_everything_back(seller: Seller) -> None:
    job = seller.accepted_job()
    send_callback(seller.connection, callback_body(job, now=seller.now, result="REFUSED"), now=seller.now)
    assert apply_all(seller) == ["APPLIED"]
    order = ServiceOrder.objects.get()
    assert (order.status, order.reason) == (OrderStatus.FAILED, "carrier_plan_invalid")
    assert Line.objects.get().status == "TERMINATED"


def test_repeated_is_stored_once_and_answered_200(seller: Seller) -> None:
    job = seller.accepted_job()
    for _ in range(3):
        assert (
            send_callback(seller.connection, callback_body(job, now=seller.now), now=seller.now).status_code
            == 200
        )
    assert CarrierCallback.objects.count() == 1
    assert apply_all(seller) == ["APPLIED"]


def test_the_same_news_under_another_event_changes_nothing(seller: Seller) -> None:
    job = seller.accepted_job()
    for event_id in ("EV-1", "EV-2"):
        send_callback(
            seller.connection, callback_body(job, now=seller.now, event_id=event_id), now=seller.now
        )
    assert apply_all(seller) == ["APPLIED", "REPEATED"]
    assert JobAttempt.objects.filter(job=job).count() == 1


def test_a_contradiction_after_the_end_is_kept_and_changes_nothing(seller: Seller) -> None:
    job = seller.accepted_job()
    for result in ("DONE", "REFUSED"):
        send_callback(seller.connection, callback_body(job, now=seller.now, result=result), now=seller.now)
    assert apply_all(seller) == ["APPLIED", "CONFLICT"]
    assert Line.objects.get().status == "ACTIVE"


def test_done_after_the_order_failed_does_not_bring_it_back(seller: Seller) -> None:
    seller.order()
    (claim,) = seller.claim()
    seller.record(claim, Rejected("carrier_rejected", "no"))
    job = ActivationJob.objects.get()
    send_callback(seller.connection, callback_body(job, now=seller.now), now=seller.now)
    assert apply_all(seller) == ["CONFLICT"]
    assert ServiceOrder.objects.get().status == OrderStatus.FAILED
    assert Line.objects.get().status == "TERMINATED"


def test_early_before_our_own_call_came_back(seller: Seller) -> None:
    seller.order()
    (claim,) = seller.claim()
    job = ActivationJob.objects.get()
    send_callback(seller.connection, callback_body(job, now=seller.now), now=seller.now)
    assert apply_all(seller) == ["APPLIED"]
    # The late answer of the call finds the job moved and writes nothing.
    assert seller.record(claim, Accepted("UC-77")) is False
    job.refresh_from_db()
    assert job.status == JobStatus.SUCCEEDED
    assert ServiceOrder.objects.get().status == OrderStatus.COMPLETED


@pytest.mark.parametrize("requeued", [False, True])
def test_ends_doubt(seller: Seller, requeued: bool) -> None:
    seller.order()
    (claim,) = seller.claim()
    seller.record(claim, Unknown("carrier_outcome_unknown", "timed out"))
    job = ActivationJob.objects.get()
    if requeued:
        job.requeue(code="carrier_knows_nothing", detail="", at=seller.now)
    send_callback(seller.connection, callback_body(job, now=seller.now), now=seller.now)
    assert apply_all(seller) == ["APPLIED"]
    assert ServiceOrder.objects.get().status == OrderStatus.COMPLETED
    assert seller.claim() == []


@pytest.mark.parametrize("result", ["DONE", "REFUSED"])
def test_ends_a_dead_letter(seller: Seller, result: str) -> None:
    job = seller.accepted_job()
    job.fail(kind="SYSTEM", code="x", detail="x", now=seller.now)
    send_callback(seller.connection, callback_body(job, now=seller.now, result=result), now=seller.now)
    assert apply_all(seller) == ["APPLIED"]
    assert ServiceOrder.objects.get().status in (OrderStatus.COMPLETED, OrderStatus.FAILED)


def test_of_a_job_that_was_never_sent_activates_nothing(seller: Seller) -> None:
    order = seller.order()
    send_callback(seller.connection, callback_body(order.jobs.get(), now=seller.now), now=seller.now)
    assert apply_all(seller) == ["UNMATCHED"]
    assert Line.objects.get().status == "PENDING"


def test_of_an_unknown_reference_is_kept(seller: Seller) -> None:
    job = seller.accepted_job()
    send_callback(
        seller.connection, callback_body(job, now=seller.now, serial="job_unknown_1"), now=seller.now
    )
    assert apply_all(seller) == ["UNMATCHED"]


def test_with_another_number_is_a_conflict(seller: Seller) -> None:
    job = seller.accepted_job()
    send_callback(seller.connection, callback_body(job, now=seller.now, number="17090000000"), now=seller.now)
    assert apply_all(seller) == ["CONFLICT"]
    assert Line.objects.get().status == "PENDING"


def test_for_another_operators_job_matches_nothing(seller: Seller, other_operator: VirtualOperator) -> None:
    other = given_seller(operator=other_operator, now=seller.now)
    foreign = other.accepted_job()
    body = callback_body(foreign, now=seller.now, app_key=seller.connection.app_key)
    assert send_callback(seller.connection, body, now=seller.now).status_code == 200
    assert apply_all(seller) == ["UNMATCHED"]
    foreign.refresh_from_db()
    assert foreign.status == JobStatus.ACCEPTED


def forged(seller: Seller, job: ActivationJob, kind: str) -> Any:
    body = callback_body(job, now=seller.now)
    send = {"now": seller.now}
    match kind:
        case "wrong secret":
            return send_callback(seller.connection, body, secret="0" * 64, **send)
        case "no secret":
            return send_callback(seller.connection, body, secret="", **send)
        case "old":
            return send_callback(
                seller.connection, body, signed_at=seller.now - timedelta(seconds=330), **send
            )
        case "from the future":
            return send_callback(
                seller.connection, body, signed_at=seller.now + timedelta(seconds=330), **send
            )
        case "not JSON":
            return send_callback(seller.connection, b"<html>", **send)
        case "other reseller":
            return send_callback(seller.connection, {**body, "app_key": "somebody"}, **send)
        case "no result":
            return send_callback(seller.connection, {**body, "result": "MAYBE"}, **send)
        case _:
            return Client().post(
                f"/carrier/callbacks/{seller.connection.uid}", b"{}", content_type="application/json"
            )


@pytest.mark.parametrize(
    "kind",
    [
        "wrong secret",
        "no secret",
        "old",
        "from the future",
        "not JSON",
        "other reseller",
        "no result",
        "no headers",
    ],
)
def test_forged_is_refused_and_nothing_is_kept(seller: Seller, kind: str) -> None:
    job = seller.accepted_job()
    answer = forged(seller, job, kind)
    assert (answer.status_code, answer.json()["code"]) == (401, "callback_refused")
    assert CarrierCallback.objects.count() == 0
    job.refresh_from_db()
    assert job.status == JobStatus.ACCEPTED


@pytest.mark.parametrize("uid", ["con_00000000000000000000000000", "nonsense", "con_"])
def test_to_an_unknown_connection_is_404(seller: Seller, uid: str) -> None:
    job = seller.accepted_job()
    answer = send_callback(seller.connection, callback_body(job, now=seller.now), now=seller.now, to=uid)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_only_post(seller: Seller) -> None:
    answer = Client().get(f"/carrier/callbacks/{seller.connection.uid}")
    assert (answer.status_code, answer["Allow"], answer.json()["code"]) == (405, "POST", "method_not_allowed")


def test_callbacks_of_a_disconnected_carrier_are_still_heard(seller: Seller) -> None:
    job = seller.accepted_job()
    seller.connection.disconnect(now=seller.now + timedelta(seconds=1))
    send_callback(seller.connection, callback_body(job, now=seller.now), now=seller.now)
    assert apply_all(seller) == ["APPLIED"]
