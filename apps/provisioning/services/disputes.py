""" "This number is not mine": opened by whoever the person tells it, decided by staff, carried out as orders.

The four outcomes are those of the national one-ID lookup: verify, detach, suspend, terminate. Whoever opened one does
not decide it, and one whose line has become somebody else's is only withdrawn.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.events import services as events
from apps.lines import selectors as line_selectors
from apps.lines import services as lines
from apps.lines.errors import HolderCheckExpired, LineDetached, LineNotActive, SuspensionNotFound
from apps.lines.models import HolderCheck, Line
from apps.lines.states import LIVE_LINE, SuspensionCause, SuspensionKind
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.provisioning import selectors
from apps.provisioning.errors import (
    DisputeExists,
    DisputeItemUnknown,
    DisputeNotVerified,
    DisputeOvertaken,
    DisputeOwn,
)
from apps.provisioning.models import HolderDispute
from apps.provisioning.services.opening import require_right
from apps.provisioning.services.order_types.suspension import (
    place_resumption_order,
    place_suspension_order,
)
from apps.provisioning.services.order_types.terminate import place_termination_order
from apps.provisioning.services.reverification import demand_reverification
from apps.provisioning.states import DisputeOutcome, DisputeStatus
from apps.subscribers import selectors as subscribers
from apps.subscribers.services.reasons import checked_reason

OPEN = "disputes.open"
DECIDE = "disputes.decide"


@operation
def open_dispute(*, actor: Actor, line: str, statement: str, now: datetime) -> HolderDispute:
    """The line's holder has told staff that it is not theirs; to be decided within policy `holder.dispute_days`.

    :raises Forbidden: staff without the right `disputes.open`. :raises ReasonMissing: nothing is stated.
    :raises NotFound: no such line of this operator. :raises LineNotActive: :raises LineDetached:
    :raises DisputeExists: it is disputed already.
    """
    require_right(actor, OPEN)
    found = line_selectors.get_line(actor=actor, uid=line)
    return _open(actor, found.pk, found.subscriber_id, statement, None, now)


@operation
def dispute_told_number(
    *, actor: Actor, holder_check: str, item: int, statement: str, now: datetime
) -> HolderDispute:
    """The person who was told their numbers says that number `item` of them is not theirs.

    :raises NotFound: no such question of this caller. :raises HolderCheckExpired: it was asked too long ago.
    :raises DisputeItemUnknown: it has no such item, or the line is somebody else's by now. Else as `open_dispute`.
    """
    require_right(actor, OPEN)
    check = line_selectors.get_holder_check(actor=actor, uid=holder_check)
    minutes = policies.get(
        operator_id=check.operator_id, key=PolicyKey.HOLDER_CHECK_VERIFIED_MINUTES, now=now
    )
    if check.created_at < now - timedelta(minutes=minutes):
        raise HolderCheckExpired
    if check.subscriber_id is None or not 1 <= item <= len(check.line_ids):
        raise DisputeItemUnknown
    return _open(actor, check.line_ids[item - 1], check.subscriber_id, statement, check, now)


@operation
def demand_proof(*, actor: Actor, dispute: str, reason: str, now: datetime) -> HolderDispute:
    """Outcome verify, its first half: OPEN -> VERIFYING, the holder has to pass another real-name check.

    `settle_verified` is the second half; until then every other outcome is still possible.

    :raises Forbidden: without the rights disputes.decide and lines.suspend. :raises ReasonMissing:
    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is not OPEN.
    Else as `place_suspension_order`.
    """
    row, written = _take(actor, dispute, reason)
    row.demand_verification(now=now)
    demand_reverification(actor=actor, line=row.line, reason=f"{row.uid}: {written}", now=now)
    _require_theirs(Line.objects.select_for_update().get(pk=row.line_id), row)
    _note(actor, row, "dispute.verify", DisputeStatus.OPEN, "holder_dispute.verifying", now, written)
    return row


@operation
def settle_verified(*, actor: Actor, dispute: str, reason: str, now: datetime) -> HolderDispute:
    """Outcome verify: VERIFYING -> RESOLVED. The holder has passed again, the line is theirs and runs again.

    :raises Forbidden: without the rights disputes.decide and lines.suspend. :raises ReasonMissing:
    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is not VERIFYING.
    :raises DisputeNotVerified: they have not passed since. Else as `place_resumption_order`.
    """
    row, written = _take(actor, dispute, reason)
    before = row.status
    if row.verifying_at is None or not subscribers.has_passed_since(
        subscriber_id=row.line.subscriber_id, since=row.verifying_at, now=now
    ):
        raise DisputeNotVerified
    _let_run(actor, row, now)
    _resolve(actor, row, DisputeOutcome.VERIFY, written, now)
    _note(actor, row, "dispute.resolve", before, "holder_dispute.resolved", now, written)
    return row


@operation
def detach_disputed_line(*, actor: Actor, dispute: str, reason: str, now: datetime) -> HolderDispute:
    """Outcome detach: the line counts for its holder no longer, and stands still until its user has registered for it.

    They do that with an order of type transfer.

    :raises Forbidden: without the rights disputes.decide and lines.suspend. :raises ReasonMissing:
    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is decided.
    Else as `place_suspension_order`.
    """
    row, written = _take(actor, dispute, reason)
    before = row.status
    lines.detach_line(actor=actor, line_id=row.line_id, reason=written, now=now)
    _stand_still(actor, row, SuspensionCause.REVERIFICATION, now)
    _resolve(actor, row, DisputeOutcome.DETACH, written, now)
    _note(actor, row, "dispute.resolve", before, "holder_dispute.resolved", now, written)
    return row


@operation
def suspend_disputed_line(*, actor: Actor, dispute: str, reason: str, now: datetime) -> HolderDispute:
    """Outcome suspend: two-way, for suspected fraud with somebody's name.

    :raises Forbidden: without the rights disputes.decide and lines.suspend. :raises ReasonMissing:
    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is decided.
    Else as `place_suspension_order`.
    """
    row, written = _take(actor, dispute, reason)
    before = row.status
    _stand_still(actor, row, SuspensionCause.FRAUD, now)
    _resolve(actor, row, DisputeOutcome.SUSPEND, written, now)
    _note(actor, row, "dispute.resolve", before, "holder_dispute.resolved", now, written)
    return row


@operation
def terminate_disputed_line(*, actor: Actor, dispute: str, reason: str, now: datetime) -> HolderDispute:
    """Outcome terminate: the line is closed, as its holder of record wants; the place is free when it has ended.

    :raises Forbidden: without the rights disputes.decide and lines.terminate. :raises ReasonMissing:
    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is decided.
    Else as `place_termination_order`.
    """
    row, written = _take(actor, dispute, reason)
    before = row.status
    place_termination_order(
        actor=actor, line=row.line.uid, reason="user_request", note=_remark(row, written), now=now
    )
    _resolve(actor, row, DisputeOutcome.TERMINATE, written, now)
    _note(actor, row, "dispute.resolve", before, "holder_dispute.resolved", now, written)
    return row


@operation
def withdraw_dispute(*, actor: Actor, dispute: str, reason: str, now: datetime) -> HolderDispute:
    """The person knows the number after all, or the line has ended: nothing is left to decide.

    :raises Forbidden: without the right disputes.decide. :raises ReasonMissing:
    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is decided.
    Else as `place_resumption_order`.
    """
    row, written = _take(actor, dispute, reason, may_be_anothers=True)
    before = row.status
    row.withdraw(by=actor.id, label=actor.label, decision=written, now=now)
    theirs = row.line.subscriber_id == row.subscriber_id
    if before == DisputeStatus.VERIFYING and row.line.status in LIVE_LINE and theirs:
        _let_run(actor, row, now)
    _note(actor, row, "dispute.withdraw", before, "holder_dispute.withdrawn", now, written)
    return row


def _open(
    actor: Actor,
    line_id: int,
    subscriber_id: int,
    statement: str,
    check: HolderCheck | None,
    now: datetime,
) -> HolderDispute:
    """:raises DisputeItemUnknown: :raises LineNotActive: :raises LineDetached: :raises DisputeExists:"""
    written = checked_reason(statement)
    # Two at once: the second waits here, and then finds the first.
    line = Line.objects.select_for_update().get(pk=line_id)
    if line.subscriber_id != subscriber_id:
        raise DisputeItemUnknown
    if line.status not in LIVE_LINE:
        raise LineNotActive
    if line.detached_at is not None:
        raise LineDetached
    if selectors.is_disputed(line_id=line.pk):
        raise DisputeExists
    days = policies.get(operator_id=line.operator_id, key=PolicyKey.DISPUTE_DAYS, now=now)
    row = HolderDispute.objects.create(
        operator_id=line.operator_id,
        line=line,
        subscriber_id=subscriber_id,
        holder_check=check,
        status=DisputeStatus.OPEN,
        statement=written,
        opened_by=actor.id,
        opened_by_label=actor.label,
        opened_at=now,
        due_at=now + timedelta(days=days),
    )
    _note(actor, row, "dispute.open", None, "holder_dispute.opened", now, written)
    return row


def _take(
    actor: Actor, dispute: str, reason: str, *, may_be_anothers: bool = False
) -> tuple[HolderDispute, str]:
    """The dispute, locked, with its line; and the reason as it may be kept.

    :raises DisputeOwn: :raises DisputeOvertaken:
    """
    actor.require(DECIDE)
    written = checked_reason(reason)
    row = selectors.get_dispute_for_update(actor=actor, uid=dispute)
    if row.opened_by == actor.id:
        raise DisputeOwn
    if not may_be_anothers:
        _require_theirs(row.line, row)
    return row, written


def _require_theirs(line: Line, row: HolderDispute) -> None:
    """:raises DisputeOvertaken: the line has another holder than the one who disputes it."""
    if line.subscriber_id != row.subscriber_id:
        raise DisputeOvertaken


def _resolve(actor: Actor, row: HolderDispute, outcome: DisputeOutcome, written: str, now: datetime) -> None:
    """After whatever comes of it has been asked for: then the line's lock comes last, as in `core.db.LOCK_ORDER`."""
    _require_theirs(Line.objects.select_for_update().get(pk=row.line_id), row)
    row.resolve(outcome, by=actor.id, label=actor.label, decision=written, now=now)


def _stand_still(actor: Actor, row: HolderDispute, cause: SuspensionCause, now: datetime) -> None:
    """Neither calls out nor in, for that cause; nothing to do when this person has it so already."""
    kind = SuspensionKind.TWO_WAY
    if line_selectors.has_suspension(line_id=row.line_id, cause=cause, kind=kind, placed_by=actor.id):
        return
    place_suspension_order(
        actor=actor, line=row.line.uid, kind=kind, reason=cause, note=_remark(row), now=now
    )


def _let_run(actor: Actor, row: HolderDispute, now: datetime) -> None:
    """Lifts what was placed until the holder is verified, unless that is done already."""
    try:
        # A block of its own: the refusal undoes no more than this.
        with transaction.atomic():
            place_resumption_order(
                actor=actor,
                line=row.line.uid,
                reason=SuspensionCause.REVERIFICATION,
                note=_remark(row),
                now=now,
            )
    except SuspensionNotFound:
        return


def _remark(row: HolderDispute, written: str = "") -> str:
    return f"Dispute {row.uid}: {written}".removesuffix(": ")[:200]


def _note(
    actor: Actor,
    row: HolderDispute,
    action: str,
    before: str | None,
    event_type: str,
    now: datetime,
    reason: str,
) -> None:
    after = {"status": row.status, "line": row.line.uid}
    if row.outcome:
        after["outcome"] = row.outcome
    audit.record(
        actor=actor,
        action=action,
        target_type="holder_dispute",
        target_id=row.uid,
        operator_id=row.operator_id,
        before={"status": before} if before else None,
        after=after,
        reason=reason,
        now=now,
    )
    events.publish(
        type=event_type,
        operator_id=row.operator_id,
        subject=row.uid,
        data={
            "dispute": row.uid,
            "line": row.line.uid,
            "before": before,
            "status": row.status,
            "outcome": row.outcome.lower() or None,
        },
        actor=actor,
        now=now,
    )
