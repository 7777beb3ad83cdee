"""What beat asks every few seconds is answered by an index, however many rows there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.lines import selectors as lines
from apps.operators.models import VirtualOperator
from apps.provisioning import selectors
from apps.subscribers import selectors as people
from apps.subscribers import services as subscribers
from apps.subscribers.models import ReverificationDemand
from tests.factories.provisioning import SYSTEM
from tests.factories.subscribers import given_notices, given_subscriber

pytestmark = pytest.mark.django_db

# Enough that reading all of them costs more than an index.
PEOPLE = 4000


@pytest.fixture
def crowd(operator: VirtualOperator, now: datetime) -> VirtualOperator:
    """Thousands of documents without an end or with one far away, and of demands that are over."""
    given_notices(now=now)
    one = given_subscriber(operator=operator, now=now, valid_until=date(2090, 1, 1))
    with connection.cursor() as cursor:
        for statement in _COPIES:
            cursor.execute(statement, {"one": one.pk, "many": PEOPLE, "operator": operator.pk, "now": now})
        for table in ("subscriber", "identitydocument", "reverificationdemand", "verification"):
            cursor.execute(f"ANALYZE subscribers_{table}")
    return operator


_COPIES = (
    """
    INSERT INTO subscribers_subscriber (uid, operator_id, kind, external_id, name_sealed, name_masked, entered_by,
        created_at)
    SELECT gen_random_uuid(), operator_id, kind, '', name_sealed, name_masked, entered_by, created_at
    FROM subscribers_subscriber, generate_series(1, %(many)s) WHERE id = %(one)s
    """,
    """
    INSERT INTO subscribers_identitydocument (uid, operator_id, subscriber_id, type, number_sealed, number_masked,
        fingerprint, valid_until, issuing_country, created_at)
    SELECT gen_random_uuid(), operator_id, id, 'resident_id', '', '1*', uuid_send(uid),
        CASE WHEN id %% 4 = 0 THEN date '2090-01-01' + (id %% 1000)::int END, '', created_at
    FROM subscribers_subscriber WHERE operator_id = %(operator)s AND id > %(one)s
    """,
    """
    INSERT INTO subscribers_reverificationdemand (uid, operator_id, subscriber_id, line_uid, reason, status, note,
        demanded_by, demanded_by_label, created_at, closed_at, apply_tries)
    SELECT gen_random_uuid(), operator_id, id, '', 'DISPUTE', 'WITHDRAWN', 'over', 'SYSTEM:x', 'x', %(now)s, %(now)s, 0
    FROM subscribers_subscriber WHERE operator_id = %(operator)s AND id > %(one)s
    """,
)


def scans(call: Any) -> list[str]:
    """Tables that the call's queries read from end to end, as PostgreSQL plans them."""
    with CaptureQueriesContext(
        connection,
    ) as queries:
        call()
    found = []
    for query in queries.captured_queries:
        if not query["sql"].startswith("SELECT"):
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {query['sql']}")
            [answer] = cursor.fetchone()
        plan = json.loads(answer) if isinstance(answer, str) else answer
        found += [
            node["Relation Name"] for node in _nodes(plan[0]["Plan"]) if node["Node Type"] == "Seq Scan"
        ]
    # Reference data of a handful of rows is read whole, as it should be.
    return [table for table in found if table.startswith(("subscribers_", "lines_", "provisioning_"))]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def test_due_demands_are_found_by_index(crowd: VirtualOperator, now: datetime) -> None:
    tables = ("subscribers_reverificationdemand", "subscribers_identitydocument", "subscribers_subscriber")
    until = now.date() + timedelta(days=30)
    calls = (
        lambda: subscribers.take_due_steps(actor=SYSTEM, now=now),
        lambda: people.list_demands_to_apply(now=now, limit=500),
        lambda: people.list_ending_documents(operator_id=crowd.pk, until=until, limit=1000),
        lambda: people.list_ending_documents(
            operator_id=crowd.pk, until=date(2091, 1, 1), after=(date(2090, 5, 1), 7), limit=100
        ),
    )
    for call in calls:
        assert not set(scans(call)) & set(tables)


def test_the_walk_over_ending_documents_misses_and_repeats_nothing(crowd: VirtualOperator) -> None:
    seen: list[int] = []
    after = None
    while page := people.list_ending_documents(
        operator_id=crowd.pk, until=date(2100, 1, 1), after=after, limit=300
    ):
        assert len(page) <= 300
        after = (page[-1].valid_until, page[-1].id)
        seen += [document.id for document in page]
    assert len(seen) == len(set(seen)) == PEOPLE // 4 + 1


def test_lines_of_a_demand_are_found_by_index(crowd: VirtualOperator, now: datetime) -> None:
    """Small tables are read whole whatever their indexes, so sequential reads are ruled out where there is a choice."""
    demand = ReverificationDemand.objects.first()
    assert demand is not None
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    for status in ("ONE_WAY", "WITHDRAWN"):
        demand.status = status
        assert scans(lambda: selectors.list_lines_to_move(demand=demand, limit=100)) == []
    assert scans(lambda: lines.list_holders(operator_id=crowd.pk, subscriber_ids=[1, 2])) == []
