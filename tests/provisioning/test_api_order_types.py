"""The REST face of orders on a line that is there: shapes, codes, and what lines and orders show of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.actor import Actor
from apps.lines.models import Line
from apps.lines.states import SuspensionCause, SuspensionKind
from apps.numbering import services as numbering
from apps.numbering.numbers import to_e164
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.models import ServiceOrder
from tests.factories.accounts import ApiClient, given_partner_app, given_token
from tests.factories.provisioning import SYSTEM, Seller
from tests.factories.subscribers import resident_number

pytestmark = pytest.mark.django_db
URL = "/api/v1/orders"
TYPES = ("suspend", "resume", "change_sim", "change_number", "change_plan", "transfer", "terminate")


@pytest.fixture
def line(seller: Seller) -> Line:
    return seller.active_line()


def body_of(type: str, seller: Seller, line: Line) -> dict[str, Any]:
    """A body that will do, as api.md has it."""
    brings: dict[str, Any] = {}
    match type:
        case "suspend":
            brings = {"kind": "one_way", "reason": "lost"}
        case "resume":
            brings = {"reason": "lost"}
        case "change_sim":
            check = line.subscriber.verifications.get().uid
            brings = {"iccid": seller.another_card(), "verification": check}
        case "change_number":
            brings = {"number": to_e164(seller.range.first + 500)}
        case "change_plan":
            brings = {"plan": seller.another_plan().uid, "effective": "now"}
        case "transfer":
            brings = {"subscriber": seller.subscriber().uid}
        case "terminate":
            brings = {"reason": "user_request"}
    return {"type": type, "line": line.uid, **brings}


def shown(api: ApiClient, line: Line) -> dict[str, Any]:
    return api.get(f"/api/v1/lines/{line.uid}").json()


def placed(api: ApiClient, seller: Seller, body: dict[str, Any]) -> dict[str, Any]:
    """The order as it is shown once the carrier has done it."""
    answer = api.post(URL, body)
    assert answer.status_code == 202, answer.content
    order = ServiceOrder.objects.get(uid=answer.json()["id"])
    if order.finished_at is None:
        seller.done(order)
    return api.get(answer["Location"]).json()


@pytest.mark.parametrize("type", TYPES)
def test_each_type_is_accepted_and_shown(api: ApiClient, seller: Seller, line: Line, type: str) -> None:
    if type == "resume":
        placed(api, seller, body_of("suspend", seller, line))
    order = placed(api, seller, {**body_of(type, seller, line), "external_id": "mine"})
    assert (order["type"], order["status"], order["line"]) == (type, "COMPLETED", line.uid)
    assert [job["operation"] for job in order["jobs"]] == [type]
    assert [step["status"] for step in order["timeline"]] == ["ACKNOWLEDGED", "IN_PROGRESS", "COMPLETED"]
    assert [item["id"] for item in api.get(f"{URL}?type={type}").json()["items"]] == [order["id"]]


@pytest.mark.parametrize("type", TYPES)
def test_each_type_is_placed_once_per_key(api: ApiClient, seller: Seller, line: Line, type: str) -> None:
    if type == "resume":
        placed(api, seller, body_of("suspend", seller, line))
    body = body_of(type, seller, line)
    first, second = (api.post(URL, body, key="k-1") for _ in range(2))
    assert (first.status_code, first.content) == (202, second.content)
    assert ServiceOrder.objects.filter(type=type.upper()).count() == 1


def test_a_line_shows_why_it_stands_still(api: ApiClient, seller: Seller, line: Line) -> None:
    assert shown(api, line)["suspension"] is None
    suspend = {"type": "suspend", "line": line.uid}
    placed(api, seller, {**suspend, "kind": "one_way", "reason": "arrears"})
    placed(api, seller, {**suspend, "kind": "two_way", "reason": "lost", "note": "blue phone"})
    suspension = shown(api, line)["suspension"]
    assert suspension["kind"] == "two_way"
    assert [(reason["kind"], reason["reason"]) for reason in suspension["reasons"]] == [
        ("one_way", "arrears"),
        ("two_way", "lost"),
    ]
    for reason in suspension["reasons"]:
        assert set(reason) == {"kind", "reason", "placed_at", "notice", "remedy"}
        assert reason["placed_at"].endswith("Z")
        assert reason["notice"]
        assert reason["remedy"]
    order = placed(api, seller, {"type": "resume", "line": line.uid, "reason": "lost"})
    # What the carrier was asked for is what is left.
    assert [job["operation"] for job in order["jobs"]] == ["suspend"]
    assert shown(api, line)["suspension"]["kind"] == "one_way"


def test_where_the_carrier_is_not_asked_there_is_no_job(api: ApiClient, seller: Seller, line: Line) -> None:
    suspend = {"type": "suspend", "line": line.uid, "kind": "two_way"}
    placed(api, seller, {**suspend, "reason": "lost"})
    answer = api.post(URL, {**suspend, "reason": "arrears"})
    assert (answer.status_code, answer.json()["status"], answer.json()["jobs"]) == (202, "COMPLETED", [])


def test_next_month_waits_and_is_cancelled(api: ApiClient, seller: Seller, line: Line) -> None:
    body = {**body_of("change_plan", seller, line), "effective": "next_month"}
    order = api.post(URL, body).json()
    assert (order["status"], order["jobs"]) == ("ACKNOWLEDGED", [])
    # The first of a month begins in China when it is 16 o'clock of the day before in UTC.
    assert order["due_at"].endswith("T16:00:00.000Z")
    assert api.post(f"{URL}/{order['id']}/cancel").json()["status"] == "CANCELLED"


@pytest.mark.parametrize(
    ("type", "changes", "pointers"),
    [
        ("suspend", {"kind": "three_way"}, ["/kind"]),
        ("suspend", {"kind": "ONE_WAY"}, ["/kind"]),
        ("suspend", {"reason": "fraud"}, ["/reason"]),
        ("suspend", {"kind": None, "reason": None}, ["/kind", "/reason"]),
        ("suspend", {"note": "x" * 201}, ["/note"]),
        ("suspend", {"note": f"card {resident_number()}"}, ["/note"]),
        ("resume", {"reason": "boredom"}, ["/reason"]),
        ("resume", {"kind": "one_way"}, ["/kind"]),
        ("change_sim", {"iccid": "123"}, ["/iccid"]),
        ("change_sim", {"verification": None}, ["/verification"]),
        ("change_number", {"number": "12345"}, ["/number"]),
        ("change_number", {"number": 17090000001}, ["/number"]),
        ("change_number", {"number": ...}, ["/number"]),
        ("change_number", {"reservation": "res_x"}, ["/number", "/reservation"]),
        ("change_plan", {"effective": "tomorrow"}, ["/effective"]),
        ("change_plan", {"plan": ...}, ["/plan"]),
        ("transfer", {"subscriber": ...}, ["/subscriber"]),
        ("transfer", {"line": ...}, ["/line"]),
        ("terminate", {"reason": "boredom"}, ["/reason"]),
    ],
)
def test_shapes(
    api: ApiClient, seller: Seller, line: Line, type: str, changes: dict[str, Any], pointers: list[str]
) -> None:
    """A value of `...` leaves the field out."""
    body = {**body_of(type, seller, line), **changes}
    answer = api.post(URL, {name: value for name, value in body.items() if value is not ...})
    problem = answer.json()
    assert answer.status_code == 400, problem
    assert sorted(error["pointer"] for error in problem["errors"]) == pointers
    assert ServiceOrder.objects.count() == 1


@pytest.mark.parametrize("type", TYPES)
def test_unknown_fields(api: ApiClient, seller: Seller, line: Line, type: str) -> None:
    answer = api.post(URL, {**body_of(type, seller, line), "colour": "red"})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "unknown_field")


@pytest.mark.parametrize("type", TYPES)
def test_a_line_of_another_operator_does_not_exist(
    api: ApiClient, other_api: ApiClient, seller: Seller, line: Line, type: str
) -> None:
    answer = other_api.post(URL, body_of(type, seller, line))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert ServiceOrder.objects.count() == 1


@pytest.mark.parametrize("type", TYPES)
def test_a_terminated_line_takes_no_orders(api: ApiClient, seller: Seller, line: Line, type: str) -> None:
    body = body_of(type, seller, line)
    placed(api, seller, body_of("terminate", seller, line))
    answer = api.post(URL, body)
    assert (answer.status_code, answer.json()["code"]) == (409, "line_not_active")


@pytest.mark.parametrize("type", TYPES)
def test_two_orders_for_one_line(api: ApiClient, seller: Seller, line: Line, type: str) -> None:
    body = body_of(type, seller, line)
    api.post(URL, body_of("suspend", seller, line))
    answer = api.post(URL, body)
    assert (answer.status_code, answer.json()["code"]) == (409, "line_has_open_order")


def test_codes_of_suspensions(api: ApiClient, seller: Seller, line: Line, operator: VirtualOperator) -> None:
    def code(body: dict[str, Any], by: ApiClient = api) -> tuple[int, str]:
        answer = by.post(URL, {"line": line.uid, **body})
        return answer.status_code, answer.json()["code"]

    lift = {"type": "resume", "reason": "lost"}
    assert code(lift) == (409, "suspension_not_found")
    place = {"type": "suspend", "kind": "two_way", "reason": "lost"}
    placed(api, seller, {"line": line.uid, **place})
    assert code(place) == (409, "suspension_already_placed")
    app, _ = given_partner_app(operator=operator, now=seller.now)
    assert code(lift, ApiClient(given_token(app=app, now=seller.now))) == (409, "suspension_not_yours")
    staff = Actor.system("police", operator_id=operator.pk)
    services.place_suspension_order(
        actor=staff,
        line=line.uid,
        kind=SuspensionKind.TWO_WAY,
        reason=SuspensionCause.REGULATOR,
        now=seller.now,
    )
    assert code({"type": "resume", "reason": "regulator"}) == (409, "suspension_not_yours")
    # Its own it may lift; the line stands still all the same.
    assert placed(api, seller, {"line": line.uid, **lift})["jobs"] == []
    assert [reason["reason"] for reason in shown(api, line)["suspension"]["reasons"]] == ["regulator"]


def test_other_codes(api: ApiClient, seller: Seller, line: Line) -> None:
    def code(type: str, **changes: str) -> tuple[int, str]:
        answer = api.post(URL, {**body_of(type, seller, line), **changes})
        return answer.status_code, answer.json()["code"]

    stranger = seller.subscriber()
    assert code("change_sim", verification=stranger.verifications.get().uid) == (
        422,
        "verification_not_holders",
    )
    assert code("change_sim", iccid="89860199999999999999") == (409, "sim_not_available")
    assert code("change_number", number="+8617099999999") == (409, "number_not_available")
    assert code("change_plan", plan=seller.plan.code) == (409, "plan_unchanged")
    assert code("change_plan", plan="NO-SUCH") == (422, "plan_not_available")
    assert code("transfer", subscriber=line.subscriber.uid) == (409, "holder_unchanged")
    assert ServiceOrder.objects.count() == 1


def test_a_reservation_gives_the_new_number(api: ApiClient, seller: Seller, line: Line) -> None:
    reservation = api.post("/api/v1/reservations", {"carrier": "unicom"}).json()
    body = {"type": "change_number", "line": line.uid, "reservation": reservation["id"]}
    placed(api, seller, body)
    assert shown(api, line)["number"] == reservation["numbers"][0]
    foreign = numbering.reserve(
        actor=SYSTEM, operator_id=seller.operator.pk, carrier="unicom", now=seller.now
    )
    answer = api.post(URL, {**body, "reservation": foreign.uid})
    assert (answer.status_code, answer.json()["code"]) == (409, "reservation_not_yours")


def test_a_list_of_suspended_lines_costs_the_same_queries(api: ApiClient, seller: Seller) -> None:
    counts = []
    for _ in range(3):
        seller.suspended_line()
        with CaptureQueriesContext(connection) as queries:
            assert api.get("/api/v1/lines").json()["items"][0]["suspension"]["kind"] == "two_way"
        counts.append(len(queries))
    assert counts[0] == counts[2]
