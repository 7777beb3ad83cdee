"""What we hold about one person: who they are, from subscribers, and the lines they have or had."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines import selectors
from apps.subscribers import services as subscribers


@operation
def export_person(*, actor: Actor, subscriber_uid: str, reason: str, now: datetime) -> dict[str, Any]:
    """Rights, reason, audit and refusals as those of `subscribers.export_subscriber`."""
    person = subscribers.export_subscriber(actor=actor, subscriber_uid=subscriber_uid, reason=reason, now=now)
    lines = list(selectors.list_lines(actor=actor, subscriber_uid=subscriber_uid).order_by("pk"))
    fittings = selectors.get_fittings(line_ids=[line.pk for line in lines])
    uses = list(selectors.list_uses(actor=actor, subscriber_uid=subscriber_uid))
    numbers = selectors.get_fittings(line_ids=[used.line_id for used in uses])
    person["lines"] = [
        {
            "id": line.uid,
            "status": line.status,
            "number": str(fittings[line.pk].number),
            "iccid": fittings[line.pk].iccid,
            "plan": line.plan.code,
            "opened_at": line.created_at.isoformat(),
            "activated_at": line.activated_at.isoformat() if line.activated_at else None,
            "terminated_at": line.terminated_at.isoformat() if line.terminated_at else None,
        }
        for line in lines
    ]
    person["used_lines"] = [
        {
            "id": used.line.uid,
            "number": str(numbers[used.line_id].number),
            "from": used.assigned_at.isoformat(),
            "until": used.released_at.isoformat() if used.released_at else None,
        }
        for used in uses
    ]
    return person
