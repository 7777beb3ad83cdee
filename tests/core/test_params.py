"""Query parameters: the documented ones, once, as plain text."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory
from rest_framework.request import Request

from apps.core.api import params
from apps.core.api.problems import ApiError
from apps.core.errors import FieldError


def read(query: str, *allowed: str) -> dict[str, str]:
    return params.read(Request(RequestFactory().get(f"/x?{query}")), allowed)


def refusal(query: str, *allowed: str) -> ApiError:
    with pytest.raises(ApiError) as refused:
        read(query, *allowed)
    assert refused.value.status_code == 400
    return refused.value


def test_filters_are_given_back_without_the_list_parameters() -> None:
    assert read("status=HELD&limit=5&after=x&count=exact&city=%E5%B9%BF%E5%B7%9E", "status", "city") == {
        "status": "HELD",
        "city": "广州",
    }


def test_no_parameters_are_no_filters() -> None:
    assert read("", "status") == read("") == {}


def test_an_empty_filter_is_not_taken_for_none() -> None:
    assert refusal("status=&city=x", "status", "city").field_errors[0].pointer == "?status"


def test_what_is_no_list_has_no_list_parameters() -> None:
    assert refusal("limit=5").problem_code == "unknown_parameter"


def test_every_unknown_name_is_told_at_once() -> None:
    error = refusal("stat=HELD&status=HELD&Limit=5", "status")
    assert error.problem_code == "unknown_parameter"
    assert error.field_errors == (
        FieldError("?Limit", "unknown_parameter", "This parameter is not known."),
        FieldError("?stat", "unknown_parameter", "This parameter is not known."),
    )


@pytest.mark.parametrize(
    "query", ["status=A&status=B", "status=A&status=A", "status=A%00", "limit=1&limit=2", "after=%00"]
)
def test_a_repetition_or_a_nul_is_refused(query: str) -> None:
    error = refusal(query, "status")
    assert error.problem_code == "validation_error"
    [found] = error.field_errors
    assert found.pointer == f"?{query.partition('=')[0]}"


@pytest.mark.parametrize("query", ["%00=1", "a" * 5000 + "=1", "%E5%B9%BF=1", "%FF=1", "a%0d%0ab=1"])
def test_a_strange_name_is_only_an_unknown_one(query: str) -> None:
    error = refusal(query)
    assert error.problem_code == "unknown_parameter"
    assert len(error.field_errors[0].pointer) <= 65


def test_bad_utf8_is_replaced_and_not_a_crash() -> None:
    assert read("city=%ff", "city") == {"city": "\ufffd"}


def test_a_known_parameter_that_is_wrong_names_itself() -> None:
    error = params.bad("status", "One of A, B.")
    assert (error.status_code, error.problem_code) == (400, "validation_error")
    assert error.field_errors == (FieldError("?status", "invalid", "One of A, B."),)


@pytest.mark.urls("tests.core.urls")
@pytest.mark.django_db
def test_a_name_that_could_be_an_identity_number_is_not_echoed(client: Any) -> None:
    response = client.get("/api/v1/events?110101190001010008=1")
    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "?[hidden]"
