"""Opening, activating and ending lines."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import InvalidTransition
from apps.lines.models import (
    HolderSlot,
    Line,
    NumberAssignment,
    Plan,
    SimAssignment,
    SuspensionReason,
    UserAssignment,
)
from apps.lines.services.slots import Places, fill_places
from apps.lines.services.tracing import publish, record
from apps.lines.services.users import give_to_user
from apps.lines.states import LineStatus
from apps.numbering import services as numbering
from apps.numbering.models import PhoneNumber
from apps.operators.models import Dealer
from apps.sims import services as sims
from apps.sims.models import SimCard
from apps.subscribers import services as subscribers
from apps.subscribers.models import Subscriber


@operation
def open_line(
    *,
    actor: Actor,
    operator_id: int,
    subscriber: Subscriber,
    plan: Plan,
    number: PhoneNumber,
    sim: SimCard,
    places: Places,
    user: Subscriber | None = None,
    dealer: Dealer | None,
    now: datetime,
) -> Line:
    """A PENDING line that holds the number, the SIM and the places, all of which the caller has just taken.

    `user`: who is going to use a line of an organization; see `users.find_user`.
    """
    line = Line.objects.create(
        operator_id=operator_id,
        subscriber=subscriber,
        host_carrier_id=plan.host_carrier_id,
        plan=plan,
        dealer=dealer,
        status=LineStatus.PENDING,
        created_at=now,
    )
    subscribers.require_not_erased(subscriber_id=subscriber.pk)
    NumberAssignment.objects.create(line=line, number=number, assigned_at=now)
    SimAssignment.objects.create(line=line, sim=sim, assigned_at=now)
    fill_places(actor=actor, places=places, line_id=line.pk)
    if user is not None:
        give_to_user(line=line, user=user, now=now)
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
    publish(actor, line, "line.activated", now, before=before, after=line.status)
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
    """ACTIVE or SUSPENDED -> TERMINATED: slot free, number into quarantine, SIM retired, suspensions over.

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
    SuspensionReason.objects.in_force().filter(line=line).update(
        lifted_at=now, lifted_by=actor.id, lifted_by_label=actor.label
    )
    _record(actor, line, "line.terminate", before, now, reason)
    publish(actor, line, "line.terminated", now, before=before, after=line.status)
    return line


def _held(line_id: int) -> tuple[int, int]:
    """Number and SIM key that the line holds now; they never change while its order is open."""
    return (
        NumberAssignment.objects.values_list("number_id", flat=True).get(line_id=line_id, released_at=None),
        SimAssignment.objects.values_list("sim_id", flat=True).get(line_id=line_id, released_at=None),
    )


def _release(line_id: int, now: datetime) -> None:
    NumberAssignment.objects.filter(line_id=line_id, released_at=None).update(released_at=now)
    SimAssignment.objects.filter(line_id=line_id, released_at=None).update(released_at=now)
    UserAssignment.objects.filter(line_id=line_id, released_at=None).update(released_at=now)


def _record(
    actor: Actor, line: Line, action: str, before: str | None, now: datetime, reason: str = ""
) -> None:
    record(
        actor,
        line,
        action,
        now,
        before={"status": before} if before else None,
        after={"status": line.status},
        reason=reason,
    )
