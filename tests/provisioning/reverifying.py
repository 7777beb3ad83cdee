"""Demands to be verified again, run by the clock of a test, and how lines stand then."""

from __future__ import annotations

from datetime import datetime, timedelta

from apps.carriers.base import Succeeded
from apps.lines.models import Line
from apps.provisioning import services
from apps.subscribers import services as subscribers
from apps.subscribers.models import ReverificationDemand, Subscriber
from apps.subscribers.services.reverification import LONGEST_LOOK
from apps.subscribers.states import DemandReason
from tests.factories.provisioning import SYSTEM, Seller

ABUSE, EXPIRED = DemandReason.ABNORMAL_USE, DemandReason.DOCUMENT_EXPIRED
LISTED, DISPUTE = DemandReason.REGULATOR_LIST, DemandReason.DISPUTE
HOUR, MOMENT = timedelta(hours=1), timedelta(seconds=1)

# Status, kind, and the reasons in force, oldest first.
State = tuple[str, str | None, list[str]]


def demanded(
    person: Subscriber, reason: DemandReason, now: datetime, **fields: object
) -> ReverificationDemand:
    return subscribers.demand_reverification(
        **{
            "actor": SYSTEM,
            "subscriber_uid": person.uid,
            "reason": reason,
            "note": "a pattern of calls",
            "now": now,
            **fields,
        }
    )


def run(seller: Seller, at: datetime) -> None:
    """Everything that the workers do by themselves at that moment; the carrier does what it is asked."""
    while subscribers.take_due_steps(actor=SYSTEM, now=at):
        pass
    for look in range(3):
        # Each time as late as it may be looked at again.
        services.apply_demands(now=at + (look + 1) * LONGEST_LOOK)
        for claim in seller.claim():
            assert seller.record(claim, Succeeded("UC-1"))


def stands(line: Line) -> State:
    line.refresh_from_db()
    reasons = line.suspensions.filter(lifted_at=None).order_by("id")
    return line.status, line.suspension_kind, [f"{each.cause} {each.kind}" for each in reasons]


RUNS: State = ("ACTIVE", None, [])
STOPPED_ONE_WAY: State = ("SUSPENDED", "ONE_WAY", ["REVERIFICATION ONE_WAY"])
STOPPED: State = ("SUSPENDED", "TWO_WAY", ["REVERIFICATION ONE_WAY", "REVERIFICATION TWO_WAY"])
