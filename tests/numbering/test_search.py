"""The search for numbers: finds what a plain look at every number finds, page by page, and reads no whole table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core.errors import NotFound
from apps.numbering import selectors
from apps.numbering import services as numbering
from apps.numbering.models import NumberRange, PhoneNumber
from apps.numbering.selectors import NumberFilter, selling
from apps.numbering.selectors.digits import Digits
from apps.numbering.services.stock import fold_stock
from apps.numbering.states import NumberGrade, NumberStatus
from apps.operators.models import VirtualOperator
from tests.factories.accounts import ApiClient
from tests.factories.numbering import SYSTEM, given_partner
from tests.numbering.pieces import given_piece, rows_read

PATH = "/api/v1/numbers"


def scatter(seed: int, *, free: int) -> None:
    """Gives every number a state and a grade by chance; `free` percent of them can be sold."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE numbering_phonenumber AS p
            SET status = d.status, grade = d.grade,
                quarantined_until = CASE d.status WHEN 3 THEN now() END,
                withheld_by = CASE d.status WHEN 4 THEN 4 END
            FROM (
                SELECT number, abs(hashtextextended('g' || number, %(seed)s)) %% 6 AS grade,
                    CASE WHEN abs(hashtextextended('f' || number, %(seed)s)) %% 100 < %(free)s THEN 0
                        ELSE (ARRAY[2, 3, 4, 5])[abs(hashtextextended('s' || number, %(seed)s)) %% 4 + 1] END AS status
                FROM numbering_phonenumber
            ) AS d
            WHERE p.number = d.number
            """,
            {"seed": seed, "free": free},
        )


@dataclass(frozen=True)
class World:
    operator: VirtualOperator
    now: datetime
    sellable: dict[int, NumberRange]

    def naive(self, wanted: NumberFilter) -> list[tuple[int, int, str, str]]:
        """What a look at each single number finds."""
        found = []
        for number, grade, range_id in (
            PhoneNumber.objects.filter(status=NumberStatus.AVAILABLE, range_id__in=self.sellable)
            .order_by("number")
            .values_list("number", "grade", "range_id")
        ):
            leased, text = self.sellable[range_id], str(number)
            if (
                (wanted.carrier is None or leased.host_carrier.code == wanted.carrier)
                and (wanted.city is None or leased.home_city == wanted.city)
                and (wanted.grade is None or grade == wanted.grade)
                and text.startswith(wanted.prefix or "")
                and text.endswith(wanted.suffix or "")
                and (wanted.contains or "") in text
                and (wanted.exclude_digit is None or wanted.exclude_digit not in text)
            ):
                found.append((number, grade, leased.host_carrier.code, leased.home_city))
        return found

    def search(self, wanted: NumberFilter) -> selling.SellableNumbers:
        return selectors.list_sellable_numbers(
            actor=SYSTEM, operator_id=self.operator.pk, wanted=wanted, now=self.now
        )

    def pages(self, wanted: NumberFilter, limits: Iterator[int]) -> list[tuple[int, int, str, str]]:
        """All pages, as the API asks for them."""
        listed: list[tuple[int, int, str, str]] = []
        after = 0
        for limit in limits:
            page = self.search(wanted).filter(number__gt=after)[: limit + 1]
            rows = page[:limit]
            listed += [tuple(row.values()) for row in rows]
            position = rows[-1]["number"] if len(page) > limit else page.reached
            if position is None:
                return listed
            assert position > after, "a page that does not get on"
            after = position
        raise AssertionError("there is always another limit")


@pytest.fixture
def world(operator: VirtualOperator, other_operator: VirtualOperator, now: datetime) -> World:
    """Ranges of all kinds: whole thousand blocks, pieces, machines'; some not for sale, one of somebody else."""
    hangzhou = {"home_province": "浙江", "home_city": "杭州"}
    sellable = [
        given_piece(operator, now, 17188000000, 300),
        given_piece(operator, now, 17188000888, 200),
        given_piece(operator, now, 17188018100, 250, **hangzhou),
        given_piece(operator, now, 17100170000, 150),
        given_piece(operator, now, 16588889990, 10, carrier="mobile"),
        given_piece(operator, now, 16500001000, 300, carrier="mobile", **hangzhou),
        given_piece(operator, now, 1718800001000, 200),
        given_piece(operator, now, 1718881888800, 150, **hangzhou),
    ]
    given_piece(operator, now, 17188200000, 100, status="PLANNED", activated_at=None)
    given_piece(operator, now, 17188210000, 100, status="RETURNING", returning_at=now)
    given_piece(other_operator, now, 17188018350, 200, **hangzhou)
    return World(operator, now, {leased.pk: leased for leased in sellable})


@st.composite
def filters(draw: st.DrawFn) -> NumberFilter:
    """Digits of a real number, mostly, so that something is found; now and then digits of no number."""
    number = draw(
        st.sampled_from(
            ["17188000123", "17188000888", "17188018188", "17100170017", "16588889999", "1718881888888"]
        )
    )
    start, stop = sorted(draw(st.tuples(st.integers(0, len(number)), st.integers(0, len(number)))))
    chosen = {
        "prefix": number[: draw(st.integers(1, len(number)))],
        "suffix": number[draw(st.integers(0, len(number) - 1)) :],
        "contains": number[start:stop] or "8",
        "exclude_digit": draw(st.sampled_from("0123456789")),
        "grade": draw(st.sampled_from(list(NumberGrade))),
        "city": draw(st.sampled_from(["深圳", "杭州", "北京"])),
        "carrier": draw(st.sampled_from(["unicom", "mobile"])),
    }
    if draw(st.booleans()):
        name = draw(st.sampled_from(["prefix", "suffix", "contains"]))
        chosen[name] = draw(st.text("0189", min_size=1, max_size=5))
    names = draw(st.sets(st.sampled_from(sorted(chosen)), max_size=4))
    return NumberFilter(**{name: chosen[name] for name in names})


@pytest.mark.django_db
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=filters(),
    seed=st.integers(0, 2**31),
    free=st.sampled_from([0, 3, 40, 100]),
    folded=st.booleans(),
    limits=st.lists(st.sampled_from([1, 3, 50, 200]), min_size=1, max_size=3),
    work=st.sampled_from([1, 400, 100_000]),
    ranges=st.sampled_from([1, 2, 2_048]),
    first=st.sampled_from([1, 2, 16]),
)
def test_search_finds_what_a_look_at_each_number_finds(
    world: World,
    wanted: NumberFilter,
    seed: int,
    free: int,
    folded: bool,
    limits: list[int],
    work: int,
    ranges: int,
    first: int,
) -> None:
    scatter(seed, free=free)
    if folded:
        fold_stock()

    def some() -> Iterator[int]:
        while True:
            yield from limits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selling, "WORK", work)
        patch.setattr(selling, "RANGES", ranges)
        patch.setattr(selling, "FIRST_RANGES", first)
        listed = world.pages(wanted, some())
    expected = world.naive(wanted)
    assert listed == expected
    assert world.search(wanted).count() == len(expected)


@pytest.mark.parametrize(
    ("digits", "heads", "head", "tails"),
    [
        (Digits(), None, "1718800", None),
        (Digits(suffix="88"), None, "1718800", [*range(88, 10_000, 100)]),
        (Digits(suffix="0012"), None, "1718800", [12]),
        (Digits(suffix="880012"), ["%88"], "1718800", []),
        (Digits(suffix="000012"), ["%00"], "1718800", [12]),
        (Digits(contains="8800"), None, "1718800", None),
        (
            Digits(contains="00123"),
            ["%00123%", "%0", "%00", "%001", "%0012"],
            "1718800",
            [123, *range(1230, 1240)],
        ),
        (Digits(contains="7188000001"), None, "1718800", [1]),
        (Digits(without="8"), None, "1718800", []),
        (Digits(contains="9", without="9"), None, "1718800", []),
        (Digits(suffix="77", contains="777", without="0"), None, "1700777", []),
    ],
)
def test_tails(digits: Digits, heads: list[str] | None, head: str, tails: list[int] | None) -> None:
    if heads is not None:
        assert digits.heads() == heads
    found = digits.tails(head)
    assert (found if found is None else list(found)) == tails


@pytest.mark.parametrize(
    ("digits", "never"),
    [
        (Digits(without="1"), True),
        (Digits(prefix="2"), True),
        (Digits(prefix="170", without="7"), True),
        (Digits(suffix="44", without="4"), True),
        (Digits(contains="141", without="4"), True),
        (Digits(prefix="1", suffix="44", without="5"), False),
        (Digits(), False),
    ],
)
def test_contradictions_cost_nothing(
    digits: Digits, never: bool, world: World, django_assert_num_queries: Any
) -> None:
    assert digits.contradict is never
    if never:
        wanted = NumberFilter(
            prefix=digits.prefix,
            suffix=digits.suffix,
            contains=digits.contains,
            exclude_digit=digits.without,
        )
        with django_assert_num_queries(0):
            page = world.search(wanted)[:51]
            assert (list(page), page.reached, world.search(wanted).count()) == ([], None, 0)


def test_another_operator_s_numbers_are_not_there(world: World, other_operator: VirtualOperator) -> None:
    with pytest.raises(NotFound):
        selectors.list_sellable_numbers(
            actor=given_partner(operator=other_operator),
            operator_id=world.operator.pk,
            wanted=NumberFilter(),
            now=world.now,
        )


def test_what_came_back_a_moment_ago_is_found(world: World) -> None:
    """Its range is said to have nothing free until the next fold."""
    PhoneNumber.objects.update(status=NumberStatus.IN_USE)
    fold_stock()
    assert world.search(NumberFilter())[:10] == []
    numbering.return_unused_number(actor=SYSTEM, number=17188000005, now=world.now)
    assert [row["number"] for row in world.search(NumberFilter())[:10]] == [17188000005]
    assert world.search(NumberFilter()).count() == 1


# --- Through the API ------------------------------------------------------------------------------------------------
def test_a_page_may_end_early_and_the_client_goes_on(
    api: ApiClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold_stock()
    monkeypatch.setattr(selling, "WORK", 1)
    monkeypatch.setattr(selling, "RANGES", 1)
    monkeypatch.setattr(selling, "FIRST_RANGES", 1)
    numbers: list[str] = []
    sizes, query = [], "suffix=99"
    while query:
        body = api.get(f"{PATH}?{query}").json()
        sizes.append(len(body["items"]))
        numbers += [item["number"] for item in body["items"]]
        query = f"suffix=99&after={body['next']}" if body["next"] else ""
    assert numbers == [f"+86{row[0]}" for row in world.naive(NumberFilter(suffix="99"))]
    assert 0 in sizes
    assert len(sizes) > 5


def test_more_than_can_be_counted(api: ApiClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fold_stock()
    assert api.get(f"{PATH}?count=exact&suffix=9&limit=1").json()["count"] == 156
    monkeypatch.setattr(selling, "COUNT_WORK", 50)
    refused = api.get(f"{PATH}?count=exact&suffix=9&limit=1")
    assert (refused.status_code, refused.json()["code"]) == (400, "count_too_large")
    # By the counts that are kept anyway: whatever the number.
    assert api.get(f"{PATH}?count=exact&limit=1").json()["count"] == 1560
    assert api.get(f"{PATH}?count=exact&limit=1&prefix=171880008").json()["count"] == 12
    assert api.get(f"{PATH}?count=exact&limit=1&prefix=171880000").json()["count"] == 300


# --- How the database goes about it ---------------------------------------------------------------------------------
EVERY_FILTER = {
    "nothing": {},
    "prefix": {"prefix": "171880"},
    "prefix within a range": {"prefix": "171880512"},
    "suffix": {"suffix": "88"},
    "long suffix": {"suffix": "051234"},
    "contains": {"contains": "4321"},
    "contains over the edge": {"contains": "80543"},
    "grade": {"grade": NumberGrade.GOLD},
    "city": {"city": "深圳"},
    "carrier": {"carrier": "unicom"},
    "exclude": {"exclude_digit": "4"},
    "all": {
        "prefix": "1718",
        "suffix": "8",
        "contains": "55",
        "grade": NumberGrade.ORDINARY,
        "city": "深圳",
        "carrier": "unicom",
        "exclude_digit": "4",
    },
}


@pytest.mark.django_db
@pytest.mark.parametrize("analyzed", [False, True], ids=["just loaded", "analyzed"])
def test_every_filter_uses_indexes_only(operator: VirtualOperator, now: datetime, analyzed: bool) -> None:
    """200,000 numbers; plans for the values at hand, and plans for any values."""
    for block in range(20):
        given_piece(operator, now, 17188000000 + block * 10_000, 10_000, every=2)
    fold_stock()
    with connection.cursor() as cursor:
        if analyzed:
            cursor.execute("ANALYZE numbering_phonenumber, numbering_numberrange, numbering_rangestock")
    world = World(operator, now, {})
    for mode in ("force_custom_plan", "force_generic_plan"):
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
        for name, wanted in EVERY_FILTER.items():
            said = _statements(lambda wanted=wanted: _look(world, NumberFilter(**wanted)))
            before = _whole_scans()
            assert _look(world, NumberFilter(**wanted)), name
            assert _whole_scans() == before, (mode, name)
            for sql, parameters in said:
                nodes = list(_nodes(_plan(sql, parameters)))
                assert "numbering_phonenumber" not in sql or any(
                    node.get("Relation Name") == "numbering_phonenumber" for node in nodes
                )
                for node in nodes:
                    if node.get("Relation Name") == "numbering_phonenumber":
                        assert node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan"), (
                            name
                        )


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_a_nearly_full_operator_is_searched_in_bounded_steps(
    operator: VirtualOperator, now: datetime, mode: str
) -> None:
    """60 ranges of 10,000 numbers, ten of each free. Reading one through costs all its numbers, whatever is free."""
    pieces = [given_piece(operator, now, 17188000000 + n * 10_000, 10_000, every=1_000) for n in range(60)]
    fold_stock()
    world = World(operator, now, {leased.pk: leased for leased in pieces})
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
        cursor.execute("ANALYZE numbering_phonenumber, numbering_numberrange, numbering_rangestock")
    for name, wanted in {
        **EVERY_FILTER,
        "gold ends in": {"grade": NumberGrade.GOLD, "suffix": "000"},
    }.items():
        chosen = NumberFilter(**wanted)
        listed: list[tuple[Any, ...]] = []
        after: int | None = 0
        most = pages = 0
        while after is not None:
            before = rows_read()
            page = world.search(chosen).filter(number__gt=after)[:51]
            most = max(most, rows_read() - before)
            listed += [tuple(row.values()) for row in page]
            after = page[-1]["number"] if len(page) == 51 else page.reached
            pages += 1
            assert pages <= 14, name
        assert listed == world.naive(chosen), name
        assert most <= selling.WORK, name
        if chosen.grade:
            # Gold is every 4,000th.
            assert most <= 1_000, name
        before = rows_read()
        assert world.search(chosen).count() == len(listed), name
        assert rows_read() - before <= selling.COUNT_WORK, name


def test_an_ending_that_the_grade_never_has_takes_few_statements(
    operator: VirtualOperator, now: datetime
) -> None:
    """Looked for range by range, it would be a statement for each."""
    pieces = [given_piece(operator, now, 17_100_000_000 + n * 20_000, 4_001) for n in range(40)]
    fold_stock()
    world = World(operator, now, {leased.pk: leased for leased in pieces})
    said = _statements(
        lambda: world.search(NumberFilter(grade=NumberGrade.GOLD, suffix="1"))[:2],
    )
    assert len(said) <= 10
    assert len(world.search(NumberFilter(grade=NumberGrade.GOLD, suffix="0"))[:51]) == 51


def _look(world: World, wanted: NumberFilter) -> list[dict[str, Any]]:
    found = world.search(wanted)
    found.count()
    return found[:51]


def _statements(call: Any) -> list[tuple[str, Any]]:
    said = []

    def listen(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        said.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(listen):
        call()
    return said


def _plan(sql: str, parameters: Any) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        (plan,) = cursor.fetchone()
    return (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _whole_scans() -> int:
    """How often this transaction has read the table from end to end."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'numbering_phonenumber'"
        )
        return int(cursor.fetchone()[0])
