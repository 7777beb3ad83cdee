"""F08 and F16: carriers that take an order and never say so, and one that is down for a while."""

from __future__ import annotations

import random
import time

from config.run.console import say
from tests.faults.client import Client, activations
from tests.faults.report import Run
from tests.faults.rig import CARRIERS, Place, query
from tests.faults.storm import finish, running

# --- F08 --------------------------------------------------------------------------------------------------------------
SETTLE_SECONDS = 4.0
_DOUBTS = """
SELECT extract(epoch FROM ended.at - doubted.at)
FROM (SELECT row_id, min(at) AS at FROM faults.step
    WHERE what = 'provisioning_activationjob' AND after = 'IN_DOUBT' GROUP BY 1) doubted
JOIN (SELECT row_id, max(at) AS at FROM faults.step
    WHERE what = 'provisioning_activationjob' AND after IN ('SUCCEEDED', 'FAILED') GROUP BY 1) ended USING (row_id)
ORDER BY 1
"""


def answers_that_never_come(found: Place, seed: int) -> list[Run]:
    """A fifth of the calls is taken and never answered, and the carriers' own query service lags by up to 3 s."""
    run = Run("F08 answers that never come", seed, {"orders": 500, "hangs": 0.2, "query lag": "0 to 3 s"})
    rng = random.Random(seed)
    with running(found, run=run, rng=rng, orders=500, connection={"settle_seconds": SETTLE_SECONDS}) as (
        rig,
        stock,
    ):
        rig.knobs(
            latency_ms=30,
            callback_delay_ms=200,
            error_rate_after_accept=0.2,
            error_after_accept="hang",
            callbacks="shuffled",
            late_by_ms=20_000,
            seed=seed,
        )
        client = Client(
            found.web_url,
            activations(stock.shops, count=500, rng=rng, twice_rate=0.1),
            per_second=10,
            rng=random.Random(seed + 1),
        )
        client.start()
        while not client.is_done:
            for carrier in CARRIERS:
                rig.knobs(carrier=carrier, query_lag_ms=rng.randint(0, 3000))
            rig.watch()
            time.sleep(1)
        rig.knobs(query_lag_ms=0)
        finish(run, rig, client, within=90)
        doubts = [float(seconds) for [seconds] in query(_DOUBTS)]
    p99 = doubts[int(len(doubts) * 0.99)] if doubts else 0.0
    allowed = SETTLE_SECONDS + 10
    run.measured = [
        (f"p99 from doubt to the end: {p99:.1f} s, at most horizon + 10 s = {allowed:.0f} s", p99 <= allowed)
    ]
    run.minima = {"jobs that were in doubt": 60, "calls with no answer": 60}
    return [run]


# --- F16 --------------------------------------------------------------------------------------------------------------
OUTAGE_SECONDS = 40
GRACE_SECONDS = 10
# Per connection: once open, a breaker lets a probe through now and then.
PROBES_PER_SECOND = 1.0


def outage(found: Place, seed: int) -> list[Run]:
    """One carrier is down while orders go on: it is left in peace, and the backlog is worked off without a stampede."""
    run = Run("F16 outage", seed, {"seconds": OUTAGE_SECONDS, "carrier": "unicom"})
    rng = random.Random(seed)
    calls: list[int] = []
    with running(found, run=run, rng=rng, orders=900) as (rig, stock):
        rig.knobs(latency_ms=30, callback_delay_ms=200, seed=seed)
        client = Client(
            found.web_url,
            activations(stock.shops, count=900, rng=rng, twice_rate=0.0),
            per_second=9,
            rng=random.Random(seed + 1),
        )

        def count_for(seconds: float) -> list[int]:
            """Calls to the carrier that is down, second by second."""
            found_calls = []
            for _ in range(int(seconds)):
                before = _calls(rig.carrier_state())
                at = time.monotonic()
                while time.monotonic() - at < 1:
                    rig.watch()
                    time.sleep(0.1)
                found_calls.append(_calls(rig.carrier_state()) - before)
            return found_calls

        client.start()
        steady = count_for(15)
        rig.knobs(carrier="unicom", outage_ms=OUTAGE_SECONDS * 1000, outage_as="busy")
        calls = count_for(OUTAGE_SECONDS)
        back = count_for(20)
        client.enough = True
        finish(run, rig, client, within=120)
    quiet = calls[GRACE_SECONDS:]
    say(f"  calls per second before {steady}, during {calls}, after {back}")
    allowed = PROBES_PER_SECOND * len(stock.shops)
    mean = sum(quiet) / len(quiet)
    run.measured = [
        (
            f"calls to the carrier while down: {mean:.1f}/s after {GRACE_SECONDS} s, at most {allowed:.0f}/s",
            mean <= allowed,
        ),
    ]
    run.counts |= {"most calls in a second, before": max(steady), "most calls in a second, after": max(back)}
    run.minima = {"calls not taken": 20}
    return [run]


def _calls(state: dict[str, dict[str, dict[str, dict[str, int]]]]) -> int:
    return state["carriers"]["unicom"]["counts"].get("calls", 0)
