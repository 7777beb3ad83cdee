"""Asserting that an order is refused and has touched nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from apps.audit.models import AuditEvent
from apps.core.errors import DomainError
from apps.events.models import OutboxEvent
from apps.lines.models import HolderSlot, Line
from apps.numbering.models import PhoneNumber
from apps.numbering.states import NumberStatus
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.sims.models import SimCard
from tests import refusals


def state() -> dict[str, object]:
    """Everything an order could have touched."""
    return {
        "orders": sorted(ServiceOrder.objects.values_list("id", "status")),
        "jobs": ActivationJob.objects.count(),
        "lines": sorted(Line.objects.values_list("id", "status", "plan_id", "subscriber_id")),
        "slots": sorted(HolderSlot.objects.values_list("id", "line_id")),
        "numbers": sorted(
            PhoneNumber.objects.exclude(status=NumberStatus.AVAILABLE).values_list("number", "status")
        ),
        "sims": sorted(SimCard.objects.values_list("iccid", "status")),
        "audit": AuditEvent.objects.count(),
        "events": OutboxEvent.objects.count(),
    }


@contextmanager
def refused(error: type[DomainError]) -> Iterator[None]:
    """The block is refused with this very error, and nothing is written."""
    before = state()
    with refusals.refused(error):
        yield
    assert state() == before
