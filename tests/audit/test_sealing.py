"""Every committed row gets its place in its operator's chain: once, in order, without making a writer wait."""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from apps.audit import selectors, verification
from apps.audit import services as audit
from apps.audit.models import AuditEvent, AuditSeal
from apps.audit.tasks import seal as task
from apps.core.actor import Actor, ActorKind
from tests.audit.conftest import Record, seal_all
from tests.threads import in_parallel


def places(operator_id: int | None = 7) -> list[tuple[int, str]]:
    """(sequence, target) in the order of the chain."""
    targets = dict(AuditEvent.objects.values_list("id", "target_id"))
    seals = AuditSeal.objects.filter(operator_id=operator_id).order_by("sequence")
    return [(seal.sequence, targets[seal.audit_event_id]) for seal in seals]


def assert_whole() -> None:
    """Every row is sealed and every chain holds."""
    assert AuditSeal.objects.count() == AuditEvent.objects.count()
    for operator_id in verification.list_chains():
        found = verification.verify(operator_id=operator_id, expected={})
        assert (found.fault, found.waiting) == (None, 0)
        sealed = AuditSeal.objects.filter(operator_id=operator_id).order_by("sequence")
        in_order = list(sealed.values_list("audit_event_id", flat=True))
        assert in_order == sorted(in_order)
        assert found.sequence == len(in_order)


@pytest.mark.django_db
def test_each_operator_has_a_chain_and_the_platform_too(record: Record) -> None:
    for number in range(3):
        record(f"seven {number}")
        record(f"eight {number}", operator_id=8)
        record(f"none {number}", operator_id=None)
    assert audit.seal(limit=4) == 4
    assert audit.seal(limit=4) == 4
    assert audit.seal(limit=4) == 1
    assert audit.seal(limit=4) == 0
    assert places(7) == [(1, "seven 0"), (2, "seven 1"), (3, "seven 2")]
    assert places(8) == [(1, "eight 0"), (2, "eight 1"), (3, "eight 2")]
    assert places(None) == [(1, "none 0"), (2, "none 1"), (3, "none 2")]
    assert_whole()
    record("seven 3")
    task(an_argument_of_a_newer_version=1)
    assert places(7)[3:] == [(4, "seven 3")]
    assert_whole()


@pytest.mark.django_db
def test_a_hash_can_be_computed_by_hand() -> None:
    """The form must not change: seals of all the years before would count as broken."""
    actor = Actor(
        kind=ActorKind.STAFF, id="usr_1", label="李娜", operator_id=7, request_id="req-1", ip="192.0.2.1"
    )
    at = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
    for after in (None, {"n": 1.50, "a": "开"}):
        audit.record(
            actor=actor,
            action="a.b",
            target_type="line",
            target_id="lin_1",
            operator_id=7,
            now=at,
            after=after,
            reason="why",
        )
    assert audit.seal() == 2
    previous = bytes(32)
    rows = AuditEvent.objects.order_by("id").values_list("id", flat=True)
    for sequence, (pk, state) in enumerate(
        zip(rows, (None, b'\x01{"a": "\xe5\xbc\x80", "n": 1.5}'), strict=True), 1
    ):
        microseconds = (at - datetime(2000, 1, 1, tzinfo=UTC)) // (datetime.resolution)
        columns = [
            (20, pk.to_bytes(8, "big")),
            (1184, microseconds.to_bytes(8, "big")),
            (20, (7).to_bytes(8, "big")),
            *((25, text.encode()) for text in ("STAFF", "usr_1", "李娜", "req-1", "")),
            (869, bytes([2, 32, 0, 4, 192, 0, 2, 1])),
            *((25, text.encode()) for text in ("a.b", "line", "lin_1")),
            (3802, None),
            (3802, state),
            (25, b"why"),
        ]
        row = struct.pack(">i", len(columns))
        for kind, value in columns:
            row += struct.pack(">Ii", kind, -1 if value is None else len(value)) + (value or b"")
        digest = hashlib.sha256(row).digest()
        seal = AuditSeal.objects.get(audit_event_id=pk)
        assert (seal.sequence, bytes(seal.previous_hash)) == (sequence, previous)
        previous = hashlib.sha256(digest + previous + sequence.to_bytes(8, "big")).digest()
        assert bytes(seal.hash) == previous


@pytest.mark.django_db
def test_whoever_sees_a_row_is_told_its_seal(record: Record) -> None:
    record("lin_1")
    event = AuditEvent.objects.get()
    assert selectors.get_seal(event=event) is None
    seal_all()
    assert selectors.get_seal(event=event) == AuditSeal.objects.get()


@pytest.mark.django_db
@pytest.mark.parametrize("twice", ["audit_event_id", "place"])
def test_the_database_refuses_a_second_seal_and_a_second_row_at_a_place(record: Record, twice: str) -> None:
    record("lin_1", operator_id=None)
    seal_all()
    seal = AuditSeal.objects.get()
    seal._state.adding = True
    if twice == "audit_event_id":
        seal.sequence = 2
    else:
        seal.audit_event_id += 1
    with pytest.raises(IntegrityError, match="unique"), transaction.atomic():
        seal.save(force_insert=True)


# --- At the same time -----------------------------------------------------------------------------------------------
@contextmanager
def elsewhere(*statements: str, commit: bool = True) -> Iterator[None]:
    """The statements have run in another connection's transaction, which ends with the block."""
    ready, end = threading.Event(), threading.Event()

    def work() -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    for statement in statements:
                        cursor.execute(statement)
                ready.set()
                end.wait(20)
                transaction.set_rollback(not commit)
        finally:
            ready.set()
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        end.set()
        thread.join()


INSERT = """
INSERT INTO audit_auditevent ({id} at, operator_id, actor_kind, actor_id, actor_label, request_id, trace_id, action,
    target_type, target_id, reason)
VALUES ({value} now(), 7, 'SYSTEM', 'x', 'x', '', '', 'a.b', 'line', '{target}', '')
"""


@pytest.mark.django_db(transaction=True)
def test_a_row_waits_for_older_ones_that_are_not_committed_yet(record: Record) -> None:
    record("lin_0")
    assert seal_all() == 1
    with elsewhere(INSERT.format(id="", value="", target="lin_1")):
        record("lin_2")
        assert [audit.seal(), audit.seal()] == [0, 0]
        assert places() == [(1, "lin_0")]
    assert seal_all() == 2
    assert places() == [(1, "lin_0"), (2, "lin_1"), (3, "lin_2")]
    assert_whole()


@pytest.mark.django_db(transaction=True)
def test_it_waits_for_an_id_that_is_given_out_and_not_yet_used(record: Record) -> None:
    """The moment inside an INSERT between the id and the row: the transaction has no number of its own yet."""
    ready, go = threading.Event(), threading.Event()

    def work(number: int) -> list[int]:
        if number == 0:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("LOCK TABLE audit_auditevent IN ROW EXCLUSIVE MODE")
                cursor.execute("SELECT nextval('audit_auditevent_id_seq')")
                [taken] = cursor.fetchone()
                ready.set()
                assert go.wait(20)
                cursor.execute(INSERT.format(id="id,", value=f"{taken},", target="lin_1"))
            return []
        try:
            assert ready.wait(20)
            record("lin_2")
            return [audit.seal(), audit.seal()]
        finally:
            go.set()

    assert in_parallel(2, work)[1] == [0, 0]
    assert seal_all() == 2
    assert places() == [(1, "lin_1"), (2, "lin_2")]
    assert_whole()


@pytest.mark.django_db(transaction=True)
def test_a_writer_that_gives_up_holds_nothing_up_and_leaves_no_gap(record: Record) -> None:
    with elsewhere(INSERT.format(id="", value="", target="lin_1"), commit=False):
        record("lin_2")
        assert seal_all() == 0
    assert seal_all() == 1
    assert places() == [(1, "lin_2")]
    assert_whole()


@pytest.mark.django_db(transaction=True)
def test_writers_that_never_pause_do_not_keep_rows_from_being_sealed(record: Record) -> None:
    """Somebody is always writing, but never those that wrote when we looked last."""
    writers = [elsewhere(INSERT.format(id="", value="", target="lin_1")) for _ in range(4)]
    writers[0].__enter__()
    assert seal_all() == 0
    for leaving, coming in pairwise(writers):
        coming.__enter__()
        leaving.__exit__(None, None, None)
        assert seal_all() == 1
    writers[-1].__exit__(None, None, None)
    assert seal_all() == 1
    assert_whole()


@pytest.mark.django_db(transaction=True)
def test_a_sealer_leaves_while_another_is_at_work(record: Record) -> None:
    record("lin_1")
    with elsewhere("SELECT pg_advisory_xact_lock(hashtextextended('audit.seal', 0))"):
        assert audit.seal() == 0
    assert audit.seal() == 1


@pytest.mark.django_db(transaction=True)
def test_many_writers_and_sealers_at_once_leave_whole_chains(record: Record) -> None:
    writing = threading.Semaphore(0)

    def work(number: int) -> int:
        if number >= 4:
            sealed = 0
            while not writing.acquire(timeout=0.001):
                sealed += audit.seal(limit=17)
            return sealed
        try:
            for step in range(60):
                with transaction.atomic():
                    for row in range(step % 4):
                        record(f"{number} {step} {row}", operator_id=(None, 7, 8)[step % 3])
                    transaction.set_rollback(step % 5 == 0)
        finally:
            writing.release()
        return 0

    sealed = in_parallel(8, work, seconds=60)
    assert sum(sealed) > 0
    sealed.append(seal_all())
    assert sum(sealed) == AuditEvent.objects.count() == 4 * sum(step % 4 for step in range(60) if step % 5)
    assert_whole()


@pytest.mark.django_db(transaction=True)
def test_a_sealer_that_is_killed_in_the_middle_of_it_is_resumed(record: Record) -> None:
    for number in range(30):
        record(f"lin_{number}")
    assert audit.seal(limit=10) == 10
    blocked = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%%INTO audit_auditseal%%'
    """

    def killed(_: int) -> None:
        with pytest.raises(OperationalError, match="terminat"):
            audit.seal(limit=10)

    def kill() -> None:
        with connection.cursor() as cursor:
            for _ in range(2_000):
                cursor.execute(blocked)
                if cursor.fetchall():
                    return
        raise AssertionError("the sealer never came to its seals")

    # It has read its rows and computed its hashes, and cannot write them.
    with elsewhere("LOCK TABLE audit_auditseal IN SHARE MODE"):
        in_parallel(2, lambda number: killed(number) if number else kill())
    assert AuditSeal.objects.count() == 10
    assert audit.seal(limit=10) == 10
    assert seal_all() == 10
    assert places() == [(number + 1, f"lin_{number}") for number in range(30)]
    assert_whole()
