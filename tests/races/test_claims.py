"""Eight threads take forty thousand numbers while ranges run dry and counts are folded: each number once, none lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from django.db import connection, transaction

from apps.numbering import selectors
from apps.numbering import services as numbering
from apps.numbering.errors import NumberNotAvailable
from apps.numbering.models import PhoneNumber
from apps.numbering.states import NumberStatus
from apps.operators.models import HostCarrier, VirtualOperator
from tests.factories.numbering import SYSTEM, given_range
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

THREADS, EACH = 8, 5_000
# Claims in one transaction: a commit each would be most of the time.
TOGETHER = 50


@contextmanager
def folding() -> Iterator[None]:
    """Counts are folded all the time, as beat does it now and then."""
    over = threading.Event()

    def fold() -> None:
        while not over.wait(0.05):
            numbering.fold_stock()
        connection.close()

    thread = threading.Thread(target=fold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_eight_threads_take_five_thousand_each(operator: VirtualOperator, now: datetime) -> None:
    unicom = HostCarrier.objects.get(code="unicom").pk
    for block in range(4):
        given_range(operator=operator, now=now, prefix=f"171900{block}")
    last = given_range(operator=operator, now=now, prefix="17199990")

    def take() -> int:
        return numbering.take_number(
            actor=SYSTEM, operator_id=operator.pk, host_carrier_id=unicom, now=now
        ).number

    def take_many() -> list[int]:
        taken: list[int] = []
        while len(taken) < EACH:
            with transaction.atomic():
                taken += [take() for _ in range(TOGETHER)]
        return taken

    with folding():
        results = at_once(*[take_many] * THREADS, seconds=300)
    failed = [result for result in results if isinstance(result, Exception)]
    assert not failed
    taken = [number for numbers in results for number in numbers]  # type: ignore[union-attr]
    assert len(taken) == len(set(taken)) == THREADS * EACH
    in_use = PhoneNumber.objects.filter(status=NumberStatus.IN_USE)
    assert set(in_use.values_list("number", flat=True)) == set(taken)

    # A thousand are left of 41,000, wherever they are: all of them can still be had, and then no more.
    assert last.size == 1_000
    with transaction.atomic():
        rest = {take() for _ in range(1_000)}
    assert rest.isdisjoint(taken)
    assert len(rest) == 1_000
    with pytest.raises(NumberNotAvailable):
        take()
    assert not selectors.list_stock_differences(operator_id=operator.pk)
