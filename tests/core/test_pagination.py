"""Cursor lists: nothing twice, nothing left out, and no cursor that we did not make."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from django.test import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from apps.core.api import pagination
from apps.core.api.problems import ApiError
from apps.events.models import OutboxEvent

pytestmark = [pytest.mark.urls("tests.core.urls"), pytest.mark.django_db]

NOW = datetime(2026, 3, 1, tzinfo=UTC)
EVENTS = "/api/v1/events"


def given_events(count: int, *, type: str = "a.b", first: int = 0) -> list[str]:
    """Their ids, oldest first."""
    made = [
        OutboxEvent(type=type, operator_id=1, subject=f"s{first + number}", data={}, occurred_at=NOW)
        for number in range(count)
    ]
    # Several in one millisecond: their order is that of the ids, whatever it is.
    made.sort(key=lambda event: event.uid)
    OutboxEvent.objects.bulk_create(made)
    return [event.uid for event in made]


def get(client: Client, path: str = EVENTS, **query: Any) -> Any:
    return client.get(path, query)


def ids(page: dict[str, Any]) -> list[str]:
    return [item["id"] for item in page["items"]]


def walk(client: Client, path: str = EVENTS, **query: Any) -> list[dict[str, Any]]:
    """Every page from the first to the last."""
    pages = [get(client, path, **query).json()]
    while pages[-1]["next"]:
        pages.append(get(client, path, after=pages[-1]["next"], **query).json())
    return pages


@pytest.mark.parametrize("count", [0, 1, 2, 3, 6, 7])
def test_pages_put_together_are_the_list(client: Client, count: int) -> None:
    made = given_events(count)
    pages = walk(client, limit=3)
    assert [uid for page in pages for uid in ids(page)] == made[::-1]
    assert all(set(page) == {"items", "next"} for page in pages)
    assert [len(page["items"]) for page in pages[:-1]] == [3] * (len(pages) - 1)
    # A full last page says so by itself: no empty page follows.
    assert count == 0 or pages[-1]["items"] != []


def test_the_other_direction(client: Client) -> None:
    made = given_events(5)
    assert [uid for page in walk(client, limit=2, ascending=1) for uid in ids(page)] == made


def test_a_page_has_fifty_rows_unless_asked(client: Client) -> None:
    given_events(201)
    assert len(get(client).json()["items"]) == 50
    assert len(get(client, limit=200).json()["items"]) == 200


def test_a_page_costs_one_query(client: Client, django_assert_num_queries: Any) -> None:
    given_events(5)
    first = get(client, limit=2).json()
    with django_assert_num_queries(1):
        get(client, limit=2, after=first["next"])


def test_rows_that_come_and_go_meanwhile_neither_repeat_nor_hide_others(client: Client) -> None:
    made = given_events(6)
    first = get(client, limit=2).json()
    assert ids(first) == [made[5], made[4]]
    given_events(10, first=100)
    OutboxEvent.objects.filter(uid__in=[made[4], made[2]]).delete()
    second = get(client, limit=2, after=first["next"]).json()
    assert ids(second) == [made[3], made[1]]
    third = get(client, limit=2, after=second["next"]).json()
    assert (ids(third), third["next"]) == ([made[0]], None)


def test_the_same_cursor_gives_the_same_page(client: Client) -> None:
    given_events(6)
    cursor = get(client, limit=2).json()["next"]
    assert get(client, limit=2, after=cursor).json() == get(client, limit=2, after=cursor).json()


def test_the_limit_may_change_between_pages(client: Client) -> None:
    made = given_events(6)
    cursor = get(client, limit=2).json()["next"]
    assert ids(get(client, limit=200, after=cursor).json()) == made[3::-1]


def test_integer_keys_dicts_and_pages_prepared_at_once(client: Client) -> None:
    given_events(5)
    numbers = list(OutboxEvent.objects.order_by("-id").values_list("id", flat=True))
    pages = walk(client, "/api/v1/numbers", limit=2)
    assert [(item["number"], item["of"]) for page in pages for item in page["items"]] == list(
        zip(numbers, [2, 2, 2, 2, 1], strict=True)
    )


# --- Count ----------------------------------------------------------------------------------------------------------
def test_the_count_comes_when_asked_and_is_that_of_the_whole_list(client: Client) -> None:
    given_events(4)
    given_events(3, type="c.d")
    assert "count" not in get(client).json()
    assert get(client, count="exact").json()["count"] == 7
    first = get(client, count="exact", type="c.d", limit=2).json()
    assert (first["count"], len(first["items"])) == (3, 2)
    assert get(client, count="exact", type="c.d", limit=2, after=first["next"]).json()["count"] == 3


# --- Refusals -------------------------------------------------------------------------------------------------------
def refused(response: Any, code: str, pointer: str | None = None) -> bool:
    body = response.json()
    assert (response.status_code, body["code"]) == (400, code)
    assert [error["pointer"] for error in body["errors"]] == ([pointer] if pointer else [])
    return True


@pytest.mark.parametrize(
    "limit", ["0", "201", "-1", "1.5", "", "ten", "1e2", "٣", "５", "0x10", "99999999999999", " 5", "5\0"]
)
def test_a_limit_is_a_number_from_1_to_200(client: Client, limit: str) -> None:
    assert refused(get(client, limit=limit), "validation_error", "?limit")


@pytest.mark.parametrize("count", ["", "true", "EXACT", "1"])
def test_the_only_count_is_exact(client: Client, count: str) -> None:
    assert refused(get(client, count=count), "validation_error", "?count")


def test_a_cursor_belongs_to_its_filters_its_list_and_its_direction(client: Client) -> None:
    given_events(6)
    given_events(6, type="c.d", first=100)
    everything = get(client, limit=2).json()["next"]
    one_type = get(client, limit=2, type="c.d").json()["next"]
    numbers = get(client, "/api/v1/numbers", limit=2).json()["next"]
    assert refused(get(client, after=everything, type="c.d"), "cursor_invalid")
    assert refused(get(client, after=one_type), "cursor_invalid")
    assert refused(get(client, after=one_type, type="a.b"), "cursor_invalid")
    assert refused(get(client, after=everything, ascending=1), "cursor_invalid")
    assert refused(get(client, after=numbers), "cursor_invalid")
    assert refused(get(client, "/api/v1/numbers", after=everything), "cursor_invalid")
    assert get(client, after=one_type, type="c.d").status_code == 200


def test_an_empty_cursor_is_the_first_page(client: Client) -> None:
    given_events(3)
    assert get(client, after="", limit=2).json() == get(client, limit=2).json()


def test_no_byte_of_a_cursor_can_be_changed(client: Client) -> None:
    given_events(4)
    cursor = get(client, limit=2).json()["next"]
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 0x01
        forged = base64.urlsafe_b64encode(changed).decode().rstrip("=")
        assert refused(get(client, after=forged), "cursor_invalid")


POSITIONS = [
    "ord_01h455vb4pex5vsknk084sn02q",
    "evt_",
    "",
    "\0",
    5,
    -1,
    2**63,
    1.5,
    True,
    None,
    [],
    ["evt_01h455vb4pex5vsknk084sn02q"],
    {"id": 1},
    "x" * 5000,
]


@pytest.mark.parametrize("path", [EVENTS, "/api/v1/numbers"])
@pytest.mark.parametrize("position", POSITIONS, ids=lambda position: repr(position)[:20])
@pytest.mark.parametrize("signature", ["", "0" * 32, None, 1, []])
def test_a_position_that_we_did_not_sign_is_not_looked_at(
    client: Client, path: str, position: Any, signature: Any
) -> None:
    forged = base64.urlsafe_b64encode(orjson.dumps([position, signature])).decode()
    assert refused(get(client, path, after=forged), "cursor_invalid")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cursor=st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
@example(cursor="=")
@example(cursor="A")
@example(cursor="bnVsbA")
@example(cursor="[]")
@example(cursor="\ud800")
def test_whatever_is_sent_as_a_cursor_is_refused_and_never_a_crash(client: Client, cursor: str) -> None:
    query = {"after": cursor.encode("utf-8", "replace").decode()}
    if not query["after"]:
        return
    response = get(client, **query)
    # A NUL is refused as a parameter before it is looked at as a cursor.
    expected = ("validation_error", "?after") if "\0" in query["after"] else ("cursor_invalid", None)
    assert refused(response, *expected)


def test_what_is_signed_is_the_position_and_what_it_belongs_to(settings: Any) -> None:
    cursor = pagination._encode("evt_1", b"list")
    assert pagination._decode(cursor, b"list") == "evt_1"
    settings.SECRET_KEY = "another"
    with pytest.raises(ApiError):
        pagination._decode(cursor, b"list")
