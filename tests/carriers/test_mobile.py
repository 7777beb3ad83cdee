"""The mobile adapter on its own: what it sends, and how it reads answers that are XML, or pretend to be."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
from defusedxml import ElementTree

from apps.carriers.adapters.mobile import CODES, MobileAdapter, read_reply, sign
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
    LinesRequest,
    NotFound,
    OutcomeUnknown,
    QueryRequest,
    Rejected,
    Reply,
    Succeeded,
)
from apps.carriers.transport import Transport
from tests.carriers.conftest import Blocking, RawCarrier, http

REFERENCE = "job-0123456789"
NUMBER = "+8617030001234"
ACTIVATION = ActivateRequest(
    reference=REFERENCE,
    number=NUMBER,
    iccid="89860012345678901234",
    imsi="460001234567890",
    plan_code="M-FREE-19",
    holder_name="测试·<用户> & 'Söhne\"",
    document_type="military_id",
    document_number="110105190001010001",
)
DONE = "<orderId>CM1</orderId><msisdn>8617030001234</msisdn><status>S</status>"


def answer(
    body: str | None = DONE, *, code: str = "0000", seq: str | None = REFERENCE, more: str = ""
) -> bytes:
    """A response in the documented form."""
    head = (
        f"<seq>{seq}</seq>" if seq is not None else ""
    ) + f"<result>{code}</result><message>m</message>{more}"
    parts = f"<head>{head}</head>" + (f"<body>{body}</body>" if body is not None else "")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<response>{parts}</response>'.encode()


def reply(body: bytes, *, status: int = 200, content_type: str = "application/xml", **headers: str) -> Reply:
    return Reply(status=status, headers={"content-type": content_type, **headers}, body=body)


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
    return Blocking(MobileAdapter(account=account, exchange=make_transport(total_seconds=0.6)))


Answers = Callable[..., Blocking]


@pytest.fixture
def carrier_answers(raw_carrier: RawCarrier, adapter: Blocking) -> Answers:
    """An adapter whose carrier answers those bytes; SEQ in them becomes the sequence number that was sent."""

    def answers(content: bytes, **kwargs: Any) -> Blocking:
        def handler(sock: socket.socket, request: bytes) -> None:
            found = re.search(rb"<seq>(.*?)</seq>", request)
            assert found is not None
            body = content.replace(b"SEQ", found[1])
            sock.sendall(http(body, **{"content_type": "application/xml", **kwargs}))

        raw_carrier.handler = handler
        return adapter

    return answers


# --- what is sent ---


def test_signature_vector() -> None:
    body = "<名>1</名>".encode()

    mac = sign(secret="s3cret", time="20261124140000", nonce="00ff00ff", body=body)

    text = b"20261124140000\n00ff00ff\n" + hashlib.sha256(body).hexdigest().encode()
    assert mac == base64.b64encode(hmac.new(b"s3cret", text, hashlib.sha256).digest()).decode()
    assert mac == "MG7cTIp0/x1GyqvoDMhmrviY1KXHLVfC/9rUsKkwZ5E="


def test_activation_is_sent_signed_escaped_and_whole(
    carrier_answers: Answers, raw_carrier: RawCarrier
) -> None:
    assert carrier_answers(answer()).activate(ACTIVATION) == Succeeded("CM1")

    [request] = raw_carrier.requests
    head, _, body = request.partition(b"\r\n\r\n")
    credentials = re.search(rb'Authorization: CM1 time="(\d{14})", nonce="([0-9a-f]{16})", mac="(.+?)"', head)
    assert credentials is not None
    time, nonce, mac = (part.decode() for part in credentials.groups())
    assert mac == sign(secret="secret-of-this-account", time=time, nonce=nonce, body=body)
    root = ElementTree.fromstring(body)
    assert [part.tag for part in root] == ["head", "body"]
    assert {child.tag: child.text for child in root[0]} == {
        "partner": "snail-live",
        "seq": REFERENCE,
        "service": "OpenSubscriber",
    }
    assert {child.tag: child.text for child in root[1]} == {
        "msisdn": "8617030001234",
        "iccid": "89860012345678901234",
        "imsi": "460001234567890",
        "product": "M-FREE-19",
        "certType": "11",
        "certNo": "110105190001010001",
        "custName": ACTIVATION.holder_name,
    }


def test_two_calls_have_two_nonces(carrier_answers: Answers, raw_carrier: RawCarrier) -> None:
    adapter = carrier_answers(answer())
    adapter.activate(ACTIVATION)
    adapter.activate(ACTIVATION)

    assert len({re.search(rb'nonce="(.+?)"', request)[1] for request in raw_carrier.requests}) == 2


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\r", "\n", "\ud800", "\ufffe", "\x7f"])
def test_a_name_that_xml_cannot_carry_is_not_sent(
    carrier_answers: Answers, raw_carrier: RawCarrier, character: str
) -> None:
    values = {
        name: getattr(ACTIVATION, name) for name in ("reference", "number", "iccid", "imsi", "plan_code")
    }
    request = ActivateRequest(
        **values, holder_name=f"测{character}试", document_type="passport", document_number="E00000000"
    )

    with pytest.raises(CarrierMisconfigured):
        carrier_answers(answer()).activate(request)

    assert raw_carrier.requests == []


# --- how answers are read ---


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_documented_code_means_what_the_table_says(code: str) -> None:
    meaning = CODES[code]
    expected = {
        Kind.REJECTED: CarrierRejected,
        Kind.MISCONFIGURED: CarrierMisconfigured,
        Kind.BUSY: CarrierUnavailable,
    }.get(meaning.kind)
    for status in (200, 201, 401, 429, 500, 503):
        got = reply(answer(code=code), status=status)
        if expected is None and status == 200:
            assert read_reply(got, seq=REFERENCE).tag == "body"
            continue
        with pytest.raises(CarrierError) as error:
            read_reply(got, seq=REFERENCE)
        assert type(error.value) is (expected if status == 200 else OutcomeUnknown)
        if isinstance(error.value, CarrierRejected):
            assert error.value.code in REFUSALS
            assert error.value.carrier_code == code


def test_our_codes_are_distinct() -> None:
    ours = [meaning.code for meaning in CODES.values() if meaning.kind is Kind.REJECTED]

    assert sorted([*ours, "carrier_rejected"]) == sorted(REFUSALS)


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("99999", 3600.0), ("soon", None), ("", None)])
def test_retry_after_stands_in_the_head(value: str, seconds: float | None) -> None:
    got = reply(answer(None, code="8002", seq=None, more=f"<retryAfter>{value}</retryAfter>"))

    with pytest.raises(CarrierUnavailable) as unavailable:
        read_reply(got, seq=REFERENCE)

    assert unavailable.value.retry_after == seconds


LAUGHS = (
    '<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    "<response><head><seq>&c;</seq><result>0000</result></head></response>"
)
OUTSIDE = (
    '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    f"<response><head><seq>{REFERENCE}</seq><result>0000</result></head><body><orderId>&x;</orderId></body></response>"
)
GOOD = answer().decode()


@pytest.mark.parametrize(
    "got",
    [
        pytest.param(reply(b"<html><body>hello</body></html>"), id="wrong root"),
        pytest.param(reply(answer(), content_type="text/html"), id="HTML"),
        pytest.param(reply(answer(), content_type="application/json"), id="JSON"),
        pytest.param(reply(b"", status=204), id="nothing"),
        pytest.param(reply(b"{}"), id="JSON that says it is XML"),
        pytest.param(reply(answer()[:-5]), id="half"),
        pytest.param(reply(b"\xff\xfe" + GOOD.encode("utf-16-le")), id="UTF-16"),
        pytest.param(reply(GOOD.replace("UTF-8", "UTF-7").encode() + b"\xff"), id="not UTF-8"),
        pytest.param(reply(LAUGHS.encode()), id="billion laughs"),
        pytest.param(reply(OUTSIDE.encode()), id="XXE"),
        pytest.param(reply(b"<!DOCTYPE response>" + GOOD.partition("\n")[2].encode()), id="bare doctype"),
        pytest.param(reply(b"<response>" * 20_000), id="deep"),
        pytest.param(reply(b"<response>" * 20_000 + b"</response>" * 20_000), id="deep and closed"),
        pytest.param(reply(answer(seq="another-job")), id="another seq"),
        pytest.param(reply(answer(seq=None)), id="no seq"),
        pytest.param(reply(answer(code="4030", seq="another-job")), id="refusal of another order"),
        pytest.param(reply(answer(code="0777")), id="unknown code"),
        pytest.param(reply(answer(code="")), id="no code"),
        pytest.param(reply(answer(code=" 0000")), id="code with a blank"),
        pytest.param(reply(answer(None)), id="no body"),
        pytest.param(reply(answer(), **{"content-encoding": "gzip"}), id="compressed"),
        pytest.param(
            reply(answer(code="4030", more="<result>0000</result>")), id="the code twice, yes at the end"
        ),
        pytest.param(reply(answer(more=f"<seq>{REFERENCE}</seq>", seq="other")), id="the seq twice"),
        pytest.param(reply(GOOD.replace("<body>", "<body/><body>").encode()), id="two bodies"),
        pytest.param(reply(GOOD.replace("<head>", "<head/><head>").encode()), id="two heads"),
        pytest.param(reply(GOOD.replace("<head>", "yes<head>").encode()), id="text between elements"),
        pytest.param(reply(GOOD.replace("</head>", "</head><fault/>").encode()), id="something else"),
        pytest.param(reply(GOOD.replace("<result>", '<result nil="true">').encode()), id="attribute"),
        pytest.param(
            reply(GOOD.replace("<response>", '<response xmlns="urn:x">').encode()), id="another namespace"
        ),
    ],
)
def test_what_is_not_documented_proves_nothing(got: Reply) -> None:
    with pytest.raises(OutcomeUnknown):
        read_reply(got, seq=REFERENCE)


@pytest.mark.parametrize(
    "body",
    [
        DONE.replace("1234", "1235"),
        DONE.replace("8617", "17"),
        DONE.replace("<msisdn>8617030001234</msisdn>", ""),
        DONE.replace("CM1", ""),
        DONE.replace("CM1", "C" * 65),
        DONE.replace("<orderId>CM1</orderId>", ""),
        DONE.replace(">S<", ">Z<"),
        DONE.replace(">S<", ">F<"),
        DONE.replace("<status>S</status>", ""),
        DONE + "<status>S</status>",
        DONE.replace("CM1", "<b>CM1</b>"),
    ],
)
def test_an_answer_about_something_else_is_not_believed(carrier_answers: Answers, body: str) -> None:
    with pytest.raises(OutcomeUnknown):
        carrier_answers(answer(body)).activate(ACTIVATION)


def test_an_order_that_is_still_in_work_is_accepted(carrier_answers: Answers) -> None:
    adapter = carrier_answers(answer(DONE.replace(">S<", ">P<"), code="0001"))

    assert adapter.activate(ACTIVATION) == Accepted("CM1")


def test_ten_megabytes_are_not_believed(carrier_answers: Answers) -> None:
    with pytest.raises(OutcomeUnknown):
        carrier_answers(answer() + b" " * 10_000_000).activate(ACTIVATION)


# --- asking ---


def _status(status: str, more: str = "", *, seq: str = REFERENCE) -> bytes:
    told = f"<orderSeq>{seq}</orderSeq><status>{status}</status>"
    known = "<orderId>CM1</orderId><msisdn>8617030001234</msisdn>" if status != "N" else ""
    return answer(told + known + more, seq="SEQ")


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (_status("N"), NotFound()),
        (_status("P"), InProgress("CM1")),
        (_status("S"), Succeeded("CM1")),
        (
            _status("F", "<reason>4010</reason>"),
            Rejected("carrier_identity_refused", REFUSALS["carrier_identity_refused"], "4010", "CM1"),
        ),
        (
            _status("F", "<reason>张三</reason>"),
            Rejected("carrier_rejected", REFUSALS["carrier_rejected"], "", "CM1"),
        ),
        (_status("F"), Rejected("carrier_rejected", REFUSALS["carrier_rejected"], "", "CM1")),
    ],
)
def test_query(carrier_answers: Answers, content: bytes, outcome: object) -> None:
    adapter = carrier_answers(content)

    assert adapter.query(QueryRequest(reference=REFERENCE, number=NUMBER)) == outcome


@pytest.mark.parametrize(
    "content",
    [
        _status("Z"),
        _status(""),
        _status("S", seq="another-job"),
        _status("N", seq="another-job"),
        _status("S").replace(b"1234<", b"1235<"),
        _status("S").replace(b"CM1", b""),
        answer(None, code="4030", seq="SEQ"),
    ],
)
def test_query_that_says_something_else(carrier_answers: Answers, content: bytes) -> None:
    with pytest.raises(OutcomeUnknown):
        carrier_answers(content).query(QueryRequest(reference=REFERENCE, number=NUMBER))


ROW = '<subscriber msisdn="8617030001234" iccid="89860012345678901234" state="N" product="M-FREE-19"></subscriber>'


@pytest.mark.parametrize(
    "body",
    [
        "",
        ROW,
        f"<subscribers>{ROW}{ROW}</subscribers>",
        f"<subscribers>{ROW.replace(' state=', ' mood=')}</subscribers>",
        "<subscribers>" + ROW.replace('"N"', '"Q"') + "</subscribers>",
        f"<subscribers>{ROW.replace(' state=', ' iccid=')}</subscribers>",
        f"<subscribers>{ROW.replace('><', '><b/><')}</subscribers>",
        f"<subscribers>{ROW.replace('8617', '17')}</subscribers>",
        f"<subscribers>{ROW.replace('89860012345678901234', '8986')}</subscribers>",
        f"<subscribers>{ROW.replace('M-FREE-19', '')}</subscribers>",
        f"<subscribers>{ROW.replace('subscriber>', 'other>')}</subscribers>",
        f"<subscribers>{ROW}</subscribers><next></next>",
        f"<subscribers>{ROW}</subscribers><next>here</next>",
        "<subscribers/><next>abc</next>",
    ],
)
def test_a_page_with_one_unreadable_row_is_no_page(carrier_answers: Answers, body: str) -> None:
    with pytest.raises(OutcomeUnknown):
        carrier_answers(answer(body, seq="SEQ")).list_lines(LinesRequest(cursor="here"))
