"""Log lines: JSON, one per record, without local variables and without personal data."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import structlog
from django.conf import settings
from django.test import RequestFactory

from apps.core.logging import configuration, scrub

RESIDENT_ID = "110101190001010008"
WITH_X = "11010119000101000X"
OLD_ID = "110101000101000"
PHONE = "17012345678"


class Log:
    """A logger with the formatter that the settings use, and what it wrote."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        wanted = dict(configuration()["formatters"]["json"])
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(wanted.pop("()")(**wanted))
        self.logger = logging.Logger("tests.log", logging.DEBUG)  # noqa: LOG001 - one that no other test has
        self.logger.addHandler(handler)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.split("\n")[:-1]]

    def line(self) -> dict[str, Any]:
        [line] = self.lines()
        return line


@pytest.fixture
def log() -> Iterator[Log]:
    structlog.contextvars.clear_contextvars()
    yield Log()
    structlog.contextvars.clear_contextvars()


def test_the_settings_use_this_formatter_for_everything() -> None:
    assert settings.LOGGING["formatters"].keys() == configuration()["formatters"].keys() == {"json"}
    assert settings.LOGGING["root"]["handlers"] == ["stderr"]
    assert settings.LOGGING["handlers"]["stderr"]["formatter"] == "json"
    assert not [name for name, logger in settings.LOGGING["loggers"].items() if "handlers" in logger]


def test_a_line_says_what_where_when_and_for_which_request(log: Log) -> None:
    structlog.contextvars.bind_contextvars(request_id="req-1", trace_id="a" * 32)
    log.logger.warning("nudge lost", extra={"task": "events.relay", "attempts": 3})
    line = log.line()
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo == UTC
    assert line == {
        "event": "nudge lost",
        "level": "warning",
        "logger": "tests.log",
        "task": "events.relay",
        "attempts": 3,
        "request_id": "req-1",
        "trace_id": "a" * 32,
    }


def test_chinese_stays_readable(log: Log) -> None:
    log.logger.info("开户 %s", "成功")
    assert "开户 成功" in log.text


@pytest.mark.parametrize(
    "personal", [RESIDENT_ID, WITH_X, WITH_X.lower(), OLD_ID, PHONE, "+86" + PHONE, "86" + PHONE]
)
def test_numbers_of_people_are_blotted_out_wherever_they_are(log: Log, personal: str) -> None:
    digits = personal.lstrip("+")
    log.logger.info("checked %s", personal)
    log.logger.info(f"checked 号码{personal}号码")  # noqa: G004 - as a careless caller would
    log.logger.info("checked", extra={"number": personal})
    log.logger.info("checked", extra={"deep": {"list": [{"tuple": ({"number": f"x {personal} x"},)}]}})
    log.logger.info("checked", extra={"keys": {personal: 1, "more": {personal: {personal}}}})
    log.logger.info("checked", extra={"error": ValueError(f"no such document: {personal}")})
    log.logger.info("checked", extra={"path": f"/api/v1/subscribers?document=resident_id%3A{digits}"})
    log.logger.info("checked", extra={"body": f'{{"number":"{personal}"}}'.encode()})
    assert len(log.lines()) == 8
    assert personal not in log.text
    assert digits[-11:] not in log.text
    assert log.text.count("[personal]") == 10


@pytest.mark.parametrize("number", [int(RESIDENT_ID), int(PHONE), -int(PHONE), float(int(PHONE))])
def test_numbers_that_are_no_text_are_blotted_out_too(log: Log, number: float) -> None:
    log.logger.info("checked", extra={"number": number, "more": [number]})
    assert PHONE not in log.text
    assert RESIDENT_ID not in log.text


def test_a_request_in_a_record_is_not_a_way_around(log: Log) -> None:
    """Django logs a crash with the request, whose repr shows the query string."""
    request = RequestFactory().get("/api/v1/subscribers", {"document": f"resident_id:{RESIDENT_ID}"})
    log.logger.error("Internal Server Error", extra={"status_code": 500, "request": request})
    assert "WSGIRequest" in log.text
    assert RESIDENT_ID not in log.text


def test_an_object_in_a_record_is_not_a_way_around(log: Log) -> None:
    @dataclass
    class Person:
        number: str

    log.logger.info("checked", extra={"person": Person(RESIDENT_ID), "people": {Person: [Person(PHONE)]}})
    assert RESIDENT_ID not in log.text
    assert PHONE not in log.text


def test_the_context_of_the_request_is_cleaned_too(log: Log) -> None:
    structlog.contextvars.bind_contextvars(asked_for=RESIDENT_ID)
    log.logger.info("checked")
    assert log.line()["asked_for"] == "[personal]"


def test_an_exception_shows_where_but_no_local_variables_and_no_numbers(log: Log) -> None:
    def check(number: str) -> None:
        secret_name = "张三丰" + number
        raise ValueError(f"unknown document {number}") from KeyError(number, len(secret_name))

    try:
        check(RESIDENT_ID)
    except ValueError:
        log.logger.exception("check failed")
    line = log.line()
    assert "in check" in line["exception"]
    assert "ValueError: unknown document [personal]" in line["exception"]
    assert "KeyError: ('[personal]'" in line["exception"]
    assert RESIDENT_ID not in log.text
    assert "张三丰110" not in log.text
    assert "exc_info" not in line


def test_a_stack_is_cleaned(log: Log) -> None:
    log.logger.info("here %s", RESIDENT_ID, stack_info=True)
    assert RESIDENT_ID not in log.text
    assert len(log.lines()) == 1


@pytest.mark.parametrize(
    "line_end",
    ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1e", "\0", "\x1b[2K", "\x85", "\x9b2K", "\u2028"],
    ids=repr,
)
def test_a_caller_cannot_forge_a_line(log: Log, line_end: str) -> None:
    forged = f'harmless{line_end}{{"event":"forged","level":"info"}}'
    log.logger.info("name is %s", forged)
    log.logger.info("name is", extra={"name_given": forged, forged: 1})
    try:
        raise ValueError(forged)
    except ValueError:
        log.logger.exception("failed")
    assert len(log.text.splitlines()) == 3
    assert all(line["event"] != "forged" for line in log.lines())
    assert log.lines()[0]["event"] == f"name is {forged}"


@pytest.mark.parametrize(
    "value",
    [
        "ord_01h455vb4pex5vsknk084sn02q",
        "89860123456789012345",
        "2026-11-24T06:03:45.469916Z",
        "c0ffee17012345678c0ffee",
        "1764000000000",
        UUID("01890a5d-ac96-774b-bcce-b302099a8057").hex,
        12345,
        1764000000000,
        0.25,
        True,
        None,
    ],
)
def test_what_is_not_personal_stays_as_it_is(value: object) -> None:
    assert scrub(value) == value
    assert type(scrub(value)) is type(value)


def test_collections_keep_their_shape() -> None:
    assert scrub({"a": [1, ("b", {"c"})], "d": frozenset()}) == {"a": [1, ["b", ["c"]]], "d": []}
