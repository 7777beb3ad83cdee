"""Searches with every filter, and the end of many reservations at once."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from django.db import connection

from apps.core import clock
from apps.numbering import selectors
from apps.numbering import services as numbering
from apps.numbering.models import PhoneNumber
from apps.numbering.selectors import NumberFilter
from apps.numbering.selectors.selling import WORK
from apps.numbering.services.stock import fold_stock
from apps.numbering.states import NumberGrade
from apps.operators.models import VirtualOperator
from benchmarks.report import Report
from tests.factories.operators import SYSTEM

PAGE = 50


def _digits(least: int, most: int) -> str:
    return "".join(random.choices("0123456789", k=random.randint(least, most)))


# A random wish of each kind.
WISHES: dict[str, Callable[[], dict[str, Any]]] = {
    "no filter": dict,
    "prefix, 4 to 9 digits": lambda: {
        "prefix": f"171{random.randrange(6000):04d}{_digits(0, 2)}"[: random.randint(4, 9)]
    },
    "suffix, 1 to 4 digits": lambda: {"suffix": _digits(1, 4)},
    "suffix, 5 to 8 digits": lambda: {"suffix": _digits(5, 8)},
    "contains, 1 to 2 digits": lambda: {"contains": _digits(1, 2)},
    "contains, 3 to 5 digits": lambda: {"contains": _digits(3, 5)},
    "contains, 6 to 8 digits": lambda: {"contains": _digits(6, 8)},
    "exclude_digit": lambda: {"exclude_digit": random.choice("023456789")},
    "city": lambda: {"city": random.choice(["深圳", "杭州", "北京", "武汉", "成都", "上海", "拉萨"])},
    "carrier": lambda: {"carrier": random.choice(["unicom", "mobile"])},
    "grade": lambda: {"grade": random.choice(list(NumberGrade))},
    "grade and contains": lambda: {"grade": random.choice(list(NumberGrade)), "contains": _digits(2, 4)},
    "contains and exclude_digit": lambda: {
        "contains": _digits(2, 4),
        "exclude_digit": random.choice("0123456789"),
    },
    "suffix, city and exclude_digit": lambda: {
        "suffix": _digits(2, 4),
        "city": "杭州",
        "exclude_digit": random.choice("0123456789"),
    },
}


def take(operator: VirtualOperator, *, ranges: int) -> int:
    """Sells all but every 200th number of the operator's first ranges; how many that were."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE numbering_phonenumber AS p SET status = 2
            FROM (SELECT id, first, last FROM numbering_numberrange WHERE operator_id = %s ORDER BY first LIMIT %s) AS r
            WHERE p.number BETWEEN r.first AND r.last AND p.status = 0 AND p.number %% 200 <> 0
            """,
            [operator.pk, ranges],
        )
        taken: int = cursor.rowcount
    fold_stock()
    return taken


def search(report: Report, operator: VirtualOperator, *, times: int, title: str = "search") -> None:
    """The 99th percentile of a page of each kind of wish, and of the page after it."""
    for name, wish in WISHES.items():
        took, found = [], 0
        for _ in range(times):
            wanted, after = NumberFilter(**wish()), 0
            for _page in range(2):
                started = time.perf_counter()
                numbers: Any = selectors.list_sellable_numbers(
                    actor=SYSTEM, operator_id=operator.pk, wanted=wanted, now=clock.now()
                )
                rows = numbers.filter(number__gt=after)[: PAGE + 1]
                took.append((time.perf_counter() - started) * 1000)
                found += len(rows)
                if not rows:
                    break
                after = rows[-1]["number"]
        report.add(
            f"{title}, {name}: p99", statistics.quantiles(took, n=100)[98], "ms", goal=50, at_most=True
        )
        report.add(f"  p50; {found / len(took):.0f} numbers a page", statistics.median(took), "ms")


def read(report: Report, operator: VirtualOperator, *, title: str = "read") -> None:
    """By EXPLAIN ANALYZE of what a page of each kind of wish asks: how many numbers it reads, and by which indexes.

    :raises RuntimeError: more than the bound of a request, or the table from end to end.
    """
    for name, wish in WISHES.items():
        most, indexes = 0, set[str]()
        for _ in range(5):
            numbers: Any = selectors.list_sellable_numbers(
                actor=SYSTEM, operator_id=operator.pk, wanted=NumberFilter(**wish()), now=clock.now()
            )
            asked: list[tuple[str, Any]] = []

            def note(
                execute: Any, text: str, parameters: Any, many: bool, context: Any, into: Any = asked
            ) -> Any:
                into.append((text, parameters))
                return execute(text, parameters, many, context)

            with connection.execute_wrapper(note):
                numbers[: PAGE + 1]
            nodes = [node for text, parameters in asked for node in _scans(text, parameters)]
            most = max(most, sum(_rows_of(node) for node in nodes))
            indexes |= {_way(node) for node in nodes}
        report.add(f"{title}, {name}: {', '.join(sorted(indexes)) or 'none'}", most, "numbers")
        if most > WORK or _WHOLE in indexes:
            raise RuntimeError(f"a page of '{name}' reads {most:,} numbers by {indexes}")


_WHOLE = "the whole table"


def _way(node: dict[str, Any]) -> str:
    if node["Node Type"] == "Seq Scan":
        return _WHOLE
    return str(node.get("Index Name") or node["Plans"][0].get("Index Name", "several"))


def _scans(text: str, parameters: Any) -> Iterator[dict[str, Any]]:
    """What reads the table of numbers in the plan of a statement, as it was carried out."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", parameters)
        (plan,) = cursor.fetchone()
    waiting = [(json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        if node.get("Relation Name") == PhoneNumber._meta.db_table and node["Actual Loops"]:
            yield node


def _rows_of(node: dict[str, Any]) -> int:
    """Wanted or not; the figures of a node are means of its loops."""
    dropped = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + dropped) * node["Actual Loops"] + 0.5)


def expire(report: Report, operator: VirtualOperator, *, many: int) -> None:
    """That many reservations of one number each whose time is over."""
    now = clock.now()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH picked AS (
                SELECT number, nextval(pg_get_serial_sequence('numbering_reservation', 'id')) AS id
                FROM numbering_phonenumber WHERE operator_id = %s AND status = 0 AND grade = 0
                    AND number > %s LIMIT %s
            ), made AS (
                INSERT INTO numbering_reservation
                    (id, uid, operator_id, owner, status, numbers, terms, expires_at, created_at)
                SELECT id, gen_random_uuid(), %s, 'benchmark', 'ACTIVE', ARRAY[number], '{}', %s, %s FROM picked
            )
            UPDATE numbering_phonenumber AS n SET status = 1, reservation_id = picked.id
            FROM picked WHERE n.number = picked.number
            """,
            [operator.pk, 0, many, operator.pk, now - timedelta(minutes=1), now - timedelta(hours=1)],
        )
        cursor.execute("ANALYZE numbering_reservation")
    started, ended = time.perf_counter(), 0
    while ended < many:
        batch = numbering.expire_reservations(actor=SYSTEM, now=clock.now(), limit=5000)
        if not batch:
            raise RuntimeError(f"only {ended} of {many} reservations ended")
        ended += batch
    report.add(f"expire {many:,} reservations", time.perf_counter() - started, "s", goal=10, at_most=True)
