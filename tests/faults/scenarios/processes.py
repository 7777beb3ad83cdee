"""F02 to F04 and F15: programs that die at the worst moment, sleep too long, or are killed by a job."""

from __future__ import annotations

import random
import time
from collections import Counter, deque

from apps.core import clock
from apps.core.faults import POINTS
from apps.operators.policies import PolicyKey
from apps.provisioning.models import ActivationJob
from config.run.processes import Program
from tests.factories.operators import given_policy
from tests.faults.client import Client, Intent, activations, wish
from tests.faults.report import Run
from tests.faults.rig import CARRIER_WORKERS, Place, Rig
from tests.faults.stock import Stock
from tests.faults.storm import finish, play, running

# --- F02 --------------------------------------------------------------------------------------------------------------
# Kills at every point; and how long a program may live without coming by the one that it has armed.
EACH = 3
UNHIT_SECONDS = 45.0
_PROGRAMS = {
    "place": "web",
    "callback": "web",
    "nudge": "web",
    "claim": "carrier",
    "send": "carrier",
    "record": "carrier",
}


def crash_points(found: Place, seed: int) -> list[Run]:
    """Every named point, killed on the way several times while work goes on all around."""
    run = Run("F02 crash points", seed, {"kills at each": EACH, "points": len(POINTS)})
    rng = random.Random(seed)
    plan = _Plan(rng)
    programs = ("web", *CARRIER_WORKERS, "work")
    orders = 2000
    with running(found, run=run, rng=rng, orders=orders, strangers=300) as (rig, stock):
        rig.knobs(latency_ms=30, callback_delay_ms=200, query_lag_ms=300, callbacks="duplicate", seed=seed)
        client = _client(
            found, activations(stock.shops, count=orders, rng=rng, twice_rate=0.1), seed, per_second=7
        )
        rig.on_death = lambda name: plan.died(rig, name)
        client.start()
        for name in programs:
            rig.supervisor.start_again(name, plan.again(rig, name))
        while not plan.is_over and not client.is_done:
            rig.watch()
            plan.give_up_unhit(rig)
            time.sleep(0.1)
        rig.on_death = None
        for name in programs:
            rig.armed.pop(name, None)
            rig.supervisor.start_again(name, rig.program(name))
        client.enough = True
        finish(run, rig, client, within=75)
    run.counts |= {
        "kills": sum(plan.hits.values()),
        **{f"killed at {point}": plan.hits[point] for point in POINTS},
    }
    run.minima = {f"killed at {point}": EACH for point in POINTS} | {
        "jobs that were in doubt": 5,
        "no answer": 2,
    }
    return [run]


class _Plan:
    """Which point each program dies at next."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.hits: Counter[str] = Counter()
        self.waiting: dict[str, deque[str]] = {}
        self.armed: dict[str, tuple[str, float]] = {}
        for kind in ("web", "carrier", "work"):
            points = [
                point for point in POINTS if _PROGRAMS.get(point.partition(".")[0], "work") == kind
            ] * EACH
            rng.shuffle(points)
            # Leases run out only while carrier workers die: what comes of that goes first.
            points.sort(key=lambda point: not point.startswith(("expire", "sweep")))
            self.waiting[kind] = deque(points)

    @property
    def is_over(self) -> bool:
        return not any(self.waiting.values()) and not self.armed

    def next(self, name: str) -> str:
        """What to arm the program with; empty when there is nothing left for it."""
        self.armed.pop(name, None)
        waiting = self.waiting[name.partition("-")[0]]
        if not waiting:
            return ""
        point = waiting.popleft()
        self.armed[name] = (point, time.monotonic())
        # Where a program comes by rarely, the first time; elsewhere deep in the work.
        rare = point.partition(".")[0] in ("expire", "sweep", "relay")
        return f"{point}:kill:{1 if rare else self.rng.randint(2, 6)}"

    def died(self, rig: Rig, name: str) -> Program | None:
        if name not in self.armed:
            return None
        self.hits[self.armed[name][0]] += 1
        return self.again(rig, name)

    def give_up_unhit(self, rig: Rig) -> None:
        for name, (_, since) in list(self.armed.items()):
            if time.monotonic() - since > UNHIT_SECONDS:
                rig.supervisor.start_again(name, self.again(rig, name))

    def again(self, rig: Rig, name: str) -> Program:
        """The program with the next point armed."""
        rig.armed[name] = self.next(name)
        return rig.program(name)


# --- F03 --------------------------------------------------------------------------------------------------------------
CHILDREN = 30


def pool_children(found: Place, seed: int) -> list[Run]:
    """Single children of pools: their parents live, and must neither lose nor repeat what they had in hand."""
    run = Run("F03 children of pools", seed, {"kills": CHILDREN})
    rng = random.Random(seed)
    with running(found, run=run, rng=rng, orders=300, prefork=True) as (rig, stock):
        rig.knobs(latency_ms=100, callback_delay_ms=200, query_lag_ms=300, seed=seed)
        client = _client(
            found, activations(stock.shops, count=300, rng=rng, twice_rate=0.1), seed, per_second=8
        )
        client.start()
        targets = ["work child", "web child"]
        play(rig, client, [lambda: rig.kill(rng.choice(targets))] * CHILDREN, rng)
        finish(run, rig, client, within=75)
    run.minima = {"kills": CHILDREN, "no answer": 3, "orders": 290}
    return [run]


# --- F04 --------------------------------------------------------------------------------------------------------------
SLEEPS = 6


def zombies(found: Place, seed: int) -> list[Run]:
    """Workers that fall asleep in the last moment before a call and wake when their lease has long been over.

    Once with a carrier that knows a reference again, where nothing may be done twice; and once with one that does not,
    where nothing may be sent twice and whatever may have been done must be with staff, or found out by asking.
    """
    return [_zombies(found, seed, dedupes=dedupes) for dedupes in (True, False)]


def _zombies(found: Place, seed: int, *, dedupes: bool) -> Run:
    run = Run(f"F04 zombies, carrier {'dedupes' if dedupes else 'does not dedupe'}", seed, {"sleeps": SLEEPS})
    rng = random.Random(seed)
    armed = {"carrier-1": "send.before:stop:25"}
    with running(
        found, run=run, rng=rng, orders=1200, connection={"dedupes_by_reference": dedupes}, armed=armed
    ) as (rig, stock):
        rig.knobs(latency_ms=60, callback_delay_ms=300, dedupe=dedupes, seed=seed)
        client = _client(
            found, activations(stock.shops, count=1200, rng=rng, twice_rate=0.0), seed, per_second=8
        )
        client.start()
        until = time.monotonic() + SLEEPS * 30
        while (
            rig.counts["stops at a fault point"] < SLEEPS and time.monotonic() < until and not client.is_done
        ):
            slept = rig.counts["stops at a fault point"]
            rig.watch()
            if slept < rig.counts["stops at a fault point"] < SLEEPS:
                _wake_and_arm_again(rig, rng)
            time.sleep(0.1)
        client.enough = True
        _wake(rig)
        finish(run, rig, client, within=60)
    run.minima = {
        "stops at a fault point": SLEEPS,
        "calls fenced out": SLEEPS,
        "calls lost with their worker": SLEEPS,
    }
    return run


def _wake(rig: Rig) -> None:
    while any(rig.is_stopped(name) for name in CARRIER_WORKERS):
        rig.watch()
        time.sleep(0.1)


def _wake_and_arm_again(rig: Rig, rng: random.Random) -> None:
    """Lets the zombie finish what it had in hand, then starts it anew with the point armed."""
    _wake(rig)
    time.sleep(2)
    rig.armed["carrier-1"] = f"send.before:stop:{rng.randint(5, 40)}"
    rig.supervisor.start_again("carrier-1", rig.program("carrier-1"))


# --- F15 --------------------------------------------------------------------------------------------------------------
ATTEMPTS = 3
POISON = "4711"


def poison(found: Place, seed: int) -> list[Run]:
    """Jobs that kill every worker that sends them: each is put aside after exactly so many sends, and no other."""
    run = Run("F15 poison", seed, {"attempts": ATTEMPTS})
    rng = random.Random(seed)
    armed = dict.fromkeys(CARRIER_WORKERS, f"send.before:kill:={POISON}")
    with running(found, run=run, rng=rng, orders=400, armed=armed) as (rig, stock):
        given_policy(key=PolicyKey.JOB_MAX_ATTEMPTS, value=ATTEMPTS, now=clock.now())
        rig.knobs(latency_ms=30, callback_delay_ms=200, seed=seed)
        intents = activations(stock.shops, count=240, rng=rng, twice_rate=0.0)
        poisoned = _poisoned(stock, rng)
        for intent in poisoned:
            intents.insert(rng.randrange(20, len(intents)), intent)
        client = _client(found, intents, seed, per_second=6)
        client.start()
        while not client.is_done:
            rig.watch()
            time.sleep(0.1)
        finish(run, rig, client, within=240)
        jobs = list(ActivationJob.objects.values_list("number", "attempts", "failure_kind"))
    sick = [job for job in jobs if str(job[0]).endswith(POISON)]
    ends = Counter(job[1:] for job in sick)
    run.measured = [
        (
            f"each of {len(sick)} poison jobs is a dead letter after {ATTEMPTS} sends: {dict(ends)}",
            all(job[1:] == (ATTEMPTS, "SYSTEM") for job in sick),
        ),
        (
            "no other job is a dead letter",
            not any(job[2] == "SYSTEM" for job in jobs if not str(job[0]).endswith(POISON)),
        ),
    ]
    run.counts["kills"] = sum(rig.deaths.values())
    run.counts["poison jobs"] = len(sick)
    run.minima = {"poison jobs": len(poisoned), "kills": len(poisoned)}
    return [run]


def _poisoned(stock: Stock, rng: random.Random) -> list[Intent]:
    """One for each shop and carrier: the number with the ending that the workers die of."""
    intents = []
    for shop in stock.shops:
        for index, carrier in enumerate(("unicom", "mobile")):
            body = {
                "type": "activate",
                "subscriber": shop.people[-1 - index],
                "plan": shop.plans[carrier][0],
                "number": f"+86{shop.blocks[carrier]}{POISON}",
            }
            intents.append(wish(shop, body, rng=rng))
    return intents


def _client(found: Place, intents: list[Intent], seed: int, *, per_second: float) -> Client:
    return Client(found.web_url, intents, per_second=per_second, rng=random.Random(seed + 1))
