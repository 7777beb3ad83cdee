"""`/_sim/`: the knobs, the ledger and the carriers' own views of their lines, for people and for tests.

`?carrier=` picks one carrier; without it a reader gets all of them, and a setting goes to all.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from apps.carrier_sim.callbacks import Notifier
from apps.carrier_sim.carrier import Carrier, shown_line
from apps.carrier_sim.dialect import SHAPES
from apps.carrier_sim.knobs import CHOICES, BadKnob
from apps.carrier_sim.ledger import Entry, Ledger, result_of
from apps.carrier_sim.lines import Drift

PAGE = (Path(__file__).parent / "panel.html").read_text(encoding="utf-8")
LATEST = 15
LARGEST_PAGE = 10_000
MOST_DRIFTED = 2_000_000


class BadRequest(Exception):
    """What was asked for cannot be done; the text says why."""


class Panel:
    """Control and inspection. No password: it binds to loopback unless told otherwise."""

    def __init__(
        self,
        *,
        carriers: dict[str, Carrier],
        ledger: Ledger,
        notifier: Notifier,
        realname_counts: Counter[str],
    ) -> None:
        self._carriers = carriers
        self._ledger = ledger
        self._notifier = notifier
        self._realname_counts = realname_counts

    async def page(self, request: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Cache-Control": "no-store"})

    async def state(self, request: Request) -> Response:
        """Sums over all carriers (but the most calls at once of any of them), and each carrier by itself."""
        each = {name: self._state_of(carrier) for name, carrier in self._carriers.items()}
        counts, lines = Counter(self._realname_counts), Counter[str]()
        for state in each.values():
            counts.update({key: n for key, n in state["counts"].items() if key != "most_in_flight"})
            lines.update(state["lines"])
        counts["most_in_flight"] = max(state["counts"].get("most_in_flight", 0) for state in each.values())
        return JSONResponse(
            {
                "in_flight": sum(state["in_flight"] for state in each.values()),
                "counts": dict(sorted(counts.items())),
                "entries": len(self._ledger.entries),
                "lines": dict(lines),
                "carriers": each,
                "choices": {name: list(kinds) for name, kinds in CHOICES.items()},
                "drifts": list(Drift),
            }
        )

    def _state_of(self, carrier: Carrier) -> dict[str, Any]:
        lines, _ = carrier.lines(app_key=None, after="", limit=LATEST)
        return {
            "knobs": carrier.knobs.as_json(),
            "in_flight": carrier.in_flight,
            "counts": dict(sorted(carrier.counts.items())),
            "entries": len(carrier.entries),
            "lines": carrier.line_states(),
            "latest": [_shown(entry) for entry in reversed(carrier.entries[-LATEST:])],
            "first_lines": [shown_line(line) for line in lines],
        }

    async def knobs(self, request: Request) -> Response:
        """GET those of each carrier; PUT some of them, the others stay as they are."""
        try:
            carriers = self._chosen(request)
            if request.method == "PUT":
                changes = await _object(request)
                changed = {name: carrier.knobs.changed(changes) for name, carrier in carriers.items()}
                for name, knobs in changed.items():
                    carriers[name].knobs = knobs
        except (BadRequest, BadKnob) as error:
            return _bad(str(error))
        return JSONResponse({name: carrier.knobs.as_json() for name, carrier in carriers.items()})

    async def ledger(self, request: Request) -> Response:
        """Entries from `after` on (a count, 0 at first), oldest first, at most `limit`; `next` is the `after` of the
        following page.
        """
        try:
            after, limit = _whole(request, "after", 0), _whole(request, "limit", 1000)
            if limit not in range(1, LARGEST_PAGE + 1):
                raise BadRequest(f"limit from 1 to {LARGEST_PAGE}")
            chosen = self._chosen(request)
        except BadRequest as error:
            return _bad(str(error))
        one = len(chosen) == 1
        entries = next(iter(chosen.values())).entries if one else self._ledger.entries
        page = entries[after : after + limit]
        following = after + limit if after + limit < len(entries) else None
        return JSONResponse({"items": [_shown(entry) for entry in page], "next": following})

    async def lines(self, request: Request) -> Response:
        """Lines by number above `after`; of all carriers one after the other unless one is named."""
        try:
            limit = _whole(request, "limit", LARGEST_PAGE)
            chosen = self._chosen(request)
            after = request.query_params.get("after", "")
            if limit not in range(1, LARGEST_PAGE + 1) or (after and len(chosen) > 1):
                raise BadRequest(f"limit from 1 to {LARGEST_PAGE}; after only with a carrier")
        except BadRequest as error:
            return _bad(str(error))
        items: list[dict[str, Any]] = []
        following = None
        for name, carrier in chosen.items():
            rows, following = carrier.lines(
                app_key=request.query_params.get("app_key"), after=after, limit=limit
            )
            items += [{"carrier": name, **shown_line(row)} for row in rows]
        return JSONResponse({"items": items, "next": following})

    async def drift(self, request: Request) -> Response:
        """Changes lines behind the resellers' backs; answers the lines as they were before."""
        try:
            chosen = self._chosen(request)
            if len(chosen) != 1:
                raise BadRequest("carrier: which one")
            before = next(iter(chosen.values())).drift(**_asked_drift(await _object(request)))
        except BadRequest as error:
            return _bad(str(error))
        return JSONResponse({"before": before})

    async def reset(self, request: Request) -> Response:
        self._notifier.cancel_all()
        self._ledger.forget()
        self._realname_counts.clear()
        for carrier in self._carriers.values():
            carrier.reset()
        return Response(status_code=204)

    def _chosen(self, request: Request) -> dict[str, Carrier]:
        name = request.query_params.get("carrier")
        if name is None:
            return self._carriers
        if name not in self._carriers:
            raise BadRequest(f"carrier: one of {', '.join(self._carriers)}")
        return {name: self._carriers[name]}


def _asked_drift(asked: dict[str, Any]) -> dict[str, Any]:
    """`{drift, count?, numbers?}`, or for lines that nobody ordered `{drift, count, app_key, number, iccid, plan}`."""
    kind, count, numbers = asked.pop("drift", None), asked.pop("count", None), asked.pop("numbers", [])
    if kind not in list(Drift):
        raise BadRequest(f"drift: one of {', '.join(Drift)}")
    if not isinstance(numbers, list) or not all(isinstance(number, str) for number in numbers):
        raise BadRequest("numbers: a list of numbers in eleven digits")
    count = (len(numbers) or 1) if count is None else count
    if type(count) is not int or not 1 <= count <= MOST_DRIFTED:
        raise BadRequest(f"count: from 1 to {MOST_DRIFTED}")
    wanted = {"app_key", "number", "iccid", "plan"} if kind == Drift.UNKNOWN else set()
    if set(asked) != wanted or any(
        not isinstance(value, str) or not SHAPES[name].fullmatch(value) for name, value in asked.items()
    ):
        raise BadRequest(
            "for unknown lines app_key, number, iccid (ending in twelve digits) and plan; else none"
        )
    if wanted and not asked["iccid"][-12:].isdigit():
        raise BadRequest("iccid: ending in twelve digits")
    return {"drift": kind, "count": count, "numbers": numbers, **asked}


async def _object(request: Request) -> dict[str, Any]:
    try:
        content = json.loads(await request.body())
    except ValueError:
        raise BadRequest("not JSON") from None
    if not isinstance(content, dict):
        raise BadRequest("a JSON object")
    return content


def _whole(request: Request, name: str, default: int) -> int:
    value = request.query_params.get(name, str(default))
    if not value.isascii() or not value.isdigit() or len(value) > 12:
        raise BadRequest(f"{name}: a whole number")
    return int(value)


def _bad(detail: str) -> Response:
    return JSONResponse({"error": detail}, status_code=400)


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "n": entry.n,
        "at": datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "dialect": entry.dialect,
        "app_key": entry.app_key,
        "operation": entry.operation,
        "reference": entry.reference,
        "order_no": entry.order_no,
        "number": entry.number,
        "iccid": entry.iccid,
        "plan": entry.plan,
        "change": entry.change,
        "result": result_of(entry),
        "reason": entry.reason,
        "duplicate": entry.duplicate,
    }
