"""What is measured, one after the other, against one simulator, database and Redis of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from django.db import connection, connections

from apps.carriers import services as carriers
from benchmarks.provisioning import bare, workers
from benchmarks.provisioning.stage import UNLIMITED, Stage, given_market, given_stage, put_off
from benchmarks.report import Report
from config.run.home import ROOT
from tests.simulator import read_state, reset, running_simulator, set_knobs

LATENCY_MS = 50
OPERATORS = 10
PER_SECOND = 5.0
HUNG_MS = 30_000
IN_MEMORY = 500
WARM_UP_SECONDS = 2.0


def run(report: Report, *, jobs: int, burst: int, seconds: float) -> None:
    """`jobs` per measurement of speed, `burst` of one operator, `seconds` of steady arrivals for waiting times."""
    with running_simulator(latency_ms=LATENCY_MS, callbacks="none", callback_delay_ms=0) as simulator:
        given_market()
        fast = given_stage(carrier="unicom", base_url=simulator, jobs=jobs, **UNLIMITED)
        _speed(report, simulator, fast)
        _task_per_job(report, simulator, fast)
        _memory(report, simulator, fast)
        _bulkheads(report, simulator, seconds)
        _fairness(report, simulator, seconds, burst)


def compare_ways(report: Report, *, jobs: int) -> None:
    """Threads, greenlets and the event loop, with the same claims and records and the same simulator."""
    with running_simulator(latency_ms=LATENCY_MS, callbacks="none", callback_delay_ms=0) as simulator:
        given_market()
        stage = given_stage(carrier="unicom", base_url=simulator, jobs=jobs, **UNLIMITED)
        for slots in (32, 128, 512):
            for way in ("threads", "gevent", "asyncio"):
                _way(report, simulator, stage, way, slots)


def _fresh(simulator: str, stage: Stage, **knobs: Any) -> None:
    reset(simulator)
    set_knobs(simulator, **{"latency_ms": LATENCY_MS, "callbacks": "none", "callback_delay_ms": 0, **knobs})
    put_off(stage.jobs)


def _engine(simulator: str, stage: Stage, slots: int) -> float:
    _fresh(simulator, stage)
    with workers.carrier_worker(slots):
        workers.make_due(stage.jobs)
        workers.nudge("unicom", stage.connection_id)
        workers.wait_until_called(stage.jobs, seconds=120)
        return workers.rate(stage.jobs)


def _speed(report: Report, simulator: str, stage: Stage) -> None:
    account = carriers.adapter_for(stage.seller.connection).account
    for slots, goal in ((32, None), (128, 0.7)):
        _fresh(simulator, stage)
        bare_rate = bare.run(account=account, in_flight=slots, seconds=6)
        ours = _engine(simulator, stage, slots)
        report.add(
            f"jobs through one worker process, {slots} in flight",
            ours,
            "jobs/s",
            beside=bare_rate,
            beside_what="bare httpx2 loop",
            goal=goal,
        )
        if slots == 32:
            report.add(
                "the same beside slots divided by latency",
                ours,
                "jobs/s",
                beside=slots * 1000 / LATENCY_MS,
                beside_what="slots / latency",
                goal=0.9,
            )


def _task_per_job(report: Report, simulator: str, stage: Stage) -> None:
    some = Stage(stage.seller, stage.jobs[: max(200, len(stage.jobs) // 3)])
    ours = _engine(simulator, some, 128)
    _fresh(simulator, some)
    arguments = ("-Q", "benchmark", "--pool", "threads", "-c", "32", "-I", "benchmarks.provisioning.per_job")
    with workers.running(*arguments):
        from benchmarks.provisioning.per_job import QUEUE, call

        for job_id in some.jobs:
            call.apply_async([job_id], queue=QUEUE)
        workers.wait_until_called(some.jobs, seconds=120)
        theirs = workers.rate(some.jobs)
    report.add(
        "jobs through one worker process, 128 in flight",
        ours,
        "jobs/s",
        beside=theirs,
        beside_what="task per job, 32 threads",
        goal=3,
    )


def _way(report: Report, simulator: str, stage: Stage, way: str, slots: int) -> None:
    _fresh(simulator, stage)
    workers.make_due(stage.jobs)
    patched = ["gevent.monkey", "--module"] if way == "gevent" else []
    module = [*patched, "benchmarks.provisioning.one_way"]
    command = [sys.executable, "-m", *module, way, str(stage.connection_id), str(slots)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=180, check=False
    )
    if done.returncode:
        report.say(f"{way} at {slots}: {done.stderr.strip().splitlines()[-1]}")
        return
    report.add(f"way: {way}, {slots} in flight", workers.rate(stage.jobs), "jobs/s")


def _memory(report: Report, simulator: str, stage: Stage) -> None:
    some = Stage(stage.seller, stage.jobs[: IN_MEMORY + 100])
    _fresh(simulator, some, latency_ms=4000)
    with workers.carrier_worker(slots=IN_MEMORY) as process:
        workers.make_due(some.jobs)
        workers.nudge("unicom", stage.connection_id)
        workers.wait_until_called(some.jobs, seconds=30)
        figure = workers.memory_mb(process)
        most = read_state(simulator)["carriers"]["unicom"]["counts"]["most_in_flight"]
    report.add(f"memory of a worker with {most} calls in flight", figure, "MB", goal=300, at_most=True)


def _bulkheads(report: Report, simulator: str, seconds: float) -> None:
    """One worker for three carriers; one of them hangs."""
    each = PER_SECOND * 4
    many = int(seconds * each)
    stages = {
        carrier: given_stage(carrier=carrier, base_url=simulator, jobs=2 * many, timeout_seconds=35.0)
        for carrier in ("unicom", "mobile", "telecom")
    }
    figures: list[dict[str, float]] = []
    # What was completed once is not taken again: the second half is for the second time.
    for half in (slice(0, many), slice(many, None)):
        now_due = {carrier: Stage(stage.seller, stage.jobs[half]) for carrier, stage in stages.items()}
        hung = now_due.pop("telecom")
        for stage in now_due.values():
            _fresh(simulator, stage)
        set_knobs(simulator, carrier="telecom", latency_ms=HUNG_MS)
        with workers.carrier_worker(512):
            if figures:
                workers.make_due(hung.jobs)
                workers.nudge("telecom", hung.connection_id)
            _arrive(list(now_due.items()), seconds, each=each)
            figures.append({carrier: _p99([stage]) for carrier, stage in now_due.items()})
    for carrier, undisturbed in figures[0].items():
        report.add(
            f"p99 wait at {carrier} while telecom hangs {HUNG_MS // 1000} s a call",
            figures[1][carrier],
            "ms",
            beside=undisturbed,
            beside_what="undisturbed",
            goal=2,
            at_most=True,
        )


def _fairness(report: Report, simulator: str, seconds: float, burst: int) -> None:
    """Ten operators at one carrier; one of them has a backlog."""
    others = [
        given_stage(carrier="unicom", base_url=simulator, jobs=int(seconds * PER_SECOND))
        for _ in range(OPERATORS - 1)
    ]
    bursting = given_stage(carrier="unicom", base_url=simulator, jobs=burst)
    everybody = [job for stage in others for job in stage.jobs]
    figures = []
    for busy in (False, True):
        _fresh(simulator, Stage(bursting.seller, [*everybody, *bursting.jobs]))
        with workers.carrier_worker(512):
            if busy:
                workers.make_due(bursting.jobs)
                workers.nudge("unicom", bursting.connection_id)
                time.sleep(2)
            _arrive([("unicom", stage) for stage in others], seconds, each=PER_SECOND)
            figures.append(_p99(others))
    report.add(
        f"p99 wait of nine operators beside one with {burst:,} jobs due",
        figures[1],
        "ms",
        beside=figures[0],
        beside_what="undisturbed",
        goal=2,
        at_most=True,
    )


def _arrive(stages: Sequence[tuple[str, Stage]], seconds: float, *, each: float) -> None:
    """Jobs come one by one, evenly: committed, then a nudge, as when an order is placed."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS bench_arrival (job_id bigint, at timestamptz)")
        cursor.execute("TRUNCATE bench_arrival")
    started = time.monotonic()
    count = min(int(seconds * each), min(len(stage.jobs) for _, stage in stages))

    def come(offset: float, carrier: str, stage: Stage) -> None:
        for nth, job_id in enumerate(stage.jobs[:count]):
            time.sleep(max(0.0, started + (nth + offset) / each - time.monotonic()))
            with connection.cursor() as cursor:
                cursor.execute(
                    "WITH moved AS (UPDATE provisioning_activationjob SET next_attempt_at = clock_timestamp() "
                    "WHERE id = %s RETURNING id, next_attempt_at) INSERT INTO bench_arrival SELECT * FROM moved",
                    [job_id],
                )
            workers.nudge(carrier, stage.connection_id)
        connections.close_all()

    threads = [
        threading.Thread(target=come, args=(nth / len(stages), *stage)) for nth, stage in enumerate(stages)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(2)


def _p99(stages: Sequence[Stage]) -> float:
    """Milliseconds from when a job was due to when its call began, of the slowest hundredth.

    Every job counts that came when the worker had been at work for some time, also if it was never called.
    """
    jobs = [job for stage in stages for job in stage.jobs]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY "
            "extract(epoch FROM coalesce(first.at, clock_timestamp()) - arrival.at) * 1000) "
            "FROM bench_arrival AS arrival LEFT JOIN LATERAL (SELECT min(started_at) AS at "
            "FROM provisioning_jobattempt WHERE job_id = arrival.job_id) AS first ON TRUE "
            "WHERE arrival.job_id = ANY(%s) "
            "AND arrival.at > (SELECT min(at) FROM bench_arrival) + make_interval(secs => %s)",
            [jobs, WARM_UP_SECONDS],
        )
        return float(cursor.fetchone()[0])
