"""Reading lines and plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from apps.core.actor import Actor
from apps.core.public_ids import MalformedId, get_by_uid
from apps.lines.errors import PlanNotAvailable
from apps.lines.models import Line, NumberAssignment, Plan, SimAssignment


@dataclass(frozen=True, slots=True)
class Fittings:
    """The number and SIM that a line holds, or held last."""

    number: int
    iccid: str
    imsi: str | None


def list_lines(
    *, actor: Actor, status: str | None = None, subscriber_uid: str | None = None
) -> QuerySet[Line]:
    """Lines the actor may see, with plan, carrier and subscriber loaded; none for a malformed subscriber id."""
    lines = Line.objects.visible_to(actor).select_related("plan", "host_carrier", "subscriber")
    if status:
        lines = lines.filter(status=status)
    if subscriber_uid:
        try:
            lines = lines.filter(subscriber__uid=subscriber_uid)
        except MalformedId:
            lines = lines.none()
    return lines


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


def list_plans(*, actor: Actor, carrier: str | None = None) -> QuerySet[Plan]:
    """Plans that can be ordered now."""
    plans = Plan.objects.visible_to(actor).filter(is_orderable=True).select_related("host_carrier")
    return plans.filter(host_carrier__code=carrier) if carrier else plans


def get_orderable_plan(*, actor: Actor, operator_id: int, plan: str) -> Plan:
    """The plan with that public id or code.

    :raises PlanNotAvailable: unknown, withdrawn or of another operator.
    """
    plans = list_plans(actor=actor).filter(operator_id=operator_id)
    try:
        found = plans.filter(uid=plan).first() if plan.startswith("pln_") else plans.filter(code=plan).first()
    except MalformedId:
        found = None
    if found is None:
        raise PlanNotAvailable
    return found
