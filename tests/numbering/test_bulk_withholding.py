"""Files of numbers to be withheld: looked at, then applied whole or in part."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.numbering import services as numbering
from apps.numbering.errors import BulkFileTooLarge, BulkHasInvalidRows
from apps.numbering.models import BulkRun, NumberRange, PhoneNumber
from apps.numbering.services import withhold_rows
from apps.numbering.states import BulkStatus, NumberStatus, WithheldBy
from apps.operators.models import VirtualOperator
from tests.factories.numbering import SYSTEM, given_range, given_reservation
from tests.refusals import refused

WITHHOLD = "number,first,last,withheld_by,reason"


class Withholding:
    """Writes files of numbers of one operator, looks at them and applies them."""

    def __init__(self, operator: VirtualOperator, now: datetime) -> None:
        self.operator, self.now = operator, now

    def look(self, *rows: str) -> BulkRun:
        content = "\n".join([WITHHOLD, *rows]).encode()
        return numbering.preview_withholding(
            actor=SYSTEM, operator=self.operator, file_name="withhold.csv", content=content, now=self.now
        )

    def apply(self, run: BulkRun, *, skip_invalid: bool = False) -> BulkRun:
        return numbering.apply_run(actor=SYSTEM, run_uid=run.uid, skip_invalid=skip_invalid, now=self.now)


@pytest.fixture
def leased(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now, prefix="17190000")


@pytest.fixture
def withholding(operator: VirtualOperator, now: datetime) -> Withholding:
    return Withholding(operator, now)


def rows_of(run: BulkRun) -> dict[int, tuple[str, list[tuple[str, str]]]]:
    return {
        row.line: (row.status, [(error["pointer"], error["code"]) for error in row.errors])
        for row in run.rows.order_by("line")
    }


def quarantined(leased: NumberRange, number: int, now: datetime) -> PhoneNumber:
    numbering.take_number(
        actor=SYSTEM,
        operator_id=leased.operator_id,
        host_carrier_id=leased.host_carrier_id,
        number=number,
        now=now,
    )
    return numbering.quarantine_number(actor=SYSTEM, number=number, now=now)


def test_numbers_are_withheld_in_one_go(
    leased: NumberRange, withholding: Withholding, now: datetime, django_assert_max_num_queries: Any
) -> None:
    resting = quarantined(leased, 17190000001, now)
    run = withholding.look(
        "17190000001,,,police,letter 7",
        "+8617190000002,,,fraud,ring",
        ",17190000100,8617190000199,carrier,kept back",
    )
    assert {status for status, _ in rows_of(run).values()} == {"VALID"}
    with django_assert_max_num_queries(16):
        withholding.apply(run)
    run.refresh_from_db()
    assert (run.status, run.done, run.total) == (BulkStatus.COMPLETED, 3, 3)
    withheld = PhoneNumber.objects.filter(status=NumberStatus.WITHHELD)
    assert Counter(withheld.values_list("withheld_by", flat=True)) == {
        WithheldBy.POLICE: 1,
        WithheldBy.FRAUD: 1,
        WithheldBy.CARRIER: 100,
    }
    # What is left of its quarantine is not forgotten.
    assert PhoneNumber.objects.get(number=17190000001).quarantined_until == resting.quarantined_until
    row = AuditEvent.objects.get(action="number.withhold", target_id="+8617190000001")
    assert (row.before, row.after["status"], row.reason) == (
        {"status": "QUARANTINED"},
        "WITHHELD",
        "letter 7",
    )
    assert AuditEvent.objects.filter(action="number.withhold").count() == 102


def test_rows_that_cannot_be_withheld(
    leased: NumberRange, withholding: Withholding, other_operator: VirtualOperator, now: datetime
) -> None:
    given_reservation(operator=leased.operator, now=now, number=17190000007)
    given_range(operator=other_operator, now=now, prefix="17150000")
    run = withholding.look(
        "17190000007,,,police,x",
        ",17190000006,17190000008,police,x",
        "17150000000,,,police,x",
        ",17190000990,17190001001,police,x",
        "17190000020,,,judge,x",
        "17190000021,,,police,",
        "1719,,,police,x",
        "17190000022,17190000023,,police,x",
        ",17190000024,,police,x",
        ",17190000026,17190000025,police,x",
        "17190000030,,,police,x",
        ",17190000030,17190000031,police,x",
    )
    assert rows_of(run) == {
        2: ("INVALID", [("/number", "repeated"), ("/number", "number_not_available")]),
        3: ("INVALID", [("/first", "number_not_available")]),
        4: ("INVALID", [("/number", "not_found")]),
        5: ("INVALID", [("/first", "not_found")]),
        6: ("INVALID", [("/withheld_by", "invalid")]),
        7: ("INVALID", [("/reason", "invalid")]),
        8: ("INVALID", [("/number", "invalid")]),
        9: ("INVALID", [("/number", "invalid")]),
        10: ("INVALID", [("/last", "invalid")]),
        11: ("INVALID", [("/last", "invalid")]),
        12: ("VALID", []),
        13: ("INVALID", [("/number", "repeated")]),
    }
    with refused(BulkHasInvalidRows):
        withholding.apply(run)
    assert PhoneNumber.objects.filter(status=NumberStatus.WITHHELD).count() == 0
    withholding.apply(run, skip_invalid=True)
    assert list(
        PhoneNumber.objects.filter(status=NumberStatus.WITHHELD).values_list("number", flat=True)
    ) == [17190000030]


def test_a_number_sold_since_it_was_looked_at(
    leased: NumberRange, withholding: Withholding, now: datetime
) -> None:
    run = withholding.look(",17190000000,17190000009,carrier,x", "17190000500,,,carrier,x")
    given_reservation(operator=leased.operator, now=now, number=17190000004)
    with refused(BulkHasInvalidRows):
        withholding.apply(run)
    withholding.apply(run, skip_invalid=True)
    assert rows_of(run) == {
        2: ("SKIPPED", [("/first", "number_not_available")]),
        3: ("SUCCEEDED", []),
    }
    assert PhoneNumber.objects.filter(status=NumberStatus.WITHHELD).count() == 1


def test_a_number_sold_between_the_look_and_the_lock(
    leased: NumberRange, withholding: Withholding, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check is passed; then somebody is faster."""
    run = withholding.look("17190000004,,,carrier,x", "17190000500,,,carrier,x")
    check = withhold_rows.check

    def check_then_sell(**call: Any) -> Any:
        found = check(**call)
        PhoneNumber.objects.get(number=17190000004).take()
        return found

    monkeypatch.setattr(withhold_rows, "check", check_then_sell)
    with refused(BulkHasInvalidRows):
        withholding.apply(run)
    assert PhoneNumber.objects.filter(status=NumberStatus.WITHHELD).count() == 0
    withholding.apply(run, skip_invalid=True)
    assert PhoneNumber.objects.get(number=17190000004).status == NumberStatus.IN_USE
    run.refresh_from_db()
    assert (run.done, run.total, run.status) == (1, 1, BulkStatus.COMPLETED)


def test_too_many_numbers_in_one_file(
    leased: NumberRange, withholding: Withholding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withhold_rows, "MAX_NUMBERS", 5)
    with refused(BulkFileTooLarge):
        withholding.look(",17190000000,17190000002,carrier,x", ",17190000010,17190000012,carrier,x")
