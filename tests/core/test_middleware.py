"""What every request goes through: its id, the trace it belongs to, and the size of its body."""

from __future__ import annotations

import re
from typing import Any

import pytest
import structlog
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from apps.core.middleware import RequestIdMiddleware

pytestmark = pytest.mark.urls("tests.core.urls")

THING = "/api/v1/thing"
PLAIN = "/api/v1/plain"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


# --- X-Request-ID ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "given", ["a", "order-2026.03.01:7_x", "A" * 64, "01890a5d-ac96-774b-bcce-b302099a8057", "17012345678"]
)
def test_a_good_request_id_is_taken_and_echoed(client: Client, given: str) -> None:
    response = client.get("/api/v1/raise/conflict", headers={"X-Request-ID": given})
    assert response["X-Request-ID"] == given
    assert response.json()["request_id"] == given


@pytest.mark.parametrize(
    "given",
    [
        "",
        "A" * 65,
        "a b",
        "a\tb",
        "订单",
        "a/b",
        '"><script>',
        "a\n",
        # Could be somebody's number.
        "110101190001010008",
        "11010119000101000X",
        "110101000101000",
        "id-110101190001010008-7",
    ],
    ids=repr,
)
def test_another_one_is_replaced(client: Client, given: str) -> None:
    response = client.get("/api/v1/raise/conflict", headers={"X-Request-ID": given})
    assert re.fullmatch(r"[0-9a-f]{32}", response["X-Request-ID"])
    assert response.json()["request_id"] == response["X-Request-ID"]


def test_requests_without_one_get_different_ones(client: Client) -> None:
    assert len({client.get(THING)["X-Request-ID"] for _ in range(5)}) == 5


def test_every_answer_has_one(client: Client) -> None:
    for path in (THING, "/api/v1/nothing", "/elsewhere", "/elsewhere/nothing", "/healthz"):
        assert client.get(path, headers={"X-Request-ID": "me"})["X-Request-ID"] == "me"


# --- Context of log lines -------------------------------------------------------------------------------------------
def context_of(**headers: str) -> dict[str, Any]:
    """What log lines of such a request carry."""
    seen: dict[str, Any] = {}

    def answer(request: HttpRequest) -> HttpResponse:
        seen.update(structlog.contextvars.get_contextvars())
        return HttpResponse()

    names = {name.replace("_", "-"): value for name, value in headers.items()}
    RequestIdMiddleware(answer)(RequestFactory().get("/", headers=names))
    return seen


def test_log_lines_carry_the_request_and_the_trace() -> None:
    assert context_of(X_Request_ID="me", traceparent=TRACEPARENT) == {
        "request_id": "me",
        "trace_id": TRACE_ID,
    }


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "garbage",
        TRACEPARENT.upper(),
        TRACEPARENT + "-more",
        TRACEPARENT + "\n",
        TRACEPARENT[:-1],
        TRACEPARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
    ],
    ids=repr,
)
def test_a_malformed_trace_is_no_trace(traceparent: str) -> None:
    assert context_of(X_Request_ID="me", traceparent=traceparent) == {"request_id": "me"}


def test_the_request_itself_carries_both_for_whoever_acts() -> None:
    seen: list[HttpRequest] = []

    def answer(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return HttpResponse()

    middleware = RequestIdMiddleware(answer)
    middleware(RequestFactory().get("/", headers={"X-Request-ID": "me", "traceparent": TRACEPARENT}))
    middleware(RequestFactory().get("/", headers={"X-Request-ID": "you"}))
    assert [(request.request_id, request.trace_id) for request in seen] == [  # type: ignore[attr-defined]
        ("me", TRACE_ID),
        ("you", ""),
    ]


def test_the_context_of_one_request_is_not_that_of_the_next() -> None:
    structlog.contextvars.bind_contextvars(partner_app="app_of_the_request_before")
    assert context_of(X_Request_ID="me") == {"request_id": "me"}


# --- Bodies ---------------------------------------------------------------------------------------------------------
def test_a_body_over_the_limit_is_refused_before_it_is_read(client: Client, settings: Any) -> None:
    settings.KAIHU_MAX_BODY_BYTES = 10
    assert client.post(PLAIN, b"x" * 10, content_type="text/plain").content == b"10 bytes"
    response = client.post(PLAIN, b"x" * 11, content_type="text/plain", headers={"X-Request-ID": "me"})
    assert (response.status_code, response["Content-Type"]) == (413, "application/problem+json")
    assert response.json()["code"] == "body_too_large"
    assert response.json()["detail"] == "At most 10 bytes."
    assert response.json()["request_id"] == "me"


def test_it_is_the_announced_length_that_counts(client: Client, settings: Any) -> None:
    settings.KAIHU_MAX_BODY_BYTES = 10
    response = client.post(PLAIN, b"", content_type="text/plain", CONTENT_LENGTH="99999999999999999999")
    assert response.status_code == 413


@pytest.mark.parametrize("length", ["", "ten", "1.5", "-1"])
def test_a_strange_length_is_no_crash(client: Client, length: str) -> None:
    assert client.get(THING, CONTENT_LENGTH=length).status_code == 200


def test_pages_for_people_have_their_own_limit(client: Client, settings: Any) -> None:
    settings.KAIHU_MAX_BODY_BYTES = 10
    settings.KAIHU_MAX_PAGE_BYTES = 11
    assert client.post("/elsewhere", b"x" * 11, content_type="text/plain").content == b"11 bytes"
    assert client.post("/elsewhere", b"x" * 12, content_type="text/plain").status_code == 413


def test_answers_of_the_api_are_kept_nowhere(client: Client) -> None:
    assert client.get(THING)["Cache-Control"] == "no-store"
    assert client.get("/api/v1/nothing")["Cache-Control"] == "no-store"
    assert not client.get("/elsewhere").has_header("Cache-Control")
