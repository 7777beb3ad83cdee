"""The second face: the two providers of the real-name check, invented as well.

    POST /realname/authority   {"name", "document_type", "document_number", "request_id"}
        -> {"request_id", "result": "match" | "name_mismatch" | "not_found" | "document_void"}
    POST /realname/face        {"document_number", "face_session", "channel", "request_id"}
        -> {"request_id", "result": "match" | "mismatch" | "uncertain", "score": 0.0 to 1.0}

`face_session` may be empty: a store that compares the face itself has none. Bearer token; 503
with Retry-After when the authority is down. What is asked here is not kept: no ledger, no log.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from apps.carrier_sim.magic import Person, person_of

LARGEST_BODY = 64 * 1024
DOWN_TIMES = 2

_AUTHORITY = {Person.NAME_MISMATCH: "name_mismatch", Person.DOCUMENT_VOID: "document_void"}
_FACE = {Person.FACE_MISMATCH: ("mismatch", 0.12), Person.FACE_UNCERTAIN: ("uncertain", 0.58)}
_MATCH = ("match", 0.97)


class RealName:
    """Both providers behind one token."""

    def __init__(self, *, token: str, counts: Counter[str]) -> None:
        self._token = token
        self._counts = counts
        # Times the authority was down for a person, under a digest that dies with the process.
        self._down: Counter[bytes] = Counter()

    async def authority(self, request: Request) -> Response:
        body = await self._read(request, ("name", "document_type", "document_number", "request_id"))
        if isinstance(body, Response):
            return body
        self._counts["real-name: authority"] += 1
        number = body["document_number"]
        person = person_of(number)
        if person is Person.AUTHORITY_DOWN or (
            person is Person.AUTHORITY_DOWN_TWICE and self._is_down(number)
        ):
            return _problem(503, "unavailable", {"Retry-After": "1"})
        return JSONResponse({"request_id": body["request_id"], "result": _AUTHORITY.get(person, "match")})

    async def face(self, request: Request) -> Response:
        body = await self._read(request, ("document_number", "channel", "request_id"))
        if isinstance(body, Response):
            return body
        self._counts["real-name: face"] += 1
        result, score = _FACE.get(person_of(body["document_number"]), _MATCH)
        return JSONResponse({"request_id": body["request_id"], "result": result, "score": score})

    def _is_down(self, number: str) -> bool:
        """True for the first two calls about a person, false for the third, and so on from there."""
        digest = hmac.new(self._token.encode(), number.encode(), hashlib.sha256).digest()
        self._down[digest] += 1
        if self._down[digest] > DOWN_TIMES:
            del self._down[digest]
            return False
        return True

    async def _read(self, request: Request, names: tuple[str, ...]) -> dict[str, Any] | Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), self._token.encode()):
            return _problem(401, "unauthorized", {"WWW-Authenticate": "Bearer"})
        raw = b""
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > LARGEST_BODY:
                return _problem(413, "too_large")
        try:
            body = json.loads(raw)
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
