"""The REST face of orders: what clients written against api.md alone rely on."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEvent
from apps.carriers.base import Rejected, Succeeded
from apps.events.models import OutboxEvent
from apps.lines.models import Line
from apps.numbering import services as numbering
from apps.numbering.numbers import to_e164
from apps.operators.models import VirtualOperator
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.subscribers.models import Subscriber
from tests.factories.accounts import ApiClient, given_token
from tests.factories.operators import given_dealer
from tests.factories.provisioning import SYSTEM, Seller, given_seller, given_sims
from tests.factories.subscribers import given_subscriber

pytestmark = pytest.mark.django_db
URL = "/api/v1/orders"
UNKNOWN = "00000000000000000000000000"


@pytest.fixture
def person(seller: Seller) -> Subscriber:
    return seller.subscriber()


@pytest.fixture
def body(seller: Seller, person: Subscriber) -> dict[str, Any]:
    return {"type": "activate", "subscriber": person.uid, "plan": seller.plan.uid}


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The problem, after making sure that it is one and that nothing was ordered."""
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer["Content-Type"] == "application/problem+json"
    assert not ServiceOrder.objects.exists()
    assert not Line.objects.exists()
    return problem


def test_activate_answers_202_with_where_to_look(api: ApiClient, body: dict[str, Any]) -> None:
    answer = api.post(URL, {**body, "external_id": "mine-1"})
    assert answer.status_code == 202, answer.content
    order = answer.json()
    assert answer["Location"] == f"/api/v1/orders/{order['id']}"
    assert (order["type"], order["status"], order["reason"], order["external_id"]) == (
        "activate",
        "IN_PROGRESS",
        None,
        "mine-1",
    )
    (job,) = order["jobs"]
    assert (job["operation"], job["status"], job["attempts"], job["error"]) == ("activate", "QUEUED", 0, None)
    assert job["next_attempt_at"].endswith("Z")
    assert [step["status"] for step in order["timeline"]] == ["ACKNOWLEDGED", "IN_PROGRESS"]
    assert {step["actor"] for step in order["timeline"]} == {"partner"}
    assert api.get(answer["Location"]).json() == order


def test_the_same_key_answers_the_same_and_orders_once(api: ApiClient, body: dict[str, Any]) -> None:
    first, second = (api.post(URL, body, key="k-1") for _ in range(2))
    assert first.content == second.content
    assert (second.status_code, second["Idempotent-Replayed"], second["Location"]) == (
        202,
        "true",
        first["Location"],
    )
    assert ServiceOrder.objects.count() == 1
    assert api.post(URL, {**body, "external_id": "x"}, key="k-1").json()["code"] == "idempotency_key_reused"


def test_a_refusal_frees_the_key(api: ApiClient, body: dict[str, Any]) -> None:
    refused(api.post(URL, {**body, "plan": "nothing"}, key="k-1"), 422, "plan_not_available")
    assert api.post(URL, body, key="k-1").status_code == 202


def test_plan_by_code_number_sim_dealer_and_criteria(
    api: ApiClient, seller: Seller, body: dict[str, Any]
) -> None:
    dealer = given_dealer(operator=seller.operator, now=seller.now, code="D-9")
    (iccid,) = given_sims(operator=seller.operator, carrier=seller.carrier, now=seller.now, count=1)
    number = to_e164(seller.range.first + 3)
    order = api.post(
        URL, {**body, "plan": seller.plan.code, "number": number, "iccid": iccid, "dealer": dealer.code}
    ).json()
    line = api.get(f"/api/v1/lines/{order['line']}").json()
    assert (line["number"], line["iccid"], line["plan"], line["status"]) == (
        number,
        iccid,
        seller.plan.uid,
        "PENDING",
    )
    again = api.post(
        URL, {**body, "number_criteria": {"city": "深圳", "suffix": "9", "grade": "ordinary"}}
    ).json()
    assert api.get(f"/api/v1/lines/{again['line']}").json()["number"].endswith("9")


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"type": "explode"}, "/type", "invalid_choice"),
        ({"type": None}, "/type", "null"),
        ({"subscriber": None}, "/subscriber", "null"),
        ({"plan": ""}, "/plan", "blank"),
        ({"number": "123"}, "/number", "invalid"),
        ({"number": "+8613800000000x"}, "/number", "invalid"),
        ({"iccid": "1" * 25}, "/iccid", "invalid"),
        ({"iccid": "x"}, "/iccid", "invalid"),
        ({"external_id": "a\u202eb"}, "/external_id", "invalid"),
        ({"external_id": "x" * 65}, "/external_id", "max_length"),
        ({"external_id": "a\u0000b"}, "/external_id", "null_characters_not_allowed"),
        ({"external_id": "110101190001010006"}, "/external_id", "personal_data"),
        ({"number_criteria": {"grade": "wooden"}}, "/number_criteria/grade", "invalid_choice"),
        ({"number_criteria": {"suffix": "x"}}, "/number_criteria/suffix", "invalid"),
        ({"number_criteria": []}, "/number_criteria", "invalid"),
        ({"number": "+8617090000001", "reservation": "res_1"}, "/number", "exclusive"),
        ({"number": "+8617090000001", "number_criteria": {}}, "/number_criteria", "exclusive"),
    ],
)
def test_bad_shapes_are_400_with_the_field(
    api: ApiClient, body: dict[str, Any], change: dict[str, Any], pointer: str, code: str
) -> None:
    problem = refused(api.post(URL, {**body, **change}), 400, "validation_error")
    assert (pointer, code) in {(error["pointer"], error["code"]) for error in problem["errors"]}


def test_every_bad_field_is_named_at_once(api: ApiClient, body: dict[str, Any]) -> None:
    problem = refused(api.post(URL, {**body, "number": "1", "iccid": "", "typo": 1}), 400, "validation_error")
    assert {error["pointer"] for error in problem["errors"]} == {"/number", "/iccid", "/typo"}


def test_an_unknown_field_is_refused(api: ApiClient, body: dict[str, Any]) -> None:
    problem = refused(api.post(URL, {**body, "extra": 1}), 400, "unknown_field")
    assert problem["errors"] == [
        {"pointer": "/extra", "code": "unknown_field", "detail": "This field is not known."}
    ]


@pytest.mark.parametrize(
    "sent", ["[]", '"text"', "1", "null", "", "{", "nonsense", '{"a": NaN}', "[" * 100_000]
)
def test_what_is_no_json_object_is_400(api: ApiClient, seller: Seller, sent: str) -> None:
    answer = api.post(URL, sent)
    assert answer.status_code == 400, answer.content
    assert answer.json()["code"] in ("validation_error", "malformed_request")


def test_what_is_impossible_now_is_refused_with_its_code(
    api: ApiClient,
    seller: Seller,
    body: dict[str, Any],
    carriers: dict[str, Any],
    other_operator: VirtualOperator,
) -> None:
    other = given_seller(operator=other_operator, now=seller.now, cards=1)
    (foreign_sim,) = given_sims(operator=other_operator, carrier=seller.carrier, now=seller.now, count=1)
    (mobile_sim,) = given_sims(operator=seller.operator, carrier=carriers["mobile"], now=seller.now, count=1)
    foreign = numbering.reserve(actor=SYSTEM, operator_id=other_operator.pk, carrier="unicom", now=seller.now)
    post = lambda **change: api.post(URL, {**body, **change})  # noqa: E731
    refused(post(subscriber=f"sub_{UNKNOWN}"), 404, "not_found")
    refused(post(subscriber=other.subscriber().uid), 404, "not_found")
    refused(post(plan=other.plan.uid), 422, "plan_not_available")
    refused(post(number=to_e164(other.range.first)), 409, "number_not_available")
    refused(post(number="+8617099999999"), 409, "number_not_available")
    refused(post(reservation=foreign.uid), 404, "not_found")
    refused(post(reservation=f"res_{UNKNOWN}"), 404, "not_found")
    refused(post(iccid=foreign_sim), 409, "sim_not_available")
    refused(post(iccid="89860199999999999999"), 409, "sim_not_available")
    assert post(iccid=mobile_sim).json()["code"] == "sim_wrong_carrier"
    assert post(dealer="nobody").json()["code"] == "dealer_not_allowed"
    assert not ServiceOrder.objects.exists()


def test_held_until_the_check_is_through(api: ApiClient, seller: Seller, body: dict[str, Any]) -> None:
    person = given_subscriber(operator=seller.operator, now=seller.now)
    order = api.post(URL, {**body, "subscriber": person.uid}).json()
    assert (order["status"], order["reason"], order["jobs"]) == ("HELD", "identity_not_verified", [])


def test_cancel(api: ApiClient, body: dict[str, Any]) -> None:
    order = api.post(URL, body).json()
    tag = api.get(f"{URL}/{order['id']}")["ETag"]
    stale = api.post(f"{URL}/{order['id']}/cancel", headers={"If-Match": '"other"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    cancelled = api.post(f"{URL}/{order['id']}/cancel", headers={"If-Match": tag})
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "CANCELLED")
    again = api.post(f"{URL}/{order['id']}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "order_not_cancellable")


def test_terminate(api: ApiClient, seller: Seller) -> None:
    line = seller.active_line()
    terminate = {"type": "terminate", "line": line.uid, "reason": "user_request"}
    order = api.post(URL, terminate)
    assert (order.status_code, order.json()["type"]) == (202, "terminate")
    assert api.post(URL, terminate).json()["code"] == "line_has_open_order"
    (claim,) = seller.claim()
    seller.record(claim, Succeeded("UC-2"))
    assert api.get(f"/api/v1/lines/{line.uid}").json()["status"] == "TERMINATED"
    refusal = api.post(URL, terminate)
    assert (refusal.status_code, refusal.json()["code"]) == (409, "line_not_active")


@pytest.mark.parametrize("reason", ["", "boredom", None])
def test_terminate_needs_a_reason_of_the_list(api: ApiClient, seller: Seller, reason: str | None) -> None:
    line = seller.active_line()
    answer = api.post(URL, {"type": "terminate", "line": line.uid, "reason": reason})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/reason")


def test_the_carriers_no_shows_as_the_reason(api: ApiClient, seller: Seller, body: dict[str, Any]) -> None:
    order = api.post(URL, body).json()
    (claim,) = seller.claim()
    seller.record(claim, Rejected("carrier_rejected", "The carrier cannot use this SIM."))
    shown = api.get(f"{URL}/{order['id']}").json()
    assert (shown["status"], shown["reason"]) == ("FAILED", "carrier_rejected")
    assert shown["jobs"][0]["error"] == {
        "code": "carrier_rejected",
        "detail": "The carrier cannot use this SIM.",
    }


def test_of_another_operator_nothing_exists(
    api: ApiClient,
    other_api: ApiClient,
    seller: Seller,
    body: dict[str, Any],
    other_operator: VirtualOperator,
) -> None:
    order = api.post(URL, body).json()
    unknown = other_api.get(f"{URL}/ord_{UNKNOWN}").json()
    for path in (f"{URL}/{order['id']}", f"/api/v1/lines/{order['line']}"):
        foreign = other_api.get(path)
        assert foreign.status_code == 404
        assert without_ids(foreign.json()) == without_ids(unknown)
    assert other_api.post(f"{URL}/{order['id']}/cancel").status_code == 404
    assert other_api.get(URL).json() == {"items": [], "next": None}
    assert other_api.get("/api/v1/lines").json()["items"] == []
    assert other_api.get("/api/v1/plans").json()["items"] == []
    answer = other_api.post(URL, {"type": "terminate", "line": order["line"], "reason": "fraud"})
    assert answer.status_code == 404


def without_ids(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name not in ("request_id", "instance")}


def test_lists_filter_page_and_refuse_what_they_do_not_know(
    api: ApiClient, seller: Seller, body: dict[str, Any]
) -> None:
    orders = [api.post(URL, {**body, "external_id": f"x-{n}"}).json() for n in range(3)]
    newest_first = [order["id"] for order in reversed(orders)]
    page = api.get(f"{URL}?limit=2&count=exact").json()
    assert ([item["id"] for item in page["items"]], page["count"]) == (newest_first[:2], 3)
    rest = api.get(f"{URL}?limit=2&after={page['next']}").json()
    assert ([item["id"] for item in rest["items"]], rest["next"]) == (newest_first[2:], None)
    assert [item["id"] for item in api.get(f"{URL}?external_id=x-1").json()["items"]] == [orders[1]["id"]]
    assert [i["id"] for i in api.get(f"{URL}?line={orders[0]['line']}").json()["items"]] == [orders[0]["id"]]
    assert api.get(f"{URL}?status=COMPLETED").json()["items"] == []
    assert len(api.get(f"{URL}?type=activate").json()["items"]) == 3
    assert len(api.get(f"{URL}?created_after=2020-01-01T00:00:00Z").json()["items"]) == 3
    for query, code in {
        "status=OPEN": "validation_error",
        "type=ACTIVATE": "validation_error",
        "created_after=yesterday": "validation_error",
        "limit=0": "validation_error",
        "after=junk": "cursor_invalid",
        f"status=HELD&after={page['next']}": "cursor_invalid",
        "colour=red": "unknown_parameter",
    }.items():
        answer = api.get(f"{URL}?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, code), query


def test_a_list_costs_the_same_queries_for_any_number_of_orders(
    api: ApiClient, seller: Seller, body: dict[str, Any]
) -> None:
    counts = []
    for _ in range(3):
        api.post(URL, body)
        with CaptureQueriesContext(connection) as queries:
            api.get(URL)
        counts.append(len(queries))
    assert counts[0] == counts[2] <= 6


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_405(api: ApiClient, seller: Seller, method: str) -> None:
    answer = api.request(method, URL, {})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert set(answer["Allow"].replace(" ", "").split(",")) >= {"GET", "POST"}


def test_scopes(seller: Seller, body: dict[str, Any], partner_app: Any, now: Any) -> None:
    reader = ApiClient(given_token(app=partner_app, now=now, scopes=["orders:read"]))
    answer = reader.post(URL, body)
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert reader.get("/api/v1/lines").status_code == 403
    assert reader.get(URL).status_code == 200


def test_the_request_id_reaches_job_audit_and_event(api: ApiClient, body: dict[str, Any]) -> None:
    order = api.post(URL, body, headers={"X-Request-ID": "trace-me-7"}).json()
    assert ActivationJob.objects.get(order__uid=order["id"]).request_id == "trace-me-7"
    assert set(AuditEvent.objects.filter(target_id=order["id"]).values_list("request_id", flat=True)) == {
        "trace-me-7"
    }
    assert OutboxEvent.objects.get(subject=order["id"]).request_id == "trace-me-7"


def test_unknown_parameters_are_refused_on_posts_too(api: ApiClient, body: dict[str, Any]) -> None:
    refused(api.post(f"{URL}?pln=1", body), 400, "unknown_parameter")
