"""Claims of numbers that end in certain digits, which there may be none of."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.db import connection, transaction

from apps.numbering import services as numbering
from apps.numbering.errors import NumberNotAvailable
from apps.numbering.services import claim
from apps.numbering.services.stock import fold_stock
from apps.numbering.states import NumberGrade
from apps.operators.models import VirtualOperator
from tests.factories.numbering import SYSTEM
from tests.numbering.pieces import given_piece, rows_read


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_a_claim_of_an_ending_looks_at_a_bounded_number_of_numbers(
    operator: VirtualOperator, now: datetime, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    for n in range(20):
        given_piece(operator, now, 17_100_000_000 + n * 20_000, 4_001)
    fold_stock()
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
        cursor.execute("ANALYZE numbering_phonenumber, numbering_numberrange, numbering_rangestock")

    def looks(grade: NumberGrade, suffix: str) -> tuple[int, int]:
        before = rows_read()
        try:
            with transaction.atomic():
                made = numbering.reserve(
                    actor=SYSTEM, operator_id=operator.pk, grade=grade, suffix=suffix, now=now
                )
        except NumberNotAvailable:
            found = 0
        else:
            found = made.numbers[0]
        return found, rows_read() - before

    # Two gold ones in each: they are found by their grade, not among a thousand with that ending.
    assert looks(NumberGrade.GOLD, "1") == (0, 40)
    found, read = looks(NumberGrade.GOLD, "0")
    assert (found % 4_000, read < 10) == (0, True)
    # Every number that ends in 4000 is gold; each range has one candidate and no more than LOOKS are looked at.
    found, read = looks(NumberGrade.ORDINARY, "4000")
    assert (found, 20 <= read <= 22) == (0, True), "the one reserved above may be met twice"
    monkeypatch.setattr(claim, "LOOKS", 5)
    found, read = looks(NumberGrade.ORDINARY, "4000")
    assert (found, 5 <= read <= 7) == (0, True)
    # One range is always looked at, and each time others.
    monkeypatch.setattr(claim, "LOOKS", 1)
    assert len({looks(NumberGrade.ORDINARY, "1234")[0] for _ in range(12)}) > 3
