"""Claims through our service in several processes, and the same statements in pgbench."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection, transaction

from apps.core import clock
from apps.core.actor import Actor
from apps.numbering import services as numbering
from apps.numbering.services.claim import OPEN_RANGES
from apps.numbering.services.stock import fold_stock
from apps.operators.models import HostCarrier, VirtualOperator
from benchmarks import pgbench
from benchmarks.database import Database
from benchmarks.report import Report

ACTOR = Actor.system("benchmark")

_claimed = 0


def claimed_so_far() -> int:
    """By whomever."""
    return _claimed


def by_service(operators: list[VirtualOperator], *, clients: int, seconds: int) -> float:
    """Claims per second of that many processes, each with a connection; they start together.

    :raises RuntimeError: two of them got the same number.
    """
    global _claimed
    command = [sys.executable, "-m", "benchmarks.numbering.claimer", _host(), *(str(o.pk) for o in operators)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(clients)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    began = time.time() + 0.2
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(f"{began} {seconds}\n")
        worker.stdin.flush()
    results = [json.loads(worker.communicate()[0]) for worker in workers]
    numbers = [number for result in results for number in result["numbers"]]
    if len(set(numbers)) != len(numbers):
        raise RuntimeError("a number was claimed twice")
    _claimed += len(numbers)
    return sum(float(result["counted"]) / float(result["seconds"]) for result in results)


def by_pgbench(
    database: Database,
    script: str,
    *,
    clients: int = 8,
    seconds: int | None = None,
    transactions: int | None = None,
    durable: bool = True,
) -> float:
    """Claims per second of a script that claims one number per transaction."""
    global _claimed
    outcome = pgbench.run(
        database, script, clients=clients, seconds=seconds, transactions=transactions, durable=durable
    )
    _claimed += outcome.transactions
    return outcome.per_second


@contextmanager
def folding() -> Iterator[None]:
    """What beat does every two seconds."""
    over = threading.Event()

    def fold() -> None:
        while not over.wait(2.0):
            fold_stock()
        connection.close()

    thread = threading.Thread(target=fold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _host() -> str:
    return str(HostCarrier.objects.get(code="unicom").pk)


class Captured:
    """The statements of one claim through the service, as they were sent."""

    def __init__(self, operator: VirtualOperator) -> None:
        self.statements: list[tuple[str, Any]] = []
        host = int(_host())
        with connection.execute_wrapper(self._note), transaction.atomic():
            taken = numbering.take_number(
                actor=ACTOR, operator_id=operator.pk, host_carrier_id=host, now=clock.now()
            )
            self.number = taken.e164
            transaction.set_rollback(True)

    def _note(self, execute: Any, text: str, parameters: Any, many: bool, context: Any) -> Any:
        self.statements.append((text, parameters))
        return execute(text, parameters, many, context)


def as_pgbench(operators: list[VirtualOperator], *, audited: bool = True) -> str:
    """One claim as a script: the very statements of the service, with the same chance in the same places."""
    captured = Captured(operators[0])
    claim, *others = captured.statements
    keys = ", ".join(str(o.pk) for o in operators)
    lines = [
        f"\\set skipped random(0, {OPEN_RANGES - 1})",
        "\\set fraction random(0, 999999) / 1000000.0",
        f"\\set operator {operators[0].pk} + random(0, {len(operators) - 1})",
    ]
    if [o.pk for o in operators] != list(range(operators[0].pk, operators[0].pk + len(operators))):
        raise RuntimeError(f"the operators' keys {keys} have gaps")
    picked = pgbench.statement(
        *claim, {"skipped": ":skipped", "fraction": ":fraction", "operator": ":operator"}
    )
    if not audited:
        return "\n".join([*lines, picked + ";"]) + "\n"
    lines += ["BEGIN;", picked + " \\gset"]
    for text, parameters in others:
        told = pgbench.statement(text, parameters, {captured.number: "'+86' || :number::text"})
        lines.append(told + ";")
    return "\n".join([*lines, "COMMIT;"]) + "\n"


# Other ways to find the next free number, with an index of the free ones. :low and :high are the ends of all numbers of
# the operator.
_OTHER_WAYS = {
    "head of the index": """
        UPDATE numbering_phonenumber AS n SET status = 2 FROM (
            SELECT number FROM numbering_phonenumber
            WHERE status = 0 AND number BETWEEN :low AND :high AND grade = 0 AND operator_id = :operator
            ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS free WHERE n.number = free.number RETURNING n.number;""",
    "start of any range": """
        UPDATE numbering_phonenumber AS n SET status = 2 FROM (
            SELECT p.number FROM (
                (SELECT range_id FROM numbering_rangestock
                WHERE operator_id = :operator AND grade = 0 AND draw >= :draw::float ORDER BY draw)
                UNION ALL
                (SELECT range_id FROM numbering_rangestock
                WHERE operator_id = :operator AND grade = 0 AND draw < :draw::float ORDER BY draw)
            ) AS place
            CROSS JOIN LATERAL (SELECT first, last FROM numbering_numberrange WHERE id = place.range_id LIMIT 1) AS r
            CROSS JOIN LATERAL (
                SELECT number FROM numbering_phonenumber
                WHERE status = 0 AND number BETWEEN r.first AND r.last AND grade = 0 AND operator_id = :operator
                ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
            ) AS p LIMIT 1
        ) AS free WHERE n.number = free.number RETURNING n.number;""",
    "random point of any range": """
        UPDATE numbering_phonenumber AS n SET status = 2 FROM (
            SELECT p.number FROM (
                (SELECT range_id FROM numbering_rangestock
                WHERE operator_id = :operator AND grade = 0 AND draw >= :draw::float ORDER BY draw)
                UNION ALL
                (SELECT range_id FROM numbering_rangestock
                WHERE operator_id = :operator AND grade = 0 AND draw < :draw::float ORDER BY draw)
            ) AS place
            CROSS JOIN LATERAL (
                SELECT first, last, first + floor(:fraction::float * (last - first + 1))::bigint AS start
                FROM numbering_numberrange WHERE id = place.range_id LIMIT 1
            ) AS r
            CROSS JOIN LATERAL (VALUES (r.start, r.last), (r.first, r.start - 1)) AS stretch(low, high)
            CROSS JOIN LATERAL (
                SELECT number FROM numbering_phonenumber
                WHERE status = 0 AND number BETWEEN stretch.low AND stretch.high AND grade = 0
                    AND operator_id = :operator
                ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
            ) AS p LIMIT 1
        ) AS free WHERE n.number = free.number RETURNING n.number;""",
}
_OTHER_WAYS["random point of any range with something free"] = _OTHER_WAYS[
    "random point of any range"
].replace("AND grade = 0 AND draw", "AND grade = 0 AND has_free AND draw")


def compare_ways(
    database: Database, report: Report, operators: list[VirtualOperator], *, seconds: int
) -> None:
    """Each way on an operator of its own: fresh, after many claims, and after as many under an old snapshot."""
    ways: dict[str, str] = {}
    for operator, (name, text) in zip(operators[1:], _OTHER_WAYS.items(), strict=False):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT min(first), max(last) FROM numbering_numberrange WHERE operator_id = %s",
                [operator.pk],
            )
            low, high = cursor.fetchone()
        ways[name] = (
            f"\\set operator {operator.pk}\n\\set low {low}\n\\set high {high}\n"
            "\\set draw random(0, 999999) / 1000000.0\n\\set fraction random(0, 999999) / 1000000.0\n"
            + text
            + "\n"
        )
    fresh: dict[str, float] = {}

    def measure(name: str, script: str) -> None:
        fresh[name] = by_pgbench(database, script, seconds=seconds)
        by_pgbench(database, script, seconds=seconds * 4, durable=False)
        worn = by_pgbench(database, script, seconds=seconds)
        report.add(f"{name}: fresh", fresh[name], "claims/s")
        report.add(f"{name}: worn", worn, "claims/s", beside=fresh[name], beside_what="claims/s fresh")

    def measure_held(name: str, script: str) -> None:
        with psycopg.connect(database.url) as old:
            old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            old.execute("SET idle_in_transaction_session_timeout = 0")
            old.execute("SELECT count(*) FROM numbering_numberrange")
            by_pgbench(database, script, seconds=seconds * 4, durable=False)
            held = by_pgbench(database, script, seconds=seconds)
        report.add(
            f"{name}: old snapshot", held, "claims/s", beside=fresh[name], beside_what="claims/s fresh"
        )

    ours = "ours: open ranges, no index of the status"
    with folding():
        for step in (measure, measure_held):
            step(ours, as_pgbench([operators[-1]], audited=False))
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE INDEX bench_free ON numbering_phonenumber (number, grade) WHERE status = 0"
            )
            cursor.execute("VACUUM (ANALYZE) numbering_phonenumber")
        for name, script in ways.items():
            measure(name, script)
        for name, script in ways.items():
            measure_held(name, script)
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX bench_free")
