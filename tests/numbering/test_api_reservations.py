"""/reservations."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.accounts.models import PartnerApp
from apps.core.actor import Actor, ActorKind
from apps.events.models import OutboxEvent
from apps.numbering import services as numbering
from apps.numbering.models import NumberRange, PhoneNumber, Reservation
from apps.numbering.states import NumberGrade, NumberStatus
from apps.operators import services as operators
from apps.operators.models import Licence, VirtualOperator
from apps.operators.policies import PolicyKey
from tests.factories.accounts import ApiClient, given_partner_app, given_token
from tests.factories.numbering import (
    SYSTEM,
    given_few_numbers,
    given_range,
    given_reservation,
    given_terms,
)
from tests.factories.operators import given_policy

PATH = "/api/v1/reservations"


@pytest.fixture
def leased(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now)


@pytest.fixture
def mine(
    leased: NumberRange, operator: VirtualOperator, partner_app: PartnerApp, now: datetime
) -> Reservation:
    """A reservation made by the app that `api` calls as."""
    actor = Actor(kind=ActorKind.PARTNER, id=partner_app.uid, label="", operator_id=operator.pk)
    return given_reservation(operator=operator, now=now, actor=actor, quantity=2)


def reserved() -> int:
    return PhoneNumber.objects.filter(status=NumberStatus.RESERVED).count()


def refuse(response: Any, status: int, code: str, *pointers: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response["Content-Type"] == "application/problem+json"
    assert sorted(error["pointer"] for error in response.json()["errors"]) == sorted(pointers)


# --- POST -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["+86{}", "86{}", "{}"])
def test_reserve_a_number(api: ApiClient, leased: NumberRange, form: str) -> None:
    response = api.post(PATH, {"number": form.format(leased.first)})
    assert response.status_code == 201
    body = response.json()
    assert set(body) == {"id", "status", "numbers", "expires_at", "terms"}
    assert body["terms"] == []
    assert (body["status"], body["numbers"]) == ("ACTIVE", [f"+86{leased.first}"])
    assert body["id"].startswith("res_")
    assert body["expires_at"].endswith("Z")
    assert response["Location"] == f"{PATH}/{body['id']}"
    assert api.get(response["Location"]).json() == body


def test_reserve_by_criteria(api: ApiClient, leased: NumberRange) -> None:
    wish = {
        "carrier": "unicom",
        "city": "深圳",
        "suffix": "8",
        "grade": "ordinary",
        "quantity": 3,
        "ttl_seconds": 60,
    }
    response = api.post(PATH, wish)
    assert response.status_code == 201
    numbers = response.json()["numbers"]
    assert len(numbers) == 3
    assert all(number.endswith("8") for number in numbers)
    assert api.post(PATH, {}).status_code == 201


def test_terms_of_a_pretty_number(
    api: ApiClient, leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    PhoneNumber.objects.filter(number=leased.first + 888).update(grade=NumberGrade.GOLD)
    given_terms(operator=operator, now=now - timedelta(seconds=1))
    body = api.post(PATH, {"grade": "gold"}).json()
    assert body["terms"] == [
        {
            "number": f"+86{leased.first + 888}",
            "grade": "gold",
            "deposit": {"amount": "400.00", "currency": "CNY"},
            "min_monthly_spend": {"amount": "89.00", "currency": "CNY"},
            "months": 24,
        }
    ]
    given_terms(operator=operator, now=now, deposit=Decimal(1))
    assert api.get(f"{PATH}/{body['id']}").json()["terms"] == body["terms"]


def test_more_than_one_caller_may_hold(
    api: ApiClient, leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    given_policy(key=PolicyKey.RESERVATION_HELD_MAX, value=2, now=now, operator=operator)
    assert api.post(PATH, {"quantity": 2}).status_code == 201
    refuse(api.post(PATH, {}), 409, "reservation_limit_reached")
    assert reserved() == 2


def test_nothing_left(
    api: ApiClient, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    few = given_few_numbers(operator=operator, now=now, free=1)
    foreign = given_range(operator=other_operator, now=now)
    for wish in (
        {"quantity": 2},
        {"carrier": "mobile"},
        {"city": "杭州"},
        {"number": f"+86{few.last}"},
        {"number": f"+86{foreign.first}"},
        {"number": "+8619999999999"},
    ):
        refuse(api.post(PATH, wish), 409, "number_not_available")
    assert (reserved(), Reservation.objects.count(), OutboxEvent.objects.count()) == (0, 0, 0)
    assert api.post(PATH, {}).status_code == 201
    refuse(api.post(PATH, {}), 409, "number_not_available")


@pytest.mark.parametrize(
    ("body", "code", "pointers"),
    [
        ({"numer": "+8617100000000"}, "unknown_field", ["/numer"]),
        ({"number": "12345"}, "validation_error", ["/number"]),
        ({"number": 17100000000.5}, "validation_error", ["/number"]),
        ({"number": None}, "validation_error", ["/number"]),
        ({"number": "1" * 5000}, "validation_error", ["/number"]),
        (
            {"number": "+8617100000000", "quantity": 1, "city": "深圳"},
            "validation_error",
            ["/city", "/quantity"],
        ),
        ({"suffix": "4a", "grade": "lead", "x": 1}, "validation_error", ["/grade", "/suffix", "/x"]),
        ({"suffix": ""}, "validation_error", ["/suffix"]),
        ({"carrier": "中国联通"}, "validation_error", ["/carrier"]),
        ({"city": "\0"}, "validation_error", ["/city"]),
        ({"quantity": 0}, "validation_error", ["/quantity"]),
        ({"quantity": "many"}, "validation_error", ["/quantity"]),
        ({"ttl_seconds": 0}, "validation_error", ["/ttl_seconds"]),
        ([], "validation_error", [""]),
    ],
)
def test_shape_errors(api: ApiClient, leased: NumberRange, body: Any, code: str, pointers: list[str]) -> None:
    refuse(api.post(PATH, body), 400, code, *pointers)
    assert reserved() == 0


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"ttl_seconds": 59}, "reservation_ttl_not_allowed", "/ttl_seconds"),
        ({"ttl_seconds": 86401}, "reservation_ttl_not_allowed", "/ttl_seconds"),
        ({"quantity": 101}, "reservation_quantity_not_allowed", "/quantity"),
        ({"carrier": "unicon"}, "carrier_unknown", "/carrier"),
    ],
)
def test_against_policy(api: ApiClient, leased: NumberRange, body: Any, code: str, pointer: str) -> None:
    refuse(api.post(PATH, body), 422, code, pointer)
    assert reserved() == 0


def test_without_a_licence(
    api: ApiClient, leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    licence = Licence.objects.get(operator=operator)
    operators.revoke_licence(actor=SYSTEM, licence_uid=licence.uid, reason="", now=now)
    refuse(api.post(PATH, {}), 422, "licence_not_valid")
    assert reserved() == 0


def test_a_repeated_call_reserves_once(api: ApiClient, leased: NumberRange) -> None:
    first = api.post(PATH, {"quantity": 2}, key="k")
    again = api.post(PATH, {"quantity": 2}, key="k")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again["Location"] == first["Location"]
    assert (first.headers.get("Idempotent-Replayed"), again["Idempotent-Replayed"]) == (None, "true")
    refuse(api.post(PATH, {"quantity": 3}, key="k"), 422, "idempotency_key_reused")
    refuse(api.post(PATH, {"quantity": 2}, key=None), 400, "idempotency_key_missing")
    assert (reserved(), Reservation.objects.count()) == (2, 1)


def test_a_refused_call_frees_its_key(api: ApiClient, leased: NumberRange) -> None:
    refuse(api.post(PATH, {"city": "杭州"}, key="k"), 409, "number_not_available")
    assert api.post(PATH, {"city": "深圳"}, key="k").status_code == 201


# --- GET ------------------------------------------------------------------------------------------------------------
def test_look(api: ApiClient, mine: Reservation) -> None:
    response = api.get(f"{PATH}/{mine.uid}")
    assert response.json()["numbers"] == [f"+86{number}" for number in mine.numbers]
    again = api.get(f"{PATH}/{mine.uid}", headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "uid", ["nonsense", "res_01h455vb4pex5vsknk084sn02q", "sub_01h455vb4pex5vsknk084sn02q"]
)
def test_unknown_and_foreign_are_the_same(
    api: ApiClient, other_api: ApiClient, mine: Reservation, uid: str
) -> None:
    foreign = other_api.get(f"{PATH}/{mine.uid}")
    refuse(foreign, 404, "not_found")
    unknown = api.get(f"{PATH}/{uid}")
    volatile = {"request_id", "instance"}
    assert {k: v for k, v in unknown.json().items() if k not in volatile} == {
        k: v for k, v in foreign.json().items() if k not in volatile
    }
    refuse(other_api.delete(f"{PATH}/{mine.uid}"), 404, "not_found")
    refuse(other_api.post(f"{PATH}/{mine.uid}/extend"), 404, "not_found")
    assert reserved() == 2


def test_a_colleague_may_look_but_not_touch(
    mine: Reservation, operator: VirtualOperator, now: datetime
) -> None:
    app, _ = given_partner_app(operator=operator, now=now)
    colleague = ApiClient(given_token(app=app, now=now))
    assert colleague.get(f"{PATH}/{mine.uid}").status_code == 200
    refuse(colleague.delete(f"{PATH}/{mine.uid}"), 409, "reservation_not_yours")
    refuse(colleague.post(f"{PATH}/{mine.uid}/extend"), 409, "reservation_not_yours")
    assert reserved() == 2


# --- extend ---------------------------------------------------------------------------------------------------------
def test_extend_once(api: ApiClient, mine: Reservation) -> None:
    response = api.post(f"{PATH}/{mine.uid}/extend", {"ttl_seconds": 600}, key="k")
    assert response.status_code == 200
    changed = Reservation.objects.get(pk=mine.pk)
    assert changed.expires_at == mine.expires_at + timedelta(seconds=600)
    again = api.post(f"{PATH}/{mine.uid}/extend", {"ttl_seconds": 600}, key="k")
    assert (again.content, again["Idempotent-Replayed"]) == (response.content, "true")
    refuse(api.post(f"{PATH}/{mine.uid}/extend"), 409, "reservation_already_extended")
    refuse(api.post(f"{PATH}/{mine.uid}/extend", {"ttl": 1}), 400, "unknown_field", "/ttl")
    refuse(api.post(f"{PATH}/{mine.uid}/extend", key=None), 400, "idempotency_key_missing")
    assert Reservation.objects.get(pk=mine.pk).expires_at == changed.expires_at


def test_extend_without_a_body(api: ApiClient, mine: Reservation) -> None:
    assert api.post(f"{PATH}/{mine.uid}/extend").status_code == 200
    assert Reservation.objects.get(pk=mine.pk).expires_at == mine.expires_at + timedelta(seconds=1800)


def test_extend_too_late(api: ApiClient, mine: Reservation, now: datetime) -> None:
    earlier = now - timedelta(days=1)
    Reservation.objects.filter(pk=mine.pk).update(
        created_at=earlier, expires_at=earlier + timedelta(minutes=1)
    )
    refuse(api.post(f"{PATH}/{mine.uid}/extend"), 409, "reservation_expired")
    numbering.expire_reservations(actor=SYSTEM, now=now, limit=10)
    refuse(api.post(f"{PATH}/{mine.uid}/extend"), 409, "reservation_expired")
    assert api.get(f"{PATH}/{mine.uid}").json()["status"] == "EXPIRED"


def test_if_match(api: ApiClient, mine: Reservation) -> None:
    path = f"{PATH}/{mine.uid}"
    tag = api.get(path)["ETag"]
    stale = {"If-Match": '"stale"'}
    refuse(api.post(f"{path}/extend", headers=stale), 412, "precondition_failed")
    refuse(api.delete(path, headers=stale), 412, "precondition_failed")
    assert api.post(f"{path}/extend", headers={"If-Match": tag}).status_code == 200
    refuse(api.delete(path, headers={"If-Match": tag}), 412, "precondition_failed")
    assert reserved() == 2
    assert api.delete(path, headers={"If-Match": api.get(path)["ETag"]}).status_code == 204


# --- DELETE ---------------------------------------------------------------------------------------------------------
def test_release(api: ApiClient, mine: Reservation) -> None:
    response = api.delete(f"{PATH}/{mine.uid}")
    assert (response.status_code, response.content) == (204, b"")
    assert reserved() == 0
    assert api.get(f"{PATH}/{mine.uid}").json()["status"] == "RELEASED"
    refuse(api.delete(f"{PATH}/{mine.uid}"), 409, "invalid_transition")


def test_release_with_a_key_can_be_repeated(api: ApiClient, mine: Reservation) -> None:
    headers = {"Idempotency-Key": "k"}
    assert api.delete(f"{PATH}/{mine.uid}", headers=headers).status_code == 204
    again = api.delete(f"{PATH}/{mine.uid}", headers=headers)
    assert (again.status_code, again["Idempotent-Replayed"]) == (204, "true")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "", "numbers:read"),
        ("POST", "/{}/extend", "numbers:read"),
        ("DELETE", "/{}", "numbers:read"),
        ("GET", "/{}", "numbers:write"),
    ],
)
def test_needs_the_scope(
    mine: Reservation, operator: VirtualOperator, now: datetime, method: str, path: str, scope: str
) -> None:
    app, _ = given_partner_app(operator=operator, now=now, scopes=(scope,))
    client = ApiClient(given_token(app=app, now=now))
    response = client.request(method, PATH + path.format(mine.uid), headers={"Idempotency-Key": "k"})
    refuse(response, 403, "insufficient_scope")
    assert (reserved(), Reservation.objects.count()) == (2, 1)


@pytest.mark.parametrize("step", ["reserve", "extend", "release"])
def test_what_changes_something_takes_no_query(api: ApiClient, mine: Reservation, step: str) -> None:
    before = Reservation.objects.values().get()
    if step == "release":
        response = api.delete(f"{PATH}/{mine.uid}?fore=1")
        refuse(response, 400, "unknown_parameter", "?fore")
    else:
        path = PATH if step == "reserve" else f"{PATH}/{mine.uid}/extend"
        refuse(api.post(f"{path}?ttl_second=60", {}), 400, "unknown_parameter", "?ttl_second")
    assert Reservation.objects.values().get() == before
    assert reserved() == 2
