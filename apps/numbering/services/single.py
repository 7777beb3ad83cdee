"""One number, one range: the right to change them, the lock, the row in the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.numbering import selectors
from apps.numbering.models import NumberRange, PhoneNumber
from apps.numbering.states import NumberStatus, WithheldBy

# The right that an actor needs for whatever is not a partner's business.
MANAGE_NUMBERS = "numbering.manage"


def lock(actor: Actor, number: int) -> PhoneNumber:
    """:raises NotFound: unknown or another operator's."""
    found = selectors.get_number_for_update(number=number, operator_id=actor.operator_id)
    if found is None:
        raise NotFound
    return found


def record(
    actor: Actor, action: str, number: PhoneNumber, before: NumberStatus, now: datetime, reason: str = ""
) -> None:
    after: dict[str, str] = {"status": NumberStatus(number.status).name}
    if number.quarantined_until is not None:
        after["quarantined_until"] = number.quarantined_until.isoformat()
    if number.status == NumberStatus.WITHHELD and number.withheld_by is not None:
        after["withheld_by"] = WithheldBy(number.withheld_by).label
    audit.record(
        actor=actor,
        action=action,
        target_type="phone_number",
        target_id=number.e164,
        operator_id=number.operator_id,
        reason=reason,
        before={"status": before.name},
        after=after,
        now=now,
    )


def record_range(
    actor: Actor,
    action: str,
    leased: NumberRange,
    now: datetime,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Without `after`: the state that it has now."""
    audit.record(
        actor=actor,
        action=action,
        target_type="number_range",
        target_id=leased.uid,
        operator_id=leased.operator_id,
        before=before,
        after=after or {"status": leased.status},
        reason=reason,
        now=now,
    )
