"""Getting a token: RFC 6749 section 4.4 and its errors."""

from __future__ import annotations

import base64
import threading
import time
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client

from apps.accounts import selectors
from apps.accounts import services as accounts
from apps.accounts.credentials import new_token
from apps.accounts.errors import ClientChanged
from apps.accounts.models import AccessToken, PartnerApp
from apps.core.actor import Actor
from apps.operators.models import VirtualOperator
from tests.factories.accounts import ApiClient, given_partner_app, given_token
from tests.threads import in_parallel

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def credentials(operator: VirtualOperator, now: datetime) -> tuple[PartnerApp, str]:
    return given_partner_app(
        operator=operator, now=now, scopes=("numbers:read", "numbers:write", "lines:read")
    )


def ask(
    client: Client, *, basic: tuple[str, str] | None = None, header: str | None = None, **form: Any
) -> Any:
    headers = {}
    if basic is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
    if header is not None:
        headers["Authorization"] = header
    return client.post("/oauth/token", urlencode(form), content_type=FORM, headers=headers)


def test_basic_and_body_credentials_both_get_a_bearer_token(
    client: Client, credentials: tuple[PartnerApp, str]
) -> None:
    app, secret = credentials
    by_header = ask(client, basic=(app.client_id, secret), grant_type="client_credentials")
    by_body = ask(client, grant_type="client_credentials", client_id=app.client_id, client_secret=secret)
    for response in (by_header, by_body):
        assert response.status_code == 200
        assert response["Content-Type"] == "application/json"
        assert response["Cache-Control"] == "no-store"
        body = response.json()
        assert body["token_type"] == "Bearer"
        assert body["expires_in"] == settings.OAUTH2_PROVIDER["ACCESS_TOKEN_EXPIRE_SECONDS"]
        assert body["scope"] == "numbers:read numbers:write lines:read"
        assert "refresh_token" not in body
        me = ApiClient(body["access_token"]).get("/api/v1/me")
        assert me.status_code == 200
        assert me.json()["app"]["id"] == app.uid


def test_scope_can_be_narrowed_but_not_widened(client: Client, credentials: tuple[PartnerApp, str]) -> None:
    app, secret = credentials
    narrowed = ask(client, basic=(app.client_id, secret), grant_type="client_credentials", scope="lines:read")
    assert narrowed.json()["scope"] == "lines:read"
    assert ApiClient(narrowed.json()["access_token"]).get("/api/v1/me").json()["scopes"] == ["lines:read"]
    both = "lines:read orders:write"
    widened = ask(client, basic=(app.client_id, secret), grant_type="client_credentials", scope=both)
    assert (widened.status_code, widened.json()["error"]) == (400, "invalid_scope")
    assert AccessToken.objects.count() == 1


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"grant_type": "password", "username": "a", "password": "b"}, 400, "unsupported_grant_type"),
        ({"grant_type": "authorization_code", "code": "x"}, 400, "unsupported_grant_type"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, 401, "invalid_client"),
        (
            {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x"},
            401,
            "invalid_client",
        ),
        (
            {"grant_type": "client_credentials", "client_id": "a\0b", "client_secret": "x"},
            401,
            "invalid_client",
        ),
    ],
)
def test_refusals_are_those_of_the_rfc(
    client: Client, db: None, form: dict[str, Any], status: int, error: str
) -> None:
    response = ask(client, **form)
    assert (response.status_code, response.json()["error"]) == (status, error)
    assert response["Cache-Control"] == "no-store"
    if status == 401:
        assert response["WWW-Authenticate"].startswith("Basic")
    assert AccessToken.objects.count() == 0


@pytest.mark.parametrize("secret", ["", "khs_wrong", "中文"])
def test_wrong_secret(client: Client, credentials: tuple[PartnerApp, str], secret: str) -> None:
    app, _ = credentials
    by_header = ask(client, basic=(app.client_id, secret), grant_type="client_credentials")
    by_body = ask(client, grant_type="client_credentials", client_id=app.client_id, client_secret=secret)
    for response in (by_header, by_body):
        assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert AccessToken.objects.count() == 0


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic /w==", "Bearer abc", "Basic bm9jb2xvbg=="])
def test_broken_authorization_header(client: Client, db: None, header: str) -> None:
    response = ask(client, header=header, grant_type="client_credentials")
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_two_ways_of_authentication_or_a_doubled_parameter_are_refused(
    client: Client, credentials: tuple[PartnerApp, str]
) -> None:
    app, secret = credentials
    both = ask(client, basic=(app.client_id, secret), grant_type="client_credentials", client_secret=secret)
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")
    basic = "Basic " + base64.b64encode(f"{app.client_id}:{secret}".encode()).decode()
    grant = "grant_type=client_credentials"
    for body in (f"{grant}&{grant}", f"{grant}&scope=lines:read&scope=lines:read"):
        doubled = client.post("/oauth/token", body, content_type=FORM, headers={"Authorization": basic})
        assert (doubled.status_code, doubled.json()["error"]) == (400, "invalid_request")
    assert AccessToken.objects.count() == 0


@pytest.mark.parametrize("query", ["client_secret={secret}", "scope=lines:read", "a[]=1", "x=%zz", "&"])
def test_parameters_in_the_query_are_refused(
    client: Client, credentials: tuple[PartnerApp, str], query: str
) -> None:
    app, secret = credentials
    basic = "Basic " + base64.b64encode(f"{app.client_id}:{secret}".encode()).decode()
    response = client.post(
        f"/oauth/token?{query.format(secret=secret)}",
        "grant_type=client_credentials",
        content_type=FORM,
        headers={"Authorization": basic},
    )
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert AccessToken.objects.count() == 0


def test_other_methods_and_media_types_are_problems(client: Client, db: None) -> None:
    got = client.get("/oauth/token")
    assert (got.status_code, got["Content-Type"], got.json()["code"]) == (
        405,
        "application/problem+json",
        "method_not_allowed",
    )
    assert got["Allow"] == "POST"
    posted = client.post(
        "/oauth/token", {"grant_type": "client_credentials"}, content_type="application/json"
    )
    assert (posted.status_code, posted.json()["code"]) == (415, "unsupported_media_type")


def test_revoked_app_gets_no_token_and_its_tokens_end_at_once(
    client: Client, credentials: tuple[PartnerApp, str], system: Actor, now: datetime
) -> None:
    app, secret = credentials
    api = ApiClient(given_token(app=app, now=now))
    assert api.get("/api/v1/me").status_code == 200
    accounts.revoke_partner_app(actor=system, app_uid=app.uid, reason="leaked", now=now)
    refused = api.get("/api/v1/me")
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
    response = ask(client, basic=(app.client_id, secret), grant_type="client_credentials")
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_rotation_ends_the_old_secret_and_its_tokens(
    client: Client, credentials: tuple[PartnerApp, str], system: Actor, now: datetime
) -> None:
    app, secret = credentials
    api = ApiClient(given_token(app=app, now=now))
    _, new_secret = accounts.rotate_client_secret(actor=system, app_uid=app.uid, now=now)
    assert api.get("/api/v1/me").status_code == 401
    assert ask(client, basic=(app.client_id, secret), grant_type="client_credentials").status_code == 401
    assert ask(client, basic=(app.client_id, new_secret), grant_type="client_credentials").status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("meanwhile", ["rotated", "revoked"])
def test_a_token_request_that_overlaps_the_end_of_its_secret_gets_nothing(
    client: Client,
    credentials: tuple[PartnerApp, str],
    system: Actor,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: str,
) -> None:
    app, secret = credentials
    get_client = selectors.get_client

    def seen_just_before(*, client_id: str) -> PartnerApp | None:
        seen = get_client(client_id=client_id)
        if meanwhile == "rotated":
            accounts.rotate_client_secret(actor=system, app_uid=app.uid, now=now)
        else:
            accounts.revoke_partner_app(actor=system, app_uid=app.uid, reason="leaked", now=now)
        return seen

    monkeypatch.setattr(selectors, "get_client", seen_just_before)
    response = ask(client, basic=(app.client_id, secret), grant_type="client_credentials")
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert AccessToken.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_token_is_stored_before_or_after_a_rotation_never_across_it(
    credentials: tuple[PartnerApp, str], system: Actor, now: datetime
) -> None:
    app, _ = credentials
    rotated, token = threading.Event(), new_token()

    def work(number: int) -> str:
        if number == 0:
            with transaction.atomic():
                accounts.rotate_client_secret(actor=system, app_uid=app.uid, now=now)
                rotated.set()
                # Long enough for the other to wait at the row; without its lock it would not.
                time.sleep(0.3)
            return "rotated"
        assert rotated.wait(10)
        try:
            accounts.store_token(app=app, token=token, scopes=app.scopes, expires_at=now + timedelta(hours=1))
        except ClientChanged:
            return "refused"
        return "stored"

    assert in_parallel(2, work) == ["rotated", "refused"]
    assert selectors.get_bearer(token=token, now=now) is None


def test_tokens_and_secrets_are_kept_only_as_digests(
    client: Client, credentials: tuple[PartnerApp, str], django_assert_num_queries: Any
) -> None:
    app, secret = credentials
    token = ask(client, basic=(app.client_id, secret), grant_type="client_credentials").json()["access_token"]
    assert min(len(secret), len(token)) >= 43  # 32 bytes in base64
    app.refresh_from_db()
    assert secret not in app.client_secret
    assert app.client_secret.startswith("sha256$")
    row = AccessToken.objects.values().get()
    assert all(token not in str(value) for value in row.values())
    with django_assert_num_queries(1):
        bearer = selectors.get_bearer(token=token, now=row["created"])
        assert bearer is not None
        assert bearer.app.operator.code


def test_token_requests_count_against_the_app_s_limit(
    client: Client, operator: VirtualOperator, now: datetime
) -> None:
    app, secret = given_partner_app(operator=operator, now=now, rate_per_second=1, rate_burst=1)
    assert ask(client, basic=(app.client_id, secret), grant_type="client_credentials").status_code == 200
    refused = ask(client, basic=(app.client_id, secret), grant_type="client_credentials")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused["Retry-After"]) >= 1
    assert AccessToken.objects.count() == 1


def test_expired_tokens_are_forgotten_in_batches(partner_app: PartnerApp, now: datetime) -> None:
    for minutes in (-3, -2, -1, 1):
        given_token(app=partner_app, now=now, lifetime=timedelta(minutes=minutes))
    assert accounts.forget_expired_tokens(now=now, limit=2) == 2
    assert accounts.forget_expired_tokens(now=now, limit=2) == 1
    assert accounts.forget_expired_tokens(now=now, limit=2) == 0
    assert AccessToken.objects.count() == 1


def test_metadata_names_the_token_endpoint(client: Client) -> None:
    body = client.get("/.well-known/oauth-authorization-server").json()
    assert body["token_endpoint"] == body["issuer"] + "/oauth/token"
    assert body["grant_types_supported"] == ["client_credentials"]
    assert body["scopes_supported"] == list(settings.OAUTH2_PROVIDER["SCOPES"])
