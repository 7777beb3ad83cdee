"""Demanding that the holder of a line proves again who they are."""

from __future__ import annotations

from datetime import datetime

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines.models import Line
from apps.lines.states import SuspensionCause, SuspensionKind
from apps.provisioning.services.order_types.suspension import place_suspension_order


@operation
def demand_reverification(*, actor: Actor, line: Line, reason: str, now: datetime) -> None:
    """The line is suspended one-way until its holder has passed another real-name check.

    Notice and remedy are stored with the suspension (Anti-Telecom-Fraud Law arts. 11 and 32). Raises as
    `place_suspension_order`.
    """
    place_suspension_order(
        actor=actor,
        line=line.uid,
        kind=SuspensionKind.ONE_WAY,
        reason=SuspensionCause.REVERIFICATION,
        note=reason[:200],
        now=now,
    )
