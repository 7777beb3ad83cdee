"""The telecom adapter on its own: what it sends, and how it reads answers."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from apps.carriers.adapters.telecom import CODES, TelecomAdapter, read_reply, sign
from apps.carriers.answers import REFUSALS, Kind
from apps.carriers.base import (
    Accepted,
    Account,
    CarrierError,
    CarrierMisconfigured,
    CarrierRejected,
    CarrierUnavailable,
    InProgress,
    LinesRequest,
    NotFound,
    OutcomeUnknown,
    QueryRequest,
    Rejected,
    Reply,
    Succeeded,
    SuspendRequest,
    TransferRequest,
)
from apps.carriers.transport import Transport
from tests.carriers.conftest import Blocking, RawCarrier, http

REFERENCE = "job-0123456789"
NUMBER = "+8617000001234"
SUSPENSION = SuspendRequest(reference=REFERENCE, number=NUMBER, iccid="89860312345678901234", kind="two_way")
TAKEN = {"workOrder": "CT1", "phone": "17000001234", "acceptType": "HALT"}


def answer(result: Any = TAKEN, *, code: Any = 10000, number: Any = REFERENCE) -> dict[str, Any]:
    return {"resultCode": code, "resultMsg": "m", "requestNo": number, "result": result}


def reply(content: Any, *, status: int = 202, **headers: str) -> Reply:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Reply(status=status, headers={"content-type": "application/json", **headers}, body=body)


@pytest.fixture
def adapter(raw_carrier: RawCarrier, make_transport: Callable[..., Transport]) -> Blocking:
    """Speaks to `raw_carrier`."""
    account = Account(
        base_url=raw_carrier.url,
        app_key="snail-live",
        secret="secret-of-this-account",
        callback_secret="there-are-no-callbacks",
        notify_url="https://kaihu.example/carrier/callbacks/con_1",
    )
    return Blocking(TelecomAdapter(account=account, exchange=make_transport(total_seconds=0.6)))


Answers = Callable[..., Blocking]


@pytest.fixture
def carrier_answers(raw_carrier: RawCarrier, adapter: Blocking) -> Answers:
    """An adapter whose carrier gives that answer; SEQ in it becomes the request number that was sent."""

    def answers(content: Any, **kwargs: Any) -> Blocking:
        def handler(sock: socket.socket, request: bytes) -> None:
            number = json.loads(request)["requestNo"]
            sock.sendall(http(json.dumps(content).replace("SEQ", number).encode(), **kwargs))

        raw_carrier.handler = handler
        return adapter

    return answers


# --- what is sent ---


def test_signature_vector() -> None:
    body = '{"名":1}'.encode()

    made = sign(
        secret="s3cret", app_id="snail", method="order.submit", nonce="00ff", time="1795500000123", body=body
    )

    digest = hashlib.sha256(body).hexdigest()
    text = f"appId=snail&digest={digest}&method=order.submit&nonce=00ff&time=1795500000123"
    assert made == hmac.new(b"s3cret", text.encode(), hashlib.sha512).hexdigest().upper()
    assert made.startswith("94B72CF12DF3C8830818014222DEF3F8")


def test_an_order_is_sent_signed_and_whole(carrier_answers: Answers, raw_carrier: RawCarrier) -> None:
    assert carrier_answers(answer(), status="202 Accepted").suspend(SUSPENSION) == Accepted("CT1")

    [request] = raw_carrier.requests
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert first == "POST /api/order.submit HTTP/1.1"
    assert headers["CT-Sign"] == sign(
        secret="secret-of-this-account",
        app_id=headers["CT-App"],
        method="order.submit",
        nonce=headers["CT-Nonce"],
        time=headers["CT-Time"],
        body=body,
    )
    assert json.loads(body) == {
        "requestNo": REFERENCE,
        "acceptType": "HALT",
        "phone": "17000001234",
        "card": "89860312345678901234",
        "level": 2,
    }


def test_the_new_holder_is_sent(carrier_answers: Answers, raw_carrier: RawCarrier) -> None:
    request = TransferRequest(
        reference=REFERENCE,
        number=NUMBER,
        iccid=SUSPENSION.iccid,
        holder_name="测试·用户",
        document_type="passport",
        document_number="E00000000",
    )
    carrier_answers(answer(TAKEN | {"acceptType": "REASSIGN"})).transfer(request)

    sent = json.loads(raw_carrier.requests[0].partition(b"\r\n\r\n")[2])

    assert sent["owner"] == {"name": "测试·用户", "idType": "PASSPORT", "idNo": "E00000000"}
    assert "测试" not in repr(request)
    assert "E00000000" not in repr(request)


# --- how answers are read ---


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_documented_code_means_what_the_table_says(code: int) -> None:
    meaning = CODES[code]
    expected = {
        Kind.REJECTED: CarrierRejected,
        Kind.MISCONFIGURED: CarrierMisconfigured,
        Kind.BUSY: CarrierUnavailable,
    }.get(meaning.kind)
    for status in (200, 202, 302, 400, 401, 404, 409, 422, 429, 500, 502, 503):
        got = reply(answer({}, code=code), status=status)
        documented = status in meaning.statuses
        if expected is None and documented:
            assert read_reply(got, number=REFERENCE) == {}
            continue
        with pytest.raises(CarrierError) as error:
            read_reply(got, number=REFERENCE)
        assert type(error.value) is (expected if documented else OutcomeUnknown)
        if isinstance(error.value, CarrierRejected):
            assert error.value.code in REFUSALS
            assert error.value.carrier_code == str(code)


def test_our_codes_are_distinct() -> None:
    ours = [meaning.code for meaning in CODES.values() if meaning.kind is Kind.REJECTED]

    assert sorted([*ours, "carrier_rejected"]) == sorted(REFUSALS)


@pytest.mark.parametrize(
    "got",
    [
        pytest.param(reply(answer(), **{"content-type": "text/html"}), id="HTML"),
        pytest.param(reply(b"<html/>"), id="HTML that says it is JSON"),
        pytest.param(reply(b"{"), id="half JSON"),
        pytest.param(reply(b"[" * 100_000), id="deep JSON"),
        pytest.param(reply([answer()]), id="list"),
        pytest.param(reply({}), id="empty object"),
        pytest.param(reply(answer(code=10777)), id="unknown code"),
        pytest.param(reply(answer(code="10000")), id="code in a string"),
        pytest.param(reply(answer(code=10000.0)), id="code as a fraction"),
        pytest.param(reply(answer(code=True)), id="code as a truth"),
        pytest.param(reply(answer(code=[10000])), id="code in a list"),
        pytest.param(reply(b'{"resultCode":NaN}'), id="NaN"),
        pytest.param(
            reply(b'{"resultCode":30501,' + json.dumps(answer()).encode()[1:]), id="two codes, yes at the end"
        ),
        pytest.param(reply(answer(number="another-job")), id="another number"),
        pytest.param(reply(answer(number=None)), id="no number"),
        pytest.param(reply(answer(code=30501, number="another"), status=422), id="refusal of another order"),
        pytest.param(reply(answer(code=30501, number=None), status=422), id="refusal of no order"),
        pytest.param(reply(answer(code=40002, number="another"), status=503), id="busy with another"),
        pytest.param(reply(answer(), status=500), id="yes under a 500"),
        pytest.param(reply(answer(None)), id="no result"),
        pytest.param(reply(answer(["CT1"])), id="result of another type"),
        pytest.param(reply(answer(), **{"content-encoding": "gzip"}), id="compressed"),
    ],
)
def test_what_is_not_documented_proves_nothing(got: Reply) -> None:
    with pytest.raises(OutcomeUnknown):
        read_reply(got, number=REFERENCE)


@pytest.mark.parametrize(
    "change",
    [
        {"phone": "17000001235"},
        {"phone": NUMBER},
        {"phone": 17000001234},
        {"acceptType": "RESTORE"},
        {"acceptType": None},
        {"workOrder": ""},
        {"workOrder": 1},
        {"workOrder": "C" * 65},
    ],
)
def test_an_acceptance_of_something_else_is_not_believed(
    carrier_answers: Answers, change: dict[str, Any]
) -> None:
    with pytest.raises(OutcomeUnknown):
        carrier_answers(answer(TAKEN | change)).suspend(SUSPENSION)


# --- asking ---


def _stage(stage: Any, **more: Any) -> dict[str, Any]:
    result = {"queryNo": REFERENCE, "workOrder": "CT1", "phone": "17000001234", "stage": stage, **more}
    return answer(result, number="SEQ")


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (answer({"queryNo": REFERENCE, "stage": "UNKNOWN"}, number="SEQ"), NotFound()),
        (_stage("RECEIVED"), InProgress("CT1")),
        (_stage("BUILDING"), InProgress("CT1")),
        (_stage("FINISHED"), Succeeded("CT1")),
        (
            _stage("WITHDRAWN", cause=30401),
            Rejected("carrier_identity_refused", REFUSALS["carrier_identity_refused"], "30401", "CT1"),
        ),
        (
            _stage("WITHDRAWN", cause=39999),
            Rejected("carrier_rejected", REFUSALS["carrier_rejected"], "39999", "CT1"),
        ),
        (
            _stage("WITHDRAWN", cause="张三"),
            Rejected("carrier_rejected", REFUSALS["carrier_rejected"], "", "CT1"),
        ),
        (_stage("WITHDRAWN"), Rejected("carrier_rejected", REFUSALS["carrier_rejected"], "", "CT1")),
    ],
)
def test_query(carrier_answers: Answers, content: dict[str, Any], outcome: object) -> None:
    adapter = carrier_answers(content)

    assert adapter.query(QueryRequest(reference=REFERENCE, number=NUMBER)) == outcome


@pytest.mark.parametrize(
    "content",
    [
        _stage("ARCHIVED"),
        _stage(None),
        _stage(["FINISHED"]),
        _stage("FINISHED", queryNo="another-job"),
        _stage("UNKNOWN", queryNo="another-job"),
        _stage("FINISHED", phone="17000001235"),
        _stage("FINISHED", workOrder=None),
        answer(None, code=30501, number="SEQ"),
    ],
)
def test_query_that_says_something_else(carrier_answers: Answers, content: dict[str, Any]) -> None:
    with pytest.raises(OutcomeUnknown):
        carrier_answers(content).query(QueryRequest(reference=REFERENCE, number=NUMBER))


ROW = ["17000001234", "89860312345678901234", "INUSE", "T-FREE-19"]


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"rows": [ROW]},
        {"rows": ROW, "nextToken": ""},
        {"rows": [ROW[:3]], "nextToken": ""},
        {"rows": [ROW, ROW], "nextToken": ""},
        {"rows": [["17000001234", "8986", "INUSE", "T-FREE-19"]], "nextToken": ""},
        {"rows": [[17000001234, *ROW[1:]]], "nextToken": ""},
        {"rows": [[*ROW[:2], "SLEEPING", ROW[3]]], "nextToken": ""},
        {"rows": [[*ROW[:2], ["INUSE"], ROW[3]]], "nextToken": ""},
        {"rows": [ROW], "nextToken": "here"},
        {"rows": [ROW], "nextToken": 7},
        {"rows": [], "nextToken": "abc"},
    ],
)
def test_a_page_with_one_unreadable_row_is_no_page(carrier_answers: Answers, result: dict[str, Any]) -> None:
    with pytest.raises(OutcomeUnknown):
        carrier_answers(answer(result, number="SEQ")).list_lines(LinesRequest(cursor="here"))
