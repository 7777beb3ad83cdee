"""`/_sim/`: the knobs, the ledger and the carrier's own view of its lines, for people and for tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from apps.carrier_sim.callbacks import Notifier
from apps.carrier_sim.carrier import Carrier, result_of
from apps.carrier_sim.knobs import BadKnob
from apps.carrier_sim.ledger import Entry

PAGE = (Path(__file__).parent / "panel.html").read_text(encoding="utf-8")
LATEST = 15
LARGEST_PAGE = 10_000


class Panel:
    """Control and inspection. No password: it binds to loopback unless told otherwise."""

    def __init__(self, *, carrier: Carrier, notifier: Notifier) -> None:
        self._carrier = carrier
        self._notifier = notifier

    async def page(self, request: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Cache-Control": "no-store"})

    async def state(self, request: Request) -> Response:
        carrier = self._carrier
        statuses: dict[str, int] = {}
        for line in carrier.lines(app_key=None):
            statuses[str(line["status"])] = statuses.get(str(line["status"]), 0) + 1
        return JSONResponse(
            {
                "knobs": carrier.knobs.as_json(),
                "in_flight": carrier.in_flight,
                "counts": dict(sorted(carrier.counts.items())),
                "entries": len(carrier.ledger.entries),
                "lines": statuses,
                "latest": [_shown(entry) for entry in reversed(carrier.ledger.entries[-LATEST:])],
            }
        )

    async def knobs(self, request: Request) -> Response:
        """GET all of them; PUT some of them, the others stay as they are."""
        if request.method == "PUT":
            try:
                changes = json.loads(await request.body())
                if not isinstance(changes, dict):
                    raise BadKnob("a JSON object of knobs")
                self._carrier.knobs = self._carrier.knobs.changed(changes)
            except ValueError as error:
                detail = str(error) if isinstance(error, BadKnob) else "not JSON"
                return JSONResponse({"error": detail}, status_code=400)
        return JSONResponse(self._carrier.knobs.as_json())

    async def ledger(self, request: Request) -> Response:
        """Entries numbered above `after`, oldest first, at most `limit`; `next` is the `after` of the
        following page.
        """
        try:
            after = int(request.query_params.get("after", "0"))
            limit = int(request.query_params.get("limit", "1000"))
        except ValueError:
            after = limit = -1
        if after < 0 or not 1 <= limit <= LARGEST_PAGE:
            return JSONResponse({"error": f"after from 0, limit from 1 to {LARGEST_PAGE}"}, status_code=400)
        entries = self._carrier.ledger.entries
        page = entries[after : after + limit]
        more = after + limit < len(entries)
        return JSONResponse(
            {"items": [_shown(entry) for entry in page], "next": page[-1].n if more else None}
        )

    async def lines(self, request: Request) -> Response:
        return JSONResponse({"items": self._carrier.lines(app_key=request.query_params.get("app_key"))})

    async def reset(self, request: Request) -> Response:
        self._notifier.cancel_all()
        self._carrier.reset()
        return Response(status_code=204)


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
        "result": result_of(entry),
        "reason": entry.reason,
        "duplicate": entry.duplicate,
    }
