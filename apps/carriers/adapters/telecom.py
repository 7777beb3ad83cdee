"""The `telecom` dialect: JSON to one address per method, HMAC-SHA512 over a sorted list of what identifies the call,
work orders that are accepted and then polled. No callbacks.

Invented for this project together with the simulator's side of it; no real carrier's interface is copied.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apps.carriers import answers, base
from apps.carriers.answers import Meaning, agreed, busy, misconfigured, national, rejected
from apps.core import clock

# Numbers, with the HTTP statuses they are documented with. Others (90000 "system error" among them) prove nothing.
CODES: dict[int, Meaning] = {
    10000: agreed(200, 202),
    10001: agreed(200, 202),
    20001: misconfigured("the carrier does not recognise our signature", 401),
    20002: misconfigured("our clock and the carrier's are too far apart", 401),
    20003: misconfigured("the carrier could not read our request", 400),
    20004: misconfigured("the carrier misses a field or does not like its form", 400),
    20005: misconfigured("the carrier knows our request number for another order", 409),
    30101: rejected("carrier_plan_invalid", 422),
    30201: rejected("carrier_number_invalid", 422),
    30202: rejected("carrier_number_in_use", 422),
    30301: rejected("carrier_sim_invalid", 422),
    30302: rejected("carrier_sim_in_use", 422),
    30401: rejected("carrier_identity_refused", 422),
    30402: rejected(answers.DOCUMENT_TYPE_NOT_ACCEPTED, 422),
    30501: rejected("carrier_line_not_found", 422),
    30502: rejected("carrier_line_closed", 422),
    30503: rejected("carrier_line_busy", 422),
    30504: rejected("carrier_line_already_so", 422),
    40001: busy("the carrier limits our calls", 429),
    40002: busy("the carrier is busy", 503),
}

# Ours to the carrier's; None: it takes no such document.
DOCUMENT_TYPES: dict[str, str | None] = {
    "resident_id": "IDCARD",
    "temporary_resident_id": None,
    "household_register": "HUKOU",
    "hk_macao_permit": "HMPASS",
    "taiwan_permit": "TWPASS",
    "hkmt_residence_permit": "HMTRESIDENT",
    "foreign_permanent_resident": "GREENCARD",
    "passport": "PASSPORT",
    "military_id": "SOLDIER",
    "uscc": "BUSINESS",
}
CLOSE_REASONS = {"user_request": "CUST", "arrears": "DEBT", "fraud": "FRAUD", "regulator": "GOV"}
HALT_LEVELS = {"one_way": 1, "two_way": 2}
LINE_STATES = {
    "INUSE": base.LineState.ACTIVE,
    "HALT1": base.LineState.SUSPENDED_ONE_WAY,
    "HALT2": base.LineState.SUSPENDED_TWO_WAY,
    "REMOVED": base.LineState.TERMINATED,
}


def sign(*, secret: str, app_id: str, method: str, nonce: str, time: str, body: bytes) -> str:
    """Upper-case hex of HMAC-SHA512 over `name=value` pairs, sorted by name and joined with `&`."""
    digest = hashlib.sha256(body).hexdigest()
    text = f"appId={app_id}&digest={digest}&method={method}&nonce={nonce}&time={time}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha512).hexdigest().upper()


class TelecomAdapter(base.Adapter):
    """Accepts now and is polled; deduplicates by our reference."""

    dialect = "telecom"

    async def activate(self, request: base.ActivateRequest) -> base.Accepted:
        """A work order INSTALL; a known reference is answered with its first work order."""
        return await self._order(
            "INSTALL", request, {"imsi": request.imsi, "offer": request.plan_code, "owner": _owner(request)}
        )

    async def suspend(self, request: base.SuspendRequest) -> base.Accepted:
        """HALT, at one of two levels."""
        if request.kind not in HALT_LEVELS:
            raise base.CarrierMisconfigured("this kind of suspension has no word in the dialect")
        return await self._order("HALT", request, {"level": HALT_LEVELS[request.kind]})

    async def resume(self, request: base.ResumeRequest) -> base.Accepted:
        """RESTORE."""
        return await self._order("RESTORE", request, {})

    async def change_sim(self, request: base.ChangeSimRequest) -> base.Accepted:
        """SWAPCARD."""
        return await self._order(
            "SWAPCARD", request, {"newCard": request.new_iccid, "newImsi": request.new_imsi}
        )

    async def change_number(self, request: base.ChangeNumberRequest) -> base.Accepted:
        """SWAPPHONE."""
        return await self._order("SWAPPHONE", request, {"newPhone": national(request.new_number)})

    async def change_plan(self, request: base.ChangePlanRequest) -> base.Accepted:
        """SWAPOFFER."""
        return await self._order("SWAPOFFER", request, {"offer": request.plan_code})

    async def transfer(self, request: base.TransferRequest) -> base.Accepted:
        """REASSIGN."""
        return await self._order("REASSIGN", request, {"owner": _owner(request)})

    async def terminate(self, request: base.TerminateRequest) -> base.Accepted:
        """REMOVE."""
        return await self._order("REMOVE", request, {"cause": answers.word(CLOSE_REASONS, request.reason)})

    async def query(self, request: base.QueryRequest) -> base.Outcome:
        """`order.status` under a request number of its own."""
        result = await self._ask("order.status", {"queryNo": request.reference}, request.request_id)
        if result.get("queryNo") != request.reference:
            raise base.OutcomeUnknown("the answer speaks of another order")
        stage = result.get("stage")
        if stage == "UNKNOWN":
            return base.NotFound()
        if request.number is not None and result.get("phone") != national(request.number):
            raise base.OutcomeUnknown("the answer speaks of another number")
        order_no = answers.order_no(result.get("workOrder"))
        match stage:
            case "RECEIVED" | "BUILDING":
                return base.InProgress(order_no)
            case "FINISHED":
                return base.Succeeded(order_no)
            case "WITHDRAWN":
                return answers.refusal(CODES, result.get("cause"), order_no=order_no)
        raise base.OutcomeUnknown("the answer names a stage that is not documented")

    async def list_lines(self, request: base.LinesRequest) -> base.LinesPage:
        """`subscriber.list`; rows are arrays of phone, card, state, offer."""
        asked = {"pageToken": request.cursor, "pageSize": request.limit}
        result = await self._ask("subscriber.list", asked, request.request_id)
        rows = result.get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 4 for row in rows):
            raise base.OutcomeUnknown("the answer has no lines")
        # The last page says so with an empty token; a missing one says nothing.
        after = result.get("nextToken", 0)
        return answers.lines_page(
            request,
            rows=[(phone, card, state, offer) for phone, card, state, offer in rows],
            states=LINE_STATES,
            after=None if after == "" else after,
        )

    def parse_callback(
        self, headers: Mapping[str, str], raw_body: bytes, now: datetime
    ) -> base.CallbackMessage:
        """There is nothing to believe: this carrier is polled."""
        raise base.CallbackForged("this carrier sends no callbacks")

    async def _order(self, kind: str, request: base.LineRequest, more: Mapping[str, Any]) -> base.Accepted:
        order = {"acceptType": kind, "phone": national(request.number), "card": request.iccid, **more}
        result = await self._call("order.submit", request.reference, order, request.request_id)
        if result.get("phone") != order["phone"] or result.get("acceptType") != kind:
            raise base.OutcomeUnknown("the answer speaks of another order")
        return base.Accepted(answers.order_no(result.get("workOrder")))

    async def _ask(self, method: str, asked: Mapping[str, Any], request_id: str) -> dict[str, Any]:
        try:
            return await self._call(method, f"Q{secrets.token_hex(12)}", asked, request_id)
        except base.CarrierRejected as error:
            raise base.OutcomeUnknown(f"{error.carrier_code} in answer to a question") from None

    async def _call(
        self, method: str, number: str, sent: Mapping[str, Any], request_id: str
    ) -> dict[str, Any]:
        given = {name: value for name, value in sent.items() if value is not None}
        body = json.dumps({"requestNo": number, **given}, ensure_ascii=False, separators=(",", ":")).encode()
        # Read when it is sent and not when the job was claimed: the carrier compares it with its own clock.
        time, nonce = str(int(clock.now().timestamp() * 1000)), secrets.token_hex(8)
        app_id = self.account.app_key
        headers = {
            "Content-Type": "application/json",
            "CT-App": app_id,
            "CT-Time": time,
            "CT-Nonce": nonce,
            "CT-Sign": sign(
                secret=self.account.secret, app_id=app_id, method=method, nonce=nonce, time=time, body=body
            ),
        }
        if request_id:
            headers["X-Request-ID"] = request_id
        reply = await self.exchange.post(
            f"{self.account.base_url}/api/{method}", content=body, headers=headers
        )
        return read_reply(reply, number=number)


def read_reply(reply: base.Reply, *, number: str) -> dict[str, Any]:
    """The `result` of an answer that says yes; every other answer becomes one of the four errors.

    :raises CarrierError: by the documented code and its HTTP status; `OutcomeUnknown` for whatever is not documented.
    """
    answer = answers.json_reply(reply)
    code = answer.get("resultCode")
    # Not isinstance: True and 10000.0 are equal to numbers of the table.
    answers.check(
        CODES.get(code) if type(code) is int else None,
        status=reply.status,
        code=str(code),
        echoed=answer.get("requestNo"),
        reference=number,
        retry_after=reply.headers.get("retry-after"),
    )
    result = answer.get("result")
    if not isinstance(result, dict):
        raise base.OutcomeUnknown("the answer has no result")
    return result


def _owner(request: base.ActivateRequest | base.TransferRequest) -> dict[str, str]:
    return {
        "name": request.holder_name,
        "idType": answers.document_type(DOCUMENT_TYPES, request.document_type),
        "idNo": request.document_number,
    }
