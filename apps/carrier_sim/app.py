"""Puts the faces of the simulator together."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from apps.carrier_sim.callbacks import Notifier
from apps.carrier_sim.carrier import Carrier
from apps.carrier_sim.dialect import Dialect
from apps.carrier_sim.gateway import Gateway
from apps.carrier_sim.ledger import Ledger
from apps.carrier_sim.mobile import Mobile
from apps.carrier_sim.panel import Panel
from apps.carrier_sim.realname import RealName
from apps.carrier_sim.realname_forms import RealNameForms
from apps.carrier_sim.telecom import Telecom
from apps.carrier_sim.unicom import Unicom


def create_app(
    *, ledger_path: Path | None, master_secret: str, realname_token: str, realname_second_secret: str
) -> Starlette:
    """The ASGI application; reads the ledger back and takes up the callbacks that an earlier process still
    owed.
    """
    ledger = Ledger(ledger_path)
    unicom = Unicom()
    dialects: tuple[Dialect, ...] = (unicom, Mobile(), Telecom())
    carriers = {
        dialect.name: Carrier(
            name=dialect.name, prefix=dialect.prefix, calls_back=dialect.calls_back, ledger=ledger
        )
        for dialect in dialects
    }
    notifier = Notifier(
        ledger=ledger,
        counts={name: carrier.counts for name, carrier in carriers.items()},
        master_secret=master_secret,
        speakers={unicom.name: unicom},
    )
    realname_counts: Counter[str] = Counter()
    realname = RealName(token=realname_token, counts=realname_counts)
    realname_forms = RealNameForms(secret=realname_second_secret, counts=realname_counts)
    panel = Panel(carriers=carriers, ledger=ledger, notifier=notifier, realname_counts=realname_counts)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        notifier.resume()
        yield
        await notifier.close()

    def endpoint(dialect: Dialect) -> Callable[[Request], Awaitable[Response]]:
        gateway = Gateway(
            dialect=dialect,
            carrier=carriers[dialect.name],
            notifier=notifier,
            master_secret=master_secret,
        )

        async def answer(request: Request) -> Response:
            return await gateway(request)

        return answer

    async def home(request: Request) -> Response:
        return RedirectResponse("/_sim/")

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", home),
            Route("/healthz", healthz),
            *(
                Route(f"/{dialect.name}/{dialect.path}", endpoint(dialect), methods=["POST"])
                for dialect in dialects
            ),
            Route("/realname/authority", realname.authority, methods=["POST"]),
            Route("/realname/face", realname.face, methods=["POST"]),
            Route("/realname2/citizen", realname_forms.citizen, methods=["POST"]),
            Route("/realname2/portrait", realname_forms.portrait, methods=["POST"]),
            Route("/_sim/", panel.page),
            Route("/_sim/state", panel.state),
            Route("/_sim/knobs", panel.knobs, methods=["GET", "PUT"]),
            Route("/_sim/ledger", panel.ledger),
            Route("/_sim/lines", panel.lines),
            Route("/_sim/drift", panel.drift, methods=["POST"]),
            Route("/_sim/reset", panel.reset, methods=["POST"]),
        ],
    )
