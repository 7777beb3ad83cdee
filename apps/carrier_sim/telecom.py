"""The `telecom` dialect, invented: JSON to one address per method, work orders that are accepted and then polled.

    POST /telecom/api/order.submit
    CT-App, CT-Time (Unix milliseconds, at most 300 s off), CT-Nonce,
    CT-Sign: upper-case hex(HMAC-SHA512(secret, "appId=..&digest=hex(SHA-256(raw body))&method=..&nonce=..&time=.."))

    {"requestNo": "...", "acceptType": "INSTALL", "phone": "17000000001", "card": "...", "imsi": "...", "offer": "...",
     "owner": {"name", "idType", "idNo"}}
    202 {"resultCode": 10000, "resultMsg": "...", "requestNo": "...", "result": {"workOrder", "phone", "acceptType"}}

`requestNo` names the order for life. All that changes a line takes phone and card as they are, and: HALT level 1 or 2,
RESTORE nothing, SWAPCARD newCard and newImsi, SWAPPHONE newPhone, SWAPOFFER offer, REASSIGN owner, REMOVE cause.
`order.status` takes queryNo, `subscriber.list` pageToken and pageSize. Stages are RECEIVED, BUILDING, FINISHED,
WITHDRAWN and UNKNOWN; the codes are in `CODES`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from apps.carrier_sim import signing
from apps.carrier_sim.dialect import (
    SHAPES,
    SecretOf,
    choice,
    cursor_of,
    number_of,
    page_size,
    resale_number,
    text,
)
from apps.carrier_sim.ledger import Entry, result_of
from apps.carrier_sim.lines import Line
from apps.carrier_sim.orders import Call, LineState, Operation, Order, Problem, Refused, naming

OK, OK_BEFORE = 10000, 10001

CODES: dict[Problem, tuple[int, int, str]] = {
    Problem.BAD_SIGNATURE: (20001, 401, "sign mismatch"),
    Problem.STALE: (20002, 401, "time out of window"),
    Problem.MALFORMED: (20003, 400, "unreadable"),
    Problem.FIELD: (20004, 400, "parameter missing or malformed"),
    Problem.REFERENCE_REUSED: (20005, 409, "requestNo belongs to another order"),
    Problem.PLAN_INVALID: (30101, 422, "offer not on sale"),
    Problem.NUMBER_INVALID: (30201, 422, "phone is not a resale number"),
    Problem.NUMBER_IN_USE: (30202, 422, "phone occupied"),
    Problem.SIM_INVALID: (30301, 422, "card unusable"),
    Problem.SIM_IN_USE: (30302, 422, "card occupied"),
    Problem.IDENTITY_REFUSED: (30401, 422, "owner not verified"),
    Problem.PAPER_TYPE: (30402, 422, "idType not supported"),
    Problem.LINE_NOT_FOUND: (30501, 422, "no such subscriber"),
    Problem.LINE_CLOSED: (30502, 422, "subscriber removed"),
    Problem.LINE_BUSY: (30503, 422, "work order in progress"),
    Problem.LINE_ALREADY_SO: (30504, 422, "nothing to change"),
    Problem.TOO_MANY: (40001, 429, "too many requests"),
    Problem.BUSY: (40002, 503, "busy"),
    Problem.SYSTEM: (90000, 500, "system error"),
}
OPERATIONS = {
    "INSTALL": Operation.ACTIVATE,
    "HALT": Operation.SUSPEND,
    "RESTORE": Operation.RESUME,
    "SWAPCARD": Operation.CHANGE_SIM,
    "SWAPPHONE": Operation.CHANGE_NUMBER,
    "SWAPOFFER": Operation.CHANGE_PLAN,
    "REASSIGN": Operation.TRANSFER,
    "REMOVE": Operation.TERMINATE,
}
ACCEPT_TYPES = {operation: name for name, operation in OPERATIONS.items()}
ID_TYPES = frozenset(
    {"IDCARD", "HUKOU", "HMPASS", "TWPASS", "HMTRESIDENT", "GREENCARD", "PASSPORT", "SOLDIER", "BUSINESS"}
)
LEVELS = {1: "one_way", 2: "two_way"}
CAUSES = {"CUST": "", "DEBT": "", "FRAUD": "", "GOV": ""}
STATES = {
    LineState.IN_SERVICE: "INUSE",
    LineState.STOPPED_OUTGOING: "HALT1",
    LineState.STOPPED: "HALT2",
    LineState.CLOSED: "REMOVED",
}
STAGES = {"PENDING": "BUILDING", "DONE": "FINISHED", "REFUSED": "WITHDRAWN"}

_RESALE = re.compile(r"1(?:70[012]|62[0-9])[0-9]{7}")


class Telecom:
    """The carrier's side of it."""

    name = "telecom"
    prefix = "CT"
    path = "api/{method}"
    calls_back = False
    answers_when_done = False
    strange: tuple[tuple[bytes, bytes], ...] = (
        (b'"FINISHED"', b'"ARCHIVED"'),
        (b'"BUILDING"', b'"ARCHIVED"'),
        (b'"resultCode":10000', b'"resultCode":10777'),
    )

    def read(self, *, headers: Mapping[str, str], method: str, body: bytes, secret_of: SecretOf) -> Call:
        app_id = headers.get("CT-App", "")
        sent = self._open(headers, app_id, method, body, secret_of)
        number = text(sent, "requestNo", "reference")
        with naming(number):
            return self._call(app_id, method, number, sent)

    def _call(self, app_id: str, method: str, number: str, sent: dict[str, Any]) -> Call:
        match method:
            case "order.status":
                return Call(app_key=app_id, reference=number, asked=text(sent, "queryNo", "reference"))
            case "subscriber.list":
                after = number_of(str(sent.get("pageToken", "")))
                limit = page_size(sent.get("pageSize"))
                return Call(app_key=app_id, reference=number, after=after, limit=limit)
            case "order.submit":
                return Call(app_key=app_id, reference=number, order=self._order(app_id, number, sent))
        raise Refused(Problem.FIELD, "method")

    def _open(
        self, headers: Mapping[str, str], app_id: str, method: str, body: bytes, secret_of: SecretOf
    ) -> dict[str, Any]:
        time, nonce, sign = (headers.get(f"CT-{name}", "") for name in ("Time", "Nonce", "Sign"))
        if not SHAPES["app_key"].fullmatch(app_id):
            raise Refused(Problem.BAD_SIGNATURE)
        digest = hashlib.sha256(body).hexdigest()
        signed = f"appId={app_id}&digest={digest}&method={method}&nonce={nonce}&time={time}"
        expected = hmac.new(secret_of(app_id).encode(), signed.encode(), hashlib.sha512).hexdigest().upper()
        if not hmac.compare_digest(expected.encode(), sign.encode()):
            raise Refused(Problem.BAD_SIGNATURE)
        if not signing.is_fresh(time[:-3]):
            raise Refused(Problem.STALE)
        try:
            sent = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused(Problem.MALFORMED) from None
        if not isinstance(sent, dict):
            raise Refused(Problem.MALFORMED)
        return sent

    def _order(self, app_id: str, number: str, sent: dict[str, Any]) -> Order:
        kind = sent.get("acceptType")
        if not isinstance(kind, str) or kind not in OPERATIONS:
            raise Refused(Problem.FIELD, "acceptType")
        plan, change = self._contents(OPERATIONS[kind], sent)
        return Order(
            app_key=app_id,
            operation=OPERATIONS[kind],
            reference=number,
            number=resale_number(text(sent, "phone", "number"), _RESALE),
            iccid=text(sent, "card", "iccid"),
            plan=plan,
            change=change,
        )

    def _contents(self, operation: Operation, sent: dict[str, Any]) -> tuple[str, str]:
        """Plan and change of the order; checks what else has to be there."""
        match operation:
            case Operation.ACTIVATE:
                _check_owner(sent)
                if "imsi" in sent:
                    text(sent, "imsi", "imsi")
                return text(sent, "offer", "plan"), ""
            case Operation.SUSPEND:
                return "", choice(sent, "level", LEVELS)
            case Operation.CHANGE_SIM:
                if "newImsi" in sent:
                    text(sent, "newImsi", "imsi")
                return "", text(sent, "newCard", "iccid")
            case Operation.CHANGE_NUMBER:
                return "", resale_number(text(sent, "newPhone", "number"), _RESALE)
            case Operation.CHANGE_PLAN:
                return "", text(sent, "offer", "plan")
            case Operation.TRANSFER:
                _check_owner(sent)
            case Operation.TERMINATE:
                choice(sent, "cause", CAUSES)
        return "", ""

    def taken(self, call: Call, entry: Entry, *, is_new: bool) -> Response:
        result = {
            "workOrder": entry.order_no,
            "phone": entry.number,
            "acceptType": ACCEPT_TYPES[Operation(entry.operation)],
        }
        return _reply(
            OK if is_new else OK_BEFORE,
            202 if is_new else 200,
            "accepted",
            number=call.reference,
            result=result,
        )

    def problem(self, reference: str | None, problem: Problem, detail: str) -> Response:
        code, status, message = CODES[problem]
        message = f"{message}: {detail}" if detail else message
        return _reply(code, status, message, number=reference, result=None)

    def found(self, call: Call, entry: Entry | None) -> Response:
        result: dict[str, Any] = {"queryNo": call.asked, "stage": "UNKNOWN"}
        if entry is not None:
            now = result_of(entry)
            result |= {"workOrder": entry.order_no, "phone": entry.number, "stage": STAGES[now]}
            if now == "REFUSED":
                result["cause"] = CODES[Problem(entry.reason)][0]
        return _reply(OK, 200, "ok", number=call.reference, result=result)

    def page(self, call: Call, lines: list[Line], after: str | None) -> Response:
        rows = [[line.number, line.iccid, STATES[line.state], line.plan] for line in lines]
        result = {"rows": rows, "nextToken": cursor_of(after) or ""}
        return _reply(OK, 200, "ok", number=call.reference, result=result)


def _check_owner(sent: dict[str, Any]) -> None:
    owner = sent.get("owner")
    if not isinstance(owner, dict):
        raise Refused(Problem.FIELD, "owner")
    text(owner, "name", "name")
    text(owner, "idNo", "document")
    if owner.get("idType") not in ID_TYPES:
        raise Refused(Problem.PAPER_TYPE)


def _reply(
    code: int, status: int, message: str, *, number: str | None, result: dict[str, Any] | None
) -> Response:
    content = {"resultCode": code, "resultMsg": message, "requestNo": number, "result": result}
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return JSONResponse(content, status_code=status, headers=headers)
