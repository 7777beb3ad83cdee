"""What is done one after the other to one growing table of numbers."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, defaultdict
from datetime import timedelta

import psycopg
from django.db import connection

from apps.core import clock
from apps.numbering import services as numbering
from apps.numbering.management import seeding
from apps.numbering.models import PhoneNumber
from apps.numbering.services.stock import fold_stock
from apps.numbering.states import NumberStatus
from apps.operators.models import VirtualOperator
from benchmarks.database import Database
from benchmarks.numbering import claims, lists
from benchmarks.report import Report
from config.run.home import ROOT
from tests.factories.operators import SYSTEM, given_carriers, given_operator, given_policies

PER_RANGE = 10_000
OPERATORS = 6
HOMES = [
    ("广东", "深圳"),
    ("浙江", "杭州"),
    ("北京", "北京"),
    ("湖北", "武汉"),
    ("四川", "成都"),
    ("上海", "上海"),
]
CLIENTS = (1, 4, 8)
ROUNDS = 3


def run(database: Database, report: Report, *, rows: int, seconds: int, ways: bool) -> None:
    """:raises RuntimeError: a number was claimed twice, or the counts are not the truth."""
    ranges = max(OPERATORS * 2, rows // PER_RANGE)
    first = min(100, ranges * 4 // 10)
    operators = _given_operators()
    load = _Load(operators, first=first, ranges=ranges)
    load.some(first)
    _settle()
    small = _claims(database, report, operators[:1], seconds, f"{first * PER_RANGE:,} numbers")
    load.some(ranges - first)
    load.tell(report)
    _settle()
    large = _claims(database, report, operators, seconds, f"{ranges * PER_RANGE:,} numbers")
    report.add(
        "claims at full size beside those at the start, 8 clients",
        large,
        "claims/s",
        beside=small,
        beside_what="claims/s",
        goal=0.8,
    )
    _dead_entries(database, report, operators[0], seconds, most=min(1_000_000, rows // 20))
    if ways:
        claims.compare_ways(database, report, operators, seconds=seconds)
    _settle()
    times = 200 if rows >= 10_000_000 else 20
    lists.search(report, operators[1], times=times)
    lists.read(report, operators[1])
    taken = lists.take(operators[1], ranges=200)
    _settle()
    lists.search(report, operators[1], times=times, title="search, nearly full operator")
    lists.read(report, operators[1], title="read, nearly full operator")
    lists.expire(report, operators[2], many=min(100_000, rows // 20))
    _check(report, taken=taken)


def _given_operators() -> list[VirtualOperator]:
    now = clock.now()
    given_policies(now=now)
    given_carriers(now=now)
    seeding.load(folder=ROOT / "seeds", actor=SYSTEM, now=now)
    return [given_operator(now=now) for _ in range(OPERATORS)]


class _Load:
    """Imports leases as a file is imported, by one worker and by two in turn; in between fills a bare table."""

    def __init__(self, operators: list[VirtualOperator], *, first: int, ranges: int) -> None:
        self.operators, self.first, self.all = operators, first, ranges
        self.leased = self.files = 0
        self.workers = 1
        # Rows and seconds by number of workers; 0 is the bare table.
        self.rows, self.seconds = Counter[int](), defaultdict[int, float](float)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE bare (LIKE numbering_phonenumber)")

    def some(self, ranges: int) -> None:
        """So many more, in files of at most 250 for one operator each."""
        while ranges > 0:
            # After the first, a file for each operator at least, however small the run.
            step = min(250, ranges, max(1, (self.all - self.first) // OPERATORS))
            self._bare(step)
            self._import(step, self.workers)
            self.files += self.leased >= self.first
            self.leased += step
            ranges -= step
            self.workers = 3 - self.workers

    def _import(self, ranges: int, workers: int) -> None:
        # The first are one operator's, so that there is enough to claim from at the start.
        owner = 0 if self.leased < self.first else (1 + self.files) % OPERATORS
        until = clock.now().date() + timedelta(days=300)
        lines = ["carrier,prefix,home_province,home_city,leased_from,leased_until"]
        for index in range(self.leased, self.leased + ranges):
            province, city = HOMES[index % len(HOMES)]
            lines.append(f"unicom,171{index:04d},{province},{city},2026-01-01,{until}")
        run = numbering.preview_leases(
            actor=SYSTEM,
            operator=self.operators[owner],
            file_name="leases.csv",
            content="\n".join(lines).encode(),
            now=clock.now(),
        )
        started = time.perf_counter()
        numbering.apply_run(actor=SYSTEM, run_uid=run.uid, now=clock.now())
        threads = [threading.Thread(target=_work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds[workers] += time.perf_counter() - started
        self.rows[workers] += ranges * PER_RANGE

    def _bare(self, ranges: int) -> None:
        low = 17_100_000_000 + self.leased * PER_RANGE
        started = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO bare (number, range_id, operator_id, status, grade)"
                " SELECT n, 1, 1, 0, 0 FROM generate_series(%s::bigint, %s::bigint) AS n",
                [low, low + ranges * PER_RANGE - 1],
            )
        self.seconds[0] += time.perf_counter() - started
        self.rows[0] += ranges * PER_RANGE

    def tell(self, report: Report) -> None:
        rows = self.leased * PER_RANGE
        found = PhoneNumber.objects.count()
        if found != rows:
            raise RuntimeError(f"{rows:,} numbers were leased and {found:,} are there")
        for workers in (1, 2):
            report.add(
                f"load {rows:,} numbers in {self.leased:,} ranges, {workers} worker{'s' * (workers > 1)}",
                self.rows[workers] / self.seconds[workers],
                "rows/s",
                beside=self.rows[0] / self.seconds[0],
                beside_what="rows/s bare INSERT",
                goal=0.5,
            )
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE bare")
            cursor.execute("SELECT pg_total_relation_size('numbering_phonenumber')")
            size = cursor.fetchone()[0]
        report.add("bytes per number, table and indexes", size / rows, "bytes", goal=200, at_most=True)


def _work() -> None:
    """What a worker does about imports."""
    while numbering.continue_runs(actor=SYSTEM, now=clock.now(), limit=5):
        pass
    connection.close()


def _settle() -> None:
    """As a server is that has been running for a while: vacuumed, analysed, written out."""
    fold_stock()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")
        cursor.execute("CHECKPOINT" if _may_checkpoint() else "SELECT 1")


def _may_checkpoint() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_has_role('pg_checkpoint', 'USAGE')")
        return bool(cursor.fetchone()[0])


def _claims(
    database: Database, report: Report, operators: list[VirtualOperator], seconds: int, size: str
) -> float:
    """The rate with 8 clients. Medians of rounds in which either is first in turn: a drift of the machine hits both."""
    ours = 0.0
    script = claims.as_pgbench(operators)
    with claims.folding():
        for clients in CLIENTS:
            rates: dict[str, list[float]] = {"pgbench": [], "service": []}
            for turn in range(ROUNDS):
                for which in ("pgbench", "service") if turn % 2 == 0 else ("service", "pgbench"):
                    if which == "pgbench":
                        rate = claims.by_pgbench(database, script, clients=clients, seconds=seconds)
                    else:
                        rate = claims.by_service(operators, clients=clients, seconds=seconds)
                    rates[which].append(rate)
            ours = statistics.median(rates["service"])
            report.add(
                f"claim by the service, {clients} clients, {size}",
                ours,
                "claims/s",
                beside=statistics.median(rates["pgbench"]),
                beside_what="claims/s pgbench",
                goal=0.6 if clients == 8 else None,
            )
    return ours


def _dead_entries(
    database: Database, report: Report, operator: VirtualOperator, seconds: int, *, most: int
) -> None:
    """A million claims without vacuum, without and with a snapshot older than all of them."""
    script = claims.as_pgbench([operator])
    bulk = claims.as_pgbench([operator], audited=False)
    with claims.folding():
        fresh = claims.by_service([operator], clients=8, seconds=seconds)
        claims.by_pgbench(database, bulk, transactions=most, durable=False)
        worn = claims.by_service([operator], clients=8, seconds=seconds)
        report.add(
            f"after {most:,} claims without vacuum",
            worn,
            "claims/s",
            beside=fresh,
            beside_what="claims/s fresh",
            goal=0.7,
        )
        with psycopg.connect(database.url) as old:
            old.execute("SET idle_in_transaction_session_timeout = 0")
            old.commit()
            old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            old.execute("SELECT count(*) FROM numbering_numberrange")
            began = time.monotonic()
            claims.by_pgbench(database, bulk, transactions=most, durable=False)
            held = claims.by_service([operator], clients=8, seconds=seconds)
            ceiling = claims.by_pgbench(database, script, clients=8, seconds=seconds)
            report.add(
                f"after {most:,} more under a snapshot older than them ({time.monotonic() - began:.0f} s)",
                held,
                "claims/s",
                beside=fresh,
                beside_what="claims/s fresh",
                goal=0.25,
            )
            report.add("  the same in pgbench", ceiling, "claims/s")


def _check(report: Report, *, taken: int) -> None:
    """Every claim has its own number, and the counts say what is there."""
    in_use = PhoneNumber.objects.filter(status=NumberStatus.IN_USE).count()
    claimed = claims.claimed_so_far()
    if in_use != claimed + taken:
        raise RuntimeError(f"{claimed:,} claims, but {in_use - taken:,} numbers in use")
    report.say(f"{claimed:,} claims, all of different numbers")
    started = time.perf_counter()
    if wrong := numbering.repair_stock(actor=SYSTEM, operator_id=None, now=clock.now()):
        raise RuntimeError(f"{wrong} counts are not the truth")
    report.add("count all numbers and compare with what is kept", time.perf_counter() - started, "s")
