"""The `unicom` dialect, invented: one JSON gateway, HMAC-SHA256 over timestamp and raw body, accepts now and
calls back later.

    POST /unicom/gateway
    X-UC-Timestamp: 1795500000                       Unix seconds, at most 300 s off
    X-UC-Signature: hex(HMAC-SHA256(secret, timestamp + "." + raw body))

    {"app_key": "...", "serial": "...", "timestamp": 1795500000, "api": "line.open", "notify_url": "https://...",
     "data": {"number", "iccid", "imsi", "plan", "customer": {"name", "paper_type", "paper_no"}}}

`serial` names the order for life: the same serial again is answered with the same order. All that changes a line takes
number and iccid as they are, and: `line.stop` {"scope"}, `line.restore` {}, `line.card` {"new_iccid", "new_imsi"},
`line.number` {"new_number"}, `line.plan` {"plan"}, `line.owner` {"customer"}, `line.close` {"reason"}. `order.query`
takes {"order_serial"}, `line.list` {"after", "limit"}. Answers echo serial and number; the codes are in `CODES`.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from apps.carrier_sim import signing
from apps.carrier_sim.dialect import SecretOf, choice, cursor_of, number_of, page_size, resale_number, text
from apps.carrier_sim.ledger import Entry, result_of
from apps.carrier_sim.lines import Line
from apps.carrier_sim.orders import Call, LineState, Operation, Order, Problem, Refused, naming

TIMESTAMP_HEADER = "X-UC-Timestamp"
SIGNATURE_HEADER = "X-UC-Signature"
TAKEN, TAKEN_BEFORE = "UC-0000", "UC-0001"

# code, HTTP status, message. 1xxx auth and format, 2xxx business, 3xxx busy, 9xxx system.
CODES: dict[Problem, tuple[str, int, str]] = {
    Problem.BAD_SIGNATURE: ("UC-1002", 401, "signature does not match"),
    Problem.STALE: ("UC-1003", 401, "timestamp too far off"),
    Problem.MALFORMED: ("UC-1004", 400, "not a readable envelope"),
    Problem.FIELD: ("UC-1005", 400, "field missing or malformed"),
    Problem.REFERENCE_REUSED: ("UC-1006", 400, "serial was used for another order"),
    Problem.PLAN_INVALID: ("UC-2001", 200, "plan is not on sale"),
    Problem.NUMBER_INVALID: ("UC-2002", 200, "number is not in the resale ranges"),
    Problem.NUMBER_IN_USE: ("UC-2003", 200, "number is in service"),
    Problem.SIM_INVALID: ("UC-2004", 200, "card cannot be used"),
    Problem.SIM_IN_USE: ("UC-2005", 200, "card is in service"),
    Problem.IDENTITY_REFUSED: ("UC-2006", 200, "real-name data refused"),
    Problem.PAPER_TYPE: ("UC-2007", 200, "paper type is not accepted"),
    Problem.LINE_NOT_FOUND: ("UC-2010", 200, "no such line of yours"),
    Problem.LINE_CLOSED: ("UC-2011", 200, "line is closed"),
    Problem.LINE_BUSY: ("UC-2012", 200, "another order on this line is running"),
    Problem.LINE_ALREADY_SO: ("UC-2013", 200, "line is like that already"),
    Problem.TOO_MANY: ("UC-3001", 429, "too many calls"),
    Problem.BUSY: ("UC-3002", 503, "busy, come again"),
    Problem.SYSTEM: ("UC-9001", 500, "system error"),
}
OPERATIONS = {
    "line.open": Operation.ACTIVATE,
    "line.stop": Operation.SUSPEND,
    "line.restore": Operation.RESUME,
    "line.card": Operation.CHANGE_SIM,
    "line.number": Operation.CHANGE_NUMBER,
    "line.plan": Operation.CHANGE_PLAN,
    "line.owner": Operation.TRANSFER,
    "line.close": Operation.TERMINATE,
}
PAPER_TYPES = frozenset({"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "B1"})
SCOPES = {"outgoing": "one_way", "all": "two_way"}
CLOSE_REASONS = {"customer": "", "unpaid": "", "fraud": "", "authority": ""}
STATES = {
    LineState.IN_SERVICE: "running",
    LineState.STOPPED_OUTGOING: "stopped-outgoing",
    LineState.STOPPED: "stopped",
    LineState.CLOSED: "closed",
}
RESULTS = {"PENDING": "WORKING", "DONE": "DONE", "REFUSED": "REFUSED"}

_RESALE = re.compile(r"1(?:70[4789]|71[0-9]|67[0-9])[0-9]{7}")


class Unicom:
    """The carrier's side of it."""

    name = "unicom"
    prefix = "UN"
    path = "gateway"
    calls_back = True
    answers_when_done = False
    strange: tuple[tuple[bytes, bytes], ...] = (
        (b'"DONE"', b'"SETTLED"'),
        (b'"WORKING"', b'"SETTLED"'),
        (b"UC-0000", b"UC-0777"),
    )

    def read(self, *, headers: Mapping[str, str], method: str, body: bytes, secret_of: SecretOf) -> Call:
        envelope = self._open(headers, body, secret_of)
        serial = text(envelope, "serial", "reference")
        with naming(serial):
            return self._call(envelope, serial)

    def _call(self, envelope: dict[str, Any], serial: str) -> Call:
        app_key, api, data = envelope["app_key"], envelope.get("api"), envelope.get("data")
        if not isinstance(data, dict):
            raise Refused(Problem.FIELD, "data")
        if api == "order.query":
            return Call(app_key=app_key, reference=serial, asked=text(data, "order_serial", "reference"))
        if api == "line.list":
            after = number_of(str(data.get("after") or ""))
            return Call(app_key=app_key, reference=serial, after=after, limit=page_size(data.get("limit")))
        if not isinstance(api, str) or api not in OPERATIONS:
            raise Refused(Problem.FIELD, "api")
        plan, change = self._contents(OPERATIONS[api], data)
        order = Order(
            app_key=app_key,
            operation=OPERATIONS[api],
            reference=serial,
            number=resale_number(text(data, "number", "number"), _RESALE),
            iccid=text(data, "iccid", "iccid"),
            plan=plan,
            change=change,
            notify_url=text(envelope, "notify_url", "notify_url"),
        )
        return Call(app_key=app_key, reference=serial, order=order)

    def _open(self, headers: Mapping[str, str], body: bytes, secret_of: SecretOf) -> dict[str, Any]:
        try:
            envelope = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused(Problem.MALFORMED) from None
        if not isinstance(envelope, dict):
            raise Refused(Problem.MALFORMED)
        secret = secret_of(text(envelope, "app_key", "app_key"))
        timestamp, signature = headers.get(TIMESTAMP_HEADER, ""), headers.get(SIGNATURE_HEADER, "")
        if not signing.is_signed(secret, timestamp, body, signature):
            raise Refused(Problem.BAD_SIGNATURE)
        stated = str(envelope.get("timestamp")).encode()
        if not signing.is_fresh(timestamp) or not hmac.compare_digest(stated, timestamp.encode()):
            raise Refused(Problem.STALE)
        return envelope

    def _contents(self, operation: Operation, data: dict[str, Any]) -> tuple[str, str]:
        """Plan and change of the order; checks what else has to be there."""
        match operation:
            case Operation.ACTIVATE:
                if data.get("imsi") is not None:
                    text(data, "imsi", "imsi")
                _check_customer(data)
                return text(data, "plan", "plan"), ""
            case Operation.SUSPEND:
                return "", choice(data, "scope", SCOPES)
            case Operation.CHANGE_SIM:
                if data.get("new_imsi") is not None:
                    text(data, "new_imsi", "imsi")
                return "", text(data, "new_iccid", "iccid")
            case Operation.CHANGE_NUMBER:
                return "", resale_number(text(data, "new_number", "number"), _RESALE)
            case Operation.CHANGE_PLAN:
                return "", text(data, "plan", "plan")
            case Operation.TRANSFER:
                _check_customer(data)
            case Operation.TERMINATE:
                choice(data, "reason", CLOSE_REASONS)
        return "", ""

    def taken(self, call: Call, entry: Entry, *, is_new: bool) -> Response:
        data = {"order_no": entry.order_no, "number": entry.number}
        return _reply(TAKEN if is_new else TAKEN_BEFORE, 200, "accepted", serial=call.reference, data=data)

    def problem(self, reference: str | None, problem: Problem, detail: str) -> Response:
        code, status, message = CODES[problem]
        message = f"{message}: {detail}" if detail else message
        return _reply(code, status, message, serial=reference, data=None)

    def found(self, call: Call, entry: Entry | None) -> Response:
        data: dict[str, Any] = {"order_serial": call.asked, "state": "NONE"}
        if entry is not None:
            result = result_of(entry)
            data |= {
                "state": RESULTS[result],
                "order_no": entry.order_no,
                "number": entry.number,
                **_reason(entry.reason if result == "REFUSED" else ""),
            }
        return _reply(TAKEN, 200, "here it is", serial=call.reference, data=data)

    def page(self, call: Call, lines: list[Line], after: str | None) -> Response:
        rows = [
            {"number": line.number, "iccid": line.iccid, "state": STATES[line.state], "plan": line.plan}
            for line in lines
        ]
        data = {"lines": rows, "next": cursor_of(after)}
        return _reply(TAKEN, 200, "here they are", serial=call.reference, data=data)

    def callback(self, entry: Entry, *, event_id: str, result: str, reason: str, reference: str) -> bytes:
        """What the reseller is told; `reference` is the order's, unless somebody lies."""
        content = {
            "event_id": event_id,
            "app_key": entry.app_key,
            "serial": reference,
            "order_no": entry.order_no,
            "number": entry.number,
            "result": result,
            **_reason(reason),
            "finished_at": datetime.fromtimestamp(entry.finishes_at, UTC).isoformat(timespec="milliseconds"),
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    def callback_headers(self, *, secret: str, timestamp: str, body: bytes) -> dict[str, str]:
        return {
            "Content-Type": "application/json; charset=utf-8",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signing.sign(secret, timestamp, body),
        }


def _check_customer(data: dict[str, Any]) -> None:
    customer = data.get("customer")
    if not isinstance(customer, dict):
        raise Refused(Problem.FIELD, "customer")
    text(customer, "name", "name")
    text(customer, "paper_no", "document")
    if customer.get("paper_type") not in PAPER_TYPES:
        raise Refused(Problem.PAPER_TYPE)


def _reason(reason: str) -> dict[str, str]:
    if not reason:
        return {"reason_code": "", "reason": ""}
    code, _, message = CODES[Problem(reason)]
    return {"reason_code": code, "reason": message}


def _reply(
    code: str, status: int, message: str, *, serial: str | None, data: dict[str, Any] | None
) -> Response:
    content = {"code": code, "message": message, "serial": serial, "data": data}
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return JSONResponse(content, status_code=status, headers=headers)
