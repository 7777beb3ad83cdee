"""The end of what a verification has proved: EXPIRED, when its time is up or more is demanded."""

from __future__ import annotations

from datetime import datetime

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation, use_case
from apps.subscribers.models import Verification
from apps.subscribers.states import VerificationStatus


@use_case
def expire_verifications(*, actor: Actor, now: datetime, limit: int = 500) -> int:
    """Turns up to `limit` PASSED verifications whose freshness has ended into EXPIRED; returns how many.

    Freshness never lasts beyond the document's last day in China, whatever policy gives.
    """
    rows = list(
        Verification.objects.visible_to(actor)
        .select_for_update(skip_locked=True, no_key=True)
        .filter(status=VerificationStatus.PASSED, fresh_until__lte=now)
        .order_by("fresh_until", "id")[:limit]
    )
    for verification in rows:
        expire_verification(actor=actor, verification=verification, now=now)
    return len(rows)


@operation
def expire_verification(*, actor: Actor, verification: Verification, now: datetime) -> None:
    """PASSED -> EXPIRED of a verification that the caller holds. :raises InvalidTransition: unless PASSED."""
    verification.expire()
    audit.record(
        actor=actor,
        action="verification.expire",
        target_type="verification",
        target_id=verification.uid,
        operator_id=verification.operator_id,
        before={"status": VerificationStatus.PASSED},
        after={"status": verification.status},
        now=now,
    )
