"""The HTTP face of one carrier: reads a call, hands it to the carrier, words the answer, spoils it when it should."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from apps.carrier_sim import signing
from apps.carrier_sim.callbacks import Notifier
from apps.carrier_sim.carrier import Carrier, Fate
from apps.carrier_sim.dialect import Dialect
from apps.carrier_sim.knobs import After, Before, Callbacks
from apps.carrier_sim.ledger import Entry
from apps.carrier_sim.orders import Call, Order, Problem, Refused, naming

LARGEST_BODY = 64 * 1024
HANG_SECONDS = 300
EARLY_SECONDS = 5
HUGE_BYTES = 10_000_000


class Dropped(Response):
    """No answer: a head that promises more than ever comes makes the server close the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"64")]})


class Gateway:
    """One per carrier."""

    def __init__(self, *, dialect: Dialect, carrier: Carrier, notifier: Notifier, master_secret: str) -> None:
        self._dialect = dialect
        self._carrier = carrier
        self._notifier = notifier
        self._master_secret = master_secret

    async def __call__(self, request: Request) -> Response:
        carrier, counts = self._carrier, self._carrier.counts
        counts["calls"] += 1
        carrier.in_flight += 1
        counts["most_in_flight"] = max(counts["most_in_flight"], carrier.in_flight)
        try:
            turned_away = carrier.admission()
            if turned_away is not None:
                return await self._turn_away(request, turned_away)
            call = self._dialect.read(
                headers=request.headers,
                method=request.path_params.get("method", ""),
                body=await self._body(request),
                secret_of=lambda app_key: signing.secret_of(self._master_secret, app_key),
            )
            with naming(call.reference):
                if call.order is not None:
                    return await self._order(request, call, call.order)
                if call.asked:
                    return await self._question(request, call)
                await asyncio.sleep(carrier.knobs.latency_ms / 1000)
                counts["pages of lines"] += 1
                lines, after = carrier.lines(app_key=call.app_key, after=call.after, limit=call.limit)
                return self._dialect.page(call, lines, after)
        except Refused as refused:
            counts[f"answered {refused.problem}"] += 1
            return self._dialect.problem(refused.reference, refused.problem, refused.detail)
        finally:
            carrier.in_flight -= 1

    async def _body(self, request: Request) -> bytes:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_BODY:
                raise Refused(Problem.MALFORMED, "larger than 64 KiB")
        return body

    async def _order(self, request: Request, call: Call, order: Order) -> Response:
        fate = self._carrier.fate_of_order(order)
        await asyncio.sleep(fate.takes_ms / 1000)
        if fate.before is not None:
            return await self._turn_away(request, fate.before)
        entry, is_new = self._carrier.place(order)
        if is_new:
            told = self._notifier.schedule(entry)
            if told is not None and entry.callbacks == Callbacks.EARLY:
                await asyncio.wait({told}, timeout=EARLY_SECONDS)
        if self._dialect.answers_when_done and is_new:
            await self._wait_with_caller(request, entry.finishes_at - time.time())
        return await self._answer(request, call, fate, self._dialect.taken(call, entry, is_new=is_new), entry)

    async def _question(self, request: Request, call: Call) -> Response:
        self._carrier.counts["queries"] += 1
        fate = self._carrier.fate_of_question(app_key=call.app_key, asked=call.asked)
        await asyncio.sleep(fate.takes_ms / 1000)
        entry = self._carrier.find(app_key=call.app_key, reference=call.asked)
        return await self._answer(request, call, fate, self._dialect.found(call, entry), entry)

    async def _turn_away(self, request: Request, how: Before) -> Response:
        match how:
            case Before.HANG:
                return await self._hang(request)
            case Before.RESET:
                self._carrier.counts["connection dropped"] += 1
                return Dropped()
            case Before.RATE_LIMITED:
                raise Refused(Problem.TOO_MANY)
            case Before.ERROR_500:
                raise Refused(Problem.SYSTEM)
            case _:
                raise Refused(Problem.BUSY)

    async def _answer(
        self, request: Request, call: Call, fate: Fate, good: Response, entry: Entry | None
    ) -> Response:
        """The answer as it should be, or what `fate` makes of it."""
        if fate.after is None:
            return good
        body = bytes(good.body)
        self._carrier.counts[f"spoilt: {fate.after}"] += 1
        match fate.after:
            case After.HANG:
                return await self._hang(request)
            case After.RESET:
                self._carrier.counts["connection dropped"] += 1
                return Dropped()
            case After.ERROR_500:
                raise Refused(Problem.SYSTEM)
            case After.ERROR_502:
                return HTMLResponse("<html><body>502 Bad Gateway</body></html>", status_code=502)
            case After.HTML:
                return HTMLResponse("<html><body>Welcome to the portal</body></html>")
            case After.HALF:
                body = body[: len(body) // 2]
            case After.HUGE:
                body += b" " * HUGE_BYTES
            case After.DRIP:
                headers = {"Content-Type": good.headers["content-type"], "Content-Length": str(len(body))}
                return StreamingResponse(_drip(body), status_code=good.status_code, headers=headers)
            case After.WRONG_NUMBER:
                number = entry.number if entry else "10000000000"
                body = body.replace(number.encode(), f"{number[:-1]}{(int(number[-1]) + 1) % 10}".encode())
            case After.WRONG_REFERENCE:
                ours = (call.asked or call.reference).encode()
                body = body.replace(ours, (b"y" if ours.startswith(b"x") else b"x") + ours[1:])
            case After.UNKNOWN_WORD:
                for known, unknown in self._dialect.strange:
                    if known in body:
                        body = body.replace(known, unknown)
                        break
        return Response(body, status_code=good.status_code, media_type=good.headers["content-type"])

    async def _hang(self, request: Request) -> Response:
        """Leaves the caller waiting until he has lost patience."""
        self._carrier.counts["left hanging"] += 1
        await self._wait_with_caller(request, HANG_SECONDS)
        return Dropped()

    async def _wait_with_caller(self, request: Request, seconds: float) -> None:
        """For so long, or until the caller has gone."""
        try:
            async with asyncio.timeout(max(0, seconds)):
                while (await request.receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            pass


async def _drip(body: bytes) -> AsyncIterator[bytes]:
    for at in range(len(body)):
        yield body[at : at + 1]
        await asyncio.sleep(1)
