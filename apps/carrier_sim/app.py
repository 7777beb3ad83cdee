"""Puts the faces of the simulator together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from apps.carrier_sim import unicom
from apps.carrier_sim.callbacks import Notifier
from apps.carrier_sim.carrier import Carrier
from apps.carrier_sim.ledger import Ledger
from apps.carrier_sim.panel import Panel
from apps.carrier_sim.realname import RealName


def create_app(*, ledger_path: Path | None, master_secret: str, realname_token: str) -> Starlette:
    """The ASGI application; reads the ledger back and takes up the callbacks that an earlier process still
    owed.
    """
    carrier = Carrier(Ledger(ledger_path))
    realname = RealName(token=realname_token, counts=carrier.counts)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        notifier.resume()
        yield
        await notifier.close()

    notifier = Notifier(carrier=carrier, master_secret=master_secret, dialects={unicom.NAME: unicom.DIALECT})
    panel = Panel(carrier=carrier, notifier=notifier)
    gateway = unicom.Gateway(carrier=carrier, notifier=notifier, master_secret=master_secret)

    async def unicom_gateway(request: Request) -> Response:
        return await gateway(request)

    async def home(request: Request) -> Response:
        return RedirectResponse("/_sim/")

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", home),
            Route("/healthz", healthz),
            Route("/unicom/gateway", unicom_gateway, methods=["POST"]),
            Route("/realname/authority", realname.authority, methods=["POST"]),
            Route("/realname/face", realname.face, methods=["POST"]),
            Route("/_sim/", panel.page),
            Route("/_sim/state", panel.state),
            Route("/_sim/knobs", panel.knobs, methods=["GET", "PUT"]),
            Route("/_sim/ledger", panel.ledger),
            Route("/_sim/lines", panel.lines),
            Route("/_sim/reset", panel.reset, methods=["POST"]),
        ],
    )
