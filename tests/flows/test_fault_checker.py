"""The checker of `make faults` says nothing about a sound world, and sees each thing that it is there to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from django.db import connection

from apps.operators.models import VirtualOperator
from apps.provisioning.models import ActivationJob, JobAttempt, ServiceOrder
from tests.factories.provisioning import Seller, given_seller
from tests.faults import checker
from tests.faults.client import Record
from tests.faults.stock import watch_steps

pytestmark = pytest.mark.django_db


@dataclass
class World:
    """One line that the carrier has, and what everybody says about it."""

    seller: Seller
    order: ServiceOrder
    evidence: checker.Evidence

    @property
    def job(self) -> ActivationJob:
        return self.order.jobs.get()

    def tell(self, **changes: Any) -> None:
        self.evidence = replace(self.evidence, **changes)

    def broken(self) -> set[str]:
        return {finding.invariant for finding in checker.check(self.evidence) if finding.broken}


@pytest.fixture
def world(operator: VirtualOperator, now: datetime) -> World:
    watch_steps()
    seller = given_seller(operator=operator, now=now, cards=3)
    line = seller.active_line()
    order = ServiceOrder.objects.get(line=line)
    sim = line.sim_assignments.get().sim
    ServiceOrder.objects.filter(pk=order.pk).update(external_id="k1")
    said = Record(0.0, 0.1, operator.pk, "k1", "activate", 202, order=order.uid, digest="d")
    effect = {"number": str(order.jobs.get().number), "iccid": sim.iccid}
    return World(
        seller,
        order,
        checker.Evidence(
            history=[said, replace(said, replayed=True), replace(said, status=0, order="", digest="")],
            ledger=[
                effect
                | {
                    "reference": order.jobs.get().reference,
                    "operation": "activate",
                    "result": "DONE",
                    "duplicate": False,
                }
            ],
            carrier_lines=[
                effect | {"carrier": "unicom", "plan": line.plan.code, "status": "IN_SERVICE"},
            ],
            leaks=[],
            drained_in=1.0,
            drained_within=60.0,
        ),
    )


def test_nothing_is_said_about_a_sound_world(world: World) -> None:
    assert world.broken() == set()


def _sql(statement: str) -> Callable[[World], None]:
    def plant(world: World) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    return plant


def _lost_order(world: World) -> None:
    world.tell(history=[replace(world.evidence.history[0], order="ord_gone", key="k2")])


def _lost_worker(world: World) -> None:
    order = world.seller.order()
    world.seller.claim()
    ActivationJob.objects.filter(order=order).update(lease_until="2000-01-01T00:00:00Z")


def _done_twice(world: World) -> None:
    world.tell(ledger=[*world.evidence.ledger, *world.evidence.ledger])


def _done_for_nobody(world: World) -> None:
    world.tell(
        ledger=[*world.evidence.ledger, world.evidence.ledger[0] | {"reference": "who", "number": "1"}]
    )


def _unknown_to_the_carrier(world: World) -> None:
    world.tell(carrier_lines=[])


def _another_card(world: World) -> None:
    world.tell(carrier_lines=[world.evidence.carrier_lines[0] | {"iccid": "8986"}])


def _two_answers(world: World) -> None:
    world.tell(history=[*world.evidence.history, replace(world.evidence.history[0], digest="another")])


def _step_back(world: World) -> None:
    ActivationJob.objects.filter(pk=world.job.pk).update(status="QUEUED", finished_at=None)


def _written_over(world: World) -> None:
    JobAttempt.objects.filter(job=world.job).update(outcome="NOT_SENT")


PLANTED: list[tuple[str, Callable[[World], None]]] = [
    ("I1", _lost_order),
    ("I1", _lost_worker),
    ("I1", _sql("UPDATE provisioning_serviceorder SET status = 'IN_PROGRESS', finished_at = NULL")),
    ("I2", _done_twice),
    ("I2", _done_for_nobody),
    ("I3", _sql("UPDATE numbering_phonenumber SET status = 0 WHERE status = 2")),
    ("I3", _sql("UPDATE sims_simcard SET status = 'BOUND' WHERE status = 'IN_STOCK'")),
    ("I3", _sql("UPDATE lines_numberassignment SET released_at = now()")),
    ("I4", _unknown_to_the_carrier),
    ("I4", _another_card),
    ("I4", lambda world: world.tell(ledger=[world.evidence.ledger[0] | {"result": "REFUSED"}])),
    ("I5", _two_answers),
    ("I6", _step_back),
    ("I6", _written_over),
    ("I7", lambda world: world.tell(leaks=["celery-task"])),
    ("I11", _sql("UPDATE provisioning_serviceorder SET status = 'FAILED', reason = 'x'")),
    ("I11", _sql("DELETE FROM events_outboxevent WHERE type = 'order.completed'")),
    ("I12", lambda world: world.tell(drained_in=60.0)),
]


@pytest.mark.parametrize(("invariant", "plant"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_broken_is_seen(world: World, invariant: str, plant: Callable[[World], None]) -> None:
    plant(world)
    assert invariant in world.broken()
