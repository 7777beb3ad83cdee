"""Files of leases: looked at, applied whole or in part, resumed, discarded."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden, InvalidTransition, NotFound
from apps.numbering import bulk_file, tasks
from apps.numbering import services as numbering
from apps.numbering.errors import (
    BulkFileInvalid,
    BulkFileTooLarge,
    BulkHasInvalidRows,
    BulkHasNoValidRows,
    RangeOverlap,
)
from apps.numbering.models import BulkRun, NumberRange, PhoneNumber
from apps.numbering.services import bulk, lease_rows
from apps.numbering.states import BulkStatus, RangeStatus, RowStatus
from apps.operators import services as operators
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator, WholesaleAgreement
from tests import broker
from tests.factories.numbering import SYSTEM, given_partner, given_range
from tests.races.threads import at_once
from tests.refusals import refused

DAY = timedelta(days=1)
HEADER = "carrier,prefix,home_province,home_city,leased_from,leased_until"


class Leases:
    """Writes files of leases of one operator, and looks at them."""

    def __init__(self, operator: VirtualOperator, now: datetime) -> None:
        self.operator, self.now = operator, now
        self.begins, self.ends = china_date(now) - DAY, china_date(now) + 300 * DAY

    def row(self, prefix: str, *, city: str = "深圳", carrier: str = "unicom", **days: Any) -> str:
        begins, ends = days.get("begins", self.begins), days.get("ends", self.ends)
        return f"{carrier},{prefix},广东,{city},{begins},{ends}"

    def look(self, *rows: str, header: str = HEADER, encoding: str = "utf-8", **call: Any) -> BulkRun:
        content = "\n".join([header, *rows]).encode(encoding)
        return numbering.preview_leases(
            **{
                "actor": SYSTEM,
                "operator": self.operator,
                "file_name": "leases.csv",
                "content": content,
                "now": self.now,
                **call,
            }
        )

    def apply(self, run: BulkRun, **call: Any) -> BulkRun:
        return numbering.apply_run(**{"actor": SYSTEM, "run_uid": run.uid, "now": self.now, **call})

    def work(self, limit: int = 100) -> bool:
        return numbering.continue_runs(actor=SYSTEM, now=self.now, limit=limit)


@pytest.fixture
def leases(operator: VirtualOperator, now: datetime) -> Leases:
    return Leases(operator, now)


def rows_of(run: BulkRun) -> dict[int, tuple[str, list[tuple[str, str]]]]:
    return {
        row.line: (row.status, [(error["pointer"], error["code"]) for error in row.errors])
        for row in run.rows.order_by("line")
    }


# --- The file itself --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_encodings_and_headers_of_people(leases: Leases, encoding: str) -> None:
    run = leases.look(
        leases.row("17190000"),
        "",
        leases.row("17190001"),
        header="运营商, 号段,省份,城市,Leased From,LEASED-UNTIL",
        encoding=encoding,
    )
    assert rows_of(run) == {2: ("VALID", []), 4: ("VALID", [])}
    assert run.rows.get(line=2).fields["home_city"] == "深圳"
    assert (run.status, run.file_name, run.total) == (BulkStatus.PREVIEWED, "leases.csv", 0)
    assert NumberRange.objects.count() == 0
    assert AuditEvent.objects.get(target_id=run.uid).after["rows"] == 2


@pytest.mark.parametrize(
    ("content", "pointer", "code"),
    [
        (b"\xff\xfe\x00", "", "encoding"),
        (b"carrier,prefix\x00", "", "encoding"),
        (b"", "/header", "missing_column"),
        (HEADER.encode(), "/rows", "empty"),
        (f"{HEADER},imsi\n1".encode(), "/header/7", "unknown_column"),
        # One error, not one for each cell: 16 MB of commas are eight million.
        (b"a," * 100_000, "/header", "too_many_cells"),
        (f"{HEADER},prefix\n1".encode(), "/header/7", "repeated_column"),
        (HEADER.replace("carrier,", "").encode(), "/header", "missing_column"),
        (f'{HEADER}\n\n"unicom"x,1\n'.encode(), "/rows/3", "malformed_csv"),
        (f'{HEADER}\n"unicom,1\n'.encode(), "/rows/2", "malformed_csv"),
    ],
)
def test_a_file_that_cannot_be_read(leases: Leases, content: bytes, pointer: str, code: str) -> None:
    with refused(BulkFileInvalid) as caught:
        leases.look(content=content)
    found = [(error.pointer, error.code) for error in caught.value.errors]
    assert (pointer, code) in found
    assert BulkRun.objects.count() == 0


def test_a_line_that_stands_there_many_times_is_told_once_each(leases: Leases) -> None:
    run = leases.look(*[leases.row("17190000")] * 50)
    told = [len(errors) for errors in run.rows.values_list("errors", flat=True)]
    assert told == [1] * 50


def test_a_file_that_is_too_large(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_file, "MAX_ROWS", 2)
    leases.look(leases.row("17190000"), leases.row("17190001"))
    with refused(BulkFileTooLarge):
        leases.look(*[leases.row(f"1719000{n}") for n in range(3)])
    monkeypatch.setattr(lease_rows, "MAX_HOME_BLOCKS", 1)
    with refused(BulkFileTooLarge):
        leases.look(leases.row("17190000"), leases.row("17190010"))
    with refused(BulkFileTooLarge):
        leases.look(content=b"x" * (bulk_file.MAX_BYTES + 1))


# --- Leases: looked at ------------------------------------------------------------------------------------------------
def test_every_row_says_what_is_wrong_with_it(
    leases: Leases, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    given_range(operator=other_operator, now=now, prefix="17177770")
    given_range(operator=other_operator, now=now, prefix="17177780")
    cases = [
        (leases.row("17190000"), []),
        (leases.row("1719000x"), [("/prefix", "invalid")]),
        (leases.row("17030000"), [("/prefix", "access_code_mismatch")]),
        (leases.row("171900011"), [("/prefix", "wrong_length")]),
        (leases.row("17177770"), [("/prefix", "range_overlap")]),
        (leases.row("17177781", city="广州"), [("/home_city", "range_crosses_home_area")]),
        (leases.row("17166660"), [("/prefix", "range_overlap")]),
        (leases.row("1716666"), [("/prefix", "range_overlap")]),
        (leases.row("17155550"), []),
        (leases.row("17155551", city="广州"), [("/home_city", "range_crosses_home_area")]),
        (leases.row("17190010", carrier="broadnet"), [("/carrier", "agreement_unknown")]),
        (leases.row("17190020", begins="tomorrow"), [("/leased_from", "invalid")]),
        (leases.row("17190020", begins="2026-02-30"), [("/leased_from", "invalid")]),
        (leases.row("17190030", ends=leases.begins), [("/leased_until", "invalid")]),
        (leases.row("17190030", ends="2999-01-01"), [("/leased_until", "after_agreement")]),
        (leases.row("17190040", begins="2001/1/31"), [("/leased_from", "before_agreement")]),
        (leases.row("17190050", city=""), [("/home_city", "invalid")]),
        (leases.row("17190060") + ",x", [("", "too_many_cells")]),
        ("unicom", [("/leased_from", "invalid"), ("/leased_until", "invalid")]),
    ]
    run = leases.look(*[row for row, _ in cases])
    expected = {
        line: (RowStatus.INVALID if errors else RowStatus.VALID, errors)
        for line, (_, errors) in enumerate(cases, start=2)
    }
    assert rows_of(run) == expected
    assert NumberRange.objects.filter(operator=operator).count() == 0


@pytest.mark.parametrize(
    ("cells", "errors"),
    [
        ("HT-7,0.35,60", []),
        (",,", []),
        ("HT-7,0.355,60", [("/monthly_fee", "invalid")]),
        ("HT-7,much,60", [("/monthly_fee", "invalid")]),
        ("HT-7,0.35,most", [("/minimum_use", "invalid")]),
        ("HT-7,0.35,101", [("/minimum_use", "invalid")]),
    ],
)
def test_terms_by_contract_number(
    leases: Leases, operator: VirtualOperator, cells: str, errors: list[Any]
) -> None:
    agreement = WholesaleAgreement.objects.get(operator=operator, host_carrier__code="unicom")
    run = leases.look(
        f"{leases.row('17190000')},{agreement.contract_no},{cells}",
        header=f"{HEADER},contract_no,contract_reference,monthly_fee,minimum_use",
    )
    assert rows_of(run)[2][1] == errors
    if not errors and cells != ",,":
        leases.apply(run)
        leased = NumberRange.objects.get()
        assert (leased.contract_reference, str(leased.monthly_fee), leased.minimum_use) == (
            "HT-7",
            "0.35",
            60,
        )


def test_contract_of_nobody_or_with_another_host(
    leases: Leases, operator: VirtualOperator, other_operator: VirtualOperator
) -> None:
    numbers = {
        (agreement.operator_id, agreement.host_carrier.code): agreement.contract_no
        for agreement in WholesaleAgreement.objects.select_related("host_carrier")
    }
    run = leases.look(
        f"{leases.row('17190000')},{numbers[other_operator.pk, 'unicom']}",
        f"{leases.row('17190010')},{numbers[operator.pk, 'mobile']}",
        header=f"{HEADER},contract_no",
    )
    assert rows_of(run) == {
        2: ("INVALID", [("/contract_no", "agreement_unknown")]),
        3: ("INVALID", [("/carrier", "carrier_mismatch")]),
    }


def test_looking_costs_the_same_for_many_rows(leases: Leases, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(10):
        leases.look(*[leases.row(f"1719{n:03d}{k}") for n in range(30) for k in range(10)])


# --- Leases: applied --------------------------------------------------------------------------------------------------
def test_leases_are_planned_at_once_and_begun_some_at_a_time(
    leases: Leases,
    operator: VirtualOperator,
    django_capture_on_commit_callbacks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulk, "TOGETHER", 2)
    later = leases.begins + 20 * DAY
    run = leases.look(leases.row("17190001"), leases.row("17190000"), leases.row("17190010", begins=later))
    with django_capture_on_commit_callbacks() as callbacks:
        leases.apply(run)
    assert len(callbacks) == 1
    assert set(NumberRange.objects.values_list("status", flat=True)) == {RangeStatus.PLANNED}
    assert PhoneNumber.objects.count() == 0
    seen = []
    while leases.work(limit=1):
        run.refresh_from_db()
        seen.append((run.done, run.status))
    run.refresh_from_db()
    assert seen == [(2, "RUNNING"), (3, "RUNNING")]
    assert (run.done, run.total, run.status, run.ended_at) == (3, 3, BulkStatus.COMPLETED, leases.now)
    assert Counter(NumberRange.objects.values_list("status", flat=True)) == {"ACTIVE": 2, "PLANNED": 1}
    assert PhoneNumber.objects.count() == 2000
    linked = dict(run.rows.values_list("line", "range__prefix"))
    assert linked == {2: "17190001", 3: "17190000", 4: "17190010"}
    assert {row[0] for row in rows_of(run).values()} == {"SUCCEEDED"}
    assert AuditEvent.objects.filter(action="range.plan", after__run=run.uid).count() == 3
    assert leases.work() is False


def test_a_bad_row_in_the_middle_stops_all_unless_it_is_to_be_skipped(leases: Leases) -> None:
    run = leases.look(leases.row("17190000"), leases.row("13800000"), leases.row("17190010"))
    with refused(BulkHasInvalidRows) as caught:
        leases.apply(run)
    assert [(error.pointer, error.code) for error in caught.value.errors] == [
        ("/rows/3/prefix", "access_code_mismatch")
    ]
    run.refresh_from_db()
    assert (run.status, NumberRange.objects.count()) == (BulkStatus.PREVIEWED, 0)
    leases.apply(run, skip_invalid=True)
    leases.work()
    assert rows_of(run) == {
        2: ("SUCCEEDED", []),
        3: ("SKIPPED", [("/prefix", "access_code_mismatch")]),
        4: ("SUCCEEDED", []),
    }
    assert NumberRange.objects.filter(status=RangeStatus.ACTIVE).count() == 2


def test_rows_are_held_against_the_world_of_the_moment(
    leases: Leases, other_operator: VirtualOperator, now: datetime
) -> None:
    theirs = given_range(operator=other_operator, now=now, prefix="17190020")
    run = leases.look(leases.row("17190000"), leases.row("17190010"), leases.row("17190020"))
    # One became free since, one was leased since.
    numbering.begin_return(actor=SYSTEM, range_uid=theirs.uid, now=now)
    numbering.finish_return(actor=SYSTEM, range_uid=theirs.uid, now=now)
    given_range(operator=other_operator, now=now, prefix="17190000")
    with refused(BulkHasInvalidRows) as caught:
        leases.apply(run)
    assert [error.pointer for error in caught.value.errors] == ["/rows/2/prefix"]
    leases.apply(run, skip_invalid=True)
    leases.work()
    assert {line: status for line, (status, _) in rows_of(run).items()} == {
        2: "SKIPPED",
        3: "SUCCEEDED",
        4: "SUCCEEDED",
    }


def test_without_a_valid_row_there_is_nothing_to_apply(leases: Leases) -> None:
    run = leases.look(leases.row("13800000"))
    with refused(BulkHasNoValidRows):
        leases.apply(run, skip_invalid=True)
    run.refresh_from_db()
    assert run.status == BulkStatus.PREVIEWED


def test_a_lease_that_cannot_begin_fails_alone(leases: Leases, operator: VirtualOperator) -> None:
    mobile = WholesaleAgreement.objects.get(operator=operator, host_carrier__code="mobile")
    run = leases.look(
        leases.row("17190000"), leases.row("16500000", carrier="mobile"), leases.row("17190010")
    )
    leases.apply(run)
    operators.terminate_agreement(actor=SYSTEM, agreement_uid=mobile.uid, reason="", now=leases.now)
    leases.work()
    run.refresh_from_db()
    assert (run.status, run.done) == (BulkStatus.COMPLETED, 3)
    assert rows_of(run)[3] == ("FAILED", [("/contract_no", "agreement_not_valid")])
    assert NumberRange.objects.get(prefix="16500000").status == RangeStatus.PLANNED
    assert PhoneNumber.objects.count() == 2000


def test_who_withdrew_or_began_a_planned_range_is_not_undone(leases: Leases) -> None:
    run = leases.look(leases.row("17190000"), leases.row("17190010"))
    leases.apply(run)
    withdrawn, begun = NumberRange.objects.order_by("first")
    numbering.withdraw_plan(actor=SYSTEM, range_uid=withdrawn.uid, now=leases.now)
    numbering.activate_range(actor=SYSTEM, range_uid=begun.uid, now=leases.now)
    leases.work()
    run.refresh_from_db()
    assert run.status == BulkStatus.COMPLETED
    assert PhoneNumber.objects.count() == 1000


def test_discarded_applied_and_foreign_runs(
    leases: Leases, operator: VirtualOperator, other_operator: VirtualOperator
) -> None:
    discarded, applied = leases.look(leases.row("17190000")), leases.look(leases.row("17190010"))
    stranger = Actor.system("stranger", operator_id=other_operator.pk)
    partner = given_partner(operator=operator)
    for verb in (numbering.apply_run, numbering.discard_run):
        call: Any = verb
        with refused(NotFound):
            call(actor=stranger, run_uid=discarded.uid, now=leases.now)
        with refused(Forbidden):
            call(actor=partner, run_uid=discarded.uid, now=leases.now)
    for preview in (numbering.preview_leases, numbering.preview_withholding):
        look: Any = preview
        wish = {"operator": operator, "file_name": "x", "content": b"", "now": leases.now}
        with refused(NotFound):
            look(actor=stranger, **wish)
        with refused(Forbidden):
            look(actor=partner, **wish)
    numbering.discard_run(actor=SYSTEM, run_uid=discarded.uid, now=leases.now)
    leases.apply(applied)
    assert discarded.rows.count() == 0
    for run in (discarded, applied):
        for verb in (numbering.apply_run, numbering.discard_run):
            call = verb
            with refused(InvalidTransition):
                call(actor=SYSTEM, run_uid=run.uid, now=leases.now)


def test_old_previews_and_rows_of_old_runs_are_forgotten(leases: Leases) -> None:
    previewed, applied = leases.look(leases.row("17190000")), leases.look(leases.row("17190010"))
    leases.apply(applied)
    leases.work()

    def forget(days: int) -> int:
        return numbering.forget_runs(actor=SYSTEM, now=leases.now + timedelta(days=days), limit=10)

    assert (forget(6), forget(7), forget(89)) == (0, 1, 0)
    previewed.refresh_from_db()
    assert (previewed.status, previewed.rows.count(), applied.rows.count()) == (BulkStatus.DISCARDED, 0, 1)
    assert AuditEvent.objects.filter(action="bulk_run.discard", target_id=previewed.uid).exists()
    assert (forget(91), forget(92)) == (1, 0)
    applied.refresh_from_db()
    assert (applied.status, applied.total, applied.rows.count()) == (BulkStatus.COMPLETED, 1, 0)
    assert PhoneNumber.objects.count() == 1000


@pytest.mark.django_db(transaction=True)
def test_two_workers_share_a_run_and_a_third_finds_it_done(operator: VirtualOperator, now: datetime) -> None:
    leases = Leases(operator, now)
    run = leases.look(*[leases.row(f"1719{n:03d}0") for n in range(12)])
    leases.apply(run)
    broker.take_all("default")
    results = at_once(leases.work, leases.work)
    assert [result for result in results if isinstance(result, Exception)] == []
    assert leases.work() is False
    run.refresh_from_db()
    assert (run.status, run.done, run.total) == (BulkStatus.COMPLETED, 12, 12)
    assert NumberRange.objects.filter(status=RangeStatus.ACTIVE).count() == 12
    assert PhoneNumber.objects.count() == 12_000
    assert AuditEvent.objects.filter(action="bulk_run.complete").count() == 1
    assert AuditEvent.objects.filter(action="range.activate").count() == 12


@pytest.mark.django_db(transaction=True)
def test_of_two_files_with_one_block_one_is_applied(operator: VirtualOperator, now: datetime) -> None:
    leases = Leases(operator, now)
    runs = [leases.look(leases.row("17190000"), leases.row(f"1718{n}000")) for n in range(2)]
    results = at_once(*[lambda run=run: leases.apply(run) for run in runs])
    names = sorted(type(result).__name__ for result in results)
    assert names in (["BulkRun", "RangeOverlap"], ["BulkHasInvalidRows", "BulkRun"])
    assert NumberRange.objects.count() == 2
    assert RangeOverlap.code == "range_overlap"


def test_the_task_works_and_stops(leases: Leases) -> None:
    run = leases.look(leases.row("17190000"))
    leases.apply(run)
    tasks.continue_runs.apply(kwargs={"argument_of_a_later_version": 1}, throw=True)
    run.refresh_from_db()
    assert run.status == BulkStatus.COMPLETED
