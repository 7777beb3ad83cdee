"""Every error as problem+json, whoever raised it and wherever."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.core.urls import SECRET

pytestmark = pytest.mark.urls("tests.core.urls")

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "errors", "retryable"}


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """The body, after looking at its shape."""
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) == MEMBERS
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["type"] == f"urn:kaihu:problem:{code}"
    assert body["request_id"] == response["X-Request-ID"]
    assert body["instance"] == f"urn:kaihu:request:{body['request_id']}"
    assert response["Cache-Control"] == "no-store"
    for error in body["errors"]:
        assert set(error) == {"pointer", "code", "detail"}
    return body


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("not_found", 404, "not_found"),
        ("conflict", 409, "conflict"),
        ("invalid_transition", 409, "invalid_transition"),
        ("rule", 422, "door_closed"),
        ("forbidden", 403, "forbidden"),
        ("busy", 503, "busy"),
        ("upstream", 502, "upstream_failure"),
        ("nameless", 500, "nameless"),
        ("api", 412, "precondition_failed"),
        ("challenge", 401, "not_authenticated"),
        ("django_404", 404, "not_found"),
        ("django_403", 403, "forbidden"),
        ("django_400", 400, "malformed_request"),
        ("drf_404", 404, "not_found"),
        ("drf_403", 403, "forbidden"),
        ("drf_parse", 400, "malformed_request"),
        ("drf_throttled", 429, "rate_limited"),
        ("crash", 500, "internal_error"),
    ],
)
def test_every_kind_of_error_has_its_status_and_code(
    client: Client, name: str, status: int, code: str
) -> None:
    problem(client.get(f"/api/v1/raise/{name}"), status, code)


def test_a_rule_says_which_field_broke_it_and_nothing_internal(client: Client) -> None:
    body = problem(client.get("/api/v1/raise/rule"), 422, "door_closed")
    assert body["title"] == "Unprocessable Entity"
    assert body["detail"] == "The door is closed."
    assert body["errors"] == [{"pointer": "/door", "code": "closed", "detail": "It is closed."}]
    assert body["retryable"] is False


@pytest.mark.parametrize(
    ("name", "retryable", "after"), [("busy", True, "1"), ("upstream", True, "1"), ("conflict", False, None)]
)
def test_what_may_succeed_later_says_so(
    client: Client, name: str, retryable: bool, after: str | None
) -> None:
    response = client.get(f"/api/v1/raise/{name}")
    assert response.json()["retryable"] is retryable
    assert response.headers.get("Retry-After") == after


def test_a_part_of_a_second_is_a_second(client: Client) -> None:
    assert client.get("/api/v1/raise/wait")["Retry-After"] == "1"
    assert client.get("/api/v1/raise/drf_throttled")["Retry-After"] == "7"


def test_a_missing_login_is_told_how(client: Client) -> None:
    assert client.get("/api/v1/raise/challenge")["WWW-Authenticate"] == 'Bearer realm="kaihu"'


def test_a_crash_tells_nothing(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    response = client.get("/api/v1/raise/crash")
    body = problem(response, 500, "internal_error")
    assert body["retryable"] is True
    for secret in (SECRET, "RuntimeError", "crashed with", "Traceback", ".py"):
        assert secret not in response.content.decode()
    assert "crashed with" in caplog.text


@pytest.mark.parametrize("name", ["identity"])
def test_no_error_holds_an_identity_number(client: Client, name: str) -> None:
    text = client.get(f"/api/v1/raise/{name}").content.decode()
    assert "110101190001010008" not in text
    assert "11010119000101000X" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/nothing",
        "/api/v1/nothing/110101190001010008?document=resident_id:110101190001010008",
        "/api/v2/lines",
        "/oauth/nothing",
        "/carrier/nothing",
        "/.well-known/nothing",
    ],
)
def test_an_unknown_path_is_a_problem(client: Client, path: str) -> None:
    response = client.get(path)
    problem(response, 404, "not_found")
    assert "110101190001010008" not in response.content.decode()


def test_elsewhere_people_get_pages(client: Client) -> None:
    response = client.get("/elsewhere/nothing")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_what_http_itself_refuses(client: Client) -> None:
    refused = client.delete("/api/v1/raise/conflict")
    problem(refused, 405, "method_not_allowed")
    assert set(refused["Allow"].split(", ")) == {"GET", "POST"}
    problem(client.get("/api/v1/raise/conflict", headers={"Accept": "text/html"}), 406, "not_acceptable")
    problem(client.post("/api/v1/doors", "<a/>", content_type="text/xml"), 415, "unsupported_media_type")
    problem(
        client.post("/api/v1/doors", "a=1", content_type="application/x-www-form-urlencoded"),
        415,
        "unsupported_media_type",
    )
    problem(client.get("/api/v1/thing", headers={"Host": "evil.example"}), 400, "malformed_request")


def test_an_error_answers_clients_that_only_take_problems(client: Client) -> None:
    problem(
        client.get("/api/v1/raise/conflict", headers={"Accept": "application/problem+json"}), 409, "conflict"
    )
    problem(client.get("/api/v1/raise/conflict", headers={"Accept": "application/json"}), 409, "conflict")


MALFORMED_BODIES = {
    "no JSON": b"{",
    "a trailing comma": b'{"name":"a",}',
    "not a number": b'{"name":NaN}',
    "infinity": b'{"pins":Infinity}',
    "bad UTF-8": b'{"name":"\xff"}',
    "half of a surrogate pair": b'{"name":"\\ud800"}',
    "a byte order mark": b'\xef\xbb\xbf{"name":"a"}',
    "two bodies": b'{"name":"a"}{"name":"b"}',
    "a deep nest": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


@pytest.mark.parametrize("body", MALFORMED_BODIES.values(), ids=MALFORMED_BODIES.keys())
def test_a_malformed_body_is_refused(client: Client, body: bytes) -> None:
    response = client.post("/api/v1/doors", body, content_type="application/json")
    assert problem(response, 400, "malformed_request")["detail"] == "The body is not valid JSON."


@pytest.mark.parametrize("body", [b"null", b"[]", b'"name"', b"1", b"true", b""])
def test_a_body_that_is_no_object_is_refused(client: Client, body: bytes) -> None:
    problem(client.post("/api/v1/doors", body, content_type="application/json"), 400, "validation_error")
