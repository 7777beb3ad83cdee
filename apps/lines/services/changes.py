"""Another SIM, number, plan or holder for a live line, once the carrier has done it."""

from __future__ import annotations

from datetime import datetime

from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import InvalidTransition
from apps.lines.models import Handover, HolderSlot, Line, NumberAssignment, Plan, SimAssignment
from apps.lines.services.tracing import publish, record
from apps.lines.services.users import give_to_user
from apps.lines.states import LIVE_LINE
from apps.numbering import services as numbering
from apps.numbering.numbers import to_e164
from apps.sims import services as sims
from apps.sims.models import SimCard
from apps.subscribers import services as subscribers
from apps.subscribers.models import Subscriber


@operation
def change_sim(*, actor: Actor, line_id: int, sim_id: int, now: datetime) -> Line:
    """The new card, RESERVED until now, is BOUND; the old one RETIRED.

    :raises InvalidTransition: the line is not live, or the card not reserved.
    """
    old = SimAssignment.objects.select_related("sim").get(line_id=line_id, released_at=None)
    for card in sorted((old.sim_id, sim_id)):
        if card == sim_id:
            sims.bind_sim(actor=actor, sim_id=card, now=now)
        else:
            sims.retire_sim(actor=actor, sim_id=card, now=now)
    line = _lock_live(line_id)
    SimAssignment.objects.filter(pk=old.pk).update(released_at=now)
    SimAssignment.objects.create(line=line, sim_id=sim_id, assigned_at=now)
    new = SimCard.objects.get(pk=sim_id)
    _tell(actor, line, "line.change_sim", "line.sim_changed", "iccid", old.sim.iccid, new.iccid, now)
    return line


@operation
def change_number(*, actor: Actor, line_id: int, number: int, now: datetime) -> Line:
    """The line has the new number, IN_USE since it was ordered; the old one goes into quarantine.

    :raises InvalidTransition: the line is not live.
    """
    old = NumberAssignment.objects.get(line_id=line_id, released_at=None)
    numbering.quarantine_number(actor=actor, number=old.number_id, now=now)
    line = _lock_live(line_id)
    NumberAssignment.objects.filter(pk=old.pk).update(released_at=now)
    NumberAssignment.objects.create(line=line, number_id=number, assigned_at=now)
    before, after = to_e164(old.number_id), to_e164(number)
    _tell(actor, line, "line.change_number", "line.number_changed", "number", before, after, now)
    return line


@operation
def change_plan(*, actor: Actor, line_id: int, plan_id: int, now: datetime) -> Line:
    """The line has the other plan from now on.

    :raises InvalidTransition: the line is not live.
    """
    line = _lock_live(line_id)
    before = line.plan.uid
    line.take_plan(plan_id)
    after = Plan.objects.get(pk=plan_id).uid
    _tell(actor, line, "line.change_plan", "line.plan_changed", "plan", before, after, now)
    return line


@operation
def transfer_line(
    *, actor: Actor, line_id: int, subscriber_id: int, user: Subscriber | None = None, now: datetime
) -> Line:
    """The line is the new holder's, in the places promised to it; the old holder's and its user's are free, and on
    record is who had the line until now.

    `user`: who is going to use it, when the new holder is an organization.

    :raises InvalidTransition: the line is not live.
    """
    HolderSlot.objects.filter(line_id=line_id).delete()
    HolderSlot.objects.filter(coming_line_id=line_id).update(line_id=line_id, coming_line_id=None)
    line = _lock_live(line_id)
    before = line.subscriber.uid
    # A detached line may come back to who had it.
    if line.subscriber_id != subscriber_id:
        subscribers.note_handed_on(subscriber_id=line.subscriber_id, now=now)
        Handover.objects.create(line=line, former_id=line.subscriber_id, handed_at=now)
    line.pass_to(subscriber_id)
    subscribers.require_not_erased(subscriber_id=subscriber_id)
    give_to_user(line=line, user=user, now=now)
    after = Subscriber.objects.get(pk=subscriber_id).uid
    _tell(actor, line, "line.transfer", "line.transferred", "subscriber", before, after, now)
    return line


@operation
def detach_line(*, actor: Actor, line_id: int, reason: str, now: datetime) -> Line:
    """The line is not its holder's any more: their place is free, and it counts for nobody until it is transferred.

    The caller sees to it that it stands still meanwhile (Cybersecurity Law art. 24: no identity, no service).

    :raises InvalidTransition: the line is not live, or detached already.
    """
    HolderSlot.objects.filter(line_id=line_id).delete()
    line = _lock_live(line_id)
    if line.detached_at is not None:
        raise InvalidTransition("The line is detached already.")
    line.detach(now)
    after = {"detached": True, "subscriber": line.subscriber.uid}
    record(actor, line, "line.detach", now, before={"detached": False}, after=after, reason=reason)
    publish(actor, line, "line.detached", now, before=line.status, after=line.status)
    return line


def _lock_live(line_id: int) -> Line:
    """:raises InvalidTransition: it is not live."""
    line = Line.objects.select_for_update().get(pk=line_id)
    if line.status not in LIVE_LINE:
        raise InvalidTransition("Only a live line is changed.")
    return line


def _tell(
    actor: Actor, line: Line, action: str, event_type: str, what: str, before: str, after: str, now: datetime
) -> None:
    record(actor, line, action, now, before={what: before}, after={what: after})
    publish(actor, line, event_type, now, before=before, after=after)
