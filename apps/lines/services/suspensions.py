"""Placing and lifting reasons why a line stands still, once the carrier has done it or needs not be told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines.models import Line, SuspensionReason
from apps.lines.services.tracing import publish, record
from apps.lines.states import (
    NOTICES,
    LineStatus,
    SuspensionCause,
    SuspensionKind,
    SuspensionOwner,
    strongest,
)


@dataclass(frozen=True, slots=True)
class By:
    """Who asked for it: not who writes it, which may be a worker or the carrier."""

    id: str
    label: str
    owner: SuspensionOwner


@operation
def place_suspension(
    *,
    actor: Actor,
    line_id: int,
    kind: SuspensionKind,
    cause: SuspensionCause,
    by: By,
    note: str = "",
    words: tuple[str, str] | None = None,
    now: datetime,
) -> Line:
    """Adds the reason; the line is as still as the strongest of its reasons. An event says so only if that changed.

    `words` are what the subscriber is told and what helps, where there is more to say than `NOTICES` knows.

    :raises InvalidTransition: the line is pending or terminated.
    """
    line = Line.objects.select_for_update().get(pk=line_id)
    notice, remedy = words or NOTICES[cause]
    SuspensionReason.objects.create(
        operator_id=line.operator_id,
        line=line,
        kind=kind,
        cause=cause,
        owner=by.owner,
        placed_by=by.id,
        placed_by_label=by.label,
        placed_at=now,
        notice=notice,
        remedy=remedy,
        note=note,
    )
    _settle(actor, line, cause, now, note)
    return line


@operation
def lift_suspensions(*, actor: Actor, line_id: int, cause: SuspensionCause, by: By, now: datetime) -> Line:
    """Lifts what stands there for this cause and these may lift; see `liftable_by`.

    :raises InvalidTransition: the line is pending or terminated.
    """
    line = Line.objects.select_for_update().get(pk=line_id)
    in_force = SuspensionReason.objects.in_force().filter(line=line, cause=cause)
    in_force.liftable_by(owner=by.owner, actor_id=by.id).update(
        lifted_at=now, lifted_by=by.id, lifted_by_label=by.label
    )
    _settle(actor, line, cause, now)
    return line


def _settle(actor: Actor, line: Line, cause: SuspensionCause, now: datetime, note: str = "") -> None:
    """Makes the line what its reasons say."""
    before = {"status": line.status, "kind": line.suspension_kind}
    kinds = SuspensionReason.objects.in_force().filter(line=line).values_list("kind", flat=True)
    kind = strongest(*kinds)
    if kind is not None:
        line.suspend(kind)
    elif line.status != LineStatus.ACTIVE:
        line.resume()
    after = {"status": line.status, "kind": line.suspension_kind}
    action = "line.resume" if kind is None else "line.suspend"
    record(actor, line, action, now, before=before, after={**after, "cause": cause.lower()}, reason=note)
    if after != before:
        publish(
            actor,
            line,
            "line.resumed" if kind is None else "line.suspended",
            now,
            before=str(before["status"]),
            after=line.status,
            kind_before=str(before["kind"]).lower() if before["kind"] else None,
            kind_after=kind.lower() if kind else None,
        )
