"""The main run: a partner orders at a steady rate while everything around is killed, cut off, flushed and lied to."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from apps.core import clock
from tests.faults import checker
from tests.faults.client import Client, activations
from tests.faults.report import Run
from tests.faults.rig import CARRIER_WORKERS, CARRIERS, STOP_SECONDS, Place, Rig, drain, fresh_database
from tests.faults.stock import CONNECTION, Stock, given_stock

# Of every hundred calls nine go wrong: five are taken and answered badly, four are not taken.
AFTER_ACCEPT, BEFORE_ACCEPT = 0.05, 0.04
KINDS_AFTER, KINDS_BEFORE = ("hang", "reset", "500"), ("reset", "busy")
TWICE = 0.1
# Of every hundred orders, those that are HELD at first.
STRANGERS = 5
CHANGE_OF_WEATHER_SECONDS = 4.0


@dataclass(frozen=True)
class Form:
    """How much of everything."""

    orders: int
    kills: int
    flushes: int
    restarts: int
    stops: int = 0
    per_second: float = 12.0
    beats: int = 1
    drain_seconds: float = 75.0
    # Shares of the orders, and of the kills, that must have been bitten.
    minima: dict[str, int] = field(default_factory=dict)


SHORT = Form(orders=1000, kills=20, flushes=3, restarts=1)
LONG = Form(orders=10_000, kills=200, flushes=20, restarts=3, stops=20, per_second=16.0, beats=2)


def storm(found: Place, *, name: str, seed: int, form: Form) -> Run:
    """Everything at once, at random."""
    run = Run(name=name, seed=seed, settings=asdict(form) | {"connection": CONNECTION})
    rng = random.Random(seed)
    follow_ups = form.orders * 15 // 100
    placed = form.orders - follow_ups
    with running(
        found, run=run, rng=rng, orders=placed, strangers=placed * STRANGERS // 100, beats=form.beats
    ) as (rig, stock):
        rig.knobs(
            latency_ms=30,
            latency_jitter_ms=40,
            callback_delay_ms=200,
            query_lag_ms=300,
            late_by_ms=3000,
            error_rate_before=BEFORE_ACCEPT,
            error_rate_after_accept=AFTER_ACCEPT,
            query_error_rate=BEFORE_ACCEPT,
            callbacks="mixed",
            seed=seed,
        )
        client = Client(
            found.web_url,
            activations(stock.shops, count=placed, rng=rng, twice_rate=TWICE),
            per_second=form.per_second,
            rng=random.Random(seed + 1),
            follow_ups=follow_ups,
        )
        acts = _acts(form, rig, rng)
        client.start()
        play(rig, client, acts, rng)
        finish(run, rig, client, within=form.drain_seconds)
    run.minima = {
        "kills": form.kills,
        "flushes": form.flushes,
        "immediate restarts of PostgreSQL": form.restarts,
        "stops": form.stops,
        "kills with calls in flight": form.kills // 10,
        "jobs that were in doubt": form.orders * 4 // 100,
        "jobs sent again": form.orders * 3 // 100,
        "calls lost with their worker": form.kills // 4,
        "replayed answers": form.orders * 4 // 100,
        "no answer": form.kills // 10,
        "orders": form.orders * 97 // 100,
    }
    return run


def _acts(form: Form, rig: Rig, rng: random.Random) -> list[Callable[[], object]]:
    acts: list[Callable[[], object]] = [
        *[rig.kill_somebody] * form.kills,
        *[rig.flush_redis] * form.flushes,
        *[rig.restart_postgres] * form.restarts,
        *[lambda: _stop(rig, rng)] * form.stops,
    ]
    rng.shuffle(acts)
    return acts


def _stop(rig: Rig, rng: random.Random) -> None:
    for name in rng.sample(CARRIER_WORKERS, 2):
        if rig.pause_with_calls_out(name):
            return
    # Both sleep: once more when they have woken.
    time.sleep(STOP_SECONDS)
    rig.watch()
    _stop(rig, rng)


def play(rig: Rig, client: Client, acts: list[Callable[[], object]], rng: random.Random) -> None:
    """Spreads the acts over the client's work, by what it has done and not by the clock (machines are busy)."""
    done, changed_at = 0, 0.0
    while not client.is_done or done < len(acts):
        rig.watch()
        if time.monotonic() - changed_at > CHANGE_OF_WEATHER_SECONDS:
            for carrier in CARRIERS:
                rig.knobs(
                    carrier=carrier,
                    error_after_accept=rng.choice(KINDS_AFTER),
                    error_before=rng.choice(KINDS_BEFORE),
                    query_error=rng.choice(KINDS_AFTER),
                )
            changed_at = time.monotonic()
        due = client.is_done or client.progress > (done + 0.5) / (len(acts) + 1)
        if done < len(acts) and due:
            acts[done]()
            done += 1
        time.sleep(0.1)


@contextmanager
def running(
    found: Place,
    *,
    run: Run,
    rng: random.Random,
    orders: int,
    strangers: int = 0,
    shops: int = 3,
    beats: int = 1,
    carriers: tuple[str, ...] = CARRIERS,
    connection: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    armed: Mapping[str, str] | None = None,
    prefork: bool = False,
) -> Iterator[tuple[Rig, Stock]]:
    """A fresh database with stock, and every process up on it, for the length of the block."""
    started = time.monotonic()
    fresh_database(found)
    stock = given_stock(
        now=clock.now(),
        shops=shops,
        orders=orders,
        strangers=strangers,
        carriers=carriers,
        base_url=found.simulator_url,
        **(connection or {}),
    )
    run.settings |= {"shops": shops, "carriers": list(carriers), **(environment or {}), **(connection or {})}
    if armed:
        run.settings["armed"] = dict(armed)
    with Rig(found, rng=rng, beats=beats, environment=environment, armed=armed, prefork=prefork) as rig:
        rig.canaries = stock.canaries
        yield rig, stock
    run.seconds = time.monotonic() - started


def finish(run: Run, rig: Rig, client: Client, *, within: float) -> None:
    """Good weather, a drained backlog, and the verdict of the checker."""
    rig.knobs(error_rate_before=0.0, error_rate_after_accept=0.0, query_error_rate=0.0)
    while not client.is_done:
        rig.watch()
        time.sleep(0.1)
    took = drain(rig, seconds=within)
    # Late callbacks, which change nothing any more.
    time.sleep(2)
    rig.look_for_leaks()
    conclude(run, rig, client, drained_in=took, within=within)


def conclude(run: Run, rig: Rig, client: Client, *, drained_in: float, within: float) -> None:
    evidence = checker.Evidence(
        history=list(client.history),
        ledger=rig.ledger(),
        carrier_lines=rig.carrier_lines(),
        leaks=rig.leaks,
        drained_in=drained_in,
        drained_within=within,
    )
    run.findings = checker.check(evidence)
    carrier = rig.carrier_state()["counts"]
    run.counts = {
        **checker.bites(),
        **client.counts,
        **rig.counts,
        **{f"died at a fault point: {name}": count for name, count in rig.deaths.items()},
        "effects at the carrier": len(evidence.ledger),
        "deduplicated by the carrier": carrier.get("deduplicated", 0),
        "calls the carrier spoilt": sum(n for name, n in carrier.items() if name.startswith("spoilt")),
        "seconds to drain": round(drained_in),
    }
