"""Whatever bytes come back: only a documented yes that echoes our reference and our number is a success, only a
documented no that echoes our reference is a refusal, and nothing but the four errors ever leaves an adapter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from defusedxml import ElementTree
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.carriers.base import (
    Accepted,
    Account,
    CarrierError,
    CarrierRejected,
    CarrierUnavailable,
    InProgress,
    LinesPage,
    LinesRequest,
    NotFound,
    QueryRequest,
    Rejected,
    Reply,
    Succeeded,
    SuspendRequest,
)
from apps.carriers.registry import ADAPTERS
from tests.carriers.conftest import Blocking

REFERENCE = "job-0123456789"
NATIONAL = {"unicom": "17090001234", "mobile": "17030001234", "telecom": "17000001234"}
ACCOUNT = Account(
    base_url="http://127.0.0.1:9",
    app_key="snail-live",
    secret="secret-of-this-account",
    callback_secret="callback-secret-of-this-account",
    notify_url="https://kaihu.example/callbacks",
)


class Canned:
    """An exchange that gives one reply to everything; SEQ in it becomes the reference of the request."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.reference = ""

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Reply:
        found = re.search(rb'"serial":"(.+?)"|"requestNo":"(.+?)"|<seq>(.+?)</seq>', content)
        assert found is not None
        reference = next(group for group in found.groups() if group)
        self.reference = reference.decode()
        return Reply(
            status=self.reply.status,
            headers=self.reply.headers,
            body=self.reply.body.replace(b"SEQ", reference),
        )


# --- what each dialect documents, told a second time and without the adapters' tables ---


@dataclass(frozen=True)
class Facts:
    """What a body says, as a plain reader sees it; everything is None when it is not readable."""

    code: Any = None
    echo: Any = None
    about: Any = None
    number: Any = None
    order_no: Any = None
    word: Any = None


def _json(body: bytes) -> Any:
    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "a member twice"
        return dict(pairs)

    return json.loads(body, object_pairs_hook=members)


def _unicom(body: bytes) -> Facts:
    answer = _json(body)
    data = answer.get("data") or {}
    return Facts(
        answer["code"],
        answer.get("serial"),
        data.get("order_serial"),
        data.get("number"),
        data.get("order_no"),
        data.get("state"),
    )


def _telecom(body: bytes) -> Facts:
    answer = _json(body)
    result = answer.get("result") or {}
    assert type(answer["resultCode"]) is int
    word = result.get("stage") or result.get("acceptType")
    return Facts(
        answer["resultCode"],
        answer.get("requestNo"),
        result.get("queryNo"),
        result.get("phone"),
        result.get("workOrder"),
        word,
    )


def _mobile(body: bytes) -> Facts:
    root = ElementTree.fromstring(body.decode(), forbid_dtd=True)

    def only(path: str) -> str | None:
        found = root.findall(path)
        return None if not found else "told twice" if len(found) > 1 else found[0].text or ""

    assert root.tag == "response"
    msisdn = only("body/msisdn")
    return Facts(
        only("head/result"),
        only("head/seq"),
        only("body/orderSeq"),
        msisdn.removeprefix("86") if msisdn else None,
        only("body/orderId"),
        only("body/status"),
    )


READ: dict[str, Callable[[bytes], Facts]] = {"unicom": _unicom, "mobile": _mobile, "telecom": _telecom}
YES: dict[str, set[Any]] = {
    "unicom": {"UC-0000", "UC-0001"},
    "mobile": {"0000", "0001"},
    "telecom": {10000, 10001},
}
NO: dict[str, Callable[[Any], bool]] = {
    "unicom": lambda code: str(code).startswith("UC-20"),
    "mobile": lambda code: str(code).startswith("40"),
    "telecom": lambda code: 30000 < code < 40000,
}
BUSY: dict[str, set[Any]] = {
    "unicom": {"UC-3001", "UC-3002"},
    "mobile": {"8001", "8002"},
    "telecom": {40001, 40002},
}
REFUSALS: dict[str, list[Any]] = {
    "unicom": ["UC-2003", "UC-2777"],
    "mobile": ["4002", "4777"],
    "telecom": [30202, 30777],
}
STATUSES = {"unicom": {200}, "mobile": {200}, "telecom": {200, 202}}
DONE = {"unicom": {"DONE"}, "mobile": {"S"}, "telecom": {"FINISHED"}}
WORKING = {"unicom": {"WORKING"}, "mobile": {"P"}, "telecom": {"RECEIVED", "BUILDING"}}
REFUSED = {"unicom": {"REFUSED"}, "mobile": {"F"}, "telecom": {"WITHDRAWN"}}
NOBODY = {"unicom": {"NONE"}, "mobile": {"N"}, "telecom": {"UNKNOWN"}}


def good(dialect: str, *, word: str | None, **lies: Any) -> bytes:
    """A documented answer: to an order when `word` is None, else to a question; `lies` take the place of the truth."""
    true = {
        "code": min(YES[dialect]),
        "echo": "SEQ",
        "about": REFERENCE,
        "number": NATIONAL[dialect],
        "order_no": "X1",
    }
    told = true | lies
    if dialect == "unicom":
        data = {"order_no": told["order_no"], "number": told["number"]}
        data |= {"order_serial": told["about"], "state": word, "reason_code": "UC-2006"} if word else {}
        return json.dumps(
            {"code": told["code"], "message": "m", "serial": told["echo"], "data": data}
        ).encode()
    if dialect == "telecom":
        result = {"workOrder": told["order_no"], "phone": told["number"], "acceptType": "HALT"}
        result |= {"queryNo": told["about"], "stage": word, "cause": 30401} if word else {}
        answer = {"resultCode": told["code"], "resultMsg": "m", "requestNo": told["echo"], "result": result}
        return json.dumps(answer).encode()
    asked = f"<orderSeq>{told['about']}</orderSeq>" if word else ""
    return (
        f"<response><head><seq>{told['echo']}</seq><result>{told['code']}</result></head><body>{asked}"
        f"<orderId>{told['order_no']}</orderId><msisdn>86{told['number']}</msisdn><status>{word or 'S'}</status>"
        "</body></response>"
    ).encode()


# --- what comes back ---

PIECES = st.sampled_from(
    [
        b"UC-0000", b"UC-2001", b"UC-2003", b"UC-3002", b"UC-9001", b"0000", b"4002", b"8002", b"10000", b"30202",
        b"40002", b"SEQ", b"job-0123456789", b"job-0123456780", b"17090001234", b"17030001234", b"17000001234",
        b"17090001235", b'"DONE"', b'"REFUSED"', b'"NONE"', b'"FINISHED"', b'"UNKNOWN"', b">S<", b">F<", b">N<",
        b"null", b"{}", b"[]", b'"', b"{", b"}", b",", b"<", b">", b"<seq>", b"</seq>", b"<body/>", b"<!DOCTYPE x>",
        b"&lt;", b"&x;", b"\x00", b"\xff", b"\xef\xbb\xbf", b" ", b"\n", b"1e400", b"NaN", b"true",
    ]
)  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, body: bytes) -> bytes:
    """The good body after some cuts, doublings and insertions of pieces that mean something."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        to = draw(st.integers(at, min(len(body), at + 30)))
        body = draw(
            st.sampled_from(
                [
                    body[:at] + body[to:],
                    body[:to] + body[at:],
                    body[:at] + draw(PIECES) + body[to:],
                    body[:at] + bytes([draw(st.integers(0, 255))]) + body[to:],
                ]
            )
        )
    return body


LIES: dict[str, list[Any]] = {
    "echo": ["job-0123456780", "", None],
    "about": ["job-0123456780", "", None],
    "number": ["17090001235", "17030001235", "17000001235", "+8617090001234", "", None, 17090001234],
    "order_no": ["", "X" * 65, "X 1", None, 1, ["X1"]],
}


@st.composite
def doubled(draw: st.DrawFn, body: bytes) -> bytes:
    """The good body with one member or element told twice, the second time differently or as it was."""
    text = body.decode()
    members = re.findall(r'("[A-Za-z_]+": )("[^"]*"|[0-9]+)', text)
    elements = re.findall(r"<([A-Za-z]+)>([^<]*)</\1>", text)
    other = draw(st.sampled_from(["job-0123456780", "17090001235", "UC-2001", "4002", "X2", "DONE", "S"]))
    if members:
        name, value = draw(st.sampled_from(members))
        twin = f'{name}"{other}"' if value.startswith('"') else f"{name}30202"
        return text.replace(name + value, f"{twin}, {name}{value}", 1).encode()
    name, value = draw(st.sampled_from(elements))
    return text.replace(f"<{name}>{value}", f"<{name}>{other}</{name}><{name}>{value}", 1).encode()


@st.composite
def told(draw: st.DrawFn, dialect: str, word: str | None, codes: list[Any]) -> bytes:
    """An answer in the documented form that may lie in any place, or contradict itself."""
    lies = {
        name: draw(st.sampled_from(LIES[name]))
        for name in draw(st.sets(st.sampled_from(sorted(LIES)), max_size=2))
    }
    if draw(st.booleans()):
        lies["code"] = draw(st.sampled_from(codes))
    body = good(dialect, word=word, **lies)
    return draw(doubled(body)) if draw(st.integers(0, 3)) == 0 else body


@st.composite
def replies(draw: st.DrawFn, dialect: str, bodies: st.SearchStrategy[bytes]) -> Reply:
    """Mostly with the headers and the status that belong to it."""
    right = "application/xml" if dialect == "mobile" else "application/json"
    types = [right] * 8 + ["application/json", "application/xml", "text/xml; charset=utf-8", "text/html", ""]
    statuses = [200] * 6 + [202, 204, 301, 400, 401, 422, 422, 429, 500, 502, 503, 503]
    body = draw(bodies)
    body = draw(st.one_of(st.just(body), st.just(body), spoilt(body), st.binary(max_size=300)))
    return Reply(
        status=draw(st.sampled_from(statuses)),
        headers={"content-type": draw(st.sampled_from(types))},
        body=body,
    )


def drawn(data: st.DataObject, dialect: str, bodies: st.SearchStrategy[bytes]) -> tuple[Blocking, Canned]:
    exchange = Canned(data.draw(replies(dialect, bodies)))
    return Blocking(ADAPTERS[dialect](account=ACCOUNT, exchange=exchange)), exchange


def facts_of(dialect: str, exchange: Canned) -> Facts:
    return READ[dialect](exchange.reply.body.replace(b"SEQ", exchange.reference.encode()))


every_dialect = pytest.mark.parametrize("dialect", sorted(READ))


@every_dialect
@given(data=st.data())
@settings(max_examples=250, deadline=None)
def test_no_reply_to_an_order_is_more_than_it_says(dialect: str, data: st.DataObject) -> None:
    adapter, exchange = drawn(data, dialect, told(dialect, None, [*BUSY[dialect], *REFUSALS[dialect]]))
    request = SuspendRequest(
        reference=REFERENCE, number=f"+86{NATIONAL[dialect]}", iccid="89860112345678901234", kind="one_way"
    )

    try:
        result = adapter.suspend(request)
    except CarrierRejected:
        facts = facts_of(dialect, exchange)
        assert NO[dialect](facts.code)
        assert facts.echo == REFERENCE
    except CarrierUnavailable:
        facts = facts_of(dialect, exchange)
        assert facts.code in BUSY[dialect]
        assert facts.echo in (None, REFERENCE)
    except CarrierError:
        pass
    else:
        facts = facts_of(dialect, exchange)
        assert isinstance(result, Accepted | Succeeded)
        assert exchange.reply.status in STATUSES[dialect]
        assert facts.code in YES[dialect]
        assert (facts.echo, facts.number, facts.order_no) == (
            REFERENCE,
            NATIONAL[dialect],
            result.carrier_reference,
        )


@every_dialect
@given(data=st.data())
@settings(max_examples=250, deadline=None)
def test_no_answer_to_a_question_is_more_than_it_says(dialect: str, data: st.DataObject) -> None:
    words = sorted(DONE[dialect] | WORKING[dialect] | REFUSED[dialect] | NOBODY[dialect] | {"ARCHIVED"})
    adapter, exchange = drawn(
        data, dialect, told(dialect, data.draw(st.sampled_from(words)), REFUSALS[dialect])
    )

    try:
        outcome = adapter.query(QueryRequest(reference=REFERENCE, number=f"+86{NATIONAL[dialect]}"))
    except CarrierRejected:
        raise AssertionError("a question cannot be rejected") from None
    except CarrierError:
        return

    facts = facts_of(dialect, exchange)
    assert (facts.echo, facts.about) == (exchange.reference, REFERENCE)
    assert facts.code in YES[dialect]
    expected = {Succeeded: DONE, InProgress: WORKING, Rejected: REFUSED, NotFound: NOBODY}[type(outcome)]
    assert facts.word in expected[dialect]
    if not isinstance(outcome, NotFound):
        assert (facts.number, facts.order_no) == (NATIONAL[dialect], outcome.carrier_reference)


PAGES = {
    "unicom": json.dumps(
        {
            "code": "UC-0000",
            "serial": "SEQ",
            "data": {
                "lines": [
                    {
                        "number": "17090001234",
                        "iccid": "89860112345678901234",
                        "state": "running",
                        "plan": "U-FREE-19",
                    }
                ],
                "next": "abc",
            },
        }
    ).encode(),
    "telecom": json.dumps(
        {
            "resultCode": 10000,
            "requestNo": "SEQ",
            "result": {
                "rows": [["17000001234", "89860112345678901234", "INUSE", "U-FREE-19"]],
                "nextToken": "abc",
            },
        }
    ).encode(),
    "mobile": (
        b"<response><head><seq>SEQ</seq><result>0000</result></head><body><subscribers>"
        b'<subscriber msisdn="8617030001234" iccid="89860112345678901234" state="N" product="U-FREE-19"/>'
        b"</subscribers><next>abc</next></body></response>"
    ),
}


@every_dialect
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_page_of_lines_holds_what_is_no_line(dialect: str, data: st.DataObject) -> None:
    adapter, exchange = drawn(data, dialect, st.just(PAGES[dialect]))

    try:
        page = adapter.list_lines(LinesRequest(cursor="here"))
    except CarrierRejected:
        raise AssertionError("a question cannot be rejected") from None
    except CarrierError:
        return

    assert isinstance(page, LinesPage)
    assert facts_of(dialect, exchange).echo == exchange.reference
    assert all(re.fullmatch(r"\+861[0-9]{10}", line.number) for line in page.lines)
    assert page.next is None or (page.lines and page.next != "here")


@every_dialect
@pytest.mark.parametrize("word", [None, "DONE"])
def test_the_good_answers_are_believed(dialect: str, word: str | None) -> None:
    """Else the tests above would prove nothing."""
    exchange = Canned(
        Reply(
            status=200,
            headers={"content-type": "application/xml" if dialect == "mobile" else "application/json"},
            body=good(dialect, word=min(DONE[dialect]) if word else None),
        )
    )
    adapter = Blocking(ADAPTERS[dialect](account=ACCOUNT, exchange=exchange))
    number = f"+86{NATIONAL[dialect]}"

    if word:
        assert isinstance(adapter.query(QueryRequest(reference=REFERENCE, number=number)), Succeeded)
    else:
        request = SuspendRequest(
            reference=REFERENCE, number=number, iccid="89860112345678901234", kind="one_way"
        )
        assert isinstance(adapter.suspend(request), Accepted | Succeeded)
