"""The `mobile` dialect, invented: XML to one service address, answered when the order is done, always over HTTP 200.

    POST /mobile/service
    Authorization: CM1 time="20261124140000", nonce="...", mac="..."     Beijing time, at most 300 s off
        mac = base64(HMAC-SHA256(secret, time + "\\n" + nonce + "\\n" + hex(SHA-256(raw body))))

    <request><head><partner/><seq/><service>OpenSubscriber</service></head>
      <body><msisdn>8617030000001</msisdn><iccid/><imsi/><product/><certType/><certNo/><custName/></body></request>
    <response><head><seq/><result>0000</result><message/></head>
      <body><orderId/><msisdn/><status>S</status></body></response>

`seq` names the order for life. All that changes a line takes msisdn and iccid as they are, and: `StopSubscriber`
stopType, `RestartSubscriber` nothing, `ReplaceCard` newIccid and newImsi, `ReplaceNumber` newMsisdn, `ReplaceProduct`
product, `TransferSubscriber` the holder's three, `CloseSubscriber` reason. `QueryOrder` takes orderSeq,
`ListSubscribers` startAfter and pageSize. Status is S done, P in work, F refused, N unknown; the codes are in `CODES`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from xml.sax.saxutils import escape, quoteattr

from defusedxml import ElementTree
from starlette.responses import Response

from apps.carrier_sim import signing
from apps.carrier_sim.dialect import SecretOf, choice, cursor_of, number_of, page_size, resale_number, text
from apps.carrier_sim.ledger import Entry, result_of
from apps.carrier_sim.lines import Line
from apps.carrier_sim.orders import Call, LineState, Operation, Order, Problem, Refused, naming

BEIJING = timezone(timedelta(hours=8))
OK, OK_BEFORE = "0000", "0001"

CODES: dict[Problem, tuple[str, str]] = {
    Problem.BAD_SIGNATURE: ("1001", "mac does not match"),
    Problem.STALE: ("1002", "time too far off"),
    Problem.MALFORMED: ("1003", "not a readable request"),
    Problem.FIELD: ("1004", "element missing or malformed"),
    Problem.REFERENCE_REUSED: ("1005", "seq was used for another order"),
    Problem.NUMBER_INVALID: ("4001", "msisdn is not in the resale ranges"),
    Problem.NUMBER_IN_USE: ("4002", "msisdn is in use"),
    Problem.SIM_INVALID: ("4003", "card cannot be used"),
    Problem.SIM_IN_USE: ("4004", "card is in use"),
    Problem.IDENTITY_REFUSED: ("4010", "certificate refused"),
    Problem.PAPER_TYPE: ("4011", "certificate type not accepted"),
    Problem.PLAN_INVALID: ("4020", "product is not sold"),
    Problem.LINE_NOT_FOUND: ("4030", "no such subscriber of yours"),
    Problem.LINE_CLOSED: ("4031", "subscriber is closed"),
    Problem.LINE_BUSY: ("4032", "another order of the subscriber is in work"),
    Problem.LINE_ALREADY_SO: ("4033", "subscriber is in that state"),
    Problem.TOO_MANY: ("8001", "too many calls"),
    Problem.BUSY: ("8002", "busy"),
    Problem.SYSTEM: ("9000", "system error"),
}
OPERATIONS = {
    "OpenSubscriber": Operation.ACTIVATE,
    "StopSubscriber": Operation.SUSPEND,
    "RestartSubscriber": Operation.RESUME,
    "ReplaceCard": Operation.CHANGE_SIM,
    "ReplaceNumber": Operation.CHANGE_NUMBER,
    "ReplaceProduct": Operation.CHANGE_PLAN,
    "TransferSubscriber": Operation.TRANSFER,
    "CloseSubscriber": Operation.TERMINATE,
}
CERT_TYPES = frozenset({"00", "01", "04", "05", "06", "07", "08", "11", "21"})
STOP_TYPES = {"H": "one_way", "D": "two_way"}
CLOSE_REASONS = {"1": "", "2": "", "3": "", "4": ""}
STATES = {
    LineState.IN_SERVICE: "N",
    LineState.STOPPED_OUTGOING: "H",
    LineState.STOPPED: "D",
    LineState.CLOSED: "X",
}
RESULTS = {"PENDING": "P", "DONE": "S", "REFUSED": "F"}

_RESALE = re.compile(r"1(?:70[356]|65[0-9])[0-9]{7}")
_CREDENTIALS = re.compile(r'CM1 time="([0-9]{14})", nonce="([0-9a-f]{8,32})", mac="([A-Za-z0-9+/=]{44})"')


class Mobile:
    """The carrier's side of it."""

    name = "mobile"
    prefix = "CM"
    path = "service"
    calls_back = False
    answers_when_done = True
    strange: tuple[tuple[bytes, bytes], ...] = (
        (b"<status>S<", b"<status>Z<"),
        (b"<status>P<", b"<status>Z<"),
        (b"<result>0000<", b"<result>0777<"),
    )

    def read(self, *, headers: Mapping[str, str], method: str, body: bytes, secret_of: SecretOf) -> Call:
        head, sent = self._open(headers, body, secret_of)
        seq = text(head, "seq", "reference")
        with naming(seq):
            return self._call(head, seq, sent)

    def _call(self, head: dict[str, str], seq: str, sent: dict[str, str]) -> Call:
        service, app_key = head.get("service", ""), head["partner"]
        if service == "QueryOrder":
            return Call(app_key=app_key, reference=seq, asked=text(sent, "orderSeq", "reference"))
        if service == "ListSubscribers":
            size = sent.get("pageSize", "")
            limit = page_size(int(size) if re.fullmatch("[0-9]{1,9}", size) else None)
            after = number_of(sent.get("startAfter", ""))
            return Call(app_key=app_key, reference=seq, after=after, limit=limit)
        if service not in OPERATIONS:
            raise Refused(Problem.FIELD, "service")
        plan, change = self._contents(OPERATIONS[service], sent)
        order = Order(
            app_key=app_key,
            operation=OPERATIONS[service],
            reference=seq,
            number=_number(sent, "msisdn"),
            iccid=text(sent, "iccid", "iccid"),
            plan=plan,
            change=change,
        )
        return Call(app_key=app_key, reference=seq, order=order)

    def _open(
        self, headers: Mapping[str, str], body: bytes, secret_of: SecretOf
    ) -> tuple[dict[str, str], dict[str, str]]:
        try:
            root = ElementTree.fromstring(body, forbid_dtd=True)
        except (ValueError, LookupError, ElementTree.ParseError):
            raise Refused(Problem.MALFORMED) from None
        parts = {part.tag: {child.tag: child.text or "" for child in part} for part in root}
        if root.tag != "request" or set(parts) != {"head", "body"}:
            raise Refused(Problem.MALFORMED)
        head = parts["head"]
        secret = secret_of(text(head, "partner", "app_key"))
        credentials = _CREDENTIALS.fullmatch(headers.get("Authorization", ""))
        if credentials is None:
            raise Refused(Problem.BAD_SIGNATURE)
        time, nonce, mac = credentials.groups()
        signed = f"{time}\n{nonce}\n{hashlib.sha256(body).hexdigest()}"
        expected = base64.b64encode(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())
        if not hmac.compare_digest(expected, mac.encode()):
            raise Refused(Problem.BAD_SIGNATURE)
        try:
            at = datetime.strptime(time, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).timestamp()
        except ValueError:
            raise Refused(Problem.STALE) from None
        if not signing.is_fresh(str(int(at))):
            raise Refused(Problem.STALE)
        return head, parts["body"]

    def _contents(self, operation: Operation, sent: dict[str, str]) -> tuple[str, str]:
        """Plan and change of the order; checks what else has to be there."""
        match operation:
            case Operation.ACTIVATE:
                _check_holder(sent)
                if "imsi" in sent:
                    text(sent, "imsi", "imsi")
                return text(sent, "product", "plan"), ""
            case Operation.SUSPEND:
                return "", choice(sent, "stopType", STOP_TYPES)
            case Operation.CHANGE_SIM:
                if "newImsi" in sent:
                    text(sent, "newImsi", "imsi")
                return "", text(sent, "newIccid", "iccid")
            case Operation.CHANGE_NUMBER:
                return "", _number(sent, "newMsisdn")
            case Operation.CHANGE_PLAN:
                return "", text(sent, "product", "plan")
            case Operation.TRANSFER:
                _check_holder(sent)
            case Operation.TERMINATE:
                choice(sent, "reason", CLOSE_REASONS)
        return "", ""

    def taken(self, call: Call, entry: Entry, *, is_new: bool) -> Response:
        result = result_of(entry)
        if result == "REFUSED":
            return self.problem(call.reference, Problem(entry.reason), "")
        body = {"orderId": entry.order_no, "msisdn": f"86{entry.number}", "status": RESULTS[result]}
        return _reply(OK if is_new else OK_BEFORE, "ok", seq=call.reference, body=_elements(body))

    def problem(self, reference: str | None, problem: Problem, detail: str) -> Response:
        code, message = CODES[problem]
        return _reply(
            code,
            f"{message}: {detail}" if detail else message,
            seq=reference,
            retry=problem in (Problem.TOO_MANY, Problem.BUSY),
            status=500 if problem is Problem.SYSTEM else 200,
        )

    def found(self, call: Call, entry: Entry | None) -> Response:
        body = {"orderSeq": call.asked, "status": "N"}
        if entry is not None:
            result = result_of(entry)
            body |= {"orderId": entry.order_no, "msisdn": f"86{entry.number}", "status": RESULTS[result]}
            if result == "REFUSED":
                body["reason"] = CODES[Problem(entry.reason)][0]
        return _reply(OK, "ok", seq=call.reference, body=_elements(body))

    def page(self, call: Call, lines: list[Line], after: str | None) -> Response:
        rows = "".join(
            f'<subscriber msisdn="86{line.number}" iccid="{line.iccid}" state="{STATES[line.state]}"'
            f" product={quoteattr(line.plan)}/>"
            for line in lines
        )
        following = f"<next>{cursor_of(after)}</next>" if after else ""
        return _reply(OK, "ok", seq=call.reference, body=f"<subscribers>{rows}</subscribers>{following}")


def _number(sent: dict[str, str], name: str) -> str:
    msisdn = sent.get(name, "")
    if not re.fullmatch(r"861[0-9]{10}", msisdn):
        raise Refused(Problem.FIELD, name)
    return resale_number(msisdn[2:], _RESALE)


def _check_holder(sent: dict[str, str]) -> None:
    text(sent, "custName", "name")
    text(sent, "certNo", "document")
    if sent.get("certType") not in CERT_TYPES:
        raise Refused(Problem.PAPER_TYPE)


def _elements(fields: dict[str, str]) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())


def _reply(
    code: str,
    message: str,
    *,
    seq: str | None,
    body: str | None = None,
    retry: bool = False,
    status: int = 200,
) -> Response:
    head = ({"seq": seq} if seq else {}) | {"result": code, "message": message}
    if retry:
        head["retryAfter"] = "1"
    content = f"<head>{_elements(head)}</head>" + (f"<body>{body}</body>" if body is not None else "")
    return Response(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<response>{content}</response>',
        status_code=status,
        media_type="application/xml",
    )
