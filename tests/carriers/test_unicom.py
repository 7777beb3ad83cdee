"""The unicom adapter on its own: what it sends, how it reads answers, which callbacks it believes."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from apps.carriers.adapters.unicom import CODES, UnicomAdapter, read_reply, sign
from apps.carriers.answers import REFUSALS, Kind
from apps.carriers.base import (
    Accepted,
    Account,
    ActivateRequest,
    CarrierError,
    CarrierMisconfigured,
    CarrierRejected,
    CarrierUnavailable,
    InProgress,
    NotFound,
    OutcomeUnknown,
    QueryRequest,
    Rejected,
    Reply,
    Succeeded,
    TerminateRequest,
)
from apps.carriers.transport import Transport
from tests.carriers.conftest import Blocking, RawCarrier, http

NOW = datetime(2026, 11, 24, 6, 0, 0, tzinfo=UTC)
REFERENCE = "job-0123456789"
CALLBACK_SECRET = "callback-secret-of-this-account"
ACCEPTED = {
    "code": "UC-0000",
    "message": "accepted",
    "serial": REFERENCE,
    "data": {"order_no": "UN1", "number": "17090001234"},
}
ACTIVATION = ActivateRequest(
    reference=REFERENCE,
    number="+8617090001234",
    iccid="89860112345678901234",
    imsi="460011234567890",
    plan_code="U-FREE-19",
    holder_name="测试·用户",
    document_type="resident_id",
    document_number="110105190001010001",
)


@pytest.fixture
def adapter(raw_carrier: RawCarrier, make_transport: Callable[..., Transport]) -> Blocking:
    """Speaks to `raw_carrier`."""
    account = Account(
        base_url=raw_carrier.url,
        app_key="snail-live",
        secret="secret-of-this-account",
        callback_secret=CALLBACK_SECRET,
        notify_url="https://kaihu.example/carrier/callbacks/con_1",
    )
    return Blocking(UnicomAdapter(account=account, exchange=make_transport(total_seconds=0.6)))


@pytest.fixture
def carrier_answers(raw_carrier: RawCarrier, adapter: Blocking) -> Callable[..., Blocking]:
    """An adapter whose carrier gives that answer; a dict is sent as JSON, and "echo" puts in the serial it was sent."""

    def answers(answer: Any, *, echo: bool = False, **kwargs: Any) -> Blocking:
        def handler(sock: socket.socket, request: bytes) -> None:
            content = dict(answer, serial=json.loads(request)["serial"]) if echo else answer
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            sock.sendall(http(body, **kwargs))

        raw_carrier.handler = handler
        return adapter

    return answers


Answers = Callable[..., Blocking]


# --- what is sent ---


def test_signature_vector() -> None:
    signature = sign(secret="s3cret", timestamp="1795500000", body='{"名":1}'.encode())

    assert signature == hmac.new(b"s3cret", b'1795500000.{"\xe5\x90\x8d":1}', hashlib.sha256).hexdigest()
    assert signature == "660e6b7849ba37a121aba8e5eaee1874fd11e1fe5efe8e4cd6033d1b698c3170"


def test_activation_is_sent_signed_and_whole(carrier_answers: Answers, raw_carrier: RawCarrier) -> None:
    adapter = carrier_answers(ACCEPTED)

    assert adapter.activate(ACTIVATION) == Accepted("UN1")

    [request] = raw_carrier.requests
    head, _, body = request.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    timestamp = headers["X-UC-Timestamp"]
    assert headers["X-UC-Signature"] == sign(secret="secret-of-this-account", timestamp=timestamp, body=body)
    assert json.loads(body) == {
        "app_key": "snail-live",
        "serial": REFERENCE,
        "timestamp": int(timestamp),
        "api": "line.open",
        "notify_url": "https://kaihu.example/carrier/callbacks/con_1",
        "data": {
            "number": "17090001234",
            "iccid": "89860112345678901234",
            "imsi": "460011234567890",
            "plan": "U-FREE-19",
            "customer": {"name": "测试·用户", "paper_type": "P1", "paper_no": "110105190001010001"},
        },
    }


def test_a_kind_of_document_the_carrier_does_not_take_is_refused_unsent(
    carrier_answers: Answers, raw_carrier: RawCarrier
) -> None:
    adapter = carrier_answers(ACCEPTED)
    request = ActivateRequest(
        reference=REFERENCE,
        number=ACTIVATION.number,
        iccid=ACTIVATION.iccid,
        imsi=None,
        plan_code=ACTIVATION.plan_code,
        holder_name="测试用户",
        document_type="military_id",
        document_number="000000",
    )

    with pytest.raises(CarrierRejected) as rejected:
        adapter.activate(request)

    assert rejected.value.code == "document_type_not_accepted_by_carrier"
    assert raw_carrier.requests == []


@pytest.mark.parametrize("number", ["17090001234", "+85212345678", "+861709000123", "+8617090001２34", ""])
def test_a_number_in_another_form_is_our_mistake_and_not_sent(
    adapter: Blocking, raw_carrier: RawCarrier, number: str
) -> None:
    with pytest.raises(CarrierMisconfigured):
        adapter.terminate(
            TerminateRequest(
                reference=REFERENCE, number=number, iccid=ACTIVATION.iccid, reason="user_request"
            )
        )

    assert raw_carrier.requests == []


def test_every_reason_for_closing_has_a_word(carrier_answers: Answers, raw_carrier: RawCarrier) -> None:
    adapter = carrier_answers(ACCEPTED)
    for reason in ("user_request", "arrears", "fraud", "regulator"):
        adapter.terminate(
            TerminateRequest(
                reference=REFERENCE, number=ACTIVATION.number, iccid=ACTIVATION.iccid, reason=reason
            )
        )

    sent = [
        json.loads(request.partition(b"\r\n\r\n")[2])["data"]["reason"] for request in raw_carrier.requests
    ]
    assert sent == ["customer", "unpaid", "fraud", "authority"]
    with pytest.raises(CarrierMisconfigured):
        adapter.terminate(
            TerminateRequest(
                reference=REFERENCE, number=ACTIVATION.number, iccid=ACTIVATION.iccid, reason="x"
            )
        )


def test_nobody_is_named_where_things_are_printed(adapter: Blocking) -> None:
    printed = repr(ACTIVATION) + repr(adapter.account)

    for secret in ("测试·用户", "110105190001010001", "secret-of-this-account", CALLBACK_SECRET):
        assert secret not in printed


# --- how answers are read ---


def _reply(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Reply(status=status, headers={"content-type": "application/json", **(headers or {})}, body=body)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_documented_code_means_what_the_table_says(code: str) -> None:
    meaning = CODES[code]
    for status in (200, 301, 400, 401, 403, 404, 413, 429, 500, 502, 503, 504):
        reply = _reply({"code": code, "serial": REFERENCE, "data": {}}, status=status)
        if status not in meaning.statuses:
            expected: type[Exception] | None = OutcomeUnknown
        else:
            expected = {
                Kind.OK: None,
                Kind.REJECTED: CarrierRejected,
                Kind.MISCONFIGURED: CarrierMisconfigured,
                Kind.BUSY: CarrierUnavailable,
            }[meaning.kind]
        if expected is None:
            assert read_reply(reply, serial=REFERENCE) == {}
            continue
        with pytest.raises(CarrierError) as error:
            read_reply(reply, serial=REFERENCE)
        assert type(error.value) is expected, (code, status)
        if isinstance(error.value, CarrierRejected):
            assert error.value.code in REFUSALS
            assert error.value.carrier_code == code


def test_our_codes_are_distinct() -> None:
    ours = [meaning.code for meaning in CODES.values() if meaning.kind is Kind.REJECTED]

    assert len(ours) == len(set(ours))
    assert "carrier_rejected" not in ours


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("99999", 3600.0),
        ("Tue, 24 Nov 2026 06:00:00 GMT", None),
        ("-1", None),
        ("", None),
        ("1.5", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    reply = _reply({"code": "UC-3001", "serial": None}, status=429, headers={"retry-after": header})

    with pytest.raises(CarrierUnavailable) as unavailable:
        read_reply(reply, serial=REFERENCE)

    assert unavailable.value.retry_after == seconds


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(_reply(b"<html>Bad Gateway</html>", headers={"content-type": "text/html"}), id="HTML"),
        pytest.param(
            _reply(b"<html>busy</html>", status=503, headers={"content-type": "text/html"}), id="HTML 503"
        ),
        pytest.param(_reply(b"", status=429, headers={"content-type": ""}), id="bare 429"),
        pytest.param(_reply(b"", status=204), id="nothing"),
        pytest.param(_reply(b"{"), id="half JSON"),
        pytest.param(_reply(b"\xff\xfe"), id="not UTF-8"),
        pytest.param(_reply(b"[" * 100_000), id="deep JSON"),
        pytest.param(_reply([ACCEPTED]), id="list"),
        pytest.param(_reply("UC-0000"), id="string"),
        pytest.param(_reply(None), id="null"),
        pytest.param(_reply({}), id="empty object"),
        pytest.param(_reply(ACCEPTED | {"code": "UC-9001"}, status=500), id="system error"),
        pytest.param(_reply(ACCEPTED | {"code": "UC-2999"}), id="code that is not documented"),
        pytest.param(_reply(ACCEPTED | {"code": ["UC-0000"]}), id="code of another type"),
        pytest.param(_reply(ACCEPTED, status=201), id="another 2xx"),
        pytest.param(_reply(ACCEPTED, status=502), id="yes under a 502"),
        pytest.param(_reply(ACCEPTED | {"serial": "another"}), id="wrong serial"),
        pytest.param(_reply(ACCEPTED | {"serial": None}), id="no serial"),
        pytest.param(_reply({"code": "UC-2001", "serial": "another"}), id="refusal of another order"),
        pytest.param(_reply({"code": "UC-2001", "serial": None}), id="refusal of no order"),
        pytest.param(
            _reply({"code": "UC-3002", "serial": "another"}, status=503), id="busy with another order"
        ),
        pytest.param(_reply(ACCEPTED | {"data": None}), id="no data"),
        pytest.param(_reply(ACCEPTED | {"data": ["UN1"]}), id="data of another type"),
        pytest.param(
            _reply(gzip.compress(json.dumps(ACCEPTED).encode()), headers={"content-encoding": "gzip"}),
            id="compressed",
        ),
    ],
)
def test_what_is_not_documented_proves_nothing(reply: Reply) -> None:
    with pytest.raises(OutcomeUnknown):
        read_reply(reply, serial=REFERENCE)


@pytest.mark.parametrize(
    "data",
    [
        {"order_no": "UN1", "number": "17090001235"},
        {"order_no": "UN1", "number": 17090001234},
        {"order_no": "UN1"},
        {"number": "17090001234"},
        {"order_no": "", "number": "17090001234"},
        {"order_no": "x" * 65, "number": "17090001234"},
        {"order_no": "UN1\n", "number": "17090001234"},
        {"order_no": 1, "number": "17090001234"},
    ],
)
def test_an_acceptance_of_something_else_is_not_believed(
    carrier_answers: Answers, data: dict[str, Any]
) -> None:
    with pytest.raises(OutcomeUnknown):
        carrier_answers(ACCEPTED | {"data": data}).activate(ACTIVATION)


def test_ten_megabytes_of_json_are_not_believed(carrier_answers: Answers) -> None:
    with pytest.raises(OutcomeUnknown):
        carrier_answers(ACCEPTED | {"message": "x" * 10_000_000}).activate(ACTIVATION)


# --- asking ---


def _state(**data: Any) -> dict[str, Any]:
    return {
        "code": "UC-0000",
        "data": {"order_serial": REFERENCE, "order_no": "UN1", "number": "17090001234", **data},
    }


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"code": "UC-0000", "data": {"order_serial": REFERENCE, "state": "NONE"}}, NotFound()),
        (_state(state="WORKING"), InProgress("UN1")),
        (_state(state="DONE"), Succeeded("UN1")),
        (
            _state(state="REFUSED", reason_code="UC-2006"),
            Rejected("carrier_identity_refused", CODES["UC-2006"].detail, "UC-2006", "UN1"),
        ),
        (
            _state(state="REFUSED", reason_code="UC-2777"),
            Rejected("carrier_rejected", REFUSALS["carrier_rejected"], "UC-2777", "UN1"),
        ),
        (
            _state(state="REFUSED", reason_code="张三 110105190001010001"),
            Rejected("carrier_rejected", REFUSALS["carrier_rejected"], "", "UN1"),
        ),
        (_state(state="REFUSED"), Rejected("carrier_rejected", REFUSALS["carrier_rejected"], "", "UN1")),
    ],
)
def test_query(carrier_answers: Answers, answer: dict[str, Any], outcome: object) -> None:
    adapter = carrier_answers(answer, echo=True)

    assert adapter.query(QueryRequest(reference=REFERENCE, number="+8617090001234")) == outcome
    assert adapter.query(QueryRequest(reference=REFERENCE)) == outcome


@pytest.mark.parametrize(
    "answer",
    [
        _state(state="FINISHED"),
        _state(),
        _state(state="DONE", order_serial="another"),
        _state(state="NONE", order_serial="another"),
        _state(state="DONE", number="17090001235"),
        _state(state="DONE", order_no=None),
        {"code": "UC-2010", "data": None},
    ],
)
def test_query_that_says_something_else(carrier_answers: Answers, answer: dict[str, Any]) -> None:
    with pytest.raises(OutcomeUnknown):
        carrier_answers(answer, echo=True).query(QueryRequest(reference=REFERENCE, number="+8617090001234"))


def test_two_questions_have_two_serials(carrier_answers: Answers, raw_carrier: RawCarrier) -> None:
    adapter = carrier_answers(_state(state="NONE"), echo=True)

    adapter.query(QueryRequest(reference=REFERENCE))
    adapter.query(QueryRequest(reference=REFERENCE))

    serials = {json.loads(request.partition(b"\r\n\r\n")[2])["serial"] for request in raw_carrier.requests}
    assert len(serials) == 2
    assert REFERENCE not in serials
