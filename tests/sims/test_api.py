"""/sims."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from apps.operators.models import HostCarrier, VirtualOperator
from apps.sims import services as sims
from apps.sims.models import SimCard
from tests.factories.accounts import ApiClient, given_partner_app, given_token
from tests.factories.sims import SYSTEM, given_batch, given_card, new_iccid

PATH = "/api/v1/sims"


@pytest.fixture
def stock(operator: VirtualOperator, carriers: dict[str, HostCarrier], now: datetime) -> list[str]:
    """Seven ICCIDs in ascending order: five at unicom, of which one is reserved, then two at mobile."""
    iccids = [new_iccid() for _ in range(7)]
    given_batch(operator=operator, host_carrier=carriers["unicom"], now=now, iccids=iccids[:5])
    given_batch(operator=operator, host_carrier=carriers["mobile"], now=now, iccids=iccids[5:])
    sims.take_sim(
        actor=SYSTEM, operator_id=operator.pk, host_carrier_id=carriers["unicom"].pk, now=now, iccid=iccids[1]
    )
    return iccids


def listed(api: ApiClient, query: str = "") -> list[str]:
    numbers: list[str] = []
    after = ""
    while True:
        response = api.get(f"{PATH}?{query}{after}")
        assert response.status_code == 200, response.content
        numbers += [item["iccid"] for item in response.json()["items"]]
        if response.json()["next"] is None:
            return numbers
        after = f"&after={response.json()['next']}"


def test_items_are_as_in_the_contract(api: ApiClient, stock: list[str]) -> None:
    assert api.get(f"{PATH}?limit=1").json()["items"] == [
        {"iccid": stock[0], "carrier": "unicom", "form_factor": "PHYSICAL", "status": "IN_STOCK"}
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=2", range(7)),
        ("carrier=unicom&limit=2", range(5)),
        ("carrier=mobile", range(5, 7)),
        ("carrier=telecom", ()),
        ("status=RESERVED", (1,)),
        ("status=IN_STOCK&carrier=unicom&limit=2", (0, 2, 3, 4)),
        ("form_factor=PHYSICAL&limit=3", range(7)),
        ("form_factor=ESIM", ()),
    ],
)
def test_pages_and_filters(api: ApiClient, stock: list[str], query: str, expected: Any) -> None:
    assert listed(api, query) == [stock[index] for index in expected]


def test_only_our_own(api: ApiClient, other_api: ApiClient, stock: list[str]) -> None:
    assert listed(other_api) == []
    refused = other_api.get(f"{PATH}/{stock[0]}")
    unknown = api.get(f"{PATH}/{new_iccid()}")
    for response in (refused, unknown, api.get(f"{PATH}/nonsense"), api.get(f"{PATH}/%00")):
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
        assert response.json()["detail"] == refused.json()["detail"]


@pytest.mark.parametrize("form", ["{}", "{:.19}"])
def test_one_card_by_19_or_20_characters(api: ApiClient, stock: list[str], form: str) -> None:
    response = api.get(f"{PATH}/{form.format(stock[1])}")
    assert response.json() == {
        "iccid": stock[1],
        "carrier": "unicom",
        "form_factor": "PHYSICAL",
        "status": "RESERVED",
    }
    again = api.get(f"{PATH}/{stock[1]}", headers={"If-None-Match": response["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ("state=RESERVED", "unknown_parameter", "?state"),
        ("status=reserved", "validation_error", "?status"),
        ("form_factor=CHIP", "validation_error", "?form_factor"),
        ("carrier=UNICOM", "validation_error", "?carrier"),
        ("limit=x", "validation_error", "?limit"),
    ],
)
def test_bad_parameters(api: ApiClient, db: None, query: str, code: str, pointer: str) -> None:
    response = api.get(f"{PATH}?{query}")
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_needs_the_scope_and_only_reads(
    operator: VirtualOperator, carriers: dict[str, HostCarrier], now: datetime, api: ApiClient
) -> None:
    card = given_card(operator=operator, host_carrier=carriers["unicom"], now=now)
    app, _ = given_partner_app(operator=operator, now=now, scopes=("numbers:read",))
    without = ApiClient(given_token(app=app, now=now))
    for path in (PATH, f"{PATH}/{card.iccid}"):
        response = without.get(path)
        assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")
        assert api.post(path, {}).status_code == 405
        assert api.delete(path).status_code == 405
    assert SimCard.objects.get().status == "IN_STOCK"
