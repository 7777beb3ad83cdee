"""What comes in: every bad field at once, and no typo is lost."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

pytestmark = pytest.mark.urls("tests.core.urls")


def post(client: Client, body: Any) -> Any:
    return client.post("/api/v1/doors", body, content_type="application/json")


def found(response: Any, code: str = "validation_error") -> set[tuple[str, str]]:
    """(pointer, code) of every bad field."""
    body = response.json()
    assert (response.status_code, body["code"]) == (400, code)
    return {(error["pointer"], error["code"]) for error in body["errors"]}


def test_what_is_right_comes_through(client: Client) -> None:
    body = {
        "name": "front",
        "lock": {"kind": "yale", "pins": 3},
        "locks": [{"kind": "chubb"}],
        "colours": ["red"],
    }
    response = post(client, body)
    assert (response.status_code, response.json()) == (201, body)


def test_every_bad_field_is_told_at_once_with_its_place(client: Client) -> None:
    body = {
        "name": "too long",
        "lock": {"kind": "abus", "pins": 0},
        "locks": [{"kind": "yale"}, {"pins": "many"}],
        "colours": ["red", "ultramarine"],
    }
    assert found(post(client, body)) == {
        ("/name", "max_length"),
        ("/lock/kind", "invalid_choice"),
        ("/lock/pins", "min_value"),
        ("/locks/1/kind", "required"),
        ("/locks/1/pins", "invalid"),
        ("/colours/1", "max_length"),
    }


def test_a_typo_is_told_wherever_it_is(client: Client) -> None:
    body = {
        "name": "front",
        "nmae": 1,
        "lock": {"kind": "yale", "pin": 3},
        "locks": [{"kind": "yale"}, {"kind": "yale", "x": 1}],
    }
    assert found(post(client, body), "unknown_field") == {
        ("/nmae", "unknown_field"),
        ("/lock/pin", "unknown_field"),
        ("/locks/1/x", "unknown_field"),
    }


def test_a_typo_and_what_is_missing_because_of_it_are_told_together(client: Client) -> None:
    assert found(post(client, {"nmae": "front"})) == {("/name", "required"), ("/nmae", "unknown_field")}


@pytest.mark.parametrize("body", [{"name": None}, {"name": ""}, {"name": []}, {"name": {}}, {"name": True}])
def test_a_wrong_kind_of_value_is_a_bad_field(client: Client, body: Any) -> None:
    [(pointer, _)] = found(post(client, body))
    assert pointer == "/name"


@pytest.mark.parametrize("lock", [None, [], "yale", 1])
def test_a_wrong_kind_of_object_is_a_bad_field(client: Client, lock: Any) -> None:
    [(pointer, _)] = found(post(client, {"name": "front", "lock": lock}))
    assert pointer == "/lock"


@pytest.mark.parametrize("body", ["[]", '"front"', "1", "null"])
def test_a_body_that_is_no_object_is_one_error_of_the_whole(client: Client, body: str) -> None:
    [(pointer, _)] = found(post(client, body))
    assert pointer == ""


def test_a_nul_is_a_bad_value(client: Client) -> None:
    assert found(post(client, {"name": "a\0"})) == {("/name", "null_characters_not_allowed")}


@pytest.mark.parametrize(
    ("name", "pointer"),
    [
        ("a/b", "/a~1b"),
        ("a~b", "/a~0b"),
        ("", "/"),
        ("号", "/号"),
        ("x" * 5000, "/" + "x" * 64),
    ],
)
def test_pointers_are_escaped_and_short(client: Client, name: str, pointer: str) -> None:
    assert found(post(client, {"name": "front", name: 1}), "unknown_field") == {(pointer, "unknown_field")}


def test_no_error_repeats_what_was_sent(client: Client) -> None:
    number = "110101190001010008"
    response = post(
        client,
        {
            "name": number,
            number: 1,
            "lock": {"kind": number, number: number, "pins": number + "x"},
            "colours": [number],
        },
    )
    assert response.status_code == 400
    assert len(response.json()["errors"]) == 6
    assert number not in response.content.decode()
    response = post(client, {"name": "front", "lock": {"kind": "张三丰"}})
    assert found(response) == {("/lock/kind", "invalid_choice")}
    assert "张三丰" not in response.content.decode()


def test_the_last_of_two_equal_members_counts(client: Client) -> None:
    """As RFC 8259 allows; both readers of a body (the fingerprint and the view) see the same one."""
    response = client.post(
        "/api/v1/doors", b'{"name":"front","name":"back"}', content_type="application/json"
    )
    assert response.json() == {"name": "back"}
