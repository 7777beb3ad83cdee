"""Reservations whose time is over, by the thousand; and the statements that must not read whole tables."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.events.models import OutboxEvent
from apps.numbering import services as numbering
from apps.numbering.models import NumberRange, PhoneNumber, Reservation
from apps.numbering.states import NumberStatus, ReservationStatus
from apps.operators.models import VirtualOperator
from tests.factories.numbering import given_partner, given_range, given_reservation

TASK = Actor.system("numbering.expire_reservations")


@pytest.fixture
def leased(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now)


def plan(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(row[0] for row in cursor.fetchall())


def test_expiry_ends_what_is_over_in_batches(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    over = [given_reservation(operator=operator, now=now, ttl_seconds=60, quantity=2) for _ in range(3)]
    running = given_reservation(operator=operator, now=now, ttl_seconds=61)
    later = now + timedelta(seconds=60)
    assert numbering.expire_reservations(actor=TASK, now=later - timedelta(seconds=1), limit=2) == 0
    assert numbering.expire_reservations(actor=TASK, now=later, limit=2) == 2
    assert numbering.expire_reservations(actor=TASK, now=later, limit=2) == 1
    assert numbering.expire_reservations(actor=TASK, now=later, limit=2) == 0
    ended = Reservation.objects.filter(status=ReservationStatus.EXPIRED, closed_at=later)
    assert set(ended) == set(over)
    assert set(PhoneNumber.objects.filter(status=NumberStatus.RESERVED)) == set(
        PhoneNumber.objects.filter(reservation=running)
    )
    for reservation in over:
        audit = AuditEvent.objects.get(target_id=reservation.uid, action="reservation.expire")
        assert (audit.operator_id, audit.after["status"]) == (operator.pk, "EXPIRED")
        event = OutboxEvent.objects.get(subject=reservation.uid, type="number.released")
        assert event.data["numbers"] == [f"+86{number}" for number in reservation.numbers]


def test_expiry_costs_the_same_few_statements_for_any_number_of_reservations(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    for size in (1, 20):
        for _ in range(size):
            given_reservation(operator=operator, now=now, ttl_seconds=60)
        with CaptureQueriesContext(connection) as captured:
            assert (
                numbering.expire_reservations(actor=TASK, now=now + timedelta(minutes=2), limit=500) == size
            )
        # Close what is over, free the numbers, audit, publish.
        statements = [each["sql"] for each in captured if "SAVEPOINT" not in each["sql"]]
        assert len(statements) == 4
        assert "SKIP LOCKED" in statements[0]


@pytest.mark.parametrize("statistics", [True, False], ids=["analysed", "just loaded"])
def test_expiry_reads_no_table_from_front_to_back(
    leased: NumberRange, operator: VirtualOperator, now: datetime, statistics: bool
) -> None:
    """Among 30,000 reservations that are over, running or closed, and 11,000 numbers."""
    given_range(operator=operator, now=now, prefix="1718800")
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO numbering_reservation
                (uid, operator_id, owner, status, numbers, terms, created_at, expires_at, closed_at)
            SELECT gen_random_uuid(), %s, 'x', CASE WHEN n < 20000 THEN 'EXPIRED' ELSE 'ACTIVE' END, '{1}', '{}',
                %s::timestamptz, %s::timestamptz + n * interval '1 second',
                CASE WHEN n < 20000 THEN %s::timestamptz END
            FROM generate_series(1, 30000) AS n""",
            [operator.pk, now - timedelta(days=1), now, now],
        )
        given_reservation(operator=operator, now=now, ttl_seconds=60, quantity=5)
        if statistics:
            cursor.execute("ANALYZE numbering_reservation, numbering_phonenumber")
    with CaptureQueriesContext(connection) as captured:
        assert numbering.expire_reservations(actor=TASK, now=now + timedelta(minutes=2), limit=500) == 1
    close, free, *_ = (each["sql"] for each in captured if "SAVEPOINT" not in each["sql"])
    for index in ("reservation_running_out", "numbering_reservation_pkey"):
        assert index in plan(close)
    for index in ("phone_number_reserved", "numbering_phonenumber_pkey"):
        assert index in plan(free)
    assert "Seq Scan" not in plan(close) + plan(free)


def test_counting_what_a_caller_holds_reads_its_reservations_only(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    partner = given_partner(operator=operator)
    given_reservation(operator=operator, now=now, quantity=50)
    given_reservation(operator=operator, now=now, actor=partner, quantity=2)
    with CaptureQueriesContext(connection) as captured:
        given_reservation(operator=operator, now=now, actor=partner)
    (count,) = (
        each["sql"]
        for each in captured.captured_queries
        if "count(*)" in each["sql"] and "owner" in each["sql"]
    )
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "reservation_held" in plan(count)
    assert "phone_number_reserved" in plan(count)
