"""The second providers of the real-name check: another house, another wire format.

    POST /realname2/citizen    lsh=serial&xm=name&zjlx=document type&zjhm=document number
        -> lsh=&zjhm=&jg=   1000 match  1001 another name  1002 unknown  1003 void  9001 busy
    POST /realname2/portrait   lsh=&zjhm=&qd=channel&hh=face session&zp=photo (base64)&dkq=card reader
        -> lsh=&zjhm=&jg=&ht=   2000 the same person  2001 another  2002 in doubt   ht: 0 alive  1 not  2 in doubt

Both ways application/x-www-form-urlencoded, with X-Signature, the hex HMAC-SHA256 of the body. Always 200, but for a
bad signature (403) or form (422).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import Counter
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from apps.carrier_sim.magic import Fault, Person, fault_of, person_of
from apps.carrier_sim.realname import HANG_SECONDS, NOBODYS_REQUEST, Downtimes, TooLarge, read_body

_AUTHORITY = {Person.NAME_MISMATCH: "1001", Person.DOCUMENT_VOID: "1003"}
_FACE = {
    Person.FACE_MISMATCH: ("2001", "0"),
    Person.FACE_UNCERTAIN: ("2002", "0"),
    Person.NOT_LIVE: ("2000", "1"),
}
_BUSY = "9001"


class RealNameForms:
    """Both second providers behind one secret."""

    def __init__(self, *, secret: str, counts: Counter[str]) -> None:
        self._secret = secret.encode()
        self._counts = counts
        self._downtimes = Downtimes(secret=secret)

    async def citizen(self, request: Request) -> Response:
        form = await self._read(request, ("lsh", "xm", "zjlx", "zjhm"))
        if isinstance(form, Response):
            return form
        self._counts["real-name: second authority"] += 1
        number = form["zjhm"]
        if self._downtimes.is_down(number):
            return self._signed({"lsh": form["lsh"], "jg": _BUSY})
        return await self._answer(form, {"jg": _AUTHORITY.get(person_of(number), "1000")})

    async def portrait(self, request: Request) -> Response:
        form = await self._read(request, ("lsh", "zjhm", "qd"))
        if isinstance(form, Response):
            return form
        self._counts["real-name: second face"] += 1
        result, alive = _FACE.get(person_of(form["zjhm"]), ("2000", "0"))
        return await self._answer(form, {"jg": result, "ht": alive})

    async def _answer(self, form: dict[str, str], said: dict[str, str]) -> Response:
        answer = {"lsh": form["lsh"], "zjhm": form["zjhm"], **said}
        match fault_of(form["zjhm"], second=True):
            case Fault.DOWN:
                answer["jg"] = _BUSY
            case Fault.WRONG_ECHO:
                answer["lsh"] = NOBODYS_REQUEST
            case Fault.HANGS:
                await asyncio.sleep(HANG_SECONDS)
            case Fault.UNKNOWN_WORD:
                answer["jg"] = "7777"
        return self._signed(answer)

    async def _read(self, request: Request, names: tuple[str, ...]) -> dict[str, str] | Response:
        try:
            raw = await read_body(request)
        except TooLarge:
            return PlainTextResponse("too large", status_code=413)
        signature = request.headers.get("X-Signature", "")
        if not hmac.compare_digest(self._sign(raw).encode(), signature.encode()):
            return PlainTextResponse("signature", status_code=403)
        try:
            form = dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=True))
        except ValueError:
            return PlainTextResponse("form", status_code=422)
        if any(not form.get(name) for name in names):
            return PlainTextResponse("field missing", status_code=422)
        return form

    def _signed(self, answer: dict[str, str]) -> Response:
        body = urlencode(answer).encode()
        headers = {"X-Signature": self._sign(body)}
        return Response(body, media_type="application/x-www-form-urlencoded", headers=headers)

    def _sign(self, body: bytes) -> str:
        return hmac.new(self._secret, body, hashlib.sha256).hexdigest()
