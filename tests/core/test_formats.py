"""JSON out: times in UTC, money as text, our own kinds of text."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from rest_framework.exceptions import ErrorDetail

from apps.core.api.formats import dumps, money, timestamp
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
