"""Everything that can happen to a line, through the real simulator of each carrier; after every step both agree."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from apps.core import clock
from apps.lines.models import HolderSlot, Line
from apps.lines.selectors import get_fittings
from apps.lines.states import SuspensionCause, SuspensionKind
from apps.numbering.models import PhoneNumber
from apps.numbering.states import NumberStatus
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.provisioning.services import NumberWish
from apps.sims.models import SimCard
from tests.factories.provisioning import SYSTEM, Seller, given_seller, make_due
from tests.simulator import http, read_ledger, reset, running_simulator, set_knobs

pytestmark = pytest.mark.django_db

CARRIERS = ("unicom", "mobile", "telecom")


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    with running_simulator() as url:
        yield url


@pytest.fixture(params=CARRIERS)
def seller(
    request: pytest.FixtureRequest, simulator: str, operator: VirtualOperator, now: datetime
) -> Seller:
    """Nobody calls back: what was accepted is asked about."""
    reset(simulator)
    set_knobs(simulator, latency_ms=0, callback_delay_ms=0, callbacks="none")
    return given_seller(
        operator=operator, now=now, base_url=f"{simulator}/{request.param}", carrier=request.param
    )


def work(seller: Seller, order: ServiceOrder) -> ServiceOrder:
    """The order, after workers have called the carrier about it until it ended."""
    for _ in range(3):
        make_due(*order.jobs.filter(finished_at=None))
        services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=clock.now)
    found = ServiceOrder.objects.get(pk=order.pk)
    assert found.finished_at is not None, order.jobs.values("status", "error_code", "error_detail")
    return found


def at_carrier(simulator: str, seller: Seller, number: int) -> tuple[str, str, str]:
    """Status, card and plan that the carrier has for the number."""
    page = http.get(f"{simulator}/_sim/lines", params={"app_key": seller.connection.app_key}).json()
    (line,) = [row for row in page["items"] if row["number"] == str(number)]
    return line["status"], line["iccid"], line["plan"]


def test_every_operation(seller: Seller, simulator: str, now: datetime) -> None:
    order = work(seller, seller.order())
    assert order.status == "COMPLETED"
    line = Line.objects.get(pk=order.line_id)
    place = {"actor": SYSTEM, "line": line.uid, "now": now}
    first = get_fittings(line_ids=[line.pk])[line.pk]

    def agree(order: ServiceOrder, ours: str, theirs: str) -> None:
        done = work(seller, order)
        assert (done.status, done.reason) == ("COMPLETED", "")
        line.refresh_from_db()
        assert line.status == ours
        has = get_fittings(line_ids=[line.pk])[line.pk]
        assert at_carrier(simulator, seller, has.number) == (theirs, has.iccid, line.plan.code)

    suspend = services.place_suspension_order
    resume = services.place_resumption_order
    one_way = {"kind": SuspensionKind.ONE_WAY, "reason": SuspensionCause.ARREARS}
    two_way = {"kind": SuspensionKind.TWO_WAY, "reason": SuspensionCause.LOST}
    agree(suspend(**place, **one_way), "SUSPENDED", "STOPPED_OUTGOING")
    agree(suspend(**place, **two_way), "SUSPENDED", "STOPPED")
    agree(resume(**place, reason=SuspensionCause.LOST), "SUSPENDED", "STOPPED_OUTGOING")
    agree(resume(**place, reason=SuspensionCause.ARREARS), "ACTIVE", "IN_SERVICE")

    check = line.subscriber.verifications.get().uid
    agree(
        services.place_sim_change_order(**place, iccid=seller.another_card(), verification=check),
        "ACTIVE",
        "IN_SERVICE",
    )
    assert get_fittings(line_ids=[line.pk])[line.pk].iccid != first.iccid
    assert SimCard.objects.get(iccid=first.iccid).status == "RETIRED"

    wish = NumberWish(number=seller.range.first + 500)
    agree(services.place_number_change_order(**place, wish=wish), "ACTIVE", "IN_SERVICE")
    assert get_fittings(line_ids=[line.pk])[line.pk].number == seller.range.first + 500
    assert PhoneNumber.objects.get(pk=first.number).status == NumberStatus.QUARANTINED

    agree(services.place_plan_change_order(**place, plan=seller.another_plan().uid), "ACTIVE", "IN_SERVICE")
    assert line.plan.code == "PLAN-29"

    heir = seller.subscriber()
    agree(services.place_transfer_order(**place, subscriber=heir.uid), "ACTIVE", "IN_SERVICE")
    assert line.subscriber_id == heir.pk
    assert HolderSlot.objects.get().line_id == line.pk

    agree(services.place_termination_order(**place, reason="user_request"), "TERMINATED", "CLOSED")
    assert not HolderSlot.objects.exists()

    # Nothing was done twice, and whatever was asked for was done.
    effects = [entry["reference"] for entry in read_ledger(simulator)]
    assert sorted(effects) == sorted(ActivationJob.objects.values_list("reference", flat=True))
    assert len(effects) == 10
