"""The `mobile` dialect: XML to one service address, a MAC over time, nonce and digest of the body in the Authorization
header, and the order is carried out before the call is answered. No callbacks.

Invented for this project together with the simulator's side of it; no real carrier's interface is copied.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from xml.sax.saxutils import escape

from defusedxml import ElementTree

from apps.carriers import answers, base
from apps.carriers.answers import Meaning, agreed, busy, misconfigured, national, rejected
from apps.core import clock

# What this dialect calls a node is what the parser makes; the parser itself has no annotations.
Node = Any

BEIJING = timezone(timedelta(hours=8))

# Documented answers come over HTTP 200 whatever they say; another status, or a code that is not here (9000 "system
# error" among them), proves nothing.
CODES: dict[str, Meaning] = {
    "0000": agreed(200),
    "0001": agreed(200),
    "1001": misconfigured("the carrier does not recognise our signature", 200),
    "1002": misconfigured("our clock and the carrier's are too far apart", 200),
    "1003": misconfigured("the carrier could not read our request", 200),
    "1004": misconfigured("the carrier misses a field or does not like its form", 200),
    "1005": misconfigured("the carrier knows our sequence number for another order", 200),
    "4001": rejected("carrier_number_invalid", 200),
    "4002": rejected("carrier_number_in_use", 200),
    "4003": rejected("carrier_sim_invalid", 200),
    "4004": rejected("carrier_sim_in_use", 200),
    "4010": rejected("carrier_identity_refused", 200),
    "4011": rejected(answers.DOCUMENT_TYPE_NOT_ACCEPTED, 200),
    "4020": rejected("carrier_plan_invalid", 200),
    "4030": rejected("carrier_line_not_found", 200),
    "4031": rejected("carrier_line_closed", 200),
    "4032": rejected("carrier_line_busy", 200),
    "4033": rejected("carrier_line_already_so", 200),
    "8001": busy("the carrier limits our calls", 200),
    "8002": busy("the carrier is busy", 200),
}

# Ours to the carrier's; None: it takes no such document.
DOCUMENT_TYPES: dict[str, str | None] = {
    "resident_id": "00",
    "temporary_resident_id": "01",
    "household_register": None,
    "hk_macao_permit": "04",
    "taiwan_permit": "05",
    "hkmt_residence_permit": "06",
    "foreign_permanent_resident": "07",
    "passport": "08",
    "military_id": "11",
    "uscc": "21",
}
CLOSE_REASONS = {"user_request": "1", "arrears": "2", "fraud": "3", "regulator": "4"}
STOP_KINDS = {"one_way": "H", "two_way": "D"}
LINE_STATES = {
    "N": base.LineState.ACTIVE,
    "H": base.LineState.SUSPENDED_ONE_WAY,
    "D": base.LineState.SUSPENDED_TWO_WAY,
    "X": base.LineState.TERMINATED,
}

# Everything XML 1.0 can carry in one line; the rest cannot be escaped either.
_WRITABLE = re.compile("[\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


def sign(*, secret: str, time: str, nonce: str, body: bytes) -> str:
    """Base64 of HMAC-SHA256 over time, nonce and the hex SHA-256 of the body, one a line."""
    text = f"{time}\n{nonce}\n{hashlib.sha256(body).hexdigest()}"
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()


class MobileAdapter(base.Adapter):
    """Carried out when answered; deduplicates by our reference; can be asked."""

    dialect = "mobile"

    async def activate(self, request: base.ActivateRequest) -> base.Accepted | base.Succeeded:
        """`OpenSubscriber`; a known reference is answered with what became of it."""
        more = {"imsi": request.imsi, "product": request.plan_code, **_holder(request)}
        return await self._order("OpenSubscriber", request, more)

    async def suspend(self, request: base.SuspendRequest) -> base.Accepted | base.Succeeded:
        """`StopSubscriber`."""
        return await self._order(
            "StopSubscriber", request, {"stopType": answers.word(STOP_KINDS, request.kind)}
        )

    async def resume(self, request: base.ResumeRequest) -> base.Accepted | base.Succeeded:
        """`RestartSubscriber`."""
        return await self._order("RestartSubscriber", request, {})

    async def change_sim(self, request: base.ChangeSimRequest) -> base.Accepted | base.Succeeded:
        """`ReplaceCard`."""
        more = {"newIccid": request.new_iccid, "newImsi": request.new_imsi}
        return await self._order("ReplaceCard", request, more)

    async def change_number(self, request: base.ChangeNumberRequest) -> base.Accepted | base.Succeeded:
        """`ReplaceNumber`."""
        return await self._order("ReplaceNumber", request, {"newMsisdn": _msisdn(request.new_number)})

    async def change_plan(self, request: base.ChangePlanRequest) -> base.Accepted | base.Succeeded:
        """`ReplaceProduct`."""
        return await self._order("ReplaceProduct", request, {"product": request.plan_code})

    async def transfer(self, request: base.TransferRequest) -> base.Accepted | base.Succeeded:
        """`TransferSubscriber`."""
        return await self._order("TransferSubscriber", request, _holder(request))

    async def terminate(self, request: base.TerminateRequest) -> base.Accepted | base.Succeeded:
        """`CloseSubscriber`."""
        return await self._order(
            "CloseSubscriber", request, {"reason": answers.word(CLOSE_REASONS, request.reason)}
        )

    async def query(self, request: base.QueryRequest) -> base.Outcome:
        """`QueryOrder` under a sequence number of its own."""
        data = _fields(await self._ask("QueryOrder", {"orderSeq": request.reference}, request.request_id))
        if data.get("orderSeq") != request.reference:
            raise base.OutcomeUnknown("the answer speaks of another order")
        status = data.get("status")
        if status == "N":
            return base.NotFound()
        if request.number is not None and data.get("msisdn") != _msisdn(request.number):
            raise base.OutcomeUnknown("the answer speaks of another number")
        order_no = answers.order_no(data.get("orderId"))
        match status:
            case "P":
                return base.InProgress(order_no)
            case "S":
                return base.Succeeded(order_no)
            case "F":
                return answers.refusal(CODES, data.get("reason"), order_no=order_no)
        raise base.OutcomeUnknown("the answer names a status that is not documented")

    async def list_lines(self, request: base.LinesRequest) -> base.LinesPage:
        """`ListSubscribers`; a row is one element with attributes."""
        asked = {"startAfter": request.cursor or None, "pageSize": str(request.limit)}
        parts = _children(await self._ask("ListSubscribers", asked, request.request_id))
        if "subscribers" not in parts:
            raise base.OutcomeUnknown("the answer has no lines")
        rows = []
        for row in parts["subscribers"]:
            if row.tag != "subscriber" or len(row):
                raise base.OutcomeUnknown("something else among the lines")
            msisdn = row.get("msisdn", "")
            number = msisdn[2:] if msisdn.startswith("86") else None
            rows.append((number, row.get("iccid"), row.get("state"), row.get("product")))
        after = _text(parts["next"]) if "next" in parts else None
        return answers.lines_page(request, rows=rows, states=LINE_STATES, after=after)

    def parse_callback(
        self, headers: Mapping[str, str], raw_body: bytes, now: datetime
    ) -> base.CallbackMessage:
        """There is nothing to believe: this carrier answers in the call."""
        raise base.CallbackForged("this carrier sends no callbacks")

    async def _order(
        self, service: str, request: base.LineRequest, more: Mapping[str, str | None]
    ) -> base.Accepted | base.Succeeded:
        sent = {"msisdn": _msisdn(request.number), "iccid": request.iccid, **more}
        data = _fields(await self._call(service, request.reference, sent, request.request_id))
        if data.get("msisdn") != sent["msisdn"]:
            raise base.OutcomeUnknown("the answer speaks of another number")
        order_no = answers.order_no(data.get("orderId"))
        match data.get("status"):
            case "S":
                return base.Succeeded(order_no)
            case "P":
                # An earlier call with this reference is still being worked on.
                return base.Accepted(order_no)
        raise base.OutcomeUnknown("the answer names a status that is not documented")

    async def _ask(self, service: str, sent: Mapping[str, str | None], request_id: str) -> Node:
        try:
            return await self._call(service, f"Q{secrets.token_hex(12)}", sent, request_id)
        except base.CarrierRejected as error:
            raise base.OutcomeUnknown(f"{error.carrier_code} in answer to a question") from None

    async def _call(self, service: str, seq: str, sent: Mapping[str, str | None], request_id: str) -> Node:
        body = _write(
            {"partner": self.account.app_key, "seq": seq, "service": service},
            {name: value for name, value in sent.items() if value is not None},
        )
        # Read when it is sent and not when the job was claimed: the carrier compares it with its own clock.
        time, nonce = clock.now().astimezone(BEIJING).strftime("%Y%m%d%H%M%S"), secrets.token_hex(8)
        mac = sign(secret=self.account.secret, time=time, nonce=nonce, body=body)
        headers = {
            "Content-Type": "application/xml; charset=utf-8",
            "Authorization": f'CM1 time="{time}", nonce="{nonce}", mac="{mac}"',
        }
        if request_id:
            headers["X-Request-ID"] = request_id
        reply = await self.exchange.post(f"{self.account.base_url}/service", content=body, headers=headers)
        return read_reply(reply, seq=seq)


def read_reply(reply: base.Reply, *, seq: str) -> Node:
    """The `body` of an answer that says yes; every other answer becomes one of the four errors.

    :raises CarrierError: by the documented code; `OutcomeUnknown` for whatever is not documented.
    """
    parts = _children(_parse(reply))
    if set(parts) - {"body"} != {"head"}:
        raise base.OutcomeUnknown("the answer has another form")
    head = _fields(parts["head"])
    code = head.get("result", "")
    answers.check(
        CODES.get(code),
        status=reply.status,
        code=code,
        echoed=head.get("seq"),
        reference=seq,
        retry_after=head.get("retryAfter"),
    )
    if "body" not in parts:
        raise base.OutcomeUnknown("the answer has no body")
    return parts["body"]


def _parse(reply: base.Reply) -> Node:
    """The root of a document without a type definition: no entities, no external anything."""
    answers.expect_type(reply, "application/xml", "text/xml")
    try:
        # Read as text by us, so that no declaration can choose the encoding.
        root = ElementTree.fromstring(reply.body.decode("utf-8"), forbid_dtd=True)
    except (ValueError, ElementTree.ParseError):
        raise base.OutcomeUnknown("the answer is not XML that we read") from None
    if root.tag != "response":
        raise base.OutcomeUnknown("the answer is XML, but not a response")
    return root


def _children(element: Node) -> dict[str, Node]:
    """Child elements by name; one twice would let two readers see two answers."""
    children = {child.tag: child for child in element}
    stray = (element.text or "") + "".join(child.tail or "" for child in element)
    if len(children) != len(element) or element.attrib or stray.strip():
        raise base.OutcomeUnknown("the answer has an element twice, or text between elements")
    return children


def _fields(element: Node) -> dict[str, str]:
    return {name: _text(child) for name, child in _children(element).items()}


def _text(element: Node) -> str:
    if len(element) or element.attrib:
        raise base.OutcomeUnknown("an element holds more than text")
    return element.text or ""


def _write(head: Mapping[str, str], body: Mapping[str, str]) -> bytes:
    for value in (*head.values(), *body.values()):
        if not _WRITABLE.fullmatch(value):
            raise base.CarrierMisconfigured("what is asked for holds a character that XML cannot carry")
    written = [
        f"<{part}>"
        + "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
        + f"</{part}>"
        for part, fields in (("head", head), ("body", body))
    ]
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<request>{"".join(written)}</request>'.encode()


def _msisdn(number: str) -> str:
    return f"86{national(number)}"


def _holder(request: base.ActivateRequest | base.TransferRequest) -> dict[str, str]:
    return {
        "certType": answers.document_type(DOCUMENT_TYPES, request.document_type),
        "certNo": request.document_number,
        "custName": request.holder_name,
    }
