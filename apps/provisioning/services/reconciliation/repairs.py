"""What staff decide about discrepancies. Nothing is repaired that nobody accepted, and everything with a reason."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError
from django.db.models import Q

from apps.audit import services as audit
from apps.core import dispatch
from apps.core.actor import Actor
from apps.core.db import operation, serialize_on, use_case, violated_constraint
from apps.core.errors import DomainError, Forbidden, InvalidTransition
from apps.core.public_ids import get_by_uid
from apps.lines import selectors as line_selectors
from apps.lines.models import Line
from apps.numbering import services as numbering
from apps.provisioning.errors import (
    DecisionReasonMissing,
    DiscrepanciesChanged,
    DiscrepancyNotRepairable,
    DiscrepancyOutdated,
    LineHasOpenOrder,
)
from apps.provisioning.models import ActivationJob, Discrepancy, ReconciliationRun, ServiceOrder
from apps.provisioning.services.order_types.restoring import place_restoring_order, record_end
from apps.provisioning.services.reconciliation.comparing import margin
from apps.provisioning.services.reconciliation.runs import MANAGE
from apps.provisioning.states import DISCREPANCY, DiscrepancyKind, DiscrepancyStatus, OrderType

logger = logging.getLogger(__name__)

# A carrier may mend its own mistake: what it said longer ago is not acted upon. Runs are nightly.
FRESH_FOR = timedelta(hours=48)

_ASKS_FOR: Mapping[str, OrderType] = {
    DiscrepancyKind.SUSPENSION: OrderType.SUSPEND,
    DiscrepancyKind.SIM: OrderType.CHANGE_SIM,
    DiscrepancyKind.NUMBER: OrderType.CHANGE_NUMBER,
    DiscrepancyKind.PLAN: OrderType.CHANGE_PLAN,
    DiscrepancyKind.LIVE_THERE: OrderType.TERMINATE,
}
_ENDED = (DiscrepancyKind.ENDED_THERE, DiscrepancyKind.MISSING_THERE)


@operation
def accept_discrepancy(*, actor: Actor, discrepancy: str, reason: str, now: datetime) -> Discrepancy:
    """Carries out the proposed repair: an order, a correction here, or a number kept from sale. -> REPAIRED.

    The carrier is asked for what we have, save where it has ended a line: then the line ends here.

    :raises Forbidden: without reconciliation.manage, or the right that the repair itself needs.
    :raises NotFound: no such discrepancy of this operator, or a number that is not leased.
    :raises DecisionReasonMissing: :raises InvalidTransition: it is decided or gone.
    :raises DiscrepancyOutdated: :raises DiscrepancyNotRepairable:
    :raises LineHasOpenOrder: :raises CarrierNotConnected: :raises NumberInUse:
    """
    actor.require(MANAGE)
    _require_reason(reason)
    found = _find(actor, discrepancy)
    DISCREPANCY.check(found.status, DiscrepancyStatus.ACCEPTED)
    order = _repair(actor, found, reason, now)
    locked = _lock(found)
    locked.accept(by=actor.id, by_label=actor.label, reason=reason, now=now)
    locked.repair(order=order, now=now)
    _record(actor, locked, "accept", DiscrepancyStatus.OPEN, now, reason, order=order)
    return locked


@operation
def accept_discrepancies(
    *, actor: Actor, run: str, kind: DiscrepancyKind, count: int, reason: str, now: datetime
) -> int:
    """Accepts every open discrepancy of that kind that the run found: ACCEPTED, for workers to repair one by one.

    `count` is how many somebody saw; with another number nothing is accepted. Each repair is done with the rights that
    whoever accepted has by then, and one that is refused comes back as OPEN and says why.

    :raises Forbidden: without reconciliation.manage. :raises NotFound: no such run of this operator.
    :raises DecisionReasonMissing: :raises DiscrepanciesChanged:
    """
    actor.require(MANAGE)
    _require_reason(reason)
    found = get_by_uid(ReconciliationRun.objects.visible_to(actor), run)
    accepted = Discrepancy.objects.waiting().filter(run=found, kind=kind)
    done = accepted.update(
        status=DiscrepancyStatus.ACCEPTED,
        decided_by=actor.id,
        decided_by_label=actor.label,
        decided_at=now,
        reason=reason[:200],
        error_code="",
        error_detail="",
    )
    if done != count or not done:
        raise DiscrepanciesChanged
    audit.record(
        actor=actor,
        action="reconciliation.accept",
        target_type="reconciliation",
        target_id=found.uid,
        operator_id=found.operator_id,
        before=None,
        after={"kind": kind, "discrepancies": done},
        reason=reason,
        now=now,
    )
    dispatch.after_commit("provisioning.repair_discrepancies")
    return done


@operation
def ignore_discrepancy(*, actor: Actor, discrepancy: str, reason: str, now: datetime) -> Discrepancy:
    """OPEN -> IGNORED: not listed again for as long as it is the same on both sides.

    :raises Forbidden: without reconciliation.manage. :raises NotFound: no such discrepancy of this operator.
    :raises DecisionReasonMissing: :raises InvalidTransition: it is decided or gone.
    """
    actor.require(MANAGE)
    _require_reason(reason)
    locked = _lock(_find(actor, discrepancy))
    before = locked.status
    locked.ignore(by=actor.id, by_label=actor.label, reason=reason, now=now)
    _record(actor, locked, "ignore", before, now, reason)
    return locked


@operation
def reopen_discrepancy(*, actor: Actor, discrepancy: str, reason: str, now: datetime) -> Discrepancy:
    """IGNORED -> OPEN: it is looked at again after all.

    :raises Forbidden: without reconciliation.manage. :raises NotFound: no such discrepancy of this operator.
    :raises DecisionReasonMissing: :raises InvalidTransition: it is not ignored.
    """
    actor.require(MANAGE)
    _require_reason(reason)
    locked = _lock(_find(actor, discrepancy))
    before = locked.status
    if before != DiscrepancyStatus.IGNORED:
        raise InvalidTransition("Only what was ignored is looked at again.")
    locked.reopen()
    _record(actor, locked, "reopen", before, now, reason)
    return locked


def repair_accepted(
    *,
    actor: Actor,
    actor_of: Callable[[str], Actor | None],
    clock: Callable[[], datetime],
    limit: int = 200,
) -> int:
    """Carries out up to `limit` repairs that were accepted in bulk, each in its own transaction; returns how many.

    May be killed at any moment and run twice at once. `actor_of` finds whoever accepted, with the rights of now, or
    None; `actor` is who writes that a repair was refused.
    """
    ids = list(Discrepancy.objects.accepted().order_by("id").values_list("id", flat=True)[:limit])
    for discrepancy_id in ids:
        try:
            _repair_one(actor_of=actor_of, discrepancy_id=discrepancy_id, now=clock())
        except Exception as error:
            if not isinstance(error, DomainError):
                logger.exception("repair failed", extra={"discrepancy_key": discrepancy_id})
            code = error.code if isinstance(error, DomainError) else "repair_failed"
            detail = error.detail if isinstance(error, DomainError) else type(error).__name__
            _give_back(actor=actor, discrepancy_id=discrepancy_id, code=code, detail=detail, now=clock())
    return len(ids)


@use_case
def _repair_one(*, actor_of: Callable[[str], Actor | None], discrepancy_id: int, now: datetime) -> None:
    """As whoever accepted it, with the rights they have now.

    :raises Forbidden: they may not log in any more, or lack the right by now.
    """
    serialize_on(f"discrepancy:{discrepancy_id}")
    found = Discrepancy.objects.select_related("line__plan", "run__connection").get(pk=discrepancy_id)
    if found.status != DiscrepancyStatus.ACCEPTED:
        return
    actor = actor_of(found.decided_by)
    if actor is None or not actor.sees(found.operator_id):
        raise Forbidden
    actor.require(MANAGE)
    order = _repair(actor, found, found.reason, now)
    locked = _lock(found)
    locked.repair(order=order, now=now)
    _record(actor, locked, "repair", DiscrepancyStatus.ACCEPTED, now, found.reason, order=order)


@use_case
def _give_back(*, actor: Actor, discrepancy_id: int, code: str, detail: str, now: datetime) -> None:
    """ACCEPTED -> OPEN, unless somebody else has dealt with it."""
    locked = Discrepancy.objects.select_for_update(of=("self",)).get(pk=discrepancy_id)
    if locked.status != DiscrepancyStatus.ACCEPTED:
        return
    locked.reopen(code=code, detail=detail)
    _record(actor, locked, "repair_refused", DiscrepancyStatus.ACCEPTED, now, code)


def _repair(actor: Actor, found: Discrepancy, reason: str, now: datetime) -> ServiceOrder | None:
    """What `kind` asks for; the caller holds the discrepancy.

    :raises DiscrepancyOutdated: :raises DiscrepancyNotRepairable: :raises LineHasOpenOrder: somebody was faster.
    """
    if now - found.seen_at > FRESH_FOR:
        raise DiscrepancyOutdated
    theirs = found.theirs
    if found.line is None:
        # Of platform staff too: only a number that this operator has leased.
        own = dataclasses.replace(actor, operator_id=found.operator_id)
        numbering.withhold_number(actor=own, number=found.number, reason=reason, now=now)
        return None
    if _ours(found.line) != found.ours:
        raise DiscrepancyOutdated
    try:
        if found.kind in _ENDED:
            order = record_end(actor=actor, line_id=found.line.pk, note=reason[:200], now=now)
        elif found.kind in _ASKS_FOR:
            order = place_restoring_order(
                actor=actor,
                line_id=found.line.pk,
                asks_for=_ASKS_FOR[found.kind],
                number=theirs["number"],
                iccid=theirs["iccid"],
                note=reason[:200],
                now=now,
            )
        else:
            raise DiscrepancyNotRepairable
    except IntegrityError as error:
        if violated_constraint(error) == "one_open_order_per_line":
            raise LineHasOpenOrder from None
        raise
    # With the order placed the line is locked, and no other can end any more.
    if _has_moved(found, order):
        raise DiscrepancyOutdated
    return order


def _has_moved(found: Discrepancy, order: ServiceOrder) -> bool:
    """Whether the carrier has worked on the line since its page was asked for, as the comparison sees it; what is here
    as it was then may have been there and back.
    """
    since = found.seen_at - margin(found.run.connection)
    others = ActivationJob.objects.filter(line=order.line_id).exclude(order=order)
    return others.filter(Q(finished_at=None) | Q(finished_at__gte=since)).exists()


def _ours(line: Line) -> dict[str, Any]:
    """As the comparison wrote it down."""
    has = line_selectors.get_holdings(line_id=line.pk)
    return {
        "status": line.status,
        "suspension": line.suspension_kind,
        "number": has.number,
        "iccid": has.iccid,
        "plan": line.plan.code,
    }


def _find(actor: Actor, uid: str) -> Discrepancy:
    """Nobody else decides about it until this transaction ends."""
    found = get_by_uid(Discrepancy.objects.visible_to(actor), uid)
    serialize_on(f"discrepancy:{found.pk}")
    return Discrepancy.objects.select_related("line__plan", "run__connection").get(pk=found.pk)


def _lock(found: Discrepancy) -> Discrepancy:
    return Discrepancy.objects.select_for_update(of=("self",)).get(pk=found.pk)


def _require_reason(reason: str) -> None:
    """:raises DecisionReasonMissing:"""
    if not reason.strip():
        raise DecisionReasonMissing


def _record(
    actor: Actor,
    found: Discrepancy,
    verb: str,
    before: str,
    now: datetime,
    reason: str,
    *,
    order: ServiceOrder | None = None,
) -> None:
    after: dict[str, Any] = {"status": found.status, "kind": found.kind}
    if order is not None:
        after["order"] = order.uid
    audit.record(
        actor=actor,
        action=f"discrepancy.{verb}",
        target_type="discrepancy",
        target_id=found.uid,
        operator_id=found.operator_id,
        before={"status": before},
        after=after,
        reason=reason,
        now=now,
    )
