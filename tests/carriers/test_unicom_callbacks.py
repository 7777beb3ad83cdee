"""Which callbacks the unicom adapter believes, and how it reads them. No network here."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.carriers.adapters.unicom import CODES, UnicomAdapter, sign
from apps.carriers.base import (
    Account,
    CallbackForged,
    CallbackMalformed,
    CallbackMessage,
    Rejected,
    Succeeded,
)
from apps.carriers.transport import Limits, Transport

NOW = datetime(2026, 11, 24, 6, 0, 0, tzinfo=UTC)
REFERENCE = "job-0123456789"
SECRET = "secret-of-this-account"
CALLBACK_SECRET = "callback-secret-of-this-account"
BODY = {
    "event_id": "EVUN1",
    "app_key": "snail-live",
    "serial": REFERENCE,
    "order_no": "UN1",
    "number": "17090001234",
    "result": "DONE",
    "reason_code": "",
    "reason": "",
    "finished_at": "2026-11-24T05:59:58.123+00:00",
}


def _callback(
    body: Any = BODY, *, secret: str = CALLBACK_SECRET, at: datetime = NOW, timestamp: str | None = None
) -> tuple[dict[str, str], bytes]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    timestamp = timestamp if timestamp is not None else str(int(at.timestamp()))
    signature = sign(secret=secret, timestamp=timestamp, body=raw)
    return {"X-UC-Timestamp": timestamp, "X-UC-Signature": signature}, raw


def _parse(headers: dict[str, str], raw: bytes) -> CallbackMessage:
    account = Account(
        base_url="http://127.0.0.1:9",
        app_key="snail-live",
        secret=SECRET,
        callback_secret=CALLBACK_SECRET,
        notify_url="https://kaihu.example/carrier/callbacks/con_1",
    )
    exchange = Transport(Limits(total_seconds=1.0, max_in_flight=1))
    return UnicomAdapter(account=account, exchange=exchange).parse_callback(headers, raw, NOW)


def test_a_true_callback_is_read() -> None:
    assert _parse(*_callback()) == CallbackMessage(
        event_id="EVUN1",
        reference=REFERENCE,
        carrier_reference="UN1",
        outcome=Succeeded("UN1"),
        number="+8617090001234",
        occurred_at=datetime(2026, 11, 24, 5, 59, 58, 123000, tzinfo=UTC),
    )


def test_a_refusal_is_read_in_our_words() -> None:
    message = _parse(
        *_callback(BODY | {"result": "REFUSED", "reason_code": "UC-2005", "reason": "secret words"})
    )

    assert message.outcome == Rejected("carrier_sim_in_use", CODES["UC-2005"].detail, "UC-2005", "UN1")


def test_header_names_are_matched_in_any_case() -> None:
    headers, raw = _callback()

    assert _parse({name.upper(): value for name, value in headers.items()}, raw).reference == REFERENCE


def test_edges_of_the_time_window() -> None:
    for seconds in (-300, 300):
        assert _parse(*_callback(at=NOW + timedelta(seconds=seconds))).reference == REFERENCE
    for seconds in (-301, 301):
        with pytest.raises(CallbackForged):
            _parse(*_callback(at=NOW + timedelta(seconds=seconds)))


def test_every_flipped_byte_breaks_the_signature() -> None:
    headers, raw = _callback()
    for position in range(len(raw)):
        flipped = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        with pytest.raises(CallbackForged) as forged:
            _parse(headers, flipped)
        assert not isinstance(forged.value, CallbackMalformed)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda headers: headers.pop("X-UC-Signature"), id="no signature"),
        pytest.param(lambda headers: headers.pop("X-UC-Timestamp"), id="no timestamp"),
        pytest.param(lambda headers: headers.update({"X-UC-Signature": ""}), id="empty signature"),
        pytest.param(lambda headers: headers.update({"X-UC-Signature": "签" * 64}), id="not ASCII"),
        pytest.param(
            lambda headers: headers.update({"X-UC-Timestamp": "1795500001"}), id="another timestamp"
        ),
    ],
)
def test_headers_that_were_tampered_with(change: Callable[[dict[str, str]], object]) -> None:
    headers, raw = _callback()
    change(headers)

    with pytest.raises(CallbackForged):
        _parse(headers, raw)


def test_the_request_secret_does_not_sign_callbacks() -> None:
    with pytest.raises(CallbackForged):
        _parse(*_callback(secret=SECRET))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param({}, id="empty"),
        pytest.param(BODY | {"result": "MAYBE"}, id="result"),
        pytest.param(BODY | {"result": ["DONE"]}, id="result of another type"),
        pytest.param(BODY | {"event_id": ""}, id="no event id"),
        pytest.param(BODY | {"event_id": "x" * 65}, id="long event id"),
        pytest.param(BODY | {"serial": 7}, id="serial"),
        pytest.param(BODY | {"order_no": None}, id="order"),
        pytest.param(BODY | {"number": "+8617090001234"}, id="number"),
        pytest.param(BODY | {"finished_at": "yesterday"}, id="time"),
        pytest.param(BODY | {"finished_at": "2026-11-24T05:59:58"}, id="time without zone"),
        pytest.param(BODY | {"finished_at": 1795500000}, id="time of another type"),
    ],
)
def test_signed_nonsense_is_refused_as_malformed(body: Any) -> None:
    with pytest.raises(CallbackMalformed):
        _parse(*_callback(body))


@pytest.mark.parametrize(
    "timestamp", ["", "now", "-5", "1.5", "99999999999999999999", "１７９５５０００００"]
)
def test_signed_timestamp_that_is_no_time(timestamp: str) -> None:
    headers, raw = _callback(timestamp=timestamp)

    with pytest.raises(CallbackForged):
        _parse(headers, raw)


def test_a_callback_to_another_reseller_is_not_ours() -> None:
    with pytest.raises(CallbackForged) as forged:
        _parse(*_callback(BODY | {"app_key": "somebody-else"}))
    assert not isinstance(forged.value, CallbackMalformed)
