"""kill -9 of every worker in the middle of the main job: nothing lost, nothing done twice."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from apps.lines.models import HolderSlot, Line
from apps.numbering.models import PhoneNumber
from apps.numbering.states import NumberStatus
from apps.operators.models import VirtualOperator
from apps.provisioning.models import ActivationJob, JobAttempt, ServiceOrder
from apps.sims.models import SimCard
from tests.factories.accounts import ApiClient
from tests.factories.provisioning import given_seller
from tests.factories.subscribers import registration
from tests.flows.workers import running_workers, wait_until
from tests.long import at_length
from tests.simulator import read_ledger, running_simulator

pytestmark = pytest.mark.django_db(transaction=True)

# `make faults` does the same to everything at once; here each order's end is looked at.
ORDERS = at_length(20, 60)
KILLS = at_length(2, 3)


def place(api: ApiClient, *, plan: str, count: int) -> list[dict[str, Any]]:
    """People who register, ask for a check and order, as a partner's program does."""
    orders = []
    for _ in range(count):
        person = api.post("/api/v1/subscribers", registration()).json()
        assert (
            api.post(
                f"/api/v1/subscribers/{person['id']}/verifications", {"channel": "online_video"}
            ).status_code
            == 202
        )
        answer = api.post("/api/v1/orders", {"type": "activate", "subscriber": person["id"], "plan": plan})
        assert answer.status_code == 202, answer.content
        orders.append(answer.json())
    return orders


def open_orders() -> int:
    return ServiceOrder.objects.filter(finished_at=None).count()


def test_every_line_ends_right_and_the_carrier_did_each_once(
    operator: VirtualOperator, now: datetime, api: ApiClient, live_server: Any, tmp_path: Path
) -> None:
    with running_simulator(latency_ms=150, callback_delay_ms=150) as simulator:
        seller = given_seller(
            operator=operator,
            now=now,
            cards=ORDERS + 5,
            base_url=f"{simulator}/unicom",
            timeout_seconds=1.0,
            settle_seconds=1.0,
            callback_wait_seconds=2.0,
            max_in_flight=4,
        )
        with running_workers(public_url=live_server.url, simulator_url=simulator, folder=tmp_path) as workers:
            orders = []
            for _ in range(KILLS):
                orders += place(api, plan=seller.plan.code, count=ORDERS // KILLS)
                # In the middle: some jobs are out, and some are still to go.
                assert wait_until(
                    lambda: ActivationJob.objects.filter(status="SENDING").exists(), seconds=60
                ), (tmp_path / "work.log").read_text()
                workers.kill_workers()
            assert wait_until(lambda: open_orders() == 0, seconds=150), (
                Counter(ServiceOrder.objects.values_list("status", "reason")),
                Counter(ActivationJob.objects.values_list("status", "error_code")),
            )
        ledger = read_ledger(simulator)

    assert workers.kills == 2 * KILLS
    # A run in which no kill hit anything proves nothing.
    assert JobAttempt.objects.filter(outcome__in=["LOST", "OVERTAKEN"]).exists()
    assert Counter(ServiceOrder.objects.values_list("status", flat=True)) == {"COMPLETED": ORDERS}
    assert Counter(Line.objects.values_list("status", flat=True)) == {"ACTIVE": ORDERS}
    assert Counter(SimCard.objects.values_list("status", flat=True)) == {"BOUND": ORDERS, "IN_STOCK": 5}
    assert PhoneNumber.objects.filter(status=NumberStatus.IN_USE).count() == ORDERS
    assert HolderSlot.objects.count() == ORDERS
    effects = Counter(entry["reference"] for entry in ledger if entry["operation"] == "activate")
    assert set(effects) == set(ActivationJob.objects.values_list("reference", flat=True))
    assert set(effects.values()) == {1}
    assert len({entry["number"] for entry in ledger}) == ORDERS
