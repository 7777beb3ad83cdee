"""GET /numbers."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from apps.numbering.models import NumberRange, PhoneNumber
from apps.numbering.states import NumberGrade, NumberStatus
from apps.operators import services as operators
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator, WholesaleAgreement
from tests.factories.accounts import ApiClient, given_partner_app, given_token
from tests.factories.numbering import SYSTEM, given_few_numbers, given_range, given_reservation, given_terms

PATH = "/api/v1/numbers"


def listed(api: ApiClient, **filters: Any) -> list[str]:
    """Every number, over all pages."""
    numbers: list[str] = []
    after: dict[str, str] = {}
    while True:
        response = api.get(f"{PATH}?{urlencode({'limit': 200, **filters, **after})}")
        assert response.status_code == 200, response.content
        body = response.json()
        numbers += [item["number"] for item in body["items"]]
        if body["next"] is None:
            return numbers
        after = {"after": body["next"]}


@pytest.fixture
def leased(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now, prefix="17188000")


def test_items_are_as_in_the_contract(api: ApiClient, leased: NumberRange) -> None:
    response = api.get(f"{PATH}?limit=1")
    assert response.status_code == 200
    assert response.json()["items"] == [
        {
            "number": "+8617188000000",
            "grade": "ordinary",
            "carrier": "unicom",
            "home_city": "深圳",
            "deposit": None,
            "min_monthly_spend": None,
        }
    ]
    assert isinstance(response.json()["next"], str)


def test_what_a_pretty_number_costs(
    api: ApiClient, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    few = given_few_numbers(operator=operator, now=now, free=3)
    PhoneNumber.objects.filter(number=few.first).update(grade=NumberGrade.GOLD)
    PhoneNumber.objects.filter(number=few.first + 1).update(grade=NumberGrade.SILVER)
    given_terms(operator=operator, now=now - timedelta(seconds=1))
    given_terms(operator=operator, now=now, deposit=Decimal(1), valid_from=now + timedelta(hours=1))
    given_terms(operator=other_operator, now=now - timedelta(seconds=1), grade=NumberGrade.SILVER)
    shown = [
        (item["grade"], item["deposit"], item["min_monthly_spend"]) for item in api.get(PATH).json()["items"]
    ]
    assert shown == [
        ("gold", {"amount": "400.00", "currency": "CNY"}, {"amount": "89.00", "currency": "CNY"}),
        ("silver", None, None),
        ("ordinary", None, None),
    ]


def test_pages_follow_each_other_without_gap_or_repetition(api: ApiClient, leased: NumberRange) -> None:
    assert listed(api, limit=77) == [f"+86{number}" for number in range(leased.first, leased.last + 1)]


def test_only_what_can_be_sold_and_is_ours(
    api: ApiClient, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    few = given_few_numbers(operator=operator, now=now, free=6)
    given_range(operator=other_operator, now=now)
    given_reservation(operator=operator, now=now, number=few.first)
    PhoneNumber.objects.filter(number=few.first + 1).update(status=NumberStatus.IN_USE)
    PhoneNumber.objects.filter(number=few.first + 2).update(
        status=NumberStatus.QUARANTINED, quarantined_until=now - timedelta(days=1)
    )
    PhoneNumber.objects.filter(number=few.first + 3).update(status=NumberStatus.RETURNED)
    assert listed(api) == [f"+86{few.first + 4}", f"+86{few.first + 5}"]
    NumberRange.objects.filter(pk=few.pk).update(leased_until=china_date(now))
    assert listed(api) == []


def test_agreement_that_has_ended(
    api: ApiClient, leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    mobile = given_range(operator=operator, now=now, carrier="mobile")
    unicom = WholesaleAgreement.objects.get(pk=leased.agreement_id)
    operators.terminate_agreement(actor=SYSTEM, agreement_uid=unicom.uid, reason="", now=now)
    assert listed(api)[0] == f"+86{mobile.first}"
    assert len(listed(api)) == 1000


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"prefix": "1718800012"}, list(range(120, 130))),
        ({"prefix": "17188000123"}, [123]),
        ({"prefix": "1718"}, list(range(1000))),
        ({"prefix": "17181"}, []),
        ({"prefix": "88"}, []),
        ({"suffix": "99"}, list(range(99, 1000, 100))),
        ({"suffix": "000"}, [0]),
        ({"suffix": "17188000777"}, [777]),
        ({"contains": "88000555"}, [555]),
        ({"contains": "444"}, [444]),
        ({"exclude_digit": "1"}, []),
        ({"suffix": "5", "exclude_digit": "4", "prefix": "171880004"}, []),
        (
            {"suffix": "5", "exclude_digit": "9", "prefix": "171880004"},
            [405, 415, 425, 435, 445, 455, 465, 475, 485],
        ),
        ({"city": "深圳", "carrier": "unicom", "grade": "ordinary", "suffix": "001"}, [1]),
        ({"city": "北京"}, []),
        ({"carrier": "mobile"}, []),
        ({"carrier": "unicon"}, []),
    ],
)
def test_filters(api: ApiClient, leased: NumberRange, filters: dict[str, str], expected: list[int]) -> None:
    assert listed(api, **filters) == [f"+86{leased.first + offset}" for offset in expected]


def test_exact_count_belongs_to_the_filters(api: ApiClient, leased: NumberRange) -> None:
    body = api.get(f"{PATH}?suffix=7&limit=5&count=exact").json()
    assert (body["count"], len(body["items"])) == (100, 5)


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ("colour=red", "unknown_parameter", "?colour"),
        ("prefix=17a", "validation_error", "?prefix"),
        ("prefix=17188000123456", "validation_error", "?prefix"),
        ("prefix=%EF%BC%91", "validation_error", "?prefix"),
        ("suffix=-1", "validation_error", "?suffix"),
        ("contains=1%2525", "validation_error", "?contains"),
        ("exclude_digit=44", "validation_error", "?exclude_digit"),
        ("grade=lead", "validation_error", "?grade"),
        ("carrier=Unicom", "validation_error", "?carrier"),
        ("city=" + "x" * 33, "validation_error", "?city"),
        ("city=%00", "validation_error", "?city"),
        ("limit=0", "validation_error", "?limit"),
        ("limit=201", "validation_error", "?limit"),
        ("count=about", "validation_error", "?count"),
        ("suffix=1&suffix=2", "validation_error", "?suffix"),
    ],
)
def test_bad_parameters(api: ApiClient, db: None, query: str, code: str, pointer: str) -> None:
    response = api.get(f"{PATH}?{query}")
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_a_cursor_belongs_to_its_filters(api: ApiClient, leased: NumberRange) -> None:
    cursor = api.get(f"{PATH}?suffix=7&limit=5").json()["next"]
    assert api.get(f"{PATH}?suffix=7&limit=9&after={cursor}").status_code == 200
    for query in (f"suffix=8&after={cursor}", f"after={cursor}", "suffix=7&after=nonsense"):
        response = api.get(f"{PATH}?{query}")
        assert (response.status_code, response.json()["code"]) == (400, "cursor_invalid")


def test_needs_the_scope(operator: VirtualOperator, now: datetime) -> None:
    app, _ = given_partner_app(operator=operator, now=now, scopes=("numbers:write",))
    refused = ApiClient(given_token(app=app, now=now)).get(PATH)
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert ApiClient(None).get(PATH).status_code == 401


def test_a_page_costs_the_same_few_queries_whatever_its_size(
    api: ApiClient, leased: NumberRange, django_assert_num_queries: Any
) -> None:
    for limit in (1, 200):
        with django_assert_num_queries(4):  # the token, what grades cost, the ranges, the numbers
            api.get(f"{PATH}?limit={limit}")
