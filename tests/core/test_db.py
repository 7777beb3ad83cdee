"""Transactions by intent."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.apps import apps as django_apps
from django.db import DatabaseError, IntegrityError, connection, transaction

from apps.core import db
from apps.core.db import operation, outside_transaction, use_case, violated_constraint
from apps.events.models import OutboxEvent
from tests.threads import in_parallel


def add(now, subject: str = "x") -> OutboxEvent:
    return OutboxEvent.objects.create(type="a.b", operator_id=1, subject=subject, data={}, occurred_at=now)


def subjects() -> set[str]:
    return set(OutboxEvent.objects.values_list("subject", flat=True))


# --- operation ------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_an_operation_is_all_or_nothing(now) -> None:
    @operation
    def add_two(*, then: Exception | None) -> str:
        add(now, "first")
        assert db.in_transaction()
        if then:
            raise then
        add(now, "second")
        return "done"

    with pytest.raises(ZeroDivisionError):
        add_two(then=ZeroDivisionError())
    assert subjects() == set()
    assert add_two(then=None) == "done"
    assert subjects() == {"first", "second"}


@pytest.mark.django_db(transaction=True)
def test_an_operation_joins_its_callers_transaction(now) -> None:
    @operation
    def inner() -> None:
        add(now, "inner")

    @operation
    def outer() -> None:
        inner()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        outer()
    assert subjects() == set()


@pytest.mark.django_db(transaction=True)
def test_a_failed_operation_spoils_the_transaction_it_joined(now) -> None:
    """It has no savepoint: a caller that swallows its error cannot commit half of it."""

    @operation
    def inner() -> None:
        add(now, "inner")
        raise ZeroDivisionError

    def swallow() -> None:
        with transaction.atomic():
            with pytest.raises(ZeroDivisionError):
                inner()
            add(now, "outer")

    with pytest.raises(transaction.TransactionManagementError):
        swallow()
    assert subjects() == set()


# --- use_case -------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_a_use_case_is_committed_when_it_returns(now) -> None:
    @use_case
    def do() -> None:
        add(now, "done")

    do()
    assert in_parallel(1, lambda _: subjects()) == [{"done"}]


@pytest.mark.django_db(transaction=True)
def test_a_use_case_refuses_to_be_part_of_another_transaction(now) -> None:
    @use_case
    def do() -> None:
        add(now)

    @operation
    def operation_that_calls_it() -> None:
        do()

    @use_case
    def use_case_that_calls_it() -> None:
        do()

    for caller in (operation_that_calls_it, use_case_that_calls_it):
        with pytest.raises(RuntimeError, match="durable"):
            caller()
    assert subjects() == set()


@pytest.mark.django_db
def test_the_transaction_of_a_test_case_is_not_in_the_way_of_a_use_case(now) -> None:
    @use_case
    def do() -> None:
        add(now, "done")

    do()
    assert subjects() == {"done"}
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        do()


# --- outside_transaction --------------------------------------------------------------------------------------------
@outside_transaction
def call_the_network(number: int, *, twice: bool = False) -> int:
    """Calls it."""
    return number * 2 if twice else number


def _try_inside(*contexts: object) -> None:
    with pytest.raises(
        RuntimeError, match="call_the_network calls the network and must not run inside a transaction"
    ):
        call_the_network(1)


@pytest.mark.django_db(transaction=True)
def test_the_network_is_not_called_inside_a_transaction() -> None:
    assert call_the_network(2, twice=True) == 4
    for options in ({}, {"durable": True}, {"savepoint": False}):
        with transaction.atomic(None, **options):
            _try_inside()
            with transaction.atomic():
                _try_inside()
    operation(_try_inside)()
    use_case(_try_inside)()
    assert call_the_network(2) == 2


@pytest.mark.django_db
def test_the_transaction_of_a_test_case_is_not_in_the_way_of_the_network() -> None:
    assert connection.in_atomic_block
    assert not db.in_transaction()
    assert call_the_network(3) == 3
    with transaction.atomic():
        assert db.in_transaction()
        _try_inside()
    assert call_the_network(4) == 4


def test_what_is_decorated_keeps_its_name_and_words() -> None:
    assert call_the_network.__name__ == "call_the_network"
    assert call_the_network.__doc__ == "Calls it."
    for decorator in (operation, use_case):
        assert decorator(add).__name__ == "add"


# --- Errors, clock, locks -------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_a_broken_constraint_is_told_by_name(now) -> None:
    event = add(now)
    with pytest.raises(IntegrityError) as broken, transaction.atomic():
        OutboxEvent.objects.create(
            uid=event.uid, type="a.b", operator_id=1, subject="x", data={}, occurred_at=now
        )
    assert violated_constraint(broken.value) == "events_outboxevent_uid_key"
    assert violated_constraint(DatabaseError("something else")) is None
    with pytest.raises(IntegrityError) as broken, transaction.atomic():
        OutboxEvent.objects.filter(pk=event.pk).update(data=None)
    assert violated_constraint(broken.value) is None


@pytest.mark.django_db(transaction=True)
def test_the_databases_clock_goes_on_inside_a_transaction(now) -> None:
    with transaction.atomic():
        first = db.database_now()
        time.sleep(0.01)
        second = db.database_now()
    assert first.tzinfo is not None
    assert second - first >= timedelta(milliseconds=10)
    assert abs(first - now) < timedelta(minutes=1)


@pytest.mark.django_db(transaction=True)
def test_work_on_one_key_is_done_one_after_the_other() -> None:
    inside: list[int] = []
    most = []

    @operation
    def work(number: int) -> None:
        db.serialize_on("order:7" if number < 4 else f"order:{number * 100}")
        if number < 4:
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.02)
            inside.remove(number)

    in_parallel(4, work)
    assert most == [1, 1, 1, 1]


@pytest.mark.django_db(transaction=True)
def test_work_on_another_key_does_not_wait() -> None:
    with transaction.atomic():
        db.serialize_on("order:7")

        @operation
        def work(_: int) -> str:
            db.serialize_on("order:8")
            return "done"

        assert in_parallel(1, work) == ["done"]


def test_the_lock_order_names_tables_that_exist() -> None:
    for label in db.LOCK_ORDER:
        assert django_apps.get_model(label)
