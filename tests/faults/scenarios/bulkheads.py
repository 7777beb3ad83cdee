"""F17 and F18: one carrier that hangs, or one operator that bursts, takes nobody else's turn."""

from __future__ import annotations

import random
import time
from collections.abc import Collection

from django.db import transaction

from apps.core import clock
from apps.provisioning import services
from tests.faults.client import Client, activations
from tests.faults.report import Run
from tests.faults.rig import Place, Rig, query
from tests.faults.stock import CARDS_A_PERSON, SYSTEM, Shop
from tests.faults.storm import finish, running

# How much longer the others may wait, and what nobody calls waiting.
FACTOR = 2.0
FLOOR_SECONDS = 1.5
PHASE_SECONDS = 20.0

# From the making of a job to its first send, for those that were made in a phase.
_WAITS = """
SELECT extract(epoch FROM coalesce(min(attempt.started_at), clock_timestamp()) - job.created_at) AS seconds
FROM provisioning_activationjob job LEFT JOIN provisioning_jobattempt attempt ON attempt.job_id = job.id
WHERE job.connection_id = ANY(%s) AND job.created_at >= to_timestamp(%s) AND job.created_at < to_timestamp(%s)
GROUP BY job.id ORDER BY 1
"""


def hanging_carrier(found: Place, seed: int) -> list[Run]:
    """unicom takes 30 s for every call; jobs for the other two wait no longer than before."""
    run = Run("F17 hanging carrier", seed, {"phase": PHASE_SECONDS, "latency": 30})
    rng = random.Random(seed)
    with running(found, run=run, rng=rng, orders=600, connection={"timeout_seconds": 3.0}) as (rig, stock):
        others = [pk for shop in stock.shops for code, pk in shop.connections.items() if code != "unicom"]
        hung = [shop.connections["unicom"] for shop in stock.shops]
        rig.knobs(latency_ms=50, callback_delay_ms=200, seed=seed)
        client = Client(
            found.web_url,
            activations(stock.shops, count=600, rng=rng, twice_rate=0.0),
            per_second=9,
            rng=random.Random(seed + 1),
        )
        client.start()
        _wait(rig, 8)
        calm = _phase(rig, others)
        rig.knobs(carrier="unicom", latency_ms=30_000)
        _wait(rig, 3)
        busy = _phase(rig, others)
        [[most]] = query(
            "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM provisioning_activationjob"
            " WHERE lease_until > clock_timestamp() AND connection_id = ANY(%s) GROUP BY connection_id) counted",
            [hung],
        )
        rig.knobs(carrier="unicom", latency_ms=50)
        client.enough = True
        finish(run, rig, client, within=150)
    run.measured = [
        _promise("jobs for the other carriers", calm, busy),
        (f"calls out to the hanging one: {most} over a connection, at most 16", most <= 16),
    ]
    run.counts |= {"jobs in the calm": len(calm), "jobs meanwhile": len(busy)}
    run.minima = {"jobs in the calm": 40, "jobs meanwhile": 40, "calls with no answer": 20}
    return [run]


BURST = 400


def bursting_operator(found: Place, seed: int) -> list[Run]:
    """One of ten operators places hundreds of orders in one moment; the nine others wait no longer than before."""
    run = Run("F18 bursting operator", seed, {"phase": PHASE_SECONDS, "burst": BURST, "operators": 10})
    rng = random.Random(seed)
    with running(found, run=run, rng=rng, orders=10 * BURST, shops=10, carriers=("unicom",)) as (rig, stock):
        loud, *quiet = stock.shops
        others = [shop.connections["unicom"] for shop in quiet]
        rig.knobs(latency_ms=50, callback_delay_ms=200, seed=seed)
        client = Client(
            found.web_url,
            activations(quiet, count=600, rng=rng, twice_rate=0.0),
            per_second=9,
            rng=random.Random(seed + 1),
        )
        client.start()
        _wait(rig, 8)
        calm = _phase(rig, others)
        _burst(loud)
        busy = _phase(rig, others)
        client.enough = True
        finish(run, rig, client, within=150)
    run.measured = [_promise("jobs of the other operators", calm, busy)]
    run.counts |= {"jobs in the calm": len(calm), "jobs meanwhile": len(busy), "jobs of the burst": BURST}
    run.minima = {"jobs in the calm": 80, "jobs meanwhile": 80}
    return [run]


@transaction.atomic
def _burst(shop: Shop) -> None:
    """Committed together, so that they are all due in the same moment."""
    now = clock.now()
    for index in range(BURST):
        services.place_activation_order(
            actor=SYSTEM,
            operator_id=shop.operator_id,
            subscriber=shop.people[index // CARDS_A_PERSON],
            plan=shop.plans["unicom"][0],
            wish=services.NumberWish(),
            now=now,
        )


def _phase(rig: Rig, connections: Collection[int]) -> list[float]:
    """Waiting times of the jobs that are made from now on for a while."""
    since = time.time()
    _wait(rig, PHASE_SECONDS)
    until = time.time()
    _wait(rig, 4)
    return [float(seconds) for [seconds] in query(_WAITS, [list(connections), since, until])]


def _wait(rig: Rig, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        rig.watch()
        time.sleep(0.1)


def _promise(whose: str, calm: list[float], busy: list[float]) -> tuple[str, bool]:
    before, after = _p99(calm), _p99(busy)
    allowed = max(FACTOR * before, FLOOR_SECONDS)
    return (
        f"{whose} wait {after:.2f} s (p99), {before:.2f} s in the calm; at most {allowed:.2f} s",
        after <= allowed,
    )


def _p99(seconds: list[float]) -> float:
    return seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))] if seconds else 0.0
