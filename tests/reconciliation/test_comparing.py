"""Which differences are listed, which are left alone, and what becomes of them from run to run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from apps.carriers.base import CarrierLine, LineState
from apps.core.db import database_now
from apps.lines.models import Line, NumberAssignment
from apps.lines.states import SuspensionKind
from apps.numbering.numbers import to_e164
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.errors import ReconciliationRuns
from apps.provisioning.models import Discrepancy, ReconciliationRun
from apps.provisioning.services.reconciliation import view
from apps.provisioning.services.reconciliation.runs import _compare, start_reconciliation
from tests.factories.provisioning import SYSTEM, Seller, given_plan, given_seller
from tests.reconciliation.conftest import View, as_the_carrier_has, at_rest, found
from tests.refusals import refused

pytestmark = pytest.mark.django_db


def number_of(line: Line) -> int:
    return NumberAssignment.objects.filter(line=line).latest("id").number_id


def test_the_same_view_has_no_differences(seller: Seller) -> None:
    seller.active_line()
    seller.suspended_line()
    seller.suspended_line(kind=SuspensionKind.ONE_WAY)
    gone = seller.active_line()
    seller.done(seller.ask("terminate", gone))
    at_rest(seller)
    run = View.of(seller).reconcile()
    assert (run.status, run.found, run.set_aside, run.lines_fetched) == ("COMPLETED", 0, 0, 3)
    assert found(run) == []
    assert view.count_lines(run_id=run.pk) == 0, "the pages are forgotten"


def test_what_the_carrier_has_closed_and_we_have_too(seller: Seller) -> None:
    line = seller.active_line()
    row = as_the_carrier_has(line)
    seller.done(seller.ask("terminate", line))
    at_rest(seller)
    closed = CarrierLine(row.number, row.iccid, LineState.TERMINATED, row.plan_code)
    assert found(View.of(seller).add(closed).reconcile()) == []


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("SUSPENSION", {"state": LineState.SUSPENDED_TWO_WAY}),
        ("SUSPENSION", {"state": LineState.SUSPENDED_ONE_WAY}),
        ("SIM", {"iccid": "89860119999999999999"}),
        ("PLAN", {"plan_code": "OTHER"}),
        ("ENDED_THERE", {"state": LineState.TERMINATED}),
        ("NUMBER", {"number": "+8617099999999"}),
    ],
)
def test_a_line_that_differs(seller: Seller, kind: str, changes: dict[str, object]) -> None:
    line, _ = seller.active_line(), seller.active_line()
    at_rest(seller)
    run = View.of(seller).change(line, **changes).reconcile()
    assert found(run) == [(kind, number_of(line))]
    listed = Discrepancy.objects.get()
    assert (listed.line, listed.status, listed.operator) == (line, "OPEN", seller.operator)
    assert listed.ours == {
        "status": "ACTIVE",
        "suspension": None,
        "number": number_of(line),
        "iccid": as_the_carrier_has(line).iccid,
        "plan": "PLAN-19",
    }
    theirs = as_the_carrier_has(line)
    assert listed.theirs == {
        "state": str(changes.get("state", "ACTIVE")),
        "number": int(str(changes.get("number", theirs.number))[3:]),
        "iccid": changes.get("iccid", theirs.iccid),
        "plan": changes.get("plan_code", theirs.plan_code),
    }
    assert listed.uid.startswith("dsc_")


def test_a_stopped_line_that_runs_there(seller: Seller) -> None:
    line = seller.suspended_line()
    at_rest(seller)
    run = View.of(seller).change(line, state=LineState.ACTIVE).reconcile()
    assert found(run) == [("SUSPENSION", number_of(line))]


def test_everything_at_once_is_a_discrepancy_each(seller: Seller) -> None:
    line = seller.active_line()
    at_rest(seller)
    changes = {"state": LineState.SUSPENDED_ONE_WAY, "iccid": "89860119999999999999", "plan_code": "OTHER"}
    run = View.of(seller).change(line, **changes).reconcile()
    assert [kind for kind, _ in found(run)] == ["PLAN", "SIM", "SUSPENSION"]
    assert run.found == 3


def test_a_card_s_check_digit_is_no_difference(seller: Seller) -> None:
    line = seller.active_line()
    at_rest(seller)
    assert found(View.of(seller).change(line, iccid=as_the_carrier_has(line).iccid[:19]).reconcile()) == []


def test_unknown_to_them(seller: Seller) -> None:
    line, _ = seller.active_line(), seller.active_line()
    at_rest(seller)
    run = View.of(seller, line).reconcile()
    assert found(run) == [("MISSING_THERE", number_of(line))]
    assert Discrepancy.objects.get().theirs == {}


def test_live_there_and_ended_here(seller: Seller) -> None:
    line = seller.active_line()
    row = as_the_carrier_has(line)
    seller.done(seller.ask("terminate", line))
    at_rest(seller)
    run = View.of(seller).add(row).reconcile()
    assert found(run) == [("LIVE_THERE", number_of(line))]
    listed = Discrepancy.objects.get()
    assert (listed.line, listed.ours["status"], listed.ours["number"]) == (line, "TERMINATED", None)


def test_unknown_to_us(seller: Seller, other_operator: VirtualOperator) -> None:
    """A number of somebody else's line is unknown to this operator, and nobody tells whose it is."""
    other = given_seller(operator=other_operator, now=seller.now, settle_seconds=0.0)
    foreign = other.active_line()
    seller.active_line()
    at_rest(seller)
    at_rest(other)
    stranger = CarrierLine("+8617098888888", "89860119999999999998", LineState.ACTIVE, "X")
    run = View.of(seller).add(stranger).add(as_the_carrier_has(foreign)).reconcile()
    assert {kind for kind, _ in found(run)} == {"UNKNOWN_HERE"}
    assert [each.line for each in Discrepancy.objects.all()] == [None, None]
    assert found(View.of(other).reconcile()) == []


def test_only_lines_of_this_carrier_count(seller: Seller) -> None:
    telecom = given_seller(operator=seller.operator, now=seller.now, carrier="telecom", settle_seconds=0.0)
    plan = given_plan(operator=seller.operator, carrier=telecom.carrier, now=seller.now, code="TELECOM")
    replace(telecom, plan=plan).active_line()
    at_rest(seller)
    assert found(View.of(seller).reconcile()) == []


# --- no false alarms ------------------------------------------------------------------------------------------------
def test_a_line_with_an_open_order_is_set_aside(seller: Seller) -> None:
    line = seller.active_line()
    at_rest(seller)
    seen = View.of(seller).change(line, state=LineState.SUSPENDED_TWO_WAY)
    seller.ask("suspend", line)
    run = seen.reconcile()
    assert (found(run), run.set_aside) == ([], 1)


@pytest.mark.parametrize("type", ["suspend", "change_sim", "change_number", "change_plan", "terminate"])
@pytest.mark.parametrize("page", ["before", "after"])
def test_a_line_that_changed_after_its_page_is_set_aside(seller: Seller, type: str, page: str) -> None:
    """The carrier did it after it was asked: what it said is the line as it was."""
    line = seller.active_line()
    at_rest(seller)
    seen = View.of(seller)
    asked_at = database_now()
    seller.done(seller.ask(type, line))
    if page == "after":
        # At rest before the page was asked for, the same rows are a difference.
        at_rest(seller)
    run = seen.reconcile(asked_at=asked_at)
    assert run.set_aside == (1 if page == "before" else 0)
    assert len(found(run)) == (0 if page == "before" else 1)


def test_a_line_opened_after_its_page_is_set_aside(seller: Seller) -> None:
    seen, asked_at = View.of(seller), database_now()
    seller.active_line()
    run = seen.reconcile(asked_at=asked_at)
    assert (found(run), run.set_aside) == ([], 1)


def test_a_line_being_opened_is_no_difference_whether_there_or_not(seller: Seller) -> None:
    seller.order()
    opening = seller.order().line
    number = to_e164(number_of(opening))
    iccid = opening.sim_assignments.get().sim.iccid
    run = View.of(seller).add(CarrierLine(number, iccid, LineState.ACTIVE, "PLAN-19")).reconcile()
    assert (found(run), run.set_aside) == ([], 0)


def test_a_number_that_is_being_changed_may_stand_on_two_pages(seller: Seller) -> None:
    """The old number was on a page before the change, the new one is on a page after it; we have not heard yet."""
    line = seller.active_line()
    at_rest(seller)
    row = as_the_carrier_has(line)
    order = seller.ask("change_number", line)
    new = CarrierLine(to_e164(order.new_number_id), row.iccid, row.state, row.plan_code)
    run = View.of(seller).add(new).reconcile()
    assert (found(run), run.set_aside) == ([], 1)


def test_a_line_listed_twice_counts_as_it_was_last(seller: Seller) -> None:
    line = seller.active_line()
    at_rest(seller)
    row = as_the_carrier_has(line)
    seen = View.of(seller).change(line, plan_code="OLDER")
    run = seen.fetch(asked_at=database_now() - timedelta(minutes=5))
    view.add_page(actor=SYSTEM, run_id=run.pk, lines=[row], asked_at=database_now())
    ReconciliationRun.objects.filter(pk=run.pk).update(lines_fetched=2)
    assert found(_compare(actor=SYSTEM, run_id=run.pk, token=run.token, now=seller.now)) == []


def test_pages_that_a_crash_emptied_are_fetched_again(seller: Seller) -> None:
    """An unlogged table is empty after a crash: compared with nothing, every line would be an alarm."""
    seller.active_line()
    at_rest(seller)
    run = View.of(seller).fetch()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM provisioning_carrierview")
    again = _compare(actor=SYSTEM, run_id=run.pk, token=run.token, now=seller.now)
    assert (again.status, again.cursor, again.pages, again.lines_fetched) == ("FETCHING", "", 0, 0)
    assert Discrepancy.objects.count() == 0


# --- from run to run ------------------------------------------------------------------------------------------------
def test_found_again_it_stands_once(seller: Seller) -> None:
    line = seller.active_line()
    at_rest(seller)
    View.of(seller).change(line, plan_code="OTHER").reconcile()
    first = Discrepancy.objects.get()
    run = View.of(seller).change(line, plan_code="YET ANOTHER").reconcile()
    listed = Discrepancy.objects.get()
    assert (listed.pk, listed.run, listed.theirs["plan"]) == (first.pk, run, "YET ANOTHER")
    assert listed.first_seen_at == first.first_seen_at < listed.seen_at


def test_not_found_again_it_is_gone_unless_its_line_moves(seller: Seller) -> None:
    still, other = seller.active_line(), seller.active_line()
    at_rest(seller)
    View.of(seller).change(still, plan_code="A").change(other, plan_code="B").reconcile()
    seller.ask("suspend", still)
    View.of(seller).change(still, plan_code="A").reconcile()
    assert dict(Discrepancy.objects.values_list("line_id", "status")) == {still.pk: "OPEN", other.pk: "GONE"}


def test_ignored_it_stays_so_until_it_changes(seller: Seller) -> None:
    line = seller.active_line()
    at_rest(seller)
    View.of(seller).change(line, plan_code="A").reconcile()
    services.ignore_discrepancy(
        actor=SYSTEM, discrepancy=Discrepancy.objects.get().uid, reason="a ticket", now=seller.now
    )
    View.of(seller).change(line, plan_code="A").reconcile()
    assert Discrepancy.objects.get().status == "IGNORED"
    View.of(seller).change(line, plan_code="B").reconcile()
    assert Discrepancy.objects.get().status == "OPEN"


def test_one_open_run_per_connection(seller: Seller) -> None:
    start_reconciliation(actor=SYSTEM, connection=seller.connection.uid, now=seller.now)
    with refused(ReconciliationRuns):
        start_reconciliation(actor=SYSTEM, connection=seller.connection.uid, now=seller.now)
    assert services.start_reconciliations(actor=SYSTEM, now=seller.now) == 0
    with pytest.raises(IntegrityError, match="one_open_reconciliation"), transaction.atomic():
        ReconciliationRun.objects.create(
            operator=seller.operator, connection=seller.connection, asked_by="x", created_at=seller.now
        )
