"""Demands that somebody is verified again: warned, then suspended one-way, then both ways, until a fresh pass.

A demand says what its lines are to be; `apply_at` tells provisioning to look at them. Nothing here ends a line. What
happens first, a step or a pass, is decided by the lock on the demand: the other then finds it as it has become.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import groupby

from apps.audit import services as audit
from apps.core import dispatch
from apps.core.actor import Actor, ActorKind
from apps.core.db import operation, use_case
from apps.core.errors import Forbidden, NotFound
from apps.core.public_ids import get_by_uid
from apps.events import services as events
from apps.operators import policies
from apps.operators.calendar import CHINA, china_date
from apps.operators.policies import LadderKey, PolicyKey
from apps.subscribers import errors
from apps.subscribers.models import (
    TOMBSTONE,
    DemandStep,
    IdentityDocument,
    ReverificationDemand,
    Subscriber,
    Verification,
)
from apps.subscribers.services.freshness import expire_verification
from apps.subscribers.services.notices import WORDS, Notices
from apps.subscribers.services.reasons import checked_reason
from apps.subscribers.states import DemandReason, DemandStatus, VerificationStatus

DEMAND = "realname.demand"

_HOURS: dict[str, LadderKey] = {
    DemandReason.ABNORMAL_USE: PolicyKey.ABNORMAL_USE_HOURS,
    DemandReason.DOCUMENT_EXPIRED: PolicyKey.DOCUMENT_EXPIRED_HOURS,
    DemandReason.REGULATOR_LIST: PolicyKey.REGULATOR_LIST_HOURS,
    DemandReason.DISPUTE: PolicyKey.DISPUTE_HOURS,
}
# Which of the policy's figures says how long a step lasts.
_HOURS_FROM = {DemandStatus.WARNED: 0, DemandStatus.ONE_WAY: 1}
_TRACES = {
    DemandStatus.WARNED: ("reverification.demand", "reverification.demanded"),
    DemandStatus.ONE_WAY: ("reverification.step", "reverification.step_taken"),
    DemandStatus.TWO_WAY: ("reverification.step", "reverification.step_taken"),
    DemandStatus.PASSED: ("reverification.pass", "reverification.passed"),
    DemandStatus.WITHDRAWN: ("reverification.withdraw", "reverification.withdrawn"),
}
# Of lines that are not yet as they should be: looked at again after so long, doubled each time up to the longest.
FIRST_LOOK = timedelta(seconds=5)
LONGEST_LOOK = timedelta(hours=1)
_DOCUMENT_NOTE = "The registered identity document ends."


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose re-verification is demanded: of all their lines, or of one."""

    subscriber_id: int
    line_uid: str = ""


@operation
def demand_reverification(
    *,
    actor: Actor,
    subscriber_uid: str,
    reason: DemandReason,
    note: str,
    now: datetime,
    line_uid: str = "",
) -> ReverificationDemand:
    """The subscriber is warned, from now on and with the time that policy gives; `note` says why, for the files.

    With `line_uid`, which the caller has found to be the subscriber's, only that line is suspended. Where policy gives
    no time the first suspension follows at once. Only a verification asked for from now on meets the demand.

    :raises Forbidden: staff without `realname.demand`, or a partner. :raises ReasonMissing: no note.
    :raises NotFound: the subscriber is unknown or another operator's. :raises SubscriberErased:
    :raises DemandAlreadyOpen: this is demanded already. :raises NoticeMissing: nobody says what to tell the person.
    """
    require_demand(actor)
    written = checked_reason(note)
    subscriber = get_by_uid(Subscriber.objects.visible_to(actor), subscriber_uid)
    wanted = [Wanted(subscriber.pk, line_uid)]
    opened = _open(actor, subscriber.operator_id, reason, wanted, written, now)
    if not opened:
        subscriber.refresh_from_db(fields=["erased_at"])
        raise errors.SubscriberErased if subscriber.erased_at else errors.DemandAlreadyOpen
    return opened[0]


@operation
def demand_of_many(
    *,
    actor: Actor,
    operator_id: int,
    reason: DemandReason,
    wanted: Sequence[Wanted],
    note: str,
    now: datetime,
) -> list[ReverificationDemand]:
    """`demand_reverification` of many of one operator's people at once; what is demanded already is passed over.

    So that a list may be sent again. The caller has read people and lines within the operator.

    :raises NotFound: the operator is not the actor's. :raises Forbidden, ReasonMissing, NoticeMissing: as that.
    """
    require_demand(actor)
    if not actor.sees(operator_id):
        raise NotFound
    return _open(actor, operator_id, reason, wanted, checked_reason(note), now)


@use_case
def demand_for_documents(
    *, actor: Actor, operator_id: int, document_ids: Collection[int], now: datetime
) -> int:
    """Warns those people whose document, the one that counts, ends within policy's days or has ended; how many.

    Each end of a document is a reason once, also when the demand was withdrawn. The first suspension is counted from
    the document's last day, never from before now.

    :raises NoticeMissing: nobody says what to tell the person.
    """
    documents = IdentityDocument.objects.filter(operator_id=operator_id, pk__in=document_ids).order_by("pk")
    wanted = [Wanted(document.subscriber_id) for document in documents]
    reason = DemandReason.DOCUMENT_EXPIRED
    return len(_open(actor, operator_id, reason, wanted, _DOCUMENT_NOTE, now, for_documents=True))


@operation
def withdraw_demand(*, actor: Actor, demand_uid: str, reason: str, now: datetime) -> ReverificationDemand:
    """The person need not be verified again after all; what stands on their lines for this demand alone is lifted.

    :raises Forbidden: staff without `realname.demand`, or a partner. :raises ReasonMissing: no reason.
    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is not open (any more).
    """
    require_demand(actor)
    written = checked_reason(reason)
    rows = ReverificationDemand.objects.visible_to(actor).select_related("subscriber")
    demand = get_by_uid(rows.select_for_update(of=("self",), no_key=True), demand_uid)
    before = demand.status
    demand.withdraw(now=now)
    _keep(actor, [(demand, before)], now, reason=written)
    return demand


@operation
def meet_demands(*, actor: Actor, verification: Verification, now: datetime) -> int:
    """The subscriber has just passed: closes the demands that stood before the verification was asked for; how many.

    Call it in the transaction of the pass. One that speaks of a document's end wants another, longer valid document.
    What counts is when the evidence was brought. A proxy meets none: it is the holder who has to be seen again.
    """
    if verification.is_by_proxy:
        return 0
    rows = (
        ReverificationDemand.objects.open()
        .filter(subscriber_id=verification.subscriber_id, created_at__lt=verification.proved_at)
        .select_related("subscriber")
        .select_for_update(of=("self",), no_key=True)
        .order_by("pk")
    )
    met = [(row, row.status) for row in rows if row.accepts(verification.document.valid_until)]
    for demand, _ in met:
        demand.pass_(now=now, verification_id=verification.pk)
    _keep(actor, met, now)
    return len(met)


@use_case
def take_due_steps(*, actor: Actor, now: datetime, limit: int = 500) -> int:
    """Takes the next step of up to `limit` demands whose time has come, longest due first; returns how many.

    A pass that should have closed one closes it now. Once somebody is suspended, earlier passes count no more: they are
    EXPIRED, and nothing can be ordered on them. Rows that somebody is at are left for the next time.
    """
    rows = list(
        ReverificationDemand.objects.visible_to(actor)
        .due(now=now)
        .select_related("subscriber")
        .select_for_update(skip_locked=True, of=("self",), no_key=True)
        .order_by("next_step_at", "pk")[:limit]
    )
    before = {row.pk: row.status for row in rows}
    passes = _passes(rows)
    stepped = []
    ladders = _Ladders(now)
    for row in rows:
        if (verification_id := passes.get(row.pk)) is not None:
            row.pass_(now=now, verification_id=verification_id)
        else:
            row.climb(now=now, next_step_at=ladders.next_step_at(row, row.next_status, now))
            stepped.append(row)
    _end_earlier_passes(actor, stepped, now)
    _keep(actor, [(row, before[row.pk]) for row in rows], now)
    return len(rows)


@operation
def lock_to_apply(*, demand_id: int, now: datetime) -> ReverificationDemand | None:
    """The demand, locked so that neither step nor pass comes between; None when nobody has to look at its lines, or
    somebody does."""
    return (
        ReverificationDemand.objects.unapplied(now=now)
        .select_for_update(skip_locked=True, no_key=True)
        .filter(pk=demand_id)
        .first()
    )


@operation
def note_applied(*, demand: ReverificationDemand, settled: bool, more: bool, now: datetime) -> None:
    """The caller, who holds the demand, has looked at its lines: all as they should be, or to be looked at again.

    At once when there are `more` than it could take in one go, else after a while that grows.
    """
    wait = min(LONGEST_LOOK, FIRST_LOOK * (1 << min(demand.apply_tries, 20)))
    demand.note_applied(look_again_at=None if settled else now if more else now + wait)
    demand.save(update_fields=["apply_at", "apply_tries"])


@operation
def forget_demands(*, actor: Actor, subscriber: Subscriber, now: datetime) -> None:
    """Of somebody who is being erased: open ones are withdrawn, and of none is left what could tell who it was."""
    demands = list(
        ReverificationDemand.objects.filter(subscriber=subscriber)
        .select_related("subscriber")
        .select_for_update(of=("self",), no_key=True)
        .order_by("pk")
    )
    ended = [(demand, demand.status) for demand in demands if demand.is_open]
    for demand, _ in ended:
        demand.withdraw(now=now)
    _keep(actor, ended, now, reason="erased")
    for demand in demands:
        demand.forget()
    # Their texts name the document's last day.
    DemandStep.objects.filter(demand__in=demands).update(**dict.fromkeys(WORDS, TOMBSTONE))


def require_demand(actor: Actor) -> None:
    """Partners neither make nor lift demands. :raises Forbidden: a partner, or staff without the right."""
    if actor.kind not in (ActorKind.STAFF, ActorKind.SYSTEM):
        raise Forbidden
    actor.require(DEMAND)


class _Ladders:
    """When steps come, by the policies in force at one moment; each is read once."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._hours: dict[tuple[int, str], tuple[int, ...]] = {}

    def next_step_at(
        self, demand: ReverificationDemand, status: DemandStatus | None, now: datetime
    ) -> datetime | None:
        """When the step after `status`, taken now, comes. None: there is none."""
        if status is None or status not in _HOURS_FROM:
            return None
        key = (demand.operator_id, demand.reason)
        if key not in self._hours:
            self._hours[key] = policies.get(
                operator_id=demand.operator_id, key=_HOURS[demand.reason], now=self._now
            )
        begins = now
        if status == DemandStatus.WARNED and demand.document_until is not None:
            begins = max(now, _end_of(demand.document_until))
        return begins + timedelta(hours=self._hours[key][_HOURS_FROM[status]])


def _open(
    actor: Actor,
    operator_id: int,
    reason: DemandReason,
    wanted: Sequence[Wanted],
    note: str,
    now: datetime,
    *,
    for_documents: bool = False,
) -> list[ReverificationDemand]:
    """Locks the people, so that no verification is asked for meanwhile, and warns those of whom it is not demanded yet.

    With `for_documents` only those whose document ends.
    """
    people = {
        person.pk: person
        for person in Subscriber.objects.select_for_update(no_key=True)
        .filter(operator_id=operator_id, pk__in={each.subscriber_id for each in wanted}, erased_at=None)
        .order_by("pk")
    }
    demanded = set(
        ReverificationDemand.objects.open()
        .filter(subscriber_id__in=people, reason=reason)
        .values_list("subscriber_id", "line_uid")
    )
    ends = _document_ends(operator_id, people, now) if reason is DemandReason.DOCUMENT_EXPIRED else {}
    ladders = _Ladders(now)
    rows = []
    for each in dict.fromkeys(wanted):
        if each.subscriber_id not in people or (each.subscriber_id, each.line_uid) in demanded:
            continue
        # Of one line it is demanded by hand, and any valid document meets it.
        document = None if each.line_uid else ends.get(each.subscriber_id)
        if for_documents and document is None:
            continue
        row = ReverificationDemand(
            operator_id=operator_id,
            subscriber=people[each.subscriber_id],
            line_uid=each.line_uid,
            reason=reason,
            document=document,
            document_until=document.valid_until if document else None,
            note=note,
            demanded_by=f"{actor.kind}:{actor.id}",
            demanded_by_label=actor.label,
            created_at=now,
        )
        row.next_step_at = ladders.next_step_at(row, DemandStatus.WARNED, now)
        rows.append(row)
    ReverificationDemand.objects.bulk_create(rows)
    _trace(actor, [(row, None) for row in rows], now, note)
    if any(row.next_step_at == now for row in rows):
        dispatch.after_commit("subscribers.take_reverification_steps")
    return rows


def _document_ends(operator_id: int, people: Collection[int], now: datetime) -> dict[int, IdentityDocument]:
    """Of each person the document that counts, if it has or is about to come to an end that was not yet a reason."""
    days = policies.get(operator_id=operator_id, key=PolicyKey.DOCUMENT_WARNING_DAYS, now=now)
    until = china_date(now) + timedelta(days=days)
    latest = IdentityDocument.objects.filter(subscriber_id__in=people).order_by("subscriber_id", "-id")
    documents = [
        each
        for each in latest.distinct("subscriber_id")
        if each.valid_until is not None and each.valid_until <= until
    ]
    used = set(
        ReverificationDemand.objects.filter(document__in=documents).values_list(
            "document_id", "document_until"
        )
    )
    return {each.subscriber_id: each for each in documents if (each.pk, each.valid_until) not in used}


def _passes(rows: Sequence[ReverificationDemand]) -> dict[int, int]:
    """Which pass has met which of these open demands. A guard only: the pass itself closes them."""
    passed = defaultdict(list)
    for verification in (
        Verification.objects.filter(
            subscriber_id__in={row.subscriber_id for row in rows}, status=VerificationStatus.PASSED
        )
        .select_related("document", "representative")
        .order_by("pk")
    ):
        if verification.is_by_proxy:
            continue
        passed[verification.subscriber_id].append(verification)
    return {
        row.pk: verification.pk
        for row in rows
        for verification in passed[row.subscriber_id]
        if verification.proved_at > row.created_at and row.accepts(verification.document.valid_until)
    }


def _end_earlier_passes(actor: Actor, rows: Sequence[ReverificationDemand], now: datetime) -> None:
    since = {}
    for row in sorted(rows, key=lambda row: row.created_at):
        since[row.subscriber_id] = row.created_at
    earlier = (
        Verification.objects.filter(subscriber_id__in=since, status=VerificationStatus.PASSED)
        # Whoever is at one of them may want the demand next: nobody waits for it here.
        .select_for_update(skip_locked=True, no_key=True)
        .order_by("pk")
    )
    for verification in earlier:
        if verification.proved_at <= since[verification.subscriber_id]:
            expire_verification(actor=actor, verification=verification, now=now)


def _keep(
    actor: Actor, moved: Sequence[tuple[ReverificationDemand, str]], now: datetime, *, reason: str = ""
) -> None:
    """Saves what the verbs have changed, with the trace of it."""
    ReverificationDemand.objects.bulk_update([demand for demand, _ in moved], ReverificationDemand.MOVING)
    _trace(actor, moved, now, reason)


def _trace(
    actor: Actor, moved: Iterable[tuple[ReverificationDemand, str | None]], now: datetime, reason: str
) -> None:
    """The steps with their words, an audit row and an event of each; a statement or two for all that moved alike."""
    ordered = sorted(moved, key=lambda pair: (pair[0].status, pair[1] or "", pair[0].pk))
    notices = Notices.of({demand.operator_id for demand, _ in ordered}, now) if ordered else None
    for (status, before), group in groupby(ordered, key=lambda pair: (pair[0].status, pair[1])):
        demands = [demand for demand, _ in group]
        DemandStep.objects.bulk_create(
            DemandStep(
                demand=demand,
                status=status,
                taken_at=now,
                next_step_at=demand.next_step_at,
                **notices.words(  # type: ignore[union-attr]
                    operator_id=demand.operator_id,
                    reason=demand.reason,
                    status=status,
                    due=demand.next_step_at,
                    document_until=demand.document_until,
                ),
            )
            for demand in demands
        )
        action, event_type = _TRACES[DemandStatus(status)]
        audit.record_many(
            actor=actor,
            action=action,
            target_type="reverification_demand",
            entries=[
                audit.Entry(
                    demand.uid,
                    demand.operator_id,
                    before={"status": before} if before else None,
                    after={"status": status, "reason": demand.reason, "subscriber": demand.subscriber.uid}
                    | ({"line": demand.line_uid} if demand.line_uid else {}),
                )
                for demand in demands
            ],
            reason=reason,
            now=now,
        )
        events.publish_many(
            type=event_type,
            entries=[
                events.Entry(
                    demand.uid,
                    demand.operator_id,
                    {
                        "subscriber": demand.subscriber.uid,
                        "line": demand.line_uid or None,
                        "reason": demand.reason.lower(),
                        "before": before,
                        "status": status,
                    },
                )
                for demand in demands
            ],
            actor=actor,
            now=now,
        )


def _end_of(last_day: date) -> datetime:
    """When the document's last day is over in China."""
    return datetime.combine(last_day + timedelta(days=1), time.min, CHINA)
