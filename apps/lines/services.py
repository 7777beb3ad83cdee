"""Opening, activating and ending lines, and the places under the holder limit.

Everything here joins the caller's transaction and locks in the order of `core.db.LOCK_ORDER`.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from django.db import connection

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import InvalidTransition
from apps.events import services as events
from apps.lines.errors import HolderLimitReached
from apps.lines.models import HolderSlot, Line, NumberAssignment, Plan, SimAssignment
from apps.lines.states import LineStatus
from apps.numbering import services as numbering
from apps.numbering.models import PhoneNumber
from apps.operators.models import Dealer, HostCarrier, VirtualOperator
from apps.sims import services as sims
from apps.sims.models import SimCard
from apps.subscribers.models import Subscriber

# The lowest free place. A concurrent order for the same person waits on the unique constraint, then finds it taken.
_TAKE_SLOT = """
INSERT INTO lines_holderslot (operator_id, fingerprint, slot)
SELECT %(operator)s, %(fingerprint)s, place
FROM generate_series(1, %(limit)s) AS place
WHERE NOT EXISTS (
    SELECT 1 FROM lines_holderslot
    WHERE operator_id = %(operator)s AND fingerprint = %(fingerprint)s AND slot = place
)
ORDER BY place LIMIT 1
ON CONFLICT ON CONSTRAINT holder_slot_unique DO NOTHING
RETURNING id
"""


@operation
def take_holder_slot(*, operator_id: int, fingerprint: bytes, limit: int) -> int:
    """Fills the person's next free place at this operator and returns the slot's key.

    Race-proof by a unique constraint: of any number of orders at once, at most `limit` get a place.
    Source: six-ministry notice of 2016, art. 4 (five cards per person and enterprise); the number is policy.

    :raises HolderLimitReached: when all places are filled.
    """
    parameters: dict[str, int | bytes] = {"operator": operator_id, "fingerprint": fingerprint, "limit": limit}
    # Each lost race means that somebody else filled a place, so there are at most `limit` of them.
    for _ in range(limit + 1):
        with connection.cursor() as cursor:
            cursor.execute(_TAKE_SLOT, parameters)
            row = cursor.fetchone()
        if row is not None:
            return int(row[0])
    raise HolderLimitReached


@operation
def open_line(
    *,
    actor: Actor,
    operator_id: int,
    subscriber: Subscriber,
    plan: Plan,
    number: PhoneNumber,
    sim: SimCard,
    slot_id: int,
    dealer: Dealer | None,
    now: datetime,
) -> Line:
    """A PENDING line that holds the number, the SIM and the holder slot, all of which the caller has just taken."""
    line = Line.objects.create(
        operator_id=operator_id,
        subscriber=subscriber,
        host_carrier_id=plan.host_carrier_id,
        plan=plan,
        dealer=dealer,
        status=LineStatus.PENDING,
        created_at=now,
    )
    NumberAssignment.objects.create(line=line, number=number, assigned_at=now)
    SimAssignment.objects.create(line=line, sim=sim, assigned_at=now)
    HolderSlot.objects.filter(pk=slot_id).update(line=line)
    _record(actor, line, "line.open", None, now)
    return line


@operation
def activate_line(*, actor: Actor, line_id: int, now: datetime) -> Line:
    """PENDING -> ACTIVE: the host carrier has the line; its SIM is bound to it for good.

    :raises InvalidTransition: when the line is not pending.
    """
    sim_id = SimAssignment.objects.get(line_id=line_id, released_at=None).sim_id
    sims.bind_sim(actor=actor, sim_id=sim_id, now=now)
    line = Line.objects.select_for_update().get(pk=line_id)
    before = line.status
    line.activate(now)
    _record(actor, line, "line.activate", before, now)
    _publish(actor, line, "line.activated", before, now)
    return line


class Blame(StrEnum):
    """What the carrier would not take, when it said so: sold again, it would be refused again."""

    NUMBER = "NUMBER"
    SIM = "SIM"


@operation
def abandon_line(
    *, actor: Actor, line_id: int, reason: str, now: datetime, blame: Blame | None = None
) -> Line:
    """Undoes a line that never came to life: slot free, number sellable at once, SIM back in stock, line TERMINATED.

    What is to blame does not go back on sale: a number is withheld until staff release it, a SIM is retired.

    :raises InvalidTransition: when the line is no longer pending.
    """
    number_id, sim_id = _held(line_id)
    HolderSlot.objects.filter(line_id=line_id).delete()
    if blame is Blame.NUMBER:
        numbering.withhold_number(actor=actor, number=number_id, reason=reason, now=now)
    else:
        numbering.return_unused_number(actor=actor, number=number_id, now=now)
    if blame is Blame.SIM:
        sims.retire_sim(actor=actor, sim_id=sim_id, now=now)
    else:
        sims.return_sim_to_stock(actor=actor, sim_id=sim_id, now=now)
    line = Line.objects.select_for_update().get(pk=line_id)
    if line.status != LineStatus.PENDING:
        raise InvalidTransition("Only a pending line is abandoned; a live one is terminated.")
    line.terminate(now)
    _release(line_id, now)
    _record(actor, line, "line.abandon", LineStatus.PENDING, now, reason)
    return line


@operation
def terminate_line(*, actor: Actor, line_id: int, reason: str, now: datetime) -> Line:
    """ACTIVE or SUSPENDED -> TERMINATED: slot free, number into quarantine, SIM retired.

    :raises InvalidTransition: when the line is pending or terminated already.
    """
    number_id, sim_id = _held(line_id)
    HolderSlot.objects.filter(line_id=line_id).delete()
    numbering.quarantine_number(actor=actor, number=number_id, now=now)
    sims.retire_sim(actor=actor, sim_id=sim_id, now=now)
    line = Line.objects.select_for_update().get(pk=line_id)
    before = line.status
    if before == LineStatus.PENDING:
        raise InvalidTransition("A pending line is abandoned, not terminated.")
    line.terminate(now)
    _release(line_id, now)
    _record(actor, line, "line.terminate", before, now, reason)
    _publish(actor, line, "line.terminated", before, now)
    return line


@operation
def offer_plan(
    *,
    actor: Actor,
    operator: VirtualOperator,
    host_carrier: HostCarrier,
    code: str,
    name: str,
    monthly_fee: Decimal,
    now: datetime,
) -> Plan:
    """Creates the operator's plan with that code, or changes its name and fee; the same call again changes nothing."""
    values = {"host_carrier": host_carrier, "name": name, "monthly_fee": monthly_fee, "is_orderable": True}
    plan = Plan.objects.select_for_update().filter(operator=operator, code=code).first()
    if plan is None:
        plan = Plan.objects.create(operator=operator, code=code, **values)
        before = None
    else:
        before = {"name": plan.name, "monthly_fee": str(plan.monthly_fee)}
        if before == {"name": name, "monthly_fee": str(monthly_fee)}:
            return plan
        for field, value in values.items():
            setattr(plan, field, value)
        plan.save(update_fields=list(values))
    audit.record(
        actor=actor,
        action="plan.offer",
        target_type="plan",
        target_id=plan.uid,
        operator_id=operator.pk,
        before=before,
        after={"name": name, "monthly_fee": str(monthly_fee)},
        now=now,
    )
    return plan


def _held(line_id: int) -> tuple[int, int]:
    """Number and SIM key that the line holds now; they never change while its order is open."""
    return (
        NumberAssignment.objects.values_list("number_id", flat=True).get(line_id=line_id, released_at=None),
        SimAssignment.objects.values_list("sim_id", flat=True).get(line_id=line_id, released_at=None),
    )


def _release(line_id: int, now: datetime) -> None:
    NumberAssignment.objects.filter(line_id=line_id, released_at=None).update(released_at=now)
    SimAssignment.objects.filter(line_id=line_id, released_at=None).update(released_at=now)


def _record(
    actor: Actor, line: Line, action: str, before: str | None, now: datetime, reason: str = ""
) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="line",
        target_id=line.uid,
        operator_id=line.operator_id,
        before={"status": before} if before else None,
        after={"status": line.status},
        reason=reason,
        now=now,
    )


def _publish(actor: Actor, line: Line, event_type: str, before: str, now: datetime) -> None:
    events.publish(
        type=event_type,
        operator_id=line.operator_id,
        subject=line.uid,
        data={"line": line.uid, "before": before, "after": line.status},
        actor=actor,
        now=now,
    )
