"""The counts that triggers keep are the truth, whatever is done to numbers; and what is made of them."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import DomainError
from apps.numbering import selectors, tasks
from apps.numbering import services as numbering
from apps.numbering.models import NumberRange, PhoneNumber, RangeStock, StockChange, StockDay
from apps.numbering.selectors import Counts
from apps.numbering.states import NumberGrade, NumberStatus
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator
from tests.factories.accounts import ApiClient
from tests.factories.numbering import SYSTEM, given_quarantined, given_range, given_reservation
from tests.races.threads import at_once

PATH = "/api/v1/ranges"


def truth() -> dict[tuple[int, int], Counter[str]]:
    """Numbers per range, grade and state, counted one by one."""
    counted: dict[tuple[int, int], Counter[str]] = {}
    for range_id, grade, status in PhoneNumber.objects.values_list("range_id", "grade", "status"):
        counted.setdefault((range_id, grade), Counter())[NumberStatus(status).name.lower()] += 1
    return counted


def said(now: datetime) -> dict[tuple[int, int], Counter[str]]:
    keys = list(NumberRange.objects.values_list("pk", flat=True))
    return {
        (key, grade.value): Counter({name: count for name, count in counts.as_dict().items() if count})
        for key, stock in selectors.get_stock(range_ids=keys, now=now).items()
        for grade, counts in stock.grades.items()
    }


# --- Equal to the truth ---------------------------------------------------------------------------------------------
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "take",
                "reserve",
                "release",
                "quarantine",
                "unused",
                "withhold",
                "end",
                "expire",
                "fold",
                "raw",
                "move",
            ]
        ),
        st.integers(0, 20),
    ),
    min_size=3,
    max_size=25,
)


@pytest.mark.django_db
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_counts_are_the_truth_after_anything(
    operator: VirtualOperator, now: datetime, operations: list[tuple[str, int]]
) -> None:
    # As Django's own test cases do, so that a use case may be the outermost transaction; over with each example.
    around = transaction.atomic()
    around._from_testcase = True  # type: ignore[attr-defined]
    with around:
        lower = given_range(operator=operator, now=now)
        upper = given_range(operator=operator, now=now)
        assert said(now) == truth()
        for what, which in operations:
            use_case = what in ("end", "expire")
            try:
                with nullcontext() if use_case else transaction.atomic():
                    do(what, lower.first + which, lower, upper, now)
            except DomainError:
                continue
        assert said(now) == truth()
        assert selectors.list_stock_differences(operator_id=None) == []
        numbering.fold_stock()
        assert not StockChange.objects.exists()
        assert said(now) == truth()
        transaction.set_rollback(True)


def do(what: str, number: int, lower: NumberRange, upper: NumberRange, now: datetime) -> None:
    own = {"actor": SYSTEM, "now": now}
    taking = {**own, "operator_id": lower.operator_id, "host_carrier_id": lower.host_carrier_id}
    match what:
        case "take":
            numbering.take_number(**taking, number=number)
        case "reserve":
            numbering.reserve(**own, operator_id=lower.operator_id, quantity=1 + number % 5, ttl_seconds=60)
        case "release":
            row = PhoneNumber.objects.filter(reservation__isnull=False).first()
            if row is not None:
                numbering.release_reservation(**own, reservation_uid=row.reservation.uid)
        case "quarantine":
            numbering.quarantine_number(**own, number=number)
        case "unused":
            numbering.return_unused_number(**own, number=number)
        case "withhold":
            numbering.withhold_number(**own, number=number, reason="x")
        case "end":
            numbering.end_quarantines(actor=SYSTEM, now=now + timedelta(days=90), limit=3)
        case "expire":
            numbering.expire_reservations(actor=SYSTEM, now=now + timedelta(seconds=60), limit=3)
        case "fold":
            numbering.fold_stock()
        case "raw":
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE numbering_phonenumber SET grade = (grade + 1) %% 6 WHERE number BETWEEN %s AND %s",
                    [number, number + 30],
                )
                cursor.execute(
                    "DELETE FROM numbering_phonenumber WHERE number = %s", [upper.first + number % 7]
                )
        case "move":
            move(lower, upper)


def move(lower: NumberRange, upper: NumberRange) -> None:
    """As a split does: the numbers stay, their range becomes another one."""
    part = NumberRange.objects.get(pk=lower.pk)
    if part.size < 500:
        return
    middle = part.first + part.size // 2
    part.pk = part.uid = None  # type: ignore[assignment]
    fields = {
        f.attname: getattr(part, f.attname) for f in NumberRange._meta.concrete_fields if not f.generated
    }
    del fields["id"], fields["uid"]
    other = NumberRange.objects.create(
        **{**fields, "status": "RETURNED", "returned_at": fields["created_at"]}
    )
    PhoneNumber.objects.filter(number__range=(middle, part.last), range_id=lower.pk).update(range_id=other.pk)


@pytest.mark.django_db(transaction=True)
def test_counts_are_the_truth_after_a_crowd(operator: VirtualOperator, now: datetime) -> None:
    """Claims, folds and expiry at once."""
    leased = [given_range(operator=operator, now=now) for _ in range(2)]
    for _ in range(20):
        given_reservation(operator=operator, now=now, ttl_seconds=60)

    def claim() -> int:
        for _ in range(100):
            numbering.take_number(
                actor=SYSTEM, operator_id=operator.pk, host_carrier_id=leased[0].host_carrier_id, now=now
            )
        return 0

    def fold() -> int:
        return sum(numbering.fold_stock() for _ in range(30))

    expire = partial(numbering.expire_reservations, actor=SYSTEM, now=now + timedelta(seconds=60), limit=20)
    assert [
        each for each in at_once(claim, claim, claim, fold, fold, expire) if isinstance(each, Exception)
    ] == []
    assert said(now) == truth()
    assert sum(stock.all.in_use for stock in stocks(now)) == 300
    numbering.fold_stock()
    assert not StockChange.objects.exists()
    assert said(now) == truth()


def stocks(now: datetime) -> list[selectors.Stock]:
    keys = list(NumberRange.objects.values_list("pk", flat=True))
    return list(selectors.get_stock(range_ids=keys, now=now).values())


@pytest.mark.django_db
def test_a_broken_count_is_found_and_repaired(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime, capsys: Any
) -> None:
    """What happens while a trigger is off, or somebody edits the counts, is not lost for ever."""
    leased = given_range(operator=operator, now=now)
    foreign = given_range(operator=other_operator, now=now)
    call_command("repair_stock", "--check")
    assert "All counts are right" in capsys.readouterr().out
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE numbering_phonenumber DISABLE TRIGGER phone_number_counted_changed")
        PhoneNumber.objects.filter(number__lt=leased.first + 3, range_id=leased.pk).update(
            status=NumberStatus.IN_USE
        )
        cursor.execute("ALTER TABLE numbering_phonenumber ENABLE TRIGGER phone_number_counted_changed")
    RangeStock.objects.filter(range=foreign).update(quarantined=5)
    assert said(now) != truth()
    with pytest.raises(CommandError, match="2 counts are wrong") as stopped:
        call_command("repair_stock", "--check")
    assert stopped.value.returncode == 1
    out = capsys.readouterr().out
    assert f"range {leased.pk}, ordinary: available -3, in_use +3" in out
    assert f"range {foreign.pk}, ordinary: quarantined -5" in out
    assert said(now) != truth(), "--check changes nothing"
    call_command("repair_stock", "--operator", operator.code)
    assert "1 counts corrected" in capsys.readouterr().out
    with pytest.raises(CommandError, match="1 counts are wrong"):
        call_command("repair_stock", "--check")
    call_command("repair_stock")
    assert said(now) == truth()
    numbering.fold_stock()
    assert said(now) == truth()
    assert AuditEvent.objects.filter(action="stock.repair").count() == 2
    with pytest.raises(CommandError, match="no operator 'nobody'"):
        call_command("repair_stock", "--operator", "nobody")


# --- Forecasts ------------------------------------------------------------------------------------------------------
def note(leased: NumberRange, day: date, available: int, grade: int = 0) -> None:
    StockDay.objects.create(
        range=leased,
        operator_id=leased.operator_id,
        grade=grade,
        counted_on=day,
        available=available,
        in_use=0,
    )


@pytest.mark.parametrize(
    ("noted", "left"),
    [
        ({}, None),
        ({1: 1200}, None),
        ({10: 1050, 5: 1040, 1: 1005}, 200),
        ({27: 1540, 1: 1020}, 50),
        # Days longer ago do not count.
        ({60: 9000, 10: 1090, 1: 1000}, 100),
        ({10: 1000, 1: 1000}, None),
        ({10: 900, 1: 1000}, None),
        ({10: 1001, 1: 1000}, 9000),
        ({27: 1001, 1: 1000}, None),
    ],
)
def test_when_a_range_runs_out(
    operator: VirtualOperator, now: datetime, noted: dict[int, int], left: int | None
) -> None:
    leased, today = given_range(operator=operator, now=now), china_date(now)
    for ago, available in noted.items():
        note(leased, today - timedelta(days=ago), available)
    (stock,) = stocks(now)
    assert stock.exhausted_on == (None if left is None else today + timedelta(days=left))


def test_the_day_is_noted_and_old_days_are_forgotten(operator: VirtualOperator, now: datetime) -> None:
    leased = given_range(operator=operator, now=now)
    today = china_date(now)
    note(leased, today - timedelta(days=57), 7)
    note(leased, today - timedelta(days=56), 8)
    given_quarantined(leased=leased, now=now)
    numbering.note_stock_day(now=now)
    given_reservation(operator=operator, now=now, quantity=4)
    tasks.note_stock_day.apply(kwargs={"later": 1}, throw=True)
    tasks.fold_stock.apply(kwargs={"later": 1}, throw=True)
    assert not StockChange.objects.exists()
    days = StockDay.objects.order_by("counted_on").values_list("counted_on", "available", "in_use")
    assert list(days) == [(today - timedelta(days=56), 8, 0), (today, 995, 0)]


def test_totals_per_carrier_and_grade(
    operator: VirtualOperator, other_operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    today = china_date(now)
    first, second = given_range(operator=operator, now=now), given_range(operator=operator, now=now)
    mobile = given_range(operator=operator, now=now, carrier="mobile")
    given_range(operator=other_operator, now=now)
    PhoneNumber.objects.filter(number__lt=first.first + 100, range_id=first.pk).update(grade=3)
    PhoneNumber.objects.filter(number__gte=second.first + 400, range_id=second.pk).update(status=2)
    for leased in (first, second):
        note(leased, today - timedelta(days=11), 1000)
        note(leased, today - timedelta(days=1), 950)
    numbers = {
        (total.carrier, total.grade): (total.counts, total.exhausted_on)
        for total in selectors.list_stock_totals(actor=operator_admin, now=now)
    }
    ordinary = Counts(available=1300, in_use=600)
    assert numbers == {
        ("unicom", None): (Counts(available=1400, in_use=600), today + timedelta(days=140)),
        ("unicom", NumberGrade.ORDINARY): (ordinary, today + timedelta(days=130)),
        ("unicom", NumberGrade.GOLD): (Counts(available=100), None),
        ("mobile", None): (Counts(available=1000), None),
        ("mobile", NumberGrade.ORDINARY): (Counts(available=1000), None),
    }
    assert selectors.list_range_ids_by_fill(actor=operator_admin, limit=2) == [second.pk, first.pk]
    NumberRange.objects.filter(pk__in=[second.pk, mobile.pk]).update(minimum_use=60)
    assert selectors.list_range_ids_below_minimum(actor=operator_admin, limit=5) == [mobile.pk]
    NumberRange.objects.filter(pk=second.pk).update(minimum_use=61)
    assert selectors.list_range_ids_below_minimum(actor=operator_admin, limit=5) == [mobile.pk, second.pk]


def test_a_range_that_is_new_or_split_says_nothing_about_the_others(
    operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    """Summed day by day, ten thousand numbers leased yesterday would hide that the others are nearly gone."""
    today = china_date(now)
    leased, new = given_range(operator=operator, now=now), given_range(operator=operator, now=now)
    note(leased, today - timedelta(days=11), 1100)
    note(leased, today - timedelta(days=1), 1000)
    note(new, today - timedelta(days=1), 1000)
    everything, ordinary = selectors.list_stock_totals(actor=operator_admin, now=now)
    assert everything.exhausted_on == ordinary.exhausted_on == today + timedelta(days=200)


# --- GET /ranges ----------------------------------------------------------------------------------------------------
@pytest.fixture
def used(operator: VirtualOperator, now: datetime) -> NumberRange:
    """One of each state, two grades."""
    leased = given_range(operator=operator, now=now, prefix="17188000")
    given_quarantined(leased=leased, now=now)
    given_reservation(operator=operator, now=now, number=leased.first + 1)
    PhoneNumber.objects.filter(number=leased.first + 2).update(status=NumberStatus.IN_USE)
    PhoneNumber.objects.filter(number=leased.first + 3).update(status=NumberStatus.WITHHELD, withheld_by=2)
    PhoneNumber.objects.filter(number__gte=leased.first + 990, range_id=leased.pk).update(grade=5)
    return leased


def test_items_are_as_in_the_contract(api: ApiClient, used: NumberRange, now: datetime) -> None:
    today = china_date(now)
    note(used, today - timedelta(days=11), 2986)
    note(used, today - timedelta(days=1), 996)
    expected = {
        "id": used.uid,
        "prefix": "17188000",
        "digits": 11,
        "carrier": "unicom",
        "home_province": "广东",
        "home_city": "深圳",
        "status": "ACTIVE",
        "leased_from": used.leased_from.isoformat(),
        "leased_until": used.leased_until.isoformat(),
        "numbers": {
            "total": 1000,
            "available": 996,
            "reserved": 1,
            "in_use": 1,
            "quarantined": 1,
            "withheld": 1,
        },
        "grades": [
            {
                "grade": "ordinary",
                "total": 990,
                "available": 986,
                "reserved": 1,
                "in_use": 1,
                "quarantined": 1,
                "withheld": 1,
            },
            {
                "grade": "diamond",
                "total": 10,
                "available": 10,
                "reserved": 0,
                "in_use": 0,
                "quarantined": 0,
                "withheld": 0,
            },
        ],
        "fill_rate": 0.001,
        "exhausted_on": (today + timedelta(days=5)).isoformat(),
    }
    assert api.get(PATH).json() == {"items": [expected], "next": None}
    single = api.get(f"{PATH}/{used.uid}")
    assert single.json() == expected
    assert single["ETag"]


def test_a_range_without_numbers(api: ApiClient, used: NumberRange, now: datetime) -> None:
    PhoneNumber.objects.filter(range_id=used.pk).delete()
    item = api.get(f"{PATH}/{used.uid}").json()
    assert (item["numbers"]["total"], item["grades"], item["fill_rate"], item["exhausted_on"]) == (
        0,
        [],
        0.0,
        None,
    )


def test_pages_and_filters(api: ApiClient, operator: VirtualOperator, now: datetime) -> None:
    made = [given_range(operator=operator, now=now) for _ in range(3)]
    mobile = given_range(operator=operator, now=now, carrier="mobile")
    NumberRange.objects.filter(pk=made[0].pk).update(status="RETURNING", returning_at=now)

    def ids(query: str) -> list[str]:
        return [item["id"] for item in api.get(f"{PATH}?{query}").json()["items"]]

    newest = [mobile.uid, made[2].uid, made[1].uid, made[0].uid]
    first = api.get(f"{PATH}?limit=3&count=exact").json()
    assert ([item["id"] for item in first["items"]], first["count"]) == (newest[:3], 4)
    assert ids(f"limit=3&after={first['next']}") == newest[3:]
    assert ids("carrier=mobile") == [mobile.uid]
    assert ids("status=RETURNING") == [made[0].uid]
    for query, code in (
        ("status=active", "validation_error"),
        ("carrier=X", "validation_error"),
        ("x=1", "unknown_parameter"),
    ):
        refused = api.get(f"{PATH}?{query}")
        assert (refused.status_code, refused.json()["code"]) == (400, code)


def test_another_operator_s_ranges_do_not_exist(
    api: ApiClient, other_api: ApiClient, used: NumberRange
) -> None:
    assert other_api.get(PATH).json()["items"] == []
    assert other_api.get(f"{PATH}/{used.uid}").status_code == 404
    assert api.get(f"{PATH}/{used.uid}").status_code == 200


def test_a_page_costs_the_same_few_queries_whatever_its_size(
    api: ApiClient, operator: VirtualOperator, now: datetime, django_assert_num_queries: Any
) -> None:
    for _ in range(3):
        given_range(operator=operator, now=now)
    for limit in (1, 3):
        with django_assert_num_queries(4):  # the token, the ranges, their stock, their days
            api.get(f"{PATH}?limit={limit}")
