"""Callbacks at the wrong time, in the wrong order, twice at once, tampered with, or for another account."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.carriers.adapters.unicom import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from apps.carriers.base import Accepted, InProgress, Rejected, Succeeded
from apps.lines.models import Line
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.models import ActivationJob, CarrierCallback, ServiceOrder
from apps.provisioning.services.jobs import Unknown
from apps.provisioning.states import JobStatus
from tests.factories.callbacks import callback_body, send_callback
from tests.factories.provisioning import Seller, given_seller, make_due
from tests.simulator import callback_secret_for

pytestmark = pytest.mark.django_db


def apply_all(seller: Seller) -> list[str]:
    while services.apply_next_callback(now=seller.now):
        pass
    return list(CarrierCallback.objects.order_by("id").values_list("outcome", flat=True))


def test_late_news_of_an_old_job_does_not_touch_the_one_in_flight(seller: Seller) -> None:
    """The activation was found done by a question; its callback comes when the line is being suspended."""
    line = seller.active_line()
    old = ActivationJob.objects.get()
    order = seller.ask("suspend", line)
    (claim,) = seller.claim()
    for result in ("DONE", "REFUSED"):
        send_callback(seller.connection, callback_body(old, now=seller.now, result=result), now=seller.now)
    assert apply_all(seller) == ["REPEATED", "CONFLICT"]
    assert order.jobs.get().status == JobStatus.SENDING
    assert Line.objects.get().status == "ACTIVE"
    assert seller.record(claim, Succeeded("UC-2"))
    assert Line.objects.get().status == "SUSPENDED"


def test_out_of_order_each_job_hears_its_own(seller: Seller) -> None:
    """Suspended and resumed; the callbacks come the other way round, and the line stays as it is."""
    line = seller.active_line()
    jobs = []
    for type in ("suspend", "resume"):
        order = seller.ask(type, line)
        seller.done(order)
        jobs.append(order.jobs.get())
    for job in reversed(jobs):
        send_callback(seller.connection, callback_body(job, now=seller.now), now=seller.now)
    assert apply_all(seller) == ["REPEATED", "REPEATED"]
    assert Line.objects.get().status == "ACTIVE"


def test_of_a_line_that_has_ended_since(seller: Seller) -> None:
    line = seller.active_line()
    job = ActivationJob.objects.get()
    seller.done(seller.ask("terminate", line))
    send_callback(seller.connection, callback_body(job, now=seller.now), now=seller.now)
    assert apply_all(seller) == ["REPEATED"]
    assert Line.objects.get().status == "TERMINATED"


def test_an_event_id_that_the_carrier_uses_twice_is_not_a_repetition(seller: Seller) -> None:
    """Two orders' news under one id: both are stored and both are applied."""
    jobs = [seller.accepted_job(), seller.accepted_job()]
    for job in jobs:
        body = callback_body(job, now=seller.now, event_id="EV-1", number=str(job.number))
        assert send_callback(seller.connection, body, now=seller.now).status_code == 200
    assert apply_all(seller) == ["APPLIED", "APPLIED"]


@pytest.mark.parametrize("seconds", [-280, 280])
def test_a_clock_that_is_minutes_off_is_heard(seller: Seller, seconds: int) -> None:
    job = seller.accepted_job()
    signed_at = seller.now + timedelta(seconds=seconds)
    body = callback_body(job, now=seller.now)
    assert send_callback(seller.connection, body, now=seller.now, signed_at=signed_at).status_code == 200


def test_any_flipped_byte_is_401_and_leaves_nothing(seller: Seller) -> None:
    job = seller.accepted_job()
    raw = json.dumps(callback_body(job, now=seller.now)).encode()
    timestamp = str(int(seller.now.timestamp()))
    signature = sign(secret=callback_secret_for(seller.connection.app_key), timestamp=timestamp, body=raw)
    client, url = Client(), f"/carrier/callbacks/{seller.connection.uid}"
    for at in range(0, len(raw), 7):
        flipped = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        answer = client.post(
            url,
            flipped,
            content_type="application/json",
            headers={TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature},
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "callback_refused")
    other_time = str(int(timestamp) + 1)
    headers = {TIMESTAMP_HEADER: other_time, SIGNATURE_HEADER: signature}
    assert client.post(url, raw, content_type="application/json", headers=headers).status_code == 401
    assert not CarrierCallback.objects.exists()
    job.refresh_from_db()
    assert job.status == JobStatus.ACCEPTED


@pytest.mark.parametrize("sent_to", ["ours", "theirs"])
def test_one_operators_secret_opens_no_other_door(
    seller: Seller, other_operator: VirtualOperator, sent_to: str
) -> None:
    """Another operator signs news of our job with its own secret, to our address and to its own."""
    other = given_seller(operator=other_operator, now=seller.now)
    job = seller.accepted_job()
    their_secret = callback_secret_for(other.connection.app_key)
    body = callback_body(job, now=seller.now)
    if sent_to == "ours":
        answer = send_callback(seller.connection, body, now=seller.now, secret=their_secret)
        assert answer.status_code == 401
        assert not CarrierCallback.objects.exists()
    else:
        body["app_key"] = other.connection.app_key
        assert send_callback(other.connection, body, now=seller.now).status_code == 200
        assert apply_all(seller) == ["UNMATCHED"]
    job.refresh_from_db()
    assert job.status == JobStatus.ACCEPTED
    assert Line.objects.get(operator=seller.operator).status == "PENDING"


@pytest.mark.django_db(transaction=True)
def test_the_same_from_many_at_once_is_200_for_all_and_stored_once(seller: Seller) -> None:
    job = seller.accepted_job()
    body = json.dumps(callback_body(job, now=seller.now)).encode()

    def send(_: int) -> int:
        try:
            return int(send_callback(seller.connection, body, now=seller.now).status_code)
        finally:
            connection.close()

    def apply(_: int) -> None:
        try:
            services.apply_next_callback(now=seller.now)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(8))) == {200}
        assert CarrierCallback.objects.count() == 1
        list(pool.map(apply, range(4)))
    assert apply_all(seller) == ["APPLIED"]
    assert ServiceOrder.objects.get().status == "COMPLETED"


# What can happen to one job: news of either kind, and whatever our own calls learn.
_HAPPENINGS = st.lists(
    st.sampled_from(["DONE", "REFUSED", "DONE again", "accepted", "unknown", "in progress", "rejected"]),
    min_size=1,
    max_size=8,
)
_ANSWERS = {
    "accepted": Accepted("UC-77"),
    "unknown": Unknown("carrier_outcome_unknown", "timed out"),
    "in progress": InProgress("UC-77"),
    "rejected": Rejected("carrier_rejected", "no"),
}
_FINAL = {"COMPLETED", "FAILED"}


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings=_HAPPENINGS)
def test_in_whatever_order_nothing_moves_back(seller: Seller, happenings: list[str]) -> None:
    """The first end stands: the order, its line and its job agree, and later news changes none of them."""
    order = seller.order()
    (claim,) = [claim for claim in seller.claim() if claim.order_id == order.pk]
    end: tuple[str, str, str] | None = None
    for n, happening in enumerate(happenings):
        job = ActivationJob.objects.get(order=order)
        if happening in _ANSWERS:
            if claim.kind == "SEND" and happening == "in progress":
                continue
            moved = seller.record(claim, _ANSWERS[happening])
            assert not (moved and end), "a worker wrote after the end"
            make_due(job)
            claim = next((each for each in seller.claim() if each.order_id == order.pk), claim)
        else:
            result = happening.partition(" ")[0]
            body = callback_body(job, now=seller.now, result=result, event_id=f"EV-{order.pk}-{n}")
            send_callback(seller.connection, body, now=seller.now)
            apply_all(seller)
        now = (
            ServiceOrder.objects.get(pk=order.pk).status,
            Line.objects.get(pk=order.line_id).status,
            ActivationJob.objects.get(order=order).status,
        )
        if end is not None:
            assert now == end
        elif now[0] in _FINAL:
            end = now
            assert end in (("COMPLETED", "ACTIVE", "SUCCEEDED"), ("FAILED", "TERMINATED", "FAILED"))
