"""The `unicom` dialect: JSON to one gateway, HMAC-SHA256 over timestamp and raw body, accepts now and calls
back later.

Invented for this project together with the simulator's side of it; no real carrier's interface is copied.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.carriers import base
from apps.core import clock

TIMESTAMP_HEADER = "X-UC-Timestamp"
SIGNATURE_HEADER = "X-UC-Signature"
CALLBACK_TOLERANCE = timedelta(seconds=300)
LONGEST_RETRY_AFTER = 3600.0


class Kind(enum.Enum):
    """What a documented code means for the next step."""

    OK = enum.auto()
    REJECTED = enum.auto()
    MISCONFIGURED = enum.auto()
    BUSY = enum.auto()


@dataclass(frozen=True, slots=True)
class Meaning:
    """One carrier code in our words; `statuses` are the HTTP statuses it is documented with."""

    kind: Kind
    statuses: frozenset[int]
    code: str = ""
    detail: str = ""


_OK = frozenset({200})
_AUTH = frozenset({400, 401, 403, 413})
_BUSY = frozenset({429, 503})


def _rejected(code: str, detail: str) -> Meaning:
    return Meaning(Kind.REJECTED, _OK, code, detail)


def _misconfigured(detail: str) -> Meaning:
    return Meaning(Kind.MISCONFIGURED, _AUTH, base.CarrierMisconfigured.code, detail)


# A code that is not here (UC-9001 "system error" among them), or comes with another HTTP status, proves
# nothing.
CODES: dict[str, Meaning] = {
    "UC-0000": Meaning(Kind.OK, _OK),
    "UC-0001": Meaning(Kind.OK, _OK),
    "UC-1002": _misconfigured("the carrier does not recognise our signature"),
    "UC-1003": _misconfigured("our clock and the carrier's are too far apart"),
    "UC-1004": _misconfigured("the carrier could not read our request"),
    "UC-1005": _misconfigured("the carrier misses a field or does not like its form"),
    "UC-1006": _misconfigured("the carrier knows our reference for another order"),
    "UC-2001": _rejected("carrier_plan_invalid", "The carrier does not sell this plan."),
    "UC-2002": _rejected("carrier_number_invalid", "The carrier has not allocated this number to resale."),
    "UC-2003": _rejected("carrier_number_in_use", "The number is in service at the carrier."),
    "UC-2004": _rejected("carrier_sim_invalid", "The carrier cannot use this SIM."),
    "UC-2005": _rejected("carrier_sim_in_use", "The SIM is in service at the carrier."),
    "UC-2006": _rejected("carrier_identity_refused", "The carrier refused the real-name data."),
    "UC-2007": _rejected(
        "carrier_document_type_not_accepted", "The carrier does not take this kind of document."
    ),
    "UC-2010": _rejected("carrier_line_not_found", "The carrier knows no such line of ours."),
    "UC-2011": _rejected("carrier_line_closed", "The line is closed at the carrier."),
    "UC-2012": _rejected("carrier_line_busy", "The carrier is working on another order of this line."),
    "UC-3001": Meaning(Kind.BUSY, _BUSY, base.CarrierUnavailable.code, "the carrier limits our calls"),
    "UC-3002": Meaning(Kind.BUSY, _BUSY, base.CarrierUnavailable.code, "the carrier is busy"),
}
# The carrier said no, with a code that its documents do not list.
UNLISTED_REFUSAL = _rejected("carrier_rejected", "The carrier refused the order.")

# Ours to the carrier's. Military documents are not in its list: they are refused before anything is sent.
DOCUMENT_TYPES = {
    "resident_id": "P1",
    "temporary_resident_id": "P2",
    "household_register": "P3",
    "hk_macao_permit": "P4",
    "taiwan_permit": "P5",
    "hkmt_residence_permit": "P6",
    "foreign_permanent_resident": "P7",
    "passport": "P8",
    "uscc": "B1",
}
CLOSE_REASONS = {"user_request": "customer", "arrears": "unpaid", "fraud": "fraud", "regulator": "authority"}

_E164 = re.compile(r"\+86(1[0-9]{10})")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def sign(*, secret: str, timestamp: str, body: bytes) -> str:
    """Hex of HMAC-SHA256 over `timestamp + "." + body`, both ways."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class UnicomAdapter(base.Adapter):
    """Accepts now, calls back later; deduplicates by our reference; can be asked."""

    dialect = "unicom"

    def activate(self, request: base.ActivateRequest) -> base.Accepted:
        """Sends `line.open`; a known reference is answered with its first order."""
        paper_type = DOCUMENT_TYPES.get(request.document_type)
        if paper_type is None:
            meaning = CODES["UC-2007"]
            raise base.CarrierRejected(meaning.code, meaning.detail)
        data = {
            "number": _national(request.number),
            "iccid": request.iccid,
            "imsi": request.imsi,
            "plan": request.plan_code,
            "customer": {
                "name": request.holder_name,
                "paper_type": paper_type,
                "paper_no": request.document_number,
            },
        }
        return self._order("line.open", request.reference, data, request.request_id)

    def terminate(self, request: base.TerminateRequest) -> base.Accepted:
        """Sends `line.close`."""
        reason = CLOSE_REASONS.get(request.reason)
        if reason is None:
            raise base.CarrierMisconfigured("this reason for closing a line has no word in the dialect")
        data = {"number": _national(request.number), "iccid": request.iccid, "reason": reason}
        return self._order("line.close", request.reference, data, request.request_id)

    def query(self, request: base.QueryRequest) -> base.Outcome:
        """Sends `order.query` under a serial of its own."""
        try:
            serial = f"q{secrets.token_hex(12)}"
            data = self._call("order.query", serial, {"order_serial": request.reference}, request.request_id)
        except base.CarrierRejected as error:
            raise base.OutcomeUnknown(f"{error.carrier_code} in answer to a question") from None
        if data.get("order_serial") != request.reference:
            raise base.OutcomeUnknown("the answer speaks of another order")
        state = data.get("state")
        if state == "NONE":
            return base.NotFound()
        if request.number is not None and data.get("number") != _national(request.number):
            raise base.OutcomeUnknown("the answer speaks of another number")
        order_no = _order_no(data)
        if state == "WORKING":
            return base.InProgress(order_no)
        if state == "DONE":
            return base.Succeeded(order_no)
        if state == "REFUSED":
            return _refusal(data, order_no)
        raise base.OutcomeUnknown("the answer names a state that is not documented")

    def parse_callback(
        self, headers: Mapping[str, str], raw_body: bytes, now: datetime
    ) -> base.CallbackMessage:
        """Checks the signature over the raw bytes first, and reads nothing before that."""
        lowered = {name.lower(): value for name, value in headers.items()}
        timestamp = lowered.get(TIMESTAMP_HEADER.lower(), "")
        signature = lowered.get(SIGNATURE_HEADER.lower(), "")
        expected = sign(secret=self.account.callback_secret, timestamp=timestamp, body=raw_body)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise base.CallbackForged("the signature does not match")
        if not re.fullmatch(r"[0-9]{1,10}", timestamp):
            raise base.CallbackMalformed("the timestamp is not Unix seconds")
        if abs(now - datetime.fromtimestamp(int(timestamp), UTC)) > CALLBACK_TOLERANCE:
            raise base.CallbackForged("the timestamp is too far from our clock")
        try:
            body = _object(raw_body)
            if body["app_key"] != self.account.app_key:
                raise base.CallbackForged("it is addressed to another reseller")
            order_no = _order_no(body)
            outcome: base.Succeeded | base.Rejected
            if body["result"] == "DONE":
                outcome = base.Succeeded(order_no)
            elif body["result"] == "REFUSED":
                outcome = _refusal(body, order_no)
            else:
                raise base.CallbackMalformed("the result is not documented")
            occurred_at = datetime.fromisoformat(body["finished_at"])
            if occurred_at.tzinfo is None:
                raise base.CallbackMalformed("the time has no zone")
            return base.CallbackMessage(
                event_id=_token(body["event_id"]),
                reference=_token(body["serial"]),
                carrier_reference=order_no,
                outcome=outcome,
                number=_international(body["number"]),
                occurred_at=occurred_at,
            )
        except (ValueError, TypeError, KeyError, base.OutcomeUnknown):
            raise base.CallbackMalformed("signed, but not in the documented form") from None

    def _order(self, api: str, reference: str, data: dict[str, Any], request_id: str) -> base.Accepted:
        answer = self._call(api, reference, data, request_id)
        if answer.get("number") != data["number"]:
            raise base.OutcomeUnknown("the answer speaks of another number")
        return base.Accepted(_order_no(answer))

    def _call(self, api: str, serial: str, data: dict[str, Any], request_id: str) -> dict[str, Any]:
        # Read when it is sent and not when the job was claimed: the carrier compares it with its own clock.
        timestamp = int(clock.now().timestamp())
        envelope = {
            "app_key": self.account.app_key,
            "serial": serial,
            "timestamp": timestamp,
            "api": api,
            "notify_url": self.account.notify_url,
            "data": data,
        }
        body = json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: sign(secret=self.account.secret, timestamp=str(timestamp), body=body),
        }
        if request_id:
            headers["X-Request-ID"] = request_id
        reply = self.exchange.post(f"{self.account.base_url}/gateway", content=body, headers=headers)
        return read_reply(reply, serial=serial)


def read_reply(reply: base.Reply, *, serial: str) -> dict[str, Any]:
    """The `data` of an answer that says yes; every other answer becomes one of the four errors.

    :raises CarrierError: by the documented code and its HTTP status; `OutcomeUnknown` for whatever is not
    documented.
    """
    content_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" or "content-encoding" in reply.headers:
        raise base.OutcomeUnknown(f"HTTP {reply.status} without readable JSON")
    answer = _object(reply.body)
    code = answer.get("code")
    meaning = CODES.get(code) if isinstance(code, str) else None
    if meaning is None or reply.status not in meaning.statuses:
        raise base.OutcomeUnknown(f"HTTP {reply.status} with a code that is not documented for it")
    # Before a request is authenticated and read, its serial is not known: only then may the echo be missing.
    echoed = answer.get("serial")
    if echoed != serial and not (echoed is None and meaning.kind in (Kind.MISCONFIGURED, Kind.BUSY)):
        raise base.OutcomeUnknown("the answer echoes another reference")
    match meaning.kind:
        case Kind.REJECTED:
            raise base.CarrierRejected(meaning.code, meaning.detail, carrier_code=str(code))
        case Kind.MISCONFIGURED:
            raise base.CarrierMisconfigured(f"{code}: {meaning.detail}")
        case Kind.BUSY:
            raise base.CarrierUnavailable(
                f"{code}: {meaning.detail}", retry_after=_retry_after(reply.headers)
            )
    data = answer.get("data")
    if not isinstance(data, dict):
        raise base.OutcomeUnknown("the answer has no data")
    return data


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise base.OutcomeUnknown("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise base.OutcomeUnknown("the answer is JSON, but not an object")
    return value


def _refusal(data: Mapping[str, Any], order_no: str) -> base.Rejected:
    code = data.get("reason_code")
    meaning = CODES.get(code) if isinstance(code, str) else None
    if meaning is None or meaning.kind is not Kind.REJECTED:
        meaning = UNLISTED_REFUSAL
    carrier_code = code if isinstance(code, str) and _TOKEN.fullmatch(code) else ""
    return base.Rejected(meaning.code, meaning.detail, carrier_code=carrier_code, carrier_reference=order_no)


def _order_no(data: Mapping[str, Any]) -> str:
    order_no = data.get("order_no")
    if not isinstance(order_no, str) or not _TOKEN.fullmatch(order_no):
        raise base.OutcomeUnknown("the answer has no order number")
    return order_no


def _token(value: Any) -> str:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError("not a token")
    return value


def _national(number: str) -> str:
    matched = _E164.fullmatch(number)
    if matched is None:
        raise base.CarrierMisconfigured("the number is not a mainland mobile number in E.164")
    return matched[1]


def _international(number: Any) -> str:
    if not isinstance(number, str) or not re.fullmatch(r"1[0-9]{10}", number):
        raise ValueError("not a mobile number")
    return f"+86{number}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Whole seconds, as the carrier documents it; never more than an hour."""
    value = headers.get("retry-after", "")
    if not re.fullmatch(r"[0-9]{1,9}", value):
        return None
    return min(float(value), LONGEST_RETRY_AFTER)
