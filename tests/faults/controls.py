"""A checker that cannot see a broken system proves nothing: one protection at a time is left out, and it must say so.

All five go through one and the same small storm, and so does the whole system, which must come through it unharmed:
else the storm and not the sabotage were what turned the others red.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apps.core.faults import SABOTAGES
from config.run.console import say
from tests.faults.client import Client, activations
from tests.faults.report import Run, show
from tests.faults.rig import CARRIER_WORKERS, STOP_SECONDS, Place, Rig, git_sha
from tests.faults.storm import finish, play, running

ORDERS = 120
KILLS = 4
FLUSHES = 2
STOPS = 2
DRAIN_SECONDS = 45.0


@dataclass(frozen=True)
class Control:
    """What is left out, which invariants see that, and whether the carrier knows a reference again.

    Where it does, much of what we do wrong is made good by it: most controls therefore run without.
    """

    sabotage: str
    seen_by: frozenset[str]
    carrier_dedupes: bool = False


CONTROLS = (
    Control("", frozenset()),
    Control("new_reference_per_attempt", frozenset({"I2", "I4"}), carrier_dedupes=True),
    Control("in_doubt_is_ready", frozenset({"I2"})),
    Control("no_fence", frozenset({"I6"})),
    Control("no_sweeper", frozenset({"I1"})),
    Control("no_callback_dedupe", frozenset({"I6"})),
)
assert {control.sabotage for control in CONTROLS} == {"", *SABOTAGES}


def run_all(found: Place, *, seed: int, only: Sequence[str]) -> tuple[list[Run], bool]:
    """The runs, and whether every sabotage was seen where it should be, and nothing without one."""
    runs, as_it_should = [], []
    for control in CONTROLS:
        if only and control.sabotage not in only:
            continue
        name = f"control {control.sabotage or 'with every protection'}"
        say(f"\n  {name}")
        run = _run(found, name, seed, control)
        show(run, sha=git_sha())
        runs.append(run)
        good = control.seen_by <= set(run.broken) if control.sabotage else not run.broken
        as_it_should.append(good)
        say(
            f"  {'as it should be' if good else 'NOT AS IT SHOULD BE'}: broken {', '.join(run.broken) or 'nothing'}"
        )
    detected = sum(bool(run.broken) for run in runs if run.settings.get("KAIHU_SABOTAGE"))
    say(f"\n  {detected} of {len(runs) - (not only)} sabotages detected.")
    return runs, all(as_it_should)


def _run(found: Place, name: str, seed: int, control: Control) -> Run:
    run = Run(
        name=name,
        seed=seed,
        settings={"orders": ORDERS, "kills": KILLS, "carrier_dedupes": control.carrier_dedupes},
    )
    rng = random.Random(seed)
    with running(
        found,
        run=run,
        rng=rng,
        orders=ORDERS,
        connection={"dedupes_by_reference": control.carrier_dedupes},
        environment={"KAIHU_SABOTAGE": control.sabotage} if control.sabotage else None,
        # Falls asleep with claims in its hands, and wakes when they are somebody else's.
        armed={"carrier-1": "claim.after_commit:stop:3"},
    ) as (rig, stock):
        rig.knobs(
            latency_ms=30,
            callback_delay_ms=200,
            query_lag_ms=300,
            error_rate_after_accept=0.15,
            dedupe=control.carrier_dedupes,
            callbacks="duplicate",
            seed=seed,
        )
        client = Client(
            found.web_url,
            activations(stock.shops, count=ORDERS, rng=rng, twice_rate=0.1),
            per_second=10.0,
            rng=random.Random(seed + 1),
        )
        client.start()
        play(rig, client, _acts(rig), rng)
        _let_sleepers_wake(rig)
        finish(run, rig, client, within=DRAIN_SECONDS)
    return run


def _acts(rig: Rig) -> list[Callable[[], object]]:
    acts: list[Callable[[], object]] = [
        *[lambda: rig.kill_with_calls_out("carrier-2")] * KILLS,
        *[rig.flush_redis] * FLUSHES,
        *[lambda: rig.pause_with_calls_out("carrier-1")] * STOPS,
    ]
    rig.rng.shuffle(acts)
    return acts


def _let_sleepers_wake(rig: Rig) -> None:
    until = time.monotonic() + 2 * STOP_SECONDS
    while any(rig.is_stopped(name) for name in CARRIER_WORKERS) and time.monotonic() < until:
        rig.watch()
        time.sleep(0.2)
