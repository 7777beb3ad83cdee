"""The `unicom` dialect, invented: one JSON gateway, HMAC-SHA256 over timestamp and raw body, accepts now and
calls back later.

    POST /unicom/gateway
    X-UC-Timestamp: 1795500000                       Unix seconds, at most 300 s off
    X-UC-Signature: hex(HMAC-SHA256(secret, timestamp + "." + raw body))

    {"app_key": "...", "serial": "...", "timestamp": 1795500000, "api": "line.open", "notify_url": "https://...",
     "data": {"number", "iccid", "imsi", "plan", "customer": {"name", "paper_type", "paper_no"}}}

`line.close` takes {"number", "iccid", "reason"}, `order.query` takes {"order_serial"}. `serial` names the
order for life: the same serial again is answered with the same order. Answers echo serial and number; the
codes are in `CODES`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from apps.carrier_sim import signing
from apps.carrier_sim.callbacks import Dialect, Notifier
from apps.carrier_sim.carrier import (
    ACTIVATE,
    TERMINATE,
    Answer,
    Carrier,
    Order,
    ReferenceReused,
    Refusal,
    Refused,
    result_of,
)
from apps.carrier_sim.ledger import Entry

NAME = "unicom"
TIMESTAMP_HEADER = "X-UC-Timestamp"
SIGNATURE_HEADER = "X-UC-Signature"
LARGEST_BODY = 64 * 1024
HANG_SECONDS = 300

ACCEPTED, ACCEPTED_BEFORE = "UC-0000", "UC-0001"
BAD_SIGNATURE, STALE, MALFORMED, FIELD, SERIAL_REUSED = "UC-1002", "UC-1003", "UC-1004", "UC-1005", "UC-1006"
PAPER_TYPE = "UC-2007"
TOO_MANY, BUSY, SYSTEM = "UC-3001", "UC-3002", "UC-9001"

# code: (HTTP status, message). 1xxx auth and format, 2xxx business, 3xxx busy, 9xxx system.
CODES: dict[str, tuple[int, str]] = {
    "UC-0000": (200, "accepted"),
    "UC-0001": (200, "accepted before"),
    "UC-1002": (401, "signature does not match"),
    "UC-1003": (401, "timestamp too far off"),
    "UC-1004": (400, "not a readable envelope"),
    "UC-1005": (400, "field missing or malformed"),
    "UC-1006": (400, "serial was used for another order"),
    "UC-2001": (200, "plan is not on sale"),
    "UC-2002": (200, "number is not in the resale ranges"),
    "UC-2003": (200, "number is in service"),
    "UC-2004": (200, "card cannot be used"),
    "UC-2005": (200, "card is in service"),
    "UC-2006": (200, "real-name data refused"),
    "UC-2007": (200, "paper type is not accepted"),
    "UC-2010": (200, "no such line of yours"),
    "UC-2011": (200, "line is closed"),
    "UC-2012": (200, "another order on this line is running"),
    "UC-3001": (429, "too many calls"),
    "UC-3002": (503, "busy, come again"),
    "UC-9001": (500, "system error"),
}
REFUSALS: dict[str, str] = {
    Refusal.PLAN_INVALID: "UC-2001",
    Refusal.NUMBER_INVALID: "UC-2002",
    Refusal.NUMBER_IN_USE: "UC-2003",
    Refusal.SIM_INVALID: "UC-2004",
    Refusal.SIM_IN_USE: "UC-2005",
    Refusal.IDENTITY_REFUSED: "UC-2006",
    Refusal.LINE_NOT_FOUND: "UC-2010",
    Refusal.LINE_CLOSED: "UC-2011",
    Refusal.LINE_BUSY: "UC-2012",
}
PAPER_TYPES = frozenset({"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "B1"})
CLOSE_REASONS = frozenset({"customer", "unpaid", "fraud", "authority"})

_NUMBER = re.compile(r"1(?:70[4789]|71[0-9]|67[0-9])[0-9]{7}")
_SHAPES = {
    "app_key": re.compile(r"[A-Za-z0-9._-]{4,64}"),
    "serial": re.compile(r"[A-Za-z0-9_-]{8,64}"),
    "order_serial": re.compile(r"[A-Za-z0-9_-]{8,64}"),
    "number": re.compile(r"1[0-9]{10}"),
    "iccid": re.compile(r"[0-9A-Z]{19,20}"),
    "imsi": re.compile(r"[0-9]{15}"),
    "plan": re.compile(r"[A-Za-z0-9._-]{1,64}"),
    "notify_url": re.compile(r"https?://[^\s]{1,500}"),
    "name": re.compile(r"[^\x00-\x1f]{1,200}"),
    "paper_no": re.compile(r"[A-Za-z0-9()-]{4,40}"),
}


class _Refuse(Exception):
    """Ends a call with a code of the dialect."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


def callback_body(entry: Entry, *, event_id: str, result: str, reason: str) -> dict[str, Any]:
    code = REFUSALS[reason] if reason else ""
    return {
        "event_id": event_id,
        "app_key": entry.app_key,
        "serial": entry.reference,
        "order_no": entry.order_no,
        "number": entry.number,
        "result": result,
        "reason_code": code,
        "reason": CODES[code][1] if code else "",
        "finished_at": datetime.fromtimestamp(entry.finishes_at, UTC).isoformat(timespec="milliseconds"),
    }


DIALECT = Dialect(body=callback_body, timestamp_header=TIMESTAMP_HEADER, signature_header=SIGNATURE_HEADER)


class Dropped(Response):
    """No answer: a head that promises more than ever comes makes the server close the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"64")]})


async def _hang(request: Request) -> Response:
    """Leaves the caller waiting until he has lost patience."""
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass
    return Dropped()


class Gateway:
    """The HTTP face: reads, checks, hands the order to the carrier, words the answer."""

    def __init__(self, *, carrier: Carrier, notifier: Notifier, master_secret: str) -> None:
        self._carrier = carrier
        self._notifier = notifier
        self._master_secret = master_secret

    async def __call__(self, request: Request) -> Response:
        carrier, counts = self._carrier, self._carrier.counts
        counts["calls"] += 1
        carrier.in_flight += 1
        counts["most_in_flight"] = max(counts["most_in_flight"], carrier.in_flight)
        serial = None
        try:
            envelope = self._open(request, await self._read(request))
            serial = envelope["serial"]
            if self._carrier.knobs.latency_ms:
                await asyncio.sleep(self._carrier.knobs.latency_ms / 1000)
            if envelope["api"] == "order.query":
                return self._query(envelope)
            return await self._order(request, envelope)
        except _Refuse as refusal:
            counts[f"answered {refusal.code}"] += 1
            return _reply(refusal.code, serial=serial, detail=refusal.detail)
        finally:
            carrier.in_flight -= 1

    async def _read(self, request: Request) -> bytes:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_BODY:
                raise _Refuse(MALFORMED, "larger than 64 KiB")
        return body

    def _open(self, request: Request, body: bytes) -> dict[str, Any]:
        try:
            envelope = json.loads(body)
        except (ValueError, RecursionError):
            raise _Refuse(MALFORMED) from None
        if not isinstance(envelope, dict):
            raise _Refuse(MALFORMED)
        app_key = _text(envelope, "app_key")
        timestamp = request.headers.get(TIMESTAMP_HEADER, "")
        signature = request.headers.get(SIGNATURE_HEADER, "")
        if not signing.is_signed(signing.secret_of(self._master_secret, app_key), timestamp, body, signature):
            raise _Refuse(BAD_SIGNATURE)
        if not signing.is_fresh(timestamp) or not hmac.compare_digest(
            str(envelope.get("timestamp")), timestamp
        ):
            raise _Refuse(STALE)
        _text(envelope, "serial")
        if envelope.get("api") not in ("line.open", "line.close", "order.query"):
            raise _Refuse(FIELD, "api")
        if not isinstance(envelope.get("data"), dict):
            raise _Refuse(FIELD, "data")
        return envelope

    async def _order(self, request: Request, envelope: dict[str, Any]) -> Response:
        order = self._understand(envelope)
        counts = self._carrier.counts
        fate = self._carrier.fate(app_key=order.app_key, reference=order.reference, iccid=order.iccid)
        if fate is Answer.HANG_BEFORE:
            counts["left hanging"] += 1
            return await _hang(request)
        if fate is Answer.RATE_LIMITED:
            raise _Refuse(TOO_MANY)
        if fate is Answer.BUSY:
            raise _Refuse(BUSY)
        try:
            entry, is_new = self._carrier.place(order)
        except Refused as refused:
            raise _Refuse(REFUSALS[refused.reason]) from None
        except ReferenceReused:
            raise _Refuse(SERIAL_REUSED) from None
        if is_new:
            self._notifier.schedule(entry)
        if fate is Answer.ERROR_500_AFTER:
            raise _Refuse(SYSTEM)
        if fate is Answer.HANG_AFTER:
            counts["left hanging"] += 1
            return await _hang(request)
        if fate is Answer.RESET_AFTER:
            counts["connection dropped"] += 1
            return Dropped()
        return _reply(
            ACCEPTED if is_new else ACCEPTED_BEFORE,
            serial=order.reference,
            data={"order_no": entry.order_no, "number": entry.number},
        )

    def _understand(self, envelope: dict[str, Any]) -> Order:
        data = envelope["data"]
        number, iccid = _text(data, "number"), _text(data, "iccid")
        plan = ""
        if envelope["api"] == "line.open":
            plan = _text(data, "plan")
            if data.get("imsi") is not None:
                _text(data, "imsi")
            customer = data.get("customer")
            if not isinstance(customer, dict):
                raise _Refuse(FIELD, "customer")
            _text(customer, "name")
            _text(customer, "paper_no")
            if customer.get("paper_type") not in PAPER_TYPES:
                raise _Refuse(PAPER_TYPE)
        elif data.get("reason") not in CLOSE_REASONS:
            raise _Refuse(FIELD, "reason")
        if not _NUMBER.fullmatch(number):
            raise _Refuse(REFUSALS[Refusal.NUMBER_INVALID])
        return Order(
            dialect=NAME,
            app_key=envelope["app_key"],
            operation=ACTIVATE if envelope["api"] == "line.open" else TERMINATE,
            reference=envelope["serial"],
            number=number,
            iccid=iccid,
            plan=plan,
            notify_url=_text(envelope, "notify_url"),
        )

    def _query(self, envelope: dict[str, Any]) -> Response:
        self._carrier.counts["queries"] += 1
        wanted = _text(envelope["data"], "order_serial")
        entry = self._carrier.find(app_key=envelope["app_key"], reference=wanted)
        data: dict[str, Any] = {"order_serial": wanted, "state": "NONE"}
        if entry is not None:
            result = result_of(entry)
            code = REFUSALS[entry.reason] if result == "REFUSED" else ""
            data |= {
                "state": "WORKING" if result == "PENDING" else result,
                "order_no": entry.order_no,
                "number": entry.number,
                "reason_code": code,
                "reason": CODES[code][1] if code else "",
            }
        return _reply(ACCEPTED, serial=envelope["serial"], data=data)


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not _SHAPES[name].fullmatch(value):
        raise _Refuse(FIELD, name)
    return value


def _reply(
    code: str, *, serial: str | None, data: dict[str, Any] | None = None, detail: str = ""
) -> Response:
    status, message = CODES[code]
    content = {
        "code": code,
        "message": f"{message}: {detail}" if detail else message,
        "serial": serial,
        "data": data,
    }
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return JSONResponse(content, status_code=status, headers=headers)
