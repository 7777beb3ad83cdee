"""Reading lines and plans."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Prefetch, QuerySet

from apps.core.actor import Actor, ActorKind
from apps.core.masking import last_four
from apps.core.public_ids import MalformedId, get_by_uid
from apps.lines.errors import PlanNotAvailable, SuspensionNotFound, SuspensionNotYours
from apps.lines.models import (
    Handover,
    HolderCheck,
    HolderSlot,
    Line,
    NumberAssignment,
    Plan,
    SimAssignment,
    SuspensionReason,
    UserAssignment,
)
from apps.lines.states import LIVE_LINE, SuspensionCause, SuspensionKind, SuspensionOwner, strongest
from apps.subscribers.holdings import Holder
from apps.subscribers.models import Subscriber


@dataclass(frozen=True, slots=True)
class Fittings:
    """The number and SIM that a line holds, or held last."""

    number: int
    iccid: str
    imsi: str | None


@dataclass(frozen=True, slots=True)
class Holding:
    """A number that somebody's line had from `since` until `until` (None: it has it now, and they the line)."""

    line: Line
    holder: Subscriber
    since: datetime
    until: datetime | None


def count_places(*, holders: Mapping[int, Holder]) -> dict[int, int]:
    """How many places of the holder limit each of these people fills at their operator; one query for all of them."""
    rows = (
        HolderSlot.objects.filter(
            operator_id__in={holder.operator_id for holder in holders.values()},
            fingerprint__in={found for holder in holders.values() for found in holder.fingerprints},
        )
        .values_list("operator_id", "fingerprint")
        .annotate(filled=Count("id"))
    )
    filled = {(operator_id, bytes(fingerprint)): count for operator_id, fingerprint, count in rows}
    return {
        key: sum(filled.get((holder.operator_id, found), 0) for found in holder.fingerprints)
        for key, holder in holders.items()
    }


def list_number_history(*, actor: Actor, number: int) -> list[Holding]:
    """Who had the number when, the last first, through lines the actor may see and each of their holders. What other
    operators did with it, before or after, is not among them."""
    return _holdings(number, NumberAssignment.objects.filter(line__in=Line.objects.visible_to(actor)))


def has_changed_hands(*, number: int, since: datetime) -> bool:
    """Whether somebody has got the number after `since` who did not have it then, at whatever operator: with another
    line, or with the line itself (a transfer).

    False as long as nobody new has it, be it free or in quarantine: whoever had it then is still its last holder.
    """
    held = _holdings(number, NumberAssignment.objects.all())
    then = {
        each.holder.pk for each in held if each.since <= since and (each.until is None or each.until > since)
    }
    return any(each.since > since and each.holder.pk not in then for each in held)


def _holdings(number: int, assignments: QuerySet[NumberAssignment]) -> list[Holding]:
    """The last first: each line's time with the number, cut where the line was handed on. Two queries."""
    held = (
        assignments.filter(number_id=number)
        .select_related("line__subscriber")
        .prefetch_related(
            Prefetch("line__handovers", Handover.objects.select_related("former").order_by("handed_at", "id"))
        )
        .order_by("-id")
    )
    found: list[Holding] = []
    for each in held:
        times: list[Holding] = []
        since = each.assigned_at
        for handover in each.line.handovers.all():
            # Before the line had this number, or after it gave it up, it may have been handed on as well.
            if handover.handed_at < each.assigned_at:
                continue
            if each.released_at is not None and handover.handed_at >= each.released_at:
                times.append(Holding(each.line, handover.former, since, each.released_at))
                break
            times.append(Holding(each.line, handover.former, since, handover.handed_at))
            since = handover.handed_at
        else:
            times.append(Holding(each.line, each.line.subscriber, since, each.released_at))
        found += reversed(times)
    return found


def list_lines(
    *, actor: Actor, status: str | None = None, subscriber_uid: str | None = None
) -> QuerySet[Line]:
    """Lines the actor may see, with plan, carrier, subscriber, why they stand still (`in_force`) and `used_by`.

    None for a malformed subscriber id.
    """
    suspensions = SuspensionReason.objects.in_force().order_by("id")
    users = UserAssignment.objects.filter(released_at=None).select_related("user")
    lines = (
        Line.objects.visible_to(actor)
        .select_related("plan", "host_carrier", "subscriber")
        .prefetch_related(
            Prefetch("suspensions", suspensions, to_attr="in_force"),
            Prefetch("user_assignments", users, to_attr="used_by"),
        )
    )
    if status:
        lines = lines.filter(status=status)
    if subscriber_uid:
        try:
            lines = lines.filter(subscriber__uid=subscriber_uid)
        except MalformedId:
            lines = lines.none()
    return lines


def list_uses(*, actor: Actor, subscriber_uid: str) -> QuerySet[UserAssignment]:
    """Lines of organizations that the person uses or used, the last first; those the actor may see."""
    uses = UserAssignment.objects.filter(line__in=Line.objects.visible_to(actor))
    return uses.filter(user__uid=subscriber_uid).select_related("line__subscriber").order_by("-id")


def get_line(*, actor: Actor, uid: str) -> Line:
    """:raises NotFound: unknown, malformed or of another operator."""
    return get_by_uid(list_lines(actor=actor), uid)


def get_fittings(*, line_ids: Sequence[int]) -> dict[int, Fittings]:
    """Number and SIM of each line; for a terminated one, those it had last. Two queries for any number of lines."""
    numbers = dict(
        NumberAssignment.objects.filter(line_id__in=line_ids)
        .order_by("id")
        .values_list("line_id", "number_id")
    )
    sims = {
        line_id: (iccid, imsi)
        for line_id, iccid, imsi in SimAssignment.objects.filter(line_id__in=line_ids)
        .order_by("id")
        .values_list("line_id", "sim__iccid", "sim__imsi")
    }
    return {line_id: Fittings(numbers[line_id], *sims[line_id]) for line_id in line_ids if line_id in numbers}


def has_suspension(*, line_id: int, cause: SuspensionCause, kind: SuspensionKind, placed_by: str) -> bool:
    """Whether that caller has suspended the line so, for that."""
    return (
        SuspensionReason.objects.in_force()
        .filter(line_id=line_id, cause=cause, kind=kind, placed_by=placed_by)
        .exists()
    )


def is_held_by_others(*, line_id: int) -> bool:
    """Whether the operator, the authorities or the system want the line to stand still."""
    return SuspensionReason.objects.in_force().filter(line_id=line_id).not_the_partners().exists()


def get_kind_without(
    *, line_id: int, cause: SuspensionCause, owner: SuspensionOwner, actor_id: str
) -> SuspensionKind | None:
    """How still the line will be when what stands there for this cause and may be lifted by these is lifted.

    :raises SuspensionNotFound: nothing stands there for this cause.
    :raises SuspensionNotYours: something does, but nothing that they may lift.
    """
    in_force = SuspensionReason.objects.in_force().filter(line_id=line_id)
    liftable = set(
        in_force.filter(cause=cause).liftable_by(owner=owner, actor_id=actor_id).values_list("pk", flat=True)
    )
    reasons = list(in_force)
    if not any(reason.cause == cause for reason in reasons):
        raise SuspensionNotFound
    if not liftable:
        raise SuspensionNotYours
    return strongest(*(reason.kind for reason in reasons if reason.pk not in liftable))


def list_holders(*, operator_id: int, subscriber_ids: Collection[int]) -> set[int]:
    """Those of these people who have a line, be it only ordered, or use one."""
    lines = Line.objects.filter(operator_id=operator_id, subscriber_id__in=subscriber_ids, terminated_at=None)
    uses = UserAssignment.objects.filter(user_id__in=subscriber_ids, released_at=None)
    return {
        *lines.values_list("subscriber_id", flat=True),
        *uses.values_list("user_id", flat=True),
    }


def list_lines_used_by(*, user_ids: Collection[int]) -> list[int]:
    """Keys of the lines of organizations that these people use now."""
    uses = UserAssignment.objects.filter(user_id__in=user_ids, released_at=None)
    return list(uses.values_list("line_id", flat=True))


def get_user_id(*, line_id: int) -> int | None:
    """Who uses the line of an organization now; None where nobody is named."""
    uses = UserAssignment.objects.filter(line_id=line_id, released_at=None)
    return uses.values_list("user_id", flat=True).first()


def get_lines_of_numbers(*, actor: Actor, numbers: Collection[int]) -> dict[int, Line]:
    """The line that holds each of these numbers now, within the actor's operator; numbers without one are left out."""
    held = NumberAssignment.objects.filter(
        number_id__in=numbers, released_at=None, line__in=Line.objects.visible_to(actor)
    )
    return {each.number_id: each.line for each in held.select_related("line")}


def get_number(*, line_id: int) -> int:
    """The number that the line holds now."""
    return NumberAssignment.objects.values_list("number_id", flat=True).get(line_id=line_id, released_at=None)


def count_live(*, operator_id: int, host_carrier_id: int) -> int:
    """Lines of the operator that this host carrier has."""
    return Line.objects.filter(
        operator_id=operator_id, host_carrier_id=host_carrier_id, status__in=LIVE_LINE
    ).count()


def is_in_use(*, number: int) -> bool:
    """Whether some line has the number now, at whatever operator."""
    return NumberAssignment.objects.filter(number_id=number, released_at=None).exists()


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a line holds at this moment; None when nothing. `sim_id` is the key of the card."""

    number: int | None
    sim_id: int | None
    iccid: str | None


def get_holdings(*, line_id: int) -> Holdings:
    """Number and card that the line has now; none for one that has ended."""
    number = NumberAssignment.objects.filter(line_id=line_id, released_at=None).values_list(
        "number_id", flat=True
    )
    card = SimAssignment.objects.filter(line_id=line_id, released_at=None).values_list("sim_id", "sim__iccid")
    return Holdings(number.first(), *(card.first() or (None, None)))


def list_held_line_ids(*, subscriber_id: int) -> list[int]:
    """Keys of the live lines in that person's name, the oldest first."""
    return list(Line.objects.held_by(subscriber_id).order_by("pk").values_list("pk", flat=True))


def get_holder_check(*, actor: Actor, uid: str) -> HolderCheck:
    """A partner app finds what it has asked itself. :raises NotFound: unknown, or somebody else's."""
    checks = HolderCheck.objects.visible_to(actor).select_related("subscriber")
    if actor.kind is ActorKind.PARTNER:
        checks = checks.filter(asked_by=f"{actor.kind}:{actor.id}")
    return get_by_uid(checks, uid)


def list_told_numbers(*, check: HolderCheck) -> list[str]:
    """The numbers of a check in their order, all but the last four digits hidden."""
    fittings = get_fittings(line_ids=check.line_ids)
    return [last_four(str(fittings[line_id].number)) for line_id in check.line_ids]


def list_plans(*, actor: Actor, carrier: str | None = None) -> QuerySet[Plan]:
    """Plans that can be ordered now."""
    plans = Plan.objects.visible_to(actor).filter(is_orderable=True).select_related("host_carrier")
    return plans.filter(host_carrier__code=carrier) if carrier else plans


def get_orderable_plan(
    *, actor: Actor, operator_id: int, plan: str, host_carrier_id: int | None = None
) -> Plan:
    """The plan with that public id or code; with `host_carrier_id`, only if it is on that carrier's network.

    :raises PlanNotAvailable: unknown, withdrawn, of another operator or carrier.
    """
    plans = list_plans(actor=actor).filter(operator_id=operator_id)
    if host_carrier_id is not None:
        plans = plans.filter(host_carrier_id=host_carrier_id)
    try:
        found = plans.filter(uid=plan).first() if plan.startswith("pln_") else plans.filter(code=plan).first()
    except MalformedId:
        found = None
    if found is None:
        raise PlanNotAvailable
    return found
