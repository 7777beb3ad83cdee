"""The carrier's own view, page by page, and every way in which the simulator can make it differ from ours."""

from __future__ import annotations

from typing import Any

import pytest

from apps.carriers.base import (
    ActivateRequest,
    CarrierLine,
    CarrierMisconfigured,
    LinesRequest,
    LineState,
    SuspendRequest,
)
from tests.carriers.conftest import Blocking
from tests.contracts.conftest import APP_KEY, Dialect, MakeAdapter, MakeRequest, closing, settled
from tests.simulator import http, running_simulator, start_simulator, stop_simulator


def drift(simulator: str, dialect: Dialect, **asked: Any) -> list[dict[str, Any]]:
    reply = http.post(f"{simulator}/_sim/drift", params={"carrier": dialect.name}, json=asked)
    assert reply.status_code == 200, reply.text
    return list(reply.json()["before"])


def unknown_lines(dialect: Dialect, count: int, *, app_key: str = APP_KEY) -> dict[str, Any]:
    return {
        "drift": "unknown",
        "count": count,
        "app_key": app_key,
        "number": str(dialect.first_number + 5_000_000),
        "iccid": "89860118500000000001",
        "plan": "U-FREE-19",
    }


def every_line(adapter: Blocking, *, limit: int = 1000) -> tuple[list[CarrierLine], int]:
    """All of them, and in how many pages they came."""
    lines: list[CarrierLine] = []
    pages, cursor = 0, ""
    while True:
        page = adapter.list_lines(LinesRequest(cursor=cursor, limit=limit))
        lines += page.lines
        pages += 1
        if page.next is None:
            return lines, pages
        cursor = page.next


@pytest.fixture
def lines(adapter: Blocking, make_request: MakeRequest) -> list[ActivateRequest]:
    """Seven lines in service, by number."""
    made = [make_request() for _ in range(7)]
    for request in made:
        settled(adapter, request, adapter.activate(request))
    return sorted(made, key=lambda request: request.number)


def test_nobody_has_no_lines(adapter: Blocking) -> None:
    page = adapter.list_lines(LinesRequest())

    assert (page.lines, page.next) == ((), None)


@pytest.mark.parametrize(("limit", "pages"), [(1, 7), (3, 3), (6, 2), (7, 1), (1000, 1)])
def test_pages_hold_every_line_once(
    adapter: Blocking, lines: list[ActivateRequest], limit: int, pages: int
) -> None:
    found, count = every_line(adapter, limit=limit)

    assert [(line.number, line.iccid) for line in found] == [(line.number, line.iccid) for line in lines]
    assert count == pages


def test_only_ones_own_lines_are_seen(
    make_adapter: MakeAdapter, adapter: Blocking, lines: list[ActivateRequest], make_request: MakeRequest
) -> None:
    other = make_adapter(app_key="another-reseller")
    theirs = make_request()
    settled(other, theirs, other.activate(theirs))

    assert [line.number for line in every_line(other)[0]] == [theirs.number]
    assert len(every_line(adapter, limit=2)[0]) == 7


def test_a_full_page_fits_through_the_transport(adapter: Blocking, simulator: str, dialect: Dialect) -> None:
    drift(simulator, dialect, **unknown_lines(dialect, 2500))

    found, pages = every_line(adapter)

    assert (len({line.number for line in found}), pages) == (2500, 3)


@pytest.mark.parametrize("limit", [0, 1001])
def test_a_page_size_the_carrier_does_not_have(adapter: Blocking, limit: int) -> None:
    with pytest.raises(CarrierMisconfigured):
        adapter.list_lines(LinesRequest(limit=limit))


def test_a_cursor_that_the_carrier_never_gave(adapter: Blocking) -> None:
    with pytest.raises(CarrierMisconfigured):
        adapter.list_lines(LinesRequest(cursor="nonsense"))


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("missing", None),
        ("closed", {"state": LineState.TERMINATED}),
        ("stopped", {"state": LineState.SUSPENDED_TWO_WAY}),
        ("plan", {"plan_code": "DRIFTED"}),
        ("sim", {"iccid": ...}),
        ("number", {"number": ...}),
    ],
)
def test_lines_that_somebody_changed_behind_our_back(
    adapter: Blocking,
    simulator: str,
    dialect: Dialect,
    lines: list[ActivateRequest],
    kind: str,
    changed: dict[str, Any] | None,
) -> None:
    before = {line.number: line for line in every_line(adapter)[0]}

    told = drift(simulator, dialect, drift=kind, count=2)

    assert [row["number"] for row in told] == [line.number.removeprefix("+86") for line in lines[:2]]
    after = {line.number: line for line in every_line(adapter)[0]}
    touched, untouched = lines[:2], lines[2:]
    assert all(after[line.number] == before[line.number] for line in untouched)
    if changed is None or "number" in changed:
        assert all(line.number not in after for line in touched)
        assert len(after) == (5 if changed is None else 7)
    else:
        [(name, value)] = changed.items()
        for line in touched:
            now, then = (getattr(view[line.number], name) for view in (after, before))
            assert now != then
            assert value is ... or now == value


def test_lines_that_were_closed_or_suspended_and_run_again(
    adapter: Blocking, simulator: str, dialect: Dialect, lines: list[ActivateRequest]
) -> None:
    closed = closing(lines[0])
    settled(adapter, closed, adapter.terminate(closed))
    stopped = SuspendRequest(
        reference="suspend-it-once", number=lines[1].number, iccid=lines[1].iccid, kind="one_way"
    )
    settled(adapter, stopped, adapter.suspend(stopped))

    assert len(drift(simulator, dialect, drift="reopened", count=5)) == 1
    assert len(drift(simulator, dialect, drift="running", count=5)) == 1

    assert {line.state for line in every_line(adapter)[0]} == {LineState.ACTIVE}


def test_named_lines_are_changed_and_none_twice(
    adapter: Blocking, simulator: str, dialect: Dialect, lines: list[ActivateRequest]
) -> None:
    numbers = [lines[5].number.removeprefix("+86"), lines[3].number.removeprefix("+86")]

    told = drift(simulator, dialect, drift="closed", numbers=numbers)

    assert [row["number"] for row in told] == numbers
    assert drift(simulator, dialect, drift="plan", numbers=numbers) == []


def test_a_repair_is_an_order_like_any_other(
    adapter: Blocking, simulator: str, dialect: Dialect, make_request: MakeRequest
) -> None:
    drift(simulator, dialect, **unknown_lines(dialect, 1))
    [line] = every_line(adapter)[0]
    request = closing(make_request(number=line.number, iccid=line.iccid))

    settled(adapter, request, adapter.terminate(request))

    assert every_line(adapter)[0][0].state is LineState.TERMINATED


def test_the_table_is_the_same_after_a_restart(
    dialect: Dialect, make_adapter: MakeAdapter, make_request: MakeRequest, tmp_path: Any
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    process, base_url = start_simulator(ledger=ledger)
    try:
        adapter = make_adapter(base_url=base_url)
        for _ in range(3):
            request = make_request()
            settled(adapter, request, adapter.activate(request))
        drift(base_url, dialect, **unknown_lines(dialect, 3))
        drift(base_url, dialect, drift="sim", count=1)
        drift(base_url, dialect, drift="missing", count=1)
        before = every_line(adapter)
        process.kill()
        process.wait()
    finally:
        stop_simulator(process)

    with running_simulator(ledger=ledger) as base_url:
        assert every_line(make_adapter(base_url=base_url)) == before


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"drift": "loud"},
        {"drift": "closed", "count": 0},
        {"drift": "closed", "count": "2"},
        {"drift": "closed", "numbers": "17090000001"},
        {"drift": "closed", "app_key": "x"},
        {"drift": "unknown", "count": 1},
        [],
    ],
)
def test_a_drift_that_is_none_changes_nothing(simulator: str, dialect: Dialect, bad: Any) -> None:
    params = {"carrier": dialect.name}
    assert http.post(f"{simulator}/_sim/drift", params=params, json=bad).status_code == 400
    fine = {"drift": "closed"}
    assert http.post(f"{simulator}/_sim/drift", json=fine).status_code == 400
