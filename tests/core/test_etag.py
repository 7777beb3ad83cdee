"""Entity tags: what is shown, hashed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from apps.core.api import etag
from tests.core.urls import ThingView

pytestmark = pytest.mark.urls("tests.core.urls")
THING = "/api/v1/thing"


def test_a_resource_has_a_tag_that_changes_with_what_is_shown(client: Client, monkeypatch: Any) -> None:
    first = client.get(THING)
    assert first.status_code == 200
    assert first["ETag"] == client.get(THING)["ETag"]
    assert first["ETag"].startswith('"')
    assert first["ETag"].endswith('"')
    monkeypatch.setattr(ThingView, "thing", {"id": "thi_1", "status": "SUSPENDED"})
    assert client.get(THING)["ETag"] != first["ETag"]


def test_who_has_it_already_gets_nothing(client: Client) -> None:
    tag = client.get(THING)["ETag"]
    for header in (tag, f"W/{tag}", f'"other", {tag}', f'"other",W/{tag}'):
        response = client.get(THING, headers={"If-None-Match": header})
        assert (response.status_code, response.content, response["ETag"]) == (304, b"", tag)


@pytest.mark.parametrize("header", ['"other"', "", "garbage", ",", '"'])
def test_who_has_another_gets_the_new_one(client: Client, header: str) -> None:
    assert client.get(THING, headers={"If-None-Match": header}).status_code == 200


def test_an_action_on_what_has_changed_is_refused(client: Client, monkeypatch: Any) -> None:
    tag = client.get(THING)["ETag"]
    monkeypatch.setattr(ThingView, "thing", {"id": "thi_1", "status": "SUSPENDED"})
    response = client.post(THING, headers={"If-Match": tag})
    assert response.status_code == 412
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "precondition_failed"


def test_an_action_on_what_was_seen_goes_on(client: Client) -> None:
    tag = client.get(THING)["ETag"]
    for headers in (
        {},
        {"If-Match": tag},
        {"If-Match": f"W/{tag}"},
        {"If-Match": "*"},
        {"If-Match": f'"a", {tag}'},
    ):
        assert client.post(THING, headers=headers).status_code == 200
    assert client.post(THING, headers={"If-Match": '"other"'}).status_code == 412


def test_the_tag_is_that_of_the_json_and_not_of_python() -> None:
    assert etag.of({"fee": Decimal("1.50")}) == etag.of({"fee": "1.50"})
    assert etag.of({"fee": "1.50"}) != etag.of({"fee": "1.5"})
