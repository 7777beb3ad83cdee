"""Every address we answer at, who may use it, and that nobody else can.

A route that is not in these tables fails the build: whoever adds one says here which scope it needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from apps.accounts.api.partner import PartnerView
from apps.core.public_ids import encode, new_uuid7
from apps.operators.models import VirtualOperator
from tests.architecture.source import none
from tests.factories.accounts import ApiClient, given_partner_app, given_token

# Under /api/v1/: method -> scope (None: any valid token), as in api.md.
SCOPES: dict[str, dict[str, str | None]] = {
    "me": {"GET": None},
    "numbers": {"GET": "numbers:read"},
    "ranges": {"GET": "numbers:read"},
    "ranges/<str:uid>": {"GET": "numbers:read"},
    "reservations": {"POST": "numbers:write"},
    "reservations/<str:uid>": {"GET": "numbers:read", "DELETE": "numbers:write"},
    "reservations/<str:uid>/extend": {"POST": "numbers:write"},
    "sims": {"GET": "sims:read"},
    "sims/<str:iccid>": {"GET": "sims:read"},
    "plans": {"GET": "orders:read"},
    "subscribers": {"GET": "subscribers:read", "POST": "subscribers:write"},
    "subscribers/<str:subscriber_id>": {"GET": "subscribers:read"},
    "subscribers/<str:subscriber_id>/documents": {"POST": "subscribers:write"},
    "subscribers/<str:subscriber_id>/representatives": {"POST": "subscribers:write"},
    "subscribers/<str:subscriber_id>/guardian": {"DELETE": "subscribers:write"},
    "subscribers/<str:subscriber_id>/consents": {"GET": "subscribers:read", "POST": "subscribers:write"},
    "subscribers/<str:subscriber_id>/consents/<str:purpose>": {"DELETE": "subscribers:write"},
    "subscribers/<str:subscriber_id>/verifications": {"POST": "subscribers:write"},
    "verifications/<str:verification_id>": {"GET": "subscribers:read"},
    "orders": {"GET": "orders:read", "POST": "orders:write"},
    "orders/<str:uid>": {"GET": "orders:read"},
    "orders/<str:uid>/cancel": {"POST": "orders:write"},
    "holder-checks": {"POST": "subscribers:read"},
    "holder-checks/<str:uid>/disputes": {"POST": "subscribers:write"},
    "holder-disputes": {"GET": "subscribers:read"},
    "holder-disputes/<str:uid>": {"GET": "subscribers:read"},
    "lines": {"GET": "lines:read"},
    "lines/<str:uid>": {"GET": "lines:read"},
    "lines/<str:uid>/actual-user": {"POST": "orders:write"},
}
# Everywhere else, and who may come.
OTHERS = {
    "": "anybody: leads to the admin",
    "admin/": "staff: Django's session and apps.accounts.roles",
    "oauth/token": "a client with its secret",
    ".well-known/oauth-authorization-server": "anybody",
    "carrier/callbacks/<str:connection_uid>": "a carrier, by its signature",
    "api/schema": "anybody",
    "docs": "anybody",
    "healthz": "anybody",
    "readyz": "anybody",
}
PREFIXES = {
    "ranges": "rng",
    "reservations": "res",
    "subscribers": "sub",
    "verifications": "ver",
    "holder-checks": "hch",
    "holder-disputes": "dsp",
    "orders": "ord",
    "lines": "lin",
}
METHODS = ("get", "post", "put", "patch", "delete")
CALLS = [(route, method) for route, methods in SCOPES.items() for method in methods]


def routes(patterns: list[Any] | None = None, before: str = "") -> Iterator[tuple[str, Any]]:
    """(route as it is written, view class or function) of everything but the admin's own tree."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver) and route != "admin/":
            yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            view = pattern.callback
            yield route, getattr(view, "cls", getattr(view, "view_class", view))
        else:
            yield route, pattern


def partner_routes() -> dict[str, Any]:
    return {route.removeprefix("api/v1/"): view for route, view in routes() if route.startswith("api/v1/")}


def path_to(route: str) -> str:
    """An address of the route with ids that are well-formed and belong to nobody."""
    prefix = PREFIXES.get(route.partition("/")[0], "xxx")
    return "/api/v1/" + re.sub(r"<str:\w+>", encode(prefix, new_uuid7()), route)


def test_every_route_of_the_partner_api_is_in_the_table() -> None:
    found = partner_routes()
    none(set(found) - set(SCOPES), instead="say in SCOPES which scope each of its methods needs")
    none(set(SCOPES) - set(found), instead="take it off the table SCOPES")


def test_every_other_address_says_who_may_come() -> None:
    found = {route for route, _ in routes() if not route.startswith("api/v1/")}
    none(found - set(OTHERS), instead="say in OTHERS who may come")
    none(set(OTHERS) - found, instead="take it off the table OTHERS")


@pytest.mark.parametrize("route", SCOPES)
def test_a_view_asks_for_the_scopes_of_the_table_and_answers_no_other_method(route: str) -> None:
    view = partner_routes()[route]
    assert issubclass(view, PartnerView), f"{view} does not check tokens, scopes and limits"
    assert dict(view.scopes) == SCOPES[route]
    answered = {method.upper() for method in METHODS if callable(getattr(view, method, None))}
    assert answered == set(SCOPES[route]), "a method without a scope, or a scope without a method"
    assert set(view.scopes.values()) - {None} <= set(settings.OAUTH2_PROVIDER["SCOPES"])


def test_no_route_takes_what_is_not_text() -> None:
    """An <int:..> shows internal keys and answers another 404 than an unknown id."""
    found = [route for route, _ in routes() if "<" in route and re.search(r"<(?!str:)", route)]
    none(found, instead="<str:uid>")


# --- And that it is so ----------------------------------------------------------------------------------------------
@pytest.mark.django_db
@pytest.mark.parametrize(("route", "method"), CALLS, ids=[f"{method} {route}" for route, method in CALLS])
class TestEveryCall:
    def test_without_a_token_it_is_refused(self, route: str, method: str) -> None:
        response = ApiClient(None).request(method, path_to(route), {}, headers={"Idempotency-Key": "k"})
        assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
        assert response["WWW-Authenticate"].startswith("Bearer")

    def test_without_the_scope_it_is_refused(
        self, route: str, method: str, operator: VirtualOperator, now: datetime
    ) -> None:
        scope = SCOPES[route][method]
        if scope is None:
            return
        app, _ = given_partner_app(operator=operator, now=now)
        token = given_token(app=app, now=now, scopes=[name for name in app.scopes if name != scope])
        response = ApiClient(token).request(method, path_to(route), {}, headers={"Idempotency-Key": "k"})
        assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")
        assert response["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{scope}"'


# Bodies that would do, so that nothing else is wrong with the request.
BODIES: dict[str, dict[str, Any]] = {
    "verifications": {"channel": "in_store"},
    "representatives": {
        "role": "guardian",
        "name": "张三丰",
        "document": {"type": "resident_id", "number": "11010519491231002X"},
    },
    "consents": {"purpose": "marketing", "text_version": "v1", "channel": "in_store"},
    "actual-user": {"actual_user": "sub_01h455vb4pex5vsknk084sn02q"},
}
DETAILS = [(route, method) for route, method in CALLS if "<" in route]


@pytest.mark.django_db
@pytest.mark.parametrize(("route", "method"), DETAILS, ids=[f"{method} {route}" for route, method in DETAILS])
def test_unknown_and_malformed_ids_answer_the_same(route: str, method: str, api: ApiClient) -> None:
    """What belongs to another operator answers so too: that is tested with each resource."""
    body = BODIES.get(route.rpartition("/")[2])
    answers = []
    for uid in (None, "garbage", "ord_", "%00", "١", "0", "1" * 300, "sub_01h455vb4pex5vsknk084sn02q"):
        path = path_to(route) if uid is None else "/api/v1/" + re.sub(r"<str:\w+>", uid, route)
        response = api.request(method, path, body, headers={"Idempotency-Key": f"key {uid}"[:50]})
        problem = response.json()
        assert problem.pop("request_id")
        assert problem.pop("instance")
        answers.append((response.status_code, problem))
    assert answers[0][0] == 404
    assert answers[0][1]["code"] == "not_found"
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.django_db
@pytest.mark.parametrize("route", SCOPES)
def test_no_method_beside_the_table_is_answered(route: str, api: ApiClient) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - set(SCOPES[route]):
        response = api.request(method, path_to(route))
        assert (method, response.status_code) == (method, 405)


@pytest.mark.django_db
def test_the_admin_is_closed_to_strangers(client: Client) -> None:
    response = client.get("/admin/")
    assert (response.status_code, response["Location"]) == (302, "/admin/login/?next=/admin/")
