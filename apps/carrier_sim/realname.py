"""The second face: providers of the real-name check, invented as well. The first ones speak JSON:

    POST /realname/authority   {"name", "document_type", "document_number", "request_id"}
        -> {"request_id", "document_number", "result": "match" | "name_mismatch" | "not_found" | "document_void"}
    POST /realname/face        {"document_number", "face_session", "photo", "reader", "channel", "request_id"}
        -> {"request_id", "document_number", "result": "match" | "mismatch" | "uncertain",
            "liveness": "live" | "not_live" | "uncertain", "score": 0.0 to 1.0}

`face_session` or `photo` (base64) may be empty: a store that compares the face itself has none. Bearer token; 503 with
Retry-After when the authority is down. The second ones, /realname2/, are in realname_forms.py. What is asked here is
not kept: no ledger, no log.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import Counter
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from apps.carrier_sim.magic import Fault, Person, fault_of, person_of

# A photo of 5 MB in base64.
LARGEST_BODY = 8 * 1024 * 1024
DOWN_TIMES = 2
HANG_SECONDS = 60.0
NOBODYS_REQUEST = "ver_00000000000000000000000000-1"

_AUTHORITY = {Person.NAME_MISMATCH: "name_mismatch", Person.DOCUMENT_VOID: "document_void"}
_FACE = {
    Person.FACE_MISMATCH: ("mismatch", "live", 0.12),
    Person.FACE_UNCERTAIN: ("uncertain", "live", 0.58),
    Person.NOT_LIVE: ("match", "not_live", 0.91),
}
_MATCH = ("match", "live", 0.97)


class Downtimes:
    """People for whom an authority is down, and how often it was; under digests that die with the process."""

    def __init__(self, *, secret: str) -> None:
        self._secret = secret.encode()
        self._down: Counter[bytes] = Counter()

    def is_down(self, number: str) -> bool:
        """Always for some, for others at the first two calls, not at the third, and so on from there."""
        person = person_of(number)
        if person is Person.AUTHORITY_DOWN:
            return True
        if person is not Person.AUTHORITY_DOWN_TWICE:
            return False
        digest = hmac.new(self._secret, number.encode(), hashlib.sha256).digest()
        self._down[digest] += 1
        if self._down[digest] > DOWN_TIMES:
            del self._down[digest]
            return False
        return True


class TooLarge(Exception):
    """The body has more than LARGEST_BODY bytes."""


async def read_body(request: Request) -> bytes:
    """:raises TooLarge:"""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > LARGEST_BODY:
            raise TooLarge
    return bytes(raw)


class RealName:
    """Both first providers behind one token."""

    def __init__(self, *, token: str, counts: Counter[str]) -> None:
        self._token = token
        self._counts = counts
        self._downtimes = Downtimes(secret=token)

    async def authority(self, request: Request) -> Response:
        body = await self._read(request, ("name", "document_type", "document_number", "request_id"))
        if isinstance(body, Response):
            return body
        self._counts["real-name: authority"] += 1
        number = body["document_number"]
        if self._downtimes.is_down(number):
            return _problem(503, "unavailable", {"Retry-After": "1"})
        return await self._answer(body, {"result": _AUTHORITY.get(person_of(number), "match")})

    async def face(self, request: Request) -> Response:
        body = await self._read(request, ("document_number", "channel", "request_id"))
        if isinstance(body, Response):
            return body
        self._counts["real-name: face"] += 1
        result, liveness, score = _FACE.get(person_of(body["document_number"]), _MATCH)
        return await self._answer(body, {"result": result, "liveness": liveness, "score": score})

    async def _answer(self, body: dict[str, Any], said: dict[str, Any]) -> Response:
        answer = {"request_id": body["request_id"], "document_number": body["document_number"], **said}
        match fault_of(body["document_number"], second=False):
            case Fault.DOWN:
                return _problem(503, "unavailable", {"Retry-After": "1"})
            case Fault.WRONG_ECHO:
                answer["request_id"] = NOBODYS_REQUEST
            case Fault.HANGS:
                await asyncio.sleep(HANG_SECONDS)
            case Fault.UNKNOWN_WORD:
                answer["result"] = "probably"
        return JSONResponse(answer)

    async def _read(self, request: Request, names: tuple[str, ...]) -> dict[str, Any] | Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), self._token.encode()):
            return _problem(401, "unauthorized", {"WWW-Authenticate": "Bearer"})
        try:
            body = json.loads(await read_body(request))
        except TooLarge:
            return _problem(413, "too_large")
        except (ValueError, RecursionError):
            return _problem(400, "not_json")
        if not isinstance(body, dict):
            return _problem(400, "not_json")
        for name in names:
            if not isinstance(body.get(name), str) or not body[name]:
                return _problem(400, f"field_missing: {name}")
        return body


def _problem(status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": error}, status_code=status, headers=headers)
