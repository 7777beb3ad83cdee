"""The `unicom` dialect: JSON to one gateway, HMAC-SHA256 over timestamp and raw body, accepts now and calls
back later.

Invented for this project together with the simulator's side of it; no real carrier's interface is copied.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.carriers import answers, base
from apps.carriers.answers import Meaning, agreed, busy, misconfigured, national, rejected
from apps.core import clock

TIMESTAMP_HEADER = "X-UC-Timestamp"
SIGNATURE_HEADER = "X-UC-Signature"
CALLBACK_TOLERANCE = timedelta(seconds=300)

_AUTH = (400, 401, 403, 413)
_BUSY = (429, 503)

# A code that is not here (UC-9001 "system error" among them), or comes with another HTTP status, proves
# nothing.
CODES: dict[str, Meaning] = {
    "UC-0000": agreed(200),
    "UC-0001": agreed(200),
    "UC-1002": misconfigured("the carrier does not recognise our signature", *_AUTH),
    "UC-1003": misconfigured("our clock and the carrier's are too far apart", *_AUTH),
    "UC-1004": misconfigured("the carrier could not read our request", *_AUTH),
    "UC-1005": misconfigured("the carrier misses a field or does not like its form", *_AUTH),
    "UC-1006": misconfigured("the carrier knows our reference for another order", *_AUTH),
    "UC-2001": rejected("carrier_plan_invalid", 200),
    "UC-2002": rejected("carrier_number_invalid", 200),
    "UC-2003": rejected("carrier_number_in_use", 200),
    "UC-2004": rejected("carrier_sim_invalid", 200),
    "UC-2005": rejected("carrier_sim_in_use", 200),
    "UC-2006": rejected("carrier_identity_refused", 200),
    "UC-2007": rejected(answers.DOCUMENT_TYPE_NOT_ACCEPTED, 200),
    "UC-2010": rejected("carrier_line_not_found", 200),
    "UC-2011": rejected("carrier_line_closed", 200),
    "UC-2012": rejected("carrier_line_busy", 200),
    "UC-2013": rejected("carrier_line_already_so", 200),
    "UC-3001": busy("the carrier limits our calls", *_BUSY),
    "UC-3002": busy("the carrier is busy", *_BUSY),
}

# Ours to the carrier's; None: it takes no such document.
DOCUMENT_TYPES: dict[str, str | None] = {
    "resident_id": "P1",
    "temporary_resident_id": "P2",
    "household_register": "P3",
    "hk_macao_permit": "P4",
    "taiwan_permit": "P5",
    "hkmt_residence_permit": "P6",
    "foreign_permanent_resident": "P7",
    "passport": "P8",
    "military_id": None,
    "uscc": "B1",
}
CLOSE_REASONS = {"user_request": "customer", "arrears": "unpaid", "fraud": "fraud", "regulator": "authority"}
STOP_SCOPES = {"one_way": "outgoing", "two_way": "all"}
LINE_STATES = {
    "running": base.LineState.ACTIVE,
    "stopped-outgoing": base.LineState.SUSPENDED_ONE_WAY,
    "stopped": base.LineState.SUSPENDED_TWO_WAY,
    "closed": base.LineState.TERMINATED,
}


def sign(*, secret: str, timestamp: str, body: bytes) -> str:
    """Hex of HMAC-SHA256 over `timestamp + "." + body`, both ways."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class UnicomAdapter(base.Adapter):
    """Accepts now, calls back later; deduplicates by our reference; can be asked."""

    dialect = "unicom"

    async def activate(self, request: base.ActivateRequest) -> base.Accepted:
        """Sends `line.open`; a known reference is answered with its first order."""
        more = {"imsi": request.imsi, "plan": request.plan_code, "customer": _customer(request)}
        return await self._order("line.open", request, more)

    async def suspend(self, request: base.SuspendRequest) -> base.Accepted:
        """Sends `line.stop`."""
        return await self._order("line.stop", request, {"scope": answers.word(STOP_SCOPES, request.kind)})

    async def resume(self, request: base.ResumeRequest) -> base.Accepted:
        """Sends `line.restore`."""
        return await self._order("line.restore", request, {})

    async def change_sim(self, request: base.ChangeSimRequest) -> base.Accepted:
        """Sends `line.card`."""
        return await self._order(
            "line.card", request, {"new_iccid": request.new_iccid, "new_imsi": request.new_imsi}
        )

    async def change_number(self, request: base.ChangeNumberRequest) -> base.Accepted:
        """Sends `line.number`."""
        return await self._order("line.number", request, {"new_number": national(request.new_number)})

    async def change_plan(self, request: base.ChangePlanRequest) -> base.Accepted:
        """Sends `line.plan`."""
        return await self._order("line.plan", request, {"plan": request.plan_code})

    async def transfer(self, request: base.TransferRequest) -> base.Accepted:
        """Sends `line.owner`."""
        return await self._order("line.owner", request, {"customer": _customer(request)})

    async def terminate(self, request: base.TerminateRequest) -> base.Accepted:
        """Sends `line.close`."""
        return await self._order(
            "line.close", request, {"reason": answers.word(CLOSE_REASONS, request.reason)}
        )

    async def query(self, request: base.QueryRequest) -> base.Outcome:
        """Sends `order.query` under a serial of its own."""
        data = await self._ask("order.query", {"order_serial": request.reference}, request.request_id)
        if data.get("order_serial") != request.reference:
            raise base.OutcomeUnknown("the answer speaks of another order")
        state = data.get("state")
        if state == "NONE":
            return base.NotFound()
        if request.number is not None and data.get("number") != national(request.number):
            raise base.OutcomeUnknown("the answer speaks of another number")
        order_no = answers.order_no(data.get("order_no"))
        match state:
            case "WORKING":
                return base.InProgress(order_no)
            case "DONE":
                return base.Succeeded(order_no)
            case "REFUSED":
                return answers.refusal(CODES, data.get("reason_code"), order_no=order_no)
        raise base.OutcomeUnknown("the answer names a state that is not documented")

    async def list_lines(self, request: base.LinesRequest) -> base.LinesPage:
        """Sends `line.list`; rows come as objects."""
        asked = {"after": request.cursor or None, "limit": request.limit}
        data = await self._ask("line.list", asked, request.request_id)
        lines = data.get("lines")
        if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
            raise base.OutcomeUnknown("the answer has no lines")
        return answers.lines_page(
            request,
            rows=[
                (line.get("number"), line.get("iccid"), line.get("state"), line.get("plan")) for line in lines
            ],
            states=LINE_STATES,
            after=data.get("next"),
        )

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
            body = answers.json_object(raw_body)
            if body["app_key"] != self.account.app_key:
                raise base.CallbackForged("it is addressed to another reseller")
            order_no = answers.order_no(body["order_no"])
            outcome: base.Succeeded | base.Rejected
            if body["result"] == "DONE":
                outcome = base.Succeeded(order_no)
            elif body["result"] == "REFUSED":
                outcome = answers.refusal(CODES, body.get("reason_code"), order_no=order_no)
            else:
                raise base.CallbackMalformed("the result is not documented")
            occurred_at = datetime.fromisoformat(body["finished_at"])
            event_id, serial = body["event_id"], body["serial"]
            if occurred_at.tzinfo is None or not answers.is_token(event_id) or not answers.is_token(serial):
                raise base.CallbackMalformed("the time has no zone, or an id another form")
            return base.CallbackMessage(
                event_id=event_id,
                reference=serial,
                carrier_reference=order_no,
                outcome=outcome,
                number=answers.international(body["number"]),
                occurred_at=occurred_at,
            )
        except (ValueError, TypeError, KeyError, base.OutcomeUnknown):
            raise base.CallbackMalformed("signed, but not in the documented form") from None

    async def _order(self, api: str, request: base.LineRequest, more: dict[str, Any]) -> base.Accepted:
        data = {"number": national(request.number), "iccid": request.iccid, **more}
        answer = await self._call(api, request.reference, data, request.request_id)
        if answer.get("number") != data["number"]:
            raise base.OutcomeUnknown("the answer speaks of another number")
        return base.Accepted(answers.order_no(answer.get("order_no")))

    async def _ask(self, api: str, data: dict[str, Any], request_id: str) -> dict[str, Any]:
        try:
            return await self._call(api, f"q{secrets.token_hex(12)}", data, request_id)
        except base.CarrierRejected as error:
            raise base.OutcomeUnknown(f"{error.carrier_code} in answer to a question") from None

    async def _call(self, api: str, serial: str, data: dict[str, Any], request_id: str) -> dict[str, Any]:
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
        reply = await self.exchange.post(f"{self.account.base_url}/gateway", content=body, headers=headers)
        return read_reply(reply, serial=serial)


def read_reply(reply: base.Reply, *, serial: str) -> dict[str, Any]:
    """The `data` of an answer that says yes; every other answer becomes one of the four errors.

    :raises CarrierError: by the documented code and its HTTP status; `OutcomeUnknown` for whatever is not
    documented.
    """
    answer = answers.json_reply(reply)
    code = answer.get("code")
    answers.check(
        CODES.get(code) if isinstance(code, str) else None,
        status=reply.status,
        code=str(code),
        echoed=answer.get("serial"),
        reference=serial,
        retry_after=reply.headers.get("retry-after"),
    )
    data = answer.get("data")
    if not isinstance(data, dict):
        raise base.OutcomeUnknown("the answer has no data")
    return data


def _customer(request: base.ActivateRequest | base.TransferRequest) -> dict[str, str]:
    return {
        "name": request.holder_name,
        "paper_type": answers.document_type(DOCUMENT_TYPES, request.document_type),
        "paper_no": request.document_number,
    }
