"""`python -m tests.faults [--long] [--only F04,...] [--controls] [--seed N]`: what `make faults` runs.

Exit code 0: green. 1: an invariant or a promise broke. 2: too few faults bit, so that green would mean nothing.
"""

from __future__ import annotations

import argparse
import functools
import random
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace

from config.run.__main__ import stoppable
from config.run.console import Problem, report, say
from tests.faults.report import GREEN, INVALID, RED, Run, show, write
from tests.faults.rig import Place, git_sha, place


def main() -> int:
    chosen = _arguments()
    seed = chosen.seed if chosen.seed is not None else secrets.randbelow(1_000_000)
    say(f"  seed {seed} (SEED={seed} repeats the choices of this run)")
    started = time.monotonic()
    try:
        with stoppable(), place() as found:
            runs, form, verdict = _run(found, chosen, seed)
    except Problem as problem:
        return report(problem)
    say(f"\n  {write(runs, form=form, sha=git_sha())}; {time.monotonic() - started:.0f} s in all")
    return verdict


def _run(found: Place, chosen: argparse.Namespace, seed: int) -> tuple[list[Run], str, int]:
    # Only now: these read the Django settings.
    from tests.faults import controls, scenarios, storm

    if chosen.controls:
        runs, detected = controls.run_all(found, seed=seed, only=chosen.only)
        return runs, "controls", GREEN if detected else RED
    steps: list[tuple[str, Callable[[], list[Run]]]] = []
    if not chosen.only or "F01" in chosen.only:
        form = storm.LONG if chosen.long else storm.SHORT
        if chosen.orders:
            share = chosen.orders / form.orders
            form = replace(
                form,
                orders=chosen.orders,
                kills=round(form.kills * share),
                flushes=round(form.flushes * share),
                restarts=round(form.restarts * share),
                stops=round(form.stops * share),
            )
        steps.append(("F01", lambda: [storm.storm(found, name="F01 storm", seed=seed, form=form)]))
    if chosen.long or chosen.only:
        for name, scenario in scenarios.SCENARIOS.items():
            if not chosen.only or name in chosen.only:
                steps.append((name, functools.partial(scenario, found, seed)))
    runs = []
    for name, step in steps:
        say(f"\n  {name}")
        random.seed(seed)
        for run in _tried(name, seed, step):
            show(run, sha=git_sha())
            runs.append(run)
    verdicts = {run.verdict for run in runs}
    verdict = RED if RED in verdicts else INVALID if INVALID in verdicts else GREEN
    return runs, "long" if chosen.long else ("-".join(chosen.only) or "short"), verdict


def _tried(name: str, seed: int, step: Callable[[], list[Run]]) -> list[Run]:
    """What a scenario found; one that does not come to its end is red and keeps none of the others from running."""
    try:
        return step()
    except Exception as error:
        traceback.print_exc()
        return [Run(name, seed, {}, measured=[(f"it comes to its end: {type(error).__name__}", False)])]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--long", action="store_true", help="ten times as much, and every scenario")
    parser.add_argument("--only", type=_names, default=[], help="scenarios or controls, with commas between")
    parser.add_argument(
        "--controls", action="store_true", help="leave out one protection at a time: each must be seen"
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--orders", type=int, help="F01 with so many orders, and faults in proportion")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    return [name for name in text.replace(" ", ",").split(",") if name]


if __name__ == "__main__":
    sys.exit(main())
