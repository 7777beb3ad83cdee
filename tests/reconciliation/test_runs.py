"""A run against the carrier at the other end of a socket: paged, killed, resumed, put off, given up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.states import Role
from apps.carriers import services as carriers
from apps.carriers.base import LinesPage, LinesRequest
from apps.carriers.errors import ConnectionNotLive
from apps.carriers.transport import blocking
from apps.core import clock
from apps.core.db import database_now
from apps.lines.models import Line
from apps.operators.models import VirtualOperator
from apps.provisioning import selectors, services
from apps.provisioning.models import Discrepancy, Gate, ReconciliationRun
from apps.provisioning.services.reconciliation import runs, view
from apps.provisioning.services.reconciliation.runs import Overtaken
from tests.factories.accounts import given_user
from tests.factories.provisioning import SYSTEM, Seller, given_seller
from tests.reconciliation.conftest import at_rest
from tests.refusals import refused
from tests.simulator import http, reset, set_knobs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def seller(operator: VirtualOperator, simulator: str) -> Iterator[Seller]:
    """Selling on the carrier that answers at once, at the simulator."""
    reset(simulator)
    yield given_seller(
        operator=operator,
        now=clock.now(),
        carrier="mobile",
        base_url=f"{simulator}/mobile",
        settle_seconds=0.0,
    )
    reset(simulator)


def line_there(seller: Seller) -> Line:
    """A line that the carrier opened for us."""
    order = seller.order()
    services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=clock.now)
    line = Line.objects.get(pk=order.line_id)
    assert line.status == "ACTIVE"
    return line


def drift(simulator: str, **asked: Any) -> None:
    reply = http.post(f"{simulator}/_sim/drift", params={"carrier": "mobile"}, json=asked)
    assert reply.status_code == 200, reply.text


def start(seller: Seller) -> ReconciliationRun:
    return services.start_reconciliation(actor=SYSTEM, connection=seller.connection.uid, now=clock.now())


def go_on(run: ReconciliationRun, *, seconds: float = 20.0) -> bool:
    return services.continue_reconciliation(actor=SYSTEM, run_id=run.pk, clock=clock.now, seconds=seconds)


def unknown_lines(seller: Seller, count: int) -> dict[str, Any]:
    return {
        "drift": "unknown",
        "count": count,
        "app_key": seller.connection.app_key,
        "number": "17030500000",
        "iccid": "89860018500000000001",
        "plan": "X",
    }


def test_from_the_first_page_to_the_repair(seller: Seller, simulator: str) -> None:
    """Lines opened there by our own orders; one is changed behind our back, found, and put right by an order."""
    line_there(seller)
    line = line_there(seller)
    number = str(line.number_assignments.get().number_id)
    at_rest(seller)
    drift(simulator, drift="stopped", numbers=[number])
    run = start(seller)
    assert (run.lines_expected, go_on(run)) == (2, False)
    run.refresh_from_db()
    assert (run.status, run.lines_fetched, run.pages, run.found) == ("COMPLETED", 2, 1, 1)
    discrepancy = Discrepancy.objects.get()
    assert (discrepancy.kind, discrepancy.line) == ("SUSPENSION", line)
    services.accept_discrepancy(actor=SYSTEM, discrepancy=discrepancy.uid, reason="ours", now=clock.now())
    services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=clock.now)
    at_rest(seller)
    again = start(seller)
    go_on(again)
    again.refresh_from_db()
    assert (again.status, again.found) == ("COMPLETED", 0)


def test_a_sim_that_differs_there_is_put_back_by_an_order(seller: Seller, simulator: str) -> None:
    line = line_there(seller)
    at_rest(seller)
    card = line.sim_assignments.get().sim.iccid
    drift(simulator, drift="number", numbers=[str(line.number_assignments.get().number_id)])
    go_on(start(seller))
    discrepancy = Discrepancy.objects.get()
    assert (discrepancy.kind, discrepancy.theirs["iccid"]) == ("NUMBER", card)
    order = services.accept_discrepancy(
        actor=SYSTEM, discrepancy=discrepancy.uid, reason="ours", now=clock.now()
    ).order
    assert order is not None
    services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=clock.now)
    order.refresh_from_db()
    assert order.status == "COMPLETED"
    at_rest(seller)
    go_on(start(seller))
    assert ReconciliationRun.objects.latest("id").found == 0


def test_killed_between_two_pages_it_goes_on_where_it_was(seller: Seller, simulator: str) -> None:
    drift(simulator, **unknown_lines(seller, 2500))
    run = start(seller)
    assert go_on(run, seconds=0.0) is True
    run.refresh_from_db()
    assert (run.pages, run.lines_fetched, bool(run.cursor), run.lease_until) == (1, 1000, True, None)
    # A worker takes it and dies: nobody else until its lease is over, then from the same page on.
    assert runs._claim(actor=SYSTEM, run_id=run.pk) is not None
    assert go_on(run) is False
    assert selectors.list_reconciliations_due(at=database_now()) == []
    ReconciliationRun.objects.filter(pk=run.pk).update(lease_until=database_now() - timedelta(seconds=1))
    assert selectors.list_reconciliations_due(at=database_now()) == [run.pk]
    assert go_on(run) is False
    run.refresh_from_db()
    assert (run.status, run.pages, run.lines_fetched, run.found) == ("COMPLETED", 3, 2500, 2500)


def test_who_slept_through_the_lease_writes_nothing(seller: Seller, simulator: str) -> None:
    drift(simulator, **unknown_lines(seller, 10))
    run = start(seller)
    sleeper = runs._claim(actor=SYSTEM, run_id=run.pk)
    assert sleeper is not None
    page = blocking(carriers.adapter_for(sleeper.connection).list_lines, LinesRequest())
    ReconciliationRun.objects.filter(pk=run.pk).update(lease_until=database_now() - timedelta(seconds=1))
    assert runs._claim(actor=SYSTEM, run_id=run.pk) is not None
    with pytest.raises(Overtaken):
        runs._keep_page(actor=SYSTEM, run=sleeper, page=page, asked_at=database_now())
    assert view.count_lines(run_id=run.pk) == 0


def test_a_carrier_that_does_not_answer_is_asked_again_later(seller: Seller, simulator: str) -> None:
    set_knobs(simulator, outage_ms=600_000)
    run = start(seller)
    assert go_on(run) is False
    run.refresh_from_db()
    assert (run.status, run.failures, run.pages) == ("FETCHING", 1, 0)
    assert run.error_code
    assert run.lease_until is None
    set_knobs(simulator, outage_ms=0)
    ReconciliationRun.objects.filter(pk=run.pk).update(next_attempt_at=database_now())
    go_on(run)
    run.refresh_from_db()
    assert (run.status, run.failures, run.error_code) == ("COMPLETED", 0, "")


def test_too_many_silences_end_it(seller: Seller, simulator: str) -> None:
    set_knobs(simulator, outage_ms=600_000)
    run = start(seller)
    ReconciliationRun.objects.filter(pk=run.pk).update(failures=runs.MOST_FAILURES)
    go_on(run)
    run.refresh_from_db()
    assert run.status == "FAILED"
    assert start(seller).pk != run.pk, "the next one may begin"


def test_bad_credentials_end_it_at_once(seller: Seller) -> None:
    carriers.reconfigure(actor=SYSTEM, connection_uid=seller.connection.uid, secret="x" * 32, now=clock.now())
    run = start(seller)
    go_on(run)
    run.refresh_from_db()
    assert (run.status, run.error_code) == ("FAILED", "carrier_misconfigured")


def test_a_connection_that_ends_ends_its_run(seller: Seller) -> None:
    run = start(seller)
    carriers.disconnect(actor=SYSTEM, connection_uid=seller.connection.uid, reason="moved", now=clock.now())
    go_on(run)
    run.refresh_from_db()
    assert (run.status, run.error_code) == ("FAILED", "carrier_not_connected")
    with refused(ConnectionNotLive):
        start(seller)


def test_cancelled_it_is_over_and_empty(seller: Seller, simulator: str) -> None:
    drift(simulator, **unknown_lines(seller, 1500))
    run = start(seller)
    go_on(run, seconds=0.0)
    services.cancel_reconciliation(actor=SYSTEM, run=run.uid, reason="wrong hour", now=clock.now())
    assert (go_on(run), view.count_lines(run_id=run.pk), Discrepancy.objects.count()) == (False, 0, 0)
    assert start(seller).status == "FETCHING"


def test_each_night_every_connection(seller: Seller) -> None:
    given_seller(operator=seller.operator, now=clock.now())
    assert services.start_reconciliations(actor=SYSTEM, now=clock.now()) == 2
    assert services.start_reconciliations(actor=SYSTEM, now=clock.now()) == 0


def test_in_the_admin(seller: Seller, simulator: str, client: Client) -> None:
    drift(simulator, **unknown_lines(seller, 2))
    client.force_login(given_user(role=Role.OPERATOR_ADMIN, operator=seller.operator, now=clock.now()))
    answer = client.post(
        reverse("admin:provisioning_reconciliationrun_add"), {"connection": seller.connection.uid}
    )
    run = ReconciliationRun.objects.get()
    page = reverse("admin:provisioning_reconciliationrun_change", args=[run.pk])
    assert answer["Location"] == page
    assert client.get(page)["Refresh"] == "3"
    go_on(run)
    shown = client.get(page).content.decode()
    assert "Keep the number from sale" in shown
    accept = f"{page.removesuffix('change/')}do/accept/"
    assert "2 × live at the carrier" in client.get(accept).content.decode()
    wrong = client.post(accept, {"kind": "UNKNOWN_HERE", "count": 3, "reason": "x"})
    assert "Their number has changed" in wrong.content.decode()
    client.post(accept, {"kind": "UNKNOWN_HERE", "count": 2, "reason": "x"})
    assert set(Discrepancy.objects.values_list("status", flat=True)) == {"ACCEPTED"}
    listing = client.get(reverse("admin:provisioning_discrepancy_changelist"), {"q": "17030500000"})
    assert listing.content.decode().count("+8617030500000") == 1
    listing = client.get(
        reverse("admin:provisioning_discrepancy_changelist"),
        {"run__uid": run.uid, "kind__exact": "UNKNOWN_HERE"},
    )
    assert listing.status_code == 200
    detail = reverse("admin:provisioning_discrepancy_change", args=[Discrepancy.objects.latest("id").pk])
    assert "At the carrier" in client.get(detail).content.decode()


class Lister:
    """Lists nothing, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.asked = 0

    async def list_lines(self, request: LinesRequest) -> LinesPage:
        self.asked += 1
        return LinesPage((), None)


@pytest.fixture
def lister(monkeypatch: pytest.MonkeyPatch) -> Lister:
    fake = Lister()
    monkeypatch.setattr(carriers, "adapter_for", lambda connection: fake)
    return fake


def make_run_due() -> None:
    ReconciliationRun.objects.update(next_attempt_at="2000-01-01T00:00:00Z")


@pytest.mark.parametrize("by", ["kill switch", "circuit"])
def test_nothing_is_asked_over_a_stopped_connection(seller: Seller, lister: Lister, by: str) -> None:
    uid = seller.connection.uid
    if by == "circuit":
        Gate.objects.create(connection=seller.connection, is_open=True)
    else:
        carriers.stop_calls(actor=SYSTEM, connection_uid=uid, reason="asked to", now=clock.now())
    run = start(seller)
    for _ in range(3):
        make_run_due()
        assert not go_on(run)
    run.refresh_from_db()
    assert (lister.asked, run.status, run.failures, run.lease_until) == (0, "FETCHING", 0, None)
    Gate.objects.update(is_open=False)
    if by == "kill switch":
        carriers.allow_calls(actor=SYSTEM, connection_uid=uid, reason="fine", now=clock.now())
    make_run_due()
    go_on(run)
    run.refresh_from_db()
    assert (lister.asked, run.status) == (1, "COMPLETED")


def test_a_run_that_cannot_be_compared_ends(
    seller: Seller, lister: Lister, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "compare", lambda **_: 1 / 0)
    monkeypatch.setattr(runs, "MOST_FAILURES", 2)
    run = start(seller)
    for failures in (1, 2):
        assert not go_on(run)
        run.refresh_from_db()
        assert (run.status, run.failures, run.error_code) == ("COMPARING", failures, "run_failed")
        make_run_due()
    assert not go_on(run)
    run.refresh_from_db()
    assert (run.status, run.error_code, run.error_detail) == ("FAILED", "run_failed", "ZeroDivisionError")


@pytest.mark.parametrize(("expected", "status"), [(19, "COMPLETED"), (20, "FAILED")])
def test_an_empty_view_is_not_believed(seller: Seller, lister: Lister, expected: int, status: str) -> None:
    run = start(seller)
    ReconciliationRun.objects.update(lines_expected=expected)
    go_on(run)
    run.refresh_from_db()
    assert (run.status, run.error_code) == (status, "view_implausible" if status == "FAILED" else "")
    assert not Discrepancy.objects.exists()
