"""Every error class of the code base has one code and one status."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

import apps
from apps.core import errors
from apps.core.api.problems import FRAMEWORK_CODES, STATUS_OF, problem_body
from apps.core.errors import DomainError, FieldError

# Of the partner-facing codes that api.md names, those that belong to what is built so far.
PROMISED = {
    "licence_not_valid",
    "agreement_not_valid",
    "identity_not_verified",
    "identity_expired",
    "document_invalid",
    "document_type_not_accepted",
    "document_expired",
    "holder_limit_reached",
    "subscriber_under_age",
    "number_not_available",
    "reservation_expired",
    "reservation_not_yours",
    "sim_not_available",
    "sim_wrong_carrier",
    "line_not_active",
    "line_has_open_order",
    "plan_not_available",
    "dealer_not_allowed",
    "order_not_cancellable",
    "not_found",
}


def every_error() -> Iterator[type[DomainError]]:
    """Every subclass of DomainError that any module of ours defines."""
    for module in pkgutil.walk_packages(apps.__path__, "apps."):
        # The simulator is a stranger; a __main__ would start it.
        if not module.name.startswith("apps.carrier_sim") and ".migrations" not in module.name:
            importlib.import_module(module.name)
    return _below(DomainError)


def _below(error: type[DomainError]) -> Iterator[type[DomainError]]:
    for child in error.__subclasses__():
        if child.__module__.startswith("apps."):
            yield child
        yield from _below(child)


ERRORS = sorted(set(every_error()), key=lambda error: (error.__module__, error.__name__))


def status_of(error: type[DomainError]) -> list[int]:
    """Every status that the table has for the class; more than one if two lines match."""
    return [status for parent, status in STATUS_OF if issubclass(error, parent)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{error.__module__}.{error.__name__}")
def test_it_has_one_status_a_code_of_its_own_and_a_sentence(error: type[DomainError]) -> None:
    assert len(status_of(error)) == 1, f"{error} must descend from exactly one class of problems.STATUS_OF"
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", error.code), f"{error.code!r} is not snake_case"
    # What is not found is not told apart, so that nothing is revealed.
    assert "code" in vars(error) or issubclass(error, errors.NotFound), f"{error} has no code of its own"
    assert error.detail.endswith("."), f"{error}: a detail is a sentence"


def test_errors_live_where_their_app_keeps_them() -> None:
    elsewhere = [
        f"{error.__module__}.{error.__name__}" for error in ERRORS if not error.__module__.endswith(".errors")
    ]
    assert elsewhere == []


def test_one_code_has_one_status() -> None:
    statuses = defaultdict(set)
    for error in ERRORS:
        statuses[error.code].update(status_of(error))
    for status, (code, _) in FRAMEWORK_CODES.items():
        statuses[code].add(status)
    assert {code: found for code, found in statuses.items() if len(found) > 1} == {}


def test_the_codes_that_partners_are_promised_exist() -> None:
    assert PROMISED - {error.code for error in ERRORS} == set()


def test_an_error_carries_its_sentence_fields_and_bad_values() -> None:
    bad = FieldError("/document/number", "document_invalid", "The check digit is wrong.")
    error = errors.Conflict("Taken.", errors=[bad], number=3)
    assert (error.code, error.detail, error.errors, error.fields) == (
        "conflict",
        "Taken.",
        (bad,),
        {"number": 3},
    )
    assert str(error) == "conflict: Taken."


def test_the_sentence_of_one_error_is_not_that_of_its_class() -> None:
    errors.NotFound("Another sentence.")
    assert errors.NotFound().detail == "There is no such resource."


@pytest.mark.parametrize("status", sorted({*FRAMEWORK_CODES, *(status for _, status in STATUS_OF)}))
def test_every_status_has_a_title(status: int) -> None:
    body = problem_body(status=status, code="x", detail="y", request_id="z")
    assert body["title"]
    assert body["status"] == status
