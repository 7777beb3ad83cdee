"""What every partner resource does before its own rules: tokens, scopes, limits, shapes, media types, problems."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from apps.accounts.models import PartnerApp
from apps.core.actor import Actor
from apps.operators import services as operators
from apps.operators.models import HostCarrier, VirtualOperator
from tests.factories.accounts import ApiClient, given_partner_app, given_token
from tests.factories.operators import given_agreement, given_operator

pytestmark = pytest.mark.urls("tests.accounts.once_urls")
ME = "/api/v1/me"
EFFECTS = "/api/v1/effects"
FORM = "application/x-www-form-urlencoded"
MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "errors", "retryable"}


def is_problem(response: Any, status: int, code: str) -> bool:
    body = response.json()
    assert (response.status_code, body["code"], body["status"]) == (status, code, status)
    assert response["Content-Type"] == "application/problem+json"
    assert set(body) == MEMBERS
    assert body["request_id"] == response["X-Request-ID"]
    return True


def test_me_tells_app_operator_mode_scopes_licence_and_agreements(
    api: ApiClient, partner_app: PartnerApp, operator: VirtualOperator
) -> None:
    response = api.get(ME)
    assert response.status_code == 200
    body = response.json()
    assert body["app"] == {"id": partner_app.uid, "name": partner_app.name}
    assert body["operator"] == {
        "id": operator.uid,
        "code": operator.code,
        "name": operator.name,
        "name_zh": operator.name_zh,
    }
    assert body["mode"] == "LIVE"
    assert body["scopes"] == sorted(settings.OAUTH2_PROVIDER["SCOPES"])
    assert body["licence"]["state"] == "VALID"
    assert [(a["carrier"], a["state"]) for a in body["agreements"]] == [
        ("mobile", "VALID"),
        ("telecom", "VALID"),
        ("unicom", "VALID"),
    ]


def test_me_of_an_operator_without_papers_and_of_a_sandbox(
    operator: VirtualOperator, system: Actor, carriers: dict[str, HostCarrier], now: datetime
) -> None:
    sandbox = operators.open_sandbox(actor=system, operator=operator, now=now)
    today = now.date()
    given_agreement(
        operator=sandbox,
        host_carrier=carriers["unicom"],
        now=now,
        valid_from=today - timedelta(days=30),
        valid_until=today - timedelta(days=10),
    )
    app, _ = given_partner_app(operator=sandbox, now=now)
    body = ApiClient(given_token(app=app, now=now)).get(ME).json()
    assert body["mode"] == "TEST"
    assert body["licence"] == {"state": "NONE", "number": None, "valid_until": None}
    assert [(a["carrier"], a["state"]) for a in body["agreements"]] == [("unicom", "EXPIRED")]


def test_me_has_an_etag(api: ApiClient) -> None:
    first = api.get(ME)
    again = api.get(ME, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "Token abc"])
def test_without_a_token(client: Client, db: None, header: str | None) -> None:
    response = client.get(ME, headers={} if header is None else {"Authorization": header})
    assert is_problem(response, 401, "not_authenticated")
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert "RateLimit" not in response


@pytest.mark.parametrize("token", ["kht_unknown", "中文", "a" * 5000])
def test_unknown_token(db: None, token: str) -> None:
    response = ApiClient(None).get(
        ME, headers={"Authorization": f"Bearer {token}".encode().decode("latin-1")}
    )
    assert is_problem(response, 401, "invalid_token")
    assert 'error="invalid_token"' in response["WWW-Authenticate"]


def test_expired_token(partner_app: PartnerApp, now: datetime) -> None:
    token = given_token(app=partner_app, now=now - timedelta(hours=2), lifetime=timedelta(hours=1))
    assert is_problem(ApiClient(token).get(ME), 401, "invalid_token")


def test_a_token_in_the_query_is_no_token(client: Client, token: str) -> None:
    assert is_problem(client.get(f"{ME}?access_token={token}"), 401, "not_authenticated")


def test_wrong_scope(partner_app: PartnerApp, now: datetime) -> None:
    api = ApiClient(given_token(app=partner_app, now=now, scopes=("lines:read",)))
    response = api.get(EFFECTS)
    assert is_problem(response, 403, "insufficient_scope")
    assert 'scope="numbers:read"' in response["WWW-Authenticate"]
    assert "RateLimit" in response


def test_the_rate_limit_is_told_and_kept(operator: VirtualOperator, now: datetime) -> None:
    app, _ = given_partner_app(operator=operator, now=now, rate_per_second=1, rate_burst=3)
    api = ApiClient(given_token(app=app, now=now))
    remaining = []
    for _ in range(3):
        response = api.get(ME)
        assert response.status_code == 200
        assert response["RateLimit-Policy"] == '"app";q=3;w=3'
        found = re.fullmatch(r'"app";r=(\d);t=(\d)', response["RateLimit"])
        assert found is not None
        remaining.append(int(found[1]))
    assert remaining == [2, 1, 0]
    refused = api.get(ME)
    assert is_problem(refused, 429, "rate_limited")
    assert refused.json()["retryable"] is True
    assert refused["Retry-After"] == "1"
    assert refused["RateLimit"].startswith('"app";r=0;t=')


def test_one_app_s_limit_is_not_another_s(operator: VirtualOperator, api: ApiClient, now: datetime) -> None:
    app, _ = given_partner_app(operator=operator, now=now, rate_per_second=1, rate_burst=1)
    busy = ApiClient(given_token(app=app, now=now))
    assert [busy.get(ME).status_code for _ in range(2)] == [200, 429]
    assert api.get(ME).status_code == 200


def test_unknown_fields_and_parameters_are_errors(api: ApiClient) -> None:
    response = api.post(EFFECTS, {"name": "a", "naem": "b", "x/y~": 1})
    assert is_problem(response, 400, "unknown_field")
    assert {(e["pointer"], e["code"]) for e in response.json()["errors"]} == {
        ("/naem", "unknown_field"),
        ("/x~1y~0", "unknown_field"),
    }
    response = api.get(f"{ME}?verbose=1")
    assert is_problem(response, 400, "unknown_parameter")
    assert [e["pointer"] for e in response.json()["errors"]] == ["?verbose"]


def test_every_bad_field_is_reported_at_once(api: ApiClient) -> None:
    response = api.post(EFFECTS, {"name": "a" * 21, "then": "sing", "naem": "b"})
    assert is_problem(response, 400, "validation_error")
    assert {e["pointer"] for e in response.json()["errors"]} == {"/name", "/then", "/naem"}


@pytest.mark.parametrize("body", ['{"name": ', "{'name': 'a'}", b"\xff\xfe", '{"name": NaN}', "[" * 100_000])
def test_malformed_json(api: ApiClient, body: str | bytes) -> None:
    assert is_problem(api.post(EFFECTS, body), 400, "malformed_request")


def test_other_shapes_than_an_object(api: ApiClient) -> None:
    for body in ("[]", '"text"', "7", "null"):
        assert is_problem(api.post(EFFECTS, body), 400, "validation_error")


def test_nul_in_a_text_field(api: ApiClient) -> None:
    assert is_problem(api.post(EFFECTS, {"name": "a\0b"}), 400, "validation_error")


def test_method_not_allowed(api: ApiClient) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        response = api.request(method, ME)
        assert is_problem(response, 405, "method_not_allowed")
        assert response["Allow"] == "GET, HEAD"


def test_not_acceptable(api: ApiClient) -> None:
    assert is_problem(api.get(ME, headers={"Accept": "text/html"}), 406, "not_acceptable")
    assert api.get(ME, headers={"Accept": "text/html, */*;q=0.1"}).status_code == 200


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", FORM, "nonsense"])
def test_unsupported_media_type(api: ApiClient, media_type: str) -> None:
    response = api.request(
        "POST", EFFECTS, "name=a", headers={"Idempotency-Key": "k"}, content_type=media_type
    )
    assert is_problem(response, 415, "unsupported_media_type")


def test_body_too_large(api: ApiClient) -> None:
    body = b'{"name": "' + b"a" * settings.KAIHU_MAX_BODY_BYTES + b'"}'
    assert is_problem(api.post(EFFECTS, body), 413, "body_too_large")


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/api/v2/me", "/api/v1/me/", "/oauth/authorize", "/api/"]
)
def test_unknown_path(api: ApiClient, path: str) -> None:
    assert is_problem(api.get(path), 404, "not_found")


def test_request_id_is_taken_or_made(api: ApiClient) -> None:
    assert api.get(ME, headers={"X-Request-ID": "abc-1"})["X-Request-ID"] == "abc-1"
    assert re.fullmatch("[0-9a-f]{32}", api.get(ME)["X-Request-ID"])


def test_head_is_get_without_body(api: ApiClient) -> None:
    response = api.request("HEAD", ME)
    assert (response.status_code, response.content) == (200, b"")


def test_a_token_speaks_for_its_own_operator_only(api: ApiClient, other_api: ApiClient) -> None:
    assert api.get(ME).json()["operator"]["id"] != other_api.get(ME).json()["operator"]["id"]


def test_a_new_operator_has_no_agreements(now: datetime, db: None) -> None:
    app, _ = given_partner_app(operator=given_operator(now=now, licensed=False, carriers=()), now=now)
    body = ApiClient(given_token(app=app, now=now)).get(ME).json()
    assert (body["licence"]["state"], body["agreements"]) == ("NONE", [])
