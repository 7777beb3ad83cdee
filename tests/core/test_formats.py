"""JSON in and out: nesting, times in UTC, money as text, our own kinds of text."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from rest_framework.exceptions import ErrorDetail, ParseError

from apps.core.api.formats import MAX_NESTING, StrictJSONParser, dumps, money, timestamp
from apps.lines.states import LineStatus

CHINA = timezone(timedelta(hours=8))


def test_times_are_utc_with_z_and_milliseconds() -> None:
    assert timestamp(datetime(2026, 3, 1, 8, 0, 0, 123456, tzinfo=CHINA)) == "2026-03-01T00:00:00.123Z"
    assert timestamp(datetime(2026, 3, 1, tzinfo=UTC)) == "2026-03-01T00:00:00.000Z"
    assert timestamp(None) is None


def test_money_is_text_with_its_currency() -> None:
    assert money(Decimal("1.50")) == {"amount": "1.50", "currency": "CNY"}


def test_what_is_no_plain_json_has_one_form() -> None:
    data = {
        "status": LineStatus.ACTIVE,
        "fee": Decimal("0.10"),
        "at": datetime(2026, 3, 1, 8, tzinfo=CHINA),
        "detail": ErrorDetail("Bad.", code="bad"),
        "name": "开户",
    }
    assert json.loads(dumps(data)) == {
        "status": "ACTIVE",
        "fee": "0.10",
        "at": "2026-03-01T08:00:00+08:00",
        "detail": "Bad.",
        "name": "开户",
    }
    assert "开户".encode() in dumps(data)


def test_what_has_no_form_is_a_bug() -> None:
    with pytest.raises(TypeError):
        dumps({"thing": object()})


def nested(depth: int, opening: str, closing: str) -> bytes:
    return (opening * (depth - 1) + opening[0] + closing * depth).encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_what_is_read_nests_no_deeper_than_what_can_be_written(opening: str, closing: str) -> None:
    deepest = StrictJSONParser().parse(io.BytesIO(nested(MAX_NESTING, opening, closing)))
    assert dumps(deepest)
    for depth in (MAX_NESTING + 1, 254, 300, 1024, 100_000):
        with pytest.raises(ParseError):
            StrictJSONParser().parse(io.BytesIO(nested(depth, opening, closing)))


def test_many_brackets_are_not_deep() -> None:
    wide: list[object] = [[{"a": []}] for _ in range(500)]
    assert StrictJSONParser().parse(io.BytesIO(json.dumps(wide).encode())) == wide
    assert StrictJSONParser().parse(io.BytesIO(b'"' + b"[" * 500 + b'"')) == "[" * 500
    with pytest.raises(ParseError):
        StrictJSONParser().parse(io.BytesIO(b"[[]," + nested(MAX_NESTING, "[", "]") + b"]"))
