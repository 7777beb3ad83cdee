"""Beat: expiry and the end of quarantines, until nothing is left."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.numbering import services as numbering
from apps.numbering import tasks
from apps.numbering.models import PhoneNumber, Reservation
from apps.numbering.states import NumberStatus
from apps.operators.models import VirtualOperator
from tests.factories.numbering import SYSTEM, given_range, given_reservation


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "BATCH", 2)


def run(task: Any) -> None:
    task.apply(kwargs={"argument_of_a_later_version": 1}, throw=True)


def test_expire_reservations(operator: VirtualOperator, now: datetime) -> None:
    given_range(operator=operator, now=now)
    yesterday = now - timedelta(days=1)
    for _ in range(5):
        given_reservation(operator=operator, now=yesterday, ttl_seconds=60)
    running = given_reservation(operator=operator, now=now)
    run(tasks.expire_reservations)
    assert list(Reservation.objects.filter(status="ACTIVE")) == [running]
    assert PhoneNumber.objects.filter(status=NumberStatus.RESERVED).count() == 1
    assert AuditEvent.objects.filter(actor_id="numbering.expire_reservations").count() == 5


def test_end_quarantines(operator: VirtualOperator, now: datetime) -> None:
    leased = given_range(operator=operator, now=now)
    for days in (91, 91, 91, 90, 89):
        taken = numbering.take_number(
            actor=SYSTEM, operator_id=operator.pk, host_carrier_id=leased.host_carrier_id, now=now
        )
        numbering.quarantine_number(actor=SYSTEM, number=taken.number, now=now - timedelta(days=days))
    run(tasks.end_quarantines)
    assert PhoneNumber.objects.filter(status=NumberStatus.QUARANTINED).count() == 1
    assert AuditEvent.objects.filter(actor_id="numbering.end_quarantines").count() == 4
