"""Handing work to the workers: after the commit, never before, and never at the price of the request."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest
from celery.exceptions import NotRegistered
from django.db import connection, transaction

from apps.core import dispatch
from tests import broker
from tests.broker import Message

NAME = "tests.work"
OTHER_QUEUE = "tests.dispatch.other"


@pytest.fixture(autouse=True)
def _task() -> Iterator[None]:
    broker.take_all(OTHER_QUEUE)
    with broker.tasks(NAME):
        yield
    broker.take_all(OTHER_QUEUE)


@pytest.mark.django_db(transaction=True)
def test_a_nudge_goes_out_after_the_commit_and_not_before() -> None:
    with transaction.atomic():
        dispatch.after_commit(NAME, order_id="ord_1")
        with transaction.atomic():
            dispatch.after_commit(NAME, order_id="ord_2")
        assert broker.take_all(broker.DEFAULT) == []
    assert broker.take_all(broker.DEFAULT) == [
        Message(NAME, {"order_id": "ord_1"}),
        Message(NAME, {"order_id": "ord_2"}),
    ]


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_nudges_nobody() -> None:
    def fail() -> None:
        with transaction.atomic():
            dispatch.after_commit(NAME, order_id="ord_1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError):
            fail()
        dispatch.after_commit(NAME, order_id="ord_2")
    assert broker.take_all(broker.DEFAULT) == [Message(NAME, {"order_id": "ord_2"})]


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_it_goes_out_at_once() -> None:
    dispatch.after_commit(NAME, a=1)
    dispatch.now(NAME, b=2)
    assert broker.take_all(broker.DEFAULT) == [Message(NAME, {"a": 1}), Message(NAME, {"b": 2})]


@pytest.mark.django_db(transaction=True)
def test_the_queue_may_depend_on_the_row() -> None:
    dispatch.after_commit(NAME, queue=OTHER_QUEUE, a=1)
    dispatch.now(NAME, queue=OTHER_QUEUE, b=2)
    assert broker.take_all(broker.DEFAULT) == []
    assert broker.take_all(OTHER_QUEUE) == [Message(NAME, {"a": 1}), Message(NAME, {"b": 2})]


@pytest.mark.django_db(transaction=True)
def test_a_name_that_is_no_task_fails_at_once_and_not_after_the_commit() -> None:
    with transaction.atomic(), pytest.raises(NotRegistered):
        dispatch.after_commit("tests.no_such_task")


@pytest.mark.django_db(transaction=True)
def test_the_names_of_our_own_tasks_are_known_without_a_worker() -> None:
    """In a web process nobody else loads the modules that register them."""
    broker.take_all("events")
    dispatch.now("events.relay")
    assert broker.take_all("events") == [Message("events.relay", {})]


@pytest.mark.django_db(transaction=True)
def test_a_dead_broker_is_logged_and_costs_neither_the_work_nor_its_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started = time.monotonic()
    with (
        broker.dead(NAME),
        caplog.at_level(logging.WARNING),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE TABLE dispatch_proof ()")
        for number in range(20):
            dispatch.after_commit(NAME, order_id=f"ord_{number}")
    seconds = time.monotonic() - started
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE dispatch_proof")
    assert seconds < 5
    lost = [record for record in caplog.records if record.getMessage() == "nudge lost"]
    assert len(lost) == 20
    assert {record.__dict__["task"] for record in lost} == {NAME}
    # Nothing of what the task would have been told.
    assert "ord_1" not in caplog.text
