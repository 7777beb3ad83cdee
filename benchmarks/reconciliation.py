"""`python -m benchmarks.reconciliation [--lines 1000000]`: the carrier's view of a million lines against ours.

Our lines are written by SQL, the carrier's view is the same with a thousandth of it changed in every way that is looked
for. Measured: loading the pages (COPY, one transaction a page, as a run does it), the comparison, emptying; and beside
it what a page costs that comes from the simulator over HTTP, which is the carrier's time and not counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from apps.carriers.base import Account, CarrierLine, LinesPage, LinesRequest, LineState
from benchmarks.database import fresh_database
from benchmarks.report import Report

GOAL_SECONDS = 60.0
# One of each kind among so many lines.
ONE_IN = 1000


def run(report: Report, *, lines: int, paged: int) -> None:
    """Adds the figures to the report; needs Django set up on a migrated and empty database.

    :raises RuntimeError: the comparison found something else than was changed.
    """
    from apps.core import clock
    from apps.core.db import database_now
    from apps.provisioning.models import Discrepancy, ReconciliationRun
    from apps.provisioning.services.reconciliation import runs
    from tests.factories.operators import SYSTEM, given_operator, given_policies
    from tests.factories.provisioning import given_seller

    now = clock.now()
    given_policies(now=now)
    seller = given_seller(operator=given_operator(now=now), now=now, carrier="mobile", cards=1)
    given = time.perf_counter()
    expected = _given_lines(seller, lines, now)
    report.say(f"  {lines:,} lines of our own written in {time.perf_counter() - given:.0f} s")
    listed: list[CarrierLine] = list(_carriers_view(lines, seller.plan.code))

    reconciliation = runs.start_reconciliation(
        actor=SYSTEM, connection=seller.connection.uid, now=clock.now()
    )
    claimed = runs._claim(actor=SYSTEM, run_id=reconciliation.pk)
    if claimed is None:
        raise RuntimeError("the run could not be claimed")
    started = time.perf_counter()
    pages = [listed[at : at + runs.PAGE_SIZE] for at in range(0, len(listed), runs.PAGE_SIZE)]
    for place, page in enumerate(pages, start=1):
        following = None if place == len(pages) else f"c{place}"
        claimed = runs._keep_page(
            actor=SYSTEM, run=claimed, page=LinesPage(tuple(page), following), asked_at=database_now()
        )
    loaded = time.perf_counter()
    done = runs._compare(actor=SYSTEM, run_id=claimed.pk, token=claimed.token, now=clock.now())
    compared = time.perf_counter()

    counts: dict[str, int] = {}
    for kind in Discrepancy.objects.values_list("kind", flat=True):
        counts[kind] = counts.get(kind, 0) + 1
    if counts != expected or done.status != "COMPLETED":
        raise RuntimeError(f"found {counts}, expected {expected}")
    report.say(f"  found {counts}")
    report.add("loading the carrier's pages", lines / (loaded - started), "lines/s")
    report.add("loading", loaded - started, "s")
    report.add("comparing, listing, emptying", compared - loaded, "s")
    report.add(f"reconciliation of {lines:,} lines", compared - started, "s", goal=GOAL_SECONDS, at_most=True)

    # Again: everything stands already, nothing is new.
    started = time.perf_counter()
    again = ReconciliationRun.objects.get(
        pk=runs.start_reconciliation(actor=SYSTEM, connection=seller.connection.uid, now=clock.now()).pk
    )
    for page in pages:
        again = runs._keep_page(
            actor=SYSTEM,
            run=again,
            page=LinesPage(tuple(page), None if page is pages[-1] else "c"),
            asked_at=database_now(),
        )
    runs._compare(actor=SYSTEM, run_id=again.pk, token=again.token, now=clock.now())
    report.add("the same the next night", time.perf_counter() - started, "s", goal=GOAL_SECONDS, at_most=True)
    _page_through_simulator(report, paged)


def _given_lines(seller: object, lines: int, now: datetime) -> dict[str, int]:
    """Live lines with a number, a card and a finished job each; returns what will differ, by kind."""
    from django.db import connection

    from tests.factories.provisioning import Seller
    from tests.factories.subscribers import given_verified_subscriber

    assert isinstance(seller, Seller)
    person = given_verified_subscriber(operator=seller.operator, now=now)
    values: dict[str, Any] = {
        "lines": lines,
        "operator": seller.operator.pk,
        "carrier": seller.carrier.pk,
        "plan": seller.plan.pk,
        "person": person.pk,
        "connection": seller.connection.pk,
        "then": now - timedelta(days=10),
    }
    with connection.cursor() as cursor:
        # Only for loading: numbers without their ranges, which this does not look at.
        cursor.execute(_FOREIGN_KEYS, [list(_TABLES)])
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)
        for statement in _GIVEN:
            cursor.execute(statement, values)
        for table in _TABLES:
            cursor.execute(f"VACUUM ANALYZE {table}")
    each = lines // ONE_IN
    return dict.fromkeys(
        ("SUSPENSION", "SIM", "PLAN", "ENDED_THERE", "MISSING_THERE", "NUMBER", "UNKNOWN_HERE"), each
    )


_TABLES = (
    "lines_line",
    "lines_numberassignment",
    "lines_simassignment",
    "sims_simcard",
    "provisioning_activationjob",
    "provisioning_serviceorder",
)
_FOREIGN_KEYS = """
SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname) FROM pg_constraint
WHERE contype = 'f' AND conrelid = ANY(%s::regclass[])
"""
_GIVEN = (
    """
    INSERT INTO sims_simcard (iccid, imsi, status, operator_id, host_carrier_id, batch_id, is_magic, form_factor)
    SELECT '898600' || lpad(n::text, 12, '0') || 'A', NULL, 'BOUND', %(operator)s, %(carrier)s,
        (SELECT id FROM sims_simbatch LIMIT 1), false,
        (SELECT form_factor FROM sims_simcard LIMIT 1)
    FROM generate_series(1, %(lines)s) AS n
    """,
    """
    INSERT INTO lines_line (uid, operator_id, subscriber_id, host_carrier_id, plan_id, status, created_at, activated_at)
    SELECT gen_random_uuid(), %(operator)s, %(person)s, %(carrier)s, %(plan)s, 'ACTIVE', %(then)s, %(then)s
    FROM generate_series(1, %(lines)s) AS n
    """,
    """
    INSERT INTO lines_numberassignment (line_id, number_id, assigned_at)
    SELECT id, 17030000000 + row_number() OVER (ORDER BY id), %(then)s FROM lines_line
    """,
    """
    INSERT INTO lines_simassignment (line_id, sim_id, assigned_at)
    SELECT line.id, card.id, %(then)s
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM lines_line) AS line
    JOIN (SELECT id, row_number() OVER (ORDER BY iccid) AS n FROM sims_simcard WHERE status = 'BOUND') AS card USING (n)
    """,
    """
    INSERT INTO provisioning_serviceorder (uid, operator_id, type, status, line_id, reason, request_reason, note,
        external_id, placed_by, placed_by_kind, placed_by_label, created_at, finished_at)
    SELECT gen_random_uuid(), %(operator)s, 'ACTIVATE', 'COMPLETED', id, '', '', '', '', 'x', 'SYSTEM', 'x',
        %(then)s, %(then)s
    FROM lines_line
    """,
    """
    INSERT INTO provisioning_activationjob (uid, operator_id, order_id, line_id, connection_id, request_id, operation,
        number, status, reference, carrier_reference, attempts, unknowns, queries, token, failure_kind, error_code,
        error_detail, created_at, finished_at)
    SELECT gen_random_uuid(), %(operator)s, placed.id, line_id, %(connection)s, '', 'ACTIVATE', held.number_id,
        'SUCCEEDED', 'job-' || placed.id, '', 1, 0, 0, 1, '', '', '', %(then)s, %(then)s
    FROM provisioning_serviceorder AS placed JOIN lines_numberassignment AS held USING (line_id)
    """,
)


def _carriers_view(lines: int, plan: str) -> Iterator[CarrierLine]:
    """As the carrier lists it, by number; and at the end what nobody here knows."""

    def row(n: int, state: LineState = LineState.ACTIVE, **other: str) -> CarrierLine:
        iccid = other.get("iccid", f"898600{n:012d}A")
        return CarrierLine(f"+86{17030000000 + n}", iccid, state, other.get("plan", plan))

    moved = []
    for n in range(1, lines + 1):
        match n % ONE_IN:
            case 1:
                yield row(n, LineState.SUSPENDED_TWO_WAY)
            case 2:
                yield row(n, iccid=f"898601{n:012d}A")
            case 3:
                yield row(n, plan="OTHER")
            case 4:
                yield row(n, LineState.TERMINATED)
            case 5:
                pass
            case 6:
                moved.append(CarrierLine(f"+86{17130000000 + n}", f"898600{n:012d}A", LineState.ACTIVE, plan))
            case _:
                yield row(n)
    yield from moved
    for n in range(lines // ONE_IN):
        yield CarrierLine(f"+86{17230000000 + n}", f"898602{n:012d}A", LineState.ACTIVE, plan)


def _page_through_simulator(report: Report, lines: int) -> None:
    """One call after the other, each a thousand lines: what a run spends waiting for that carrier."""
    from apps.carriers.registry import ADAPTERS
    from apps.carriers.transport import Limits, Transport, blocking
    from tests.simulator import callback_secret_for, http, running_simulator, secret_for

    app_key = "benchmark"
    with running_simulator() as base_url:
        asked = {"drift": "unknown", "count": lines, "app_key": app_key, "number": "17030000000"}
        asked |= {"iccid": "89860018500000000001", "plan": "X"}
        http.post(f"{base_url}/_sim/drift", params={"carrier": "mobile"}, json=asked).raise_for_status()
        account = Account(
            base_url=f"{base_url}/mobile",
            app_key=app_key,
            secret=secret_for(app_key),
            callback_secret=callback_secret_for(app_key),
            notify_url="http://127.0.0.1:9/",
        )
        exchange = Transport(Limits(total_seconds=30.0, max_in_flight=1))
        adapter = ADAPTERS["mobile"](account=account, exchange=exchange)
        started, fetched, cursor = time.perf_counter(), 0, ""
        while True:
            page = blocking(adapter.list_lines, LinesRequest(cursor=cursor))
            fetched += len(page.lines)
            if page.next is None:
                break
            cursor = page.next
        took = time.perf_counter() - started
    report.add(f"paging {fetched:,} lines out of the simulator (XML)", took, "s")
    report.add("which for a million lines would be", took * 1_000_000 / max(fetched, 1), "s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--paged", type=int, default=100_000, help="lines fetched from the simulator")
    options = parser.parse_args()
    with fresh_database("reconciliation") as database:
        report = Report("reconciliation", settings=database.settings)
        run(report, lines=options.lines, paged=options.paged)
        report.write()


if __name__ == "__main__":
    main()
