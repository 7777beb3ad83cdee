"""`PartnerView.once`: an effect and its answer are there together, once per key."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection

from apps.accounts import services as accounts
from apps.accounts import tasks
from apps.accounts.models import IdempotencyKey, PartnerApp, User
from apps.operators.models import VirtualOperator
from tests.accounts.once_urls import EffectView
from tests.factories.accounts import ApiClient, given_partner_app, given_token
from tests.factories.subscribers import resident_number

pytestmark = pytest.mark.urls("tests.accounts.once_urls")
URL = "/api/v1/effects"


def effects() -> int:
    return User.objects.filter(username__startswith="effect-").count()


def test_replay_is_byte_identical_and_has_one_effect(api: ApiClient) -> None:
    first = api.post(URL, {"name": "a"}, key="k1")
    again = api.post(URL, {"name": "a"}, key="k1")
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert first["Content-Type"] == again["Content-Type"] == "application/json"
    assert first["Location"] == again["Location"] == "/x/1"
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert "RateLimit" in first
    assert "RateLimit" in again
    assert effects() == 1


def test_another_key_is_another_effect(api: ApiClient) -> None:
    assert api.post(URL, {"name": "a"}, key="k1").json()["effect"] == 0
    assert api.post(URL, {"name": "a"}, key="k2").json()["effect"] == 1
    assert effects() == 2


def test_the_order_of_members_and_white_space_do_not_make_another_request(api: ApiClient) -> None:
    first = api.post(URL, '{"name":"a","then":"nothing"}', key="k1")
    again = api.post(URL, '{ "then" : "nothing", "name": "a" }', key="k1")
    assert again.content == first.content
    assert effects() == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [(URL, {"name": "b"}), ("/api/v1/other-effects", {"name": "a"})],
)
def test_a_key_used_for_another_body_or_path_is_refused(
    api: ApiClient, path: str, body: dict[str, str]
) -> None:
    api.post(URL, {"name": "a"}, key="k1")
    reused = api.post(path, body, key="k1")
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
    assert effects() == 1
    assert IdempotencyKey.objects.count() == 1


def test_a_key_used_for_another_method_is_refused(api: ApiClient) -> None:
    assert api.request("DELETE", URL, headers={"Idempotency-Key": "k1"}).status_code == 204
    reused = api.post(URL, {"name": "a"}, key="k1")
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_query_parameter_is_refused_and_never_reaches_the_key(api: ApiClient, method: str) -> None:
    refused = api.request(method, URL + "?nmae=a", {"name": "a"}, headers={"Idempotency-Key": "k1"})
    assert (refused.status_code, refused.json()["code"]) == (400, "unknown_parameter")
    assert [fault["pointer"] for fault in refused.json()["errors"]] == ["?nmae"]
    assert (effects(), IdempotencyKey.objects.count()) == (0, 0)


def test_the_key_itself_is_kept_nowhere(api: ApiClient) -> None:
    """Partners build keys from what they have at hand."""
    key = f"activate-{resident_number()}"
    first = api.post(URL, {"name": "a"}, key=key)
    row = IdempotencyKey.objects.values().get()
    assert all(key not in str(value) for value in row.values())
    assert re.fullmatch("[0-9a-f]{64}", row["key"])
    assert row["key"] != hashlib.sha256(key.encode()).hexdigest()
    assert api.post(URL, {"name": "a"}, key=key).content == first.content
    assert effects() == 1


@pytest.mark.parametrize("lost", [OperationalError, InterfaceError])
def test_a_database_that_is_gone_is_busy(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch, lost: type[Exception]
) -> None:
    def gone(*_: Any) -> Any:
        raise lost("connection already closed")

    monkeypatch.setattr(EffectView, "_act", gone)
    response = api.post(URL, {"name": "a"})
    assert (response.status_code, response.json()["code"], response["Retry-After"]) == (503, "busy", "1")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
@pytest.mark.parametrize("depth", [300, 20_000])
def test_a_deep_body_is_refused(api: ApiClient, opening: str, closing: str, depth: int) -> None:
    inner = "null" if closing == "}" else ""
    response = api.post(URL, '{"name":' + opening * depth + inner + closing * depth + "}", key="k1")
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
    assert IdempotencyKey.objects.count() == 0


@pytest.mark.parametrize("key", [None, ""])
def test_a_post_without_key_is_refused(api: ApiClient, key: str | None) -> None:
    response = api.post(URL, {"name": "a"}, key=None, headers={} if key is None else {"Idempotency-Key": key})
    assert (response.status_code, response.json()["code"]) == (400, "idempotency_key_missing")
    assert effects() == 0


def test_a_delete_may_come_without_key(api: ApiClient) -> None:
    response = api.delete(URL)
    assert (response.status_code, response.content) == (204, b"")
    assert IdempotencyKey.objects.count() == 0


def test_key_length(api: ApiClient) -> None:
    assert api.post(URL, {"name": "a"}, key="k" * 255).status_code == 201
    too_long = api.post(URL, {"name": "a"}, key="k" * 256)
    assert (too_long.status_code, too_long.json()["code"]) == (400, "idempotency_key_invalid")
    assert effects() == 1


@pytest.mark.parametrize(
    ("then", "status"), [("conflict", 409), ("busy", 503), ("return_422", 422), ("raise", 500)]
)
def test_whatever_fails_undoes_everything_and_frees_the_key(api: ApiClient, then: str, status: int) -> None:
    failed = api.post(URL, {"name": "a", "then": then}, key="k1")
    assert failed.status_code == status
    assert effects() == 0
    assert IdempotencyKey.objects.count() == 0
    corrected = api.post(URL, {"name": "a"}, key="k1")
    assert corrected.status_code == 201
    assert "Idempotent-Replayed" not in corrected
    assert effects() == 1


def test_a_crash_shows_nothing_of_itself(api: ApiClient) -> None:
    crashed = api.post(URL, {"name": "a", "then": "raise"})
    assert (crashed.status_code, crashed["Content-Type"]) == (500, "application/problem+json")
    assert crashed.json()["code"] == "internal_error"
    assert b"ZeroDivision" not in crashed.content


def test_a_busy_answer_says_when_to_come_back(api: ApiClient) -> None:
    busy = api.post(URL, {"name": "a", "then": "busy"})
    assert (busy.json()["retryable"], busy["Retry-After"]) == (True, "1")


def test_malformed_bodies_never_reach_the_key(api: ApiClient) -> None:
    for body in ('{"name": "a"', '{"name": NaN}', b"\xff", '{"nome": "a"}', "[]", ""):
        assert api.post(URL, body, key="k1").status_code == 400
    assert IdempotencyKey.objects.count() == 0


def test_the_key_belongs_to_the_app_not_to_the_token(
    api: ApiClient, partner_app: PartnerApp, operator: VirtualOperator, now: datetime
) -> None:
    first = api.post(URL, {"name": "a"}, key="k1")
    renewed = ApiClient(given_token(app=partner_app, now=now)).post(URL, {"name": "a"}, key="k1")
    assert renewed.content == first.content
    sibling, _ = given_partner_app(operator=operator, now=now)
    theirs = ApiClient(given_token(app=sibling, now=now)).post(URL, {"name": "a"}, key="k1")
    assert "Idempotent-Replayed" not in theirs
    assert effects() == 2


def test_without_the_scope_nothing_happens(partner_app: PartnerApp, now: datetime) -> None:
    reader = ApiClient(given_token(app=partner_app, now=now, scopes=("numbers:read",)))
    refused = reader.post(URL, {"name": "a"})
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert refused["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="numbers:write"'
    assert (effects(), IdempotencyKey.objects.count()) == (0, 0)
    assert reader.get(URL).status_code == 200


def test_keys_are_forgotten_after_seven_days_in_batches(partner_app: PartnerApp, now: datetime) -> None:
    for number, age in enumerate((8, 7.5, 7.1, 6.9)):
        IdempotencyKey.objects.create(
            partner_app=partner_app,
            key=f"k{number}",
            fingerprint=b"x",
            status=200,
            body=b"",
            created_at=now - timedelta(days=age),
        )
    assert accounts.forget_idempotency_keys(now=now, limit=2) == 2
    tasks.forget_idempotency_keys()
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["k3"]


@pytest.fixture
def held_open() -> Iterator[tuple[threading.Event, threading.Event]]:
    """The action announces that it runs and waits inside its transaction to be let go."""
    EffectView.entered, EffectView.leave = threading.Event(), threading.Event()
    yield EffectView.entered, EffectView.leave
    EffectView.leave.set()
    EffectView.entered = EffectView.leave = None


@pytest.mark.django_db(transaction=True)
def test_the_same_key_at_the_same_time(
    api: ApiClient, held_open: tuple[threading.Event, threading.Event]
) -> None:
    entered, leave = held_open

    def send() -> Any:
        try:
            return ApiClient(api.token).post(URL, {"name": "a"}, key="k1")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(send)
        assert entered.wait(timeout=20)
        second = send()
        assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_progress")
        assert second.json()["retryable"] is True
        leave.set()
        first = running.result(timeout=20)
    assert first.status_code == 201
    replayed = api.post(URL, {"name": "a"}, key="k1")
    assert (replayed.content, replayed["Idempotent-Replayed"]) == (first.content, "true")
    assert effects() == 1


@pytest.mark.django_db(transaction=True)
def test_a_stampede_with_one_key_has_one_effect(api: ApiClient) -> None:
    threads = 8
    barrier = threading.Barrier(threads)

    def send() -> Any:
        try:
            barrier.wait(timeout=20)
            return ApiClient(api.token).post(URL, {"name": "a"}, key="k1")
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        answers = [future.result(timeout=60) for future in [pool.submit(send) for _ in range(threads)]]
    fresh = [a for a in answers if a.status_code == 201 and "Idempotent-Replayed" not in a]
    assert len(fresh) == 1
    for answer in answers:
        if answer.status_code == 201:
            assert answer.content == fresh[0].content
        else:
            assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")
    assert effects() == 1
    assert IdempotencyKey.objects.count() == 1
