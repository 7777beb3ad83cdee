"""Review cases: opened and closed with what they are about, taken by one person at a time, pictures for that person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from apps.audit import services as audit
from apps.core.actor import Actor, ActorKind
from apps.core.db import operation, outside_transaction
from apps.core.errors import Forbidden, InvalidTransition
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, selectors
from apps.subscribers.models import ReviewCase, Verification
from apps.subscribers.services.images import ShownImage, reveal_images
from apps.subscribers.states import CaseKind, CaseStatus

REVIEW = "realname.review"
_NOBODY = "kaihu"


@operation
def claim_case(*, actor: Actor, case_uid: str, now: datetime) -> ReviewCase:
    """The case is the actor's for as long as policy `realname.review_claim_minutes` says; again: for as long again.

    :raises Forbidden: not staff, or without the right `realname.review`.
    :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: it is decided. :raises ReviewClaimed: somebody else has it.
    :raises ReviewNeedsSecondPerson: the actor entered what it is about, or proposed it.
    """
    require_reviewer(actor)
    case = selectors.get_case_for_update(actor=actor, uid=case_uid)
    require_open(case)
    require_stranger(actor, case.verification, case)
    require_not_anothers(actor, case, now)
    minutes = policies.get(operator_id=case.operator_id, key=PolicyKey.REVIEW_CLAIM_MINUTES, now=now)
    case.claim(by=actor.id, label=actor.label, until=now + timedelta(minutes=minutes))
    _record(actor, "review.claim", case, now)
    return case


@operation
def release_case(*, actor: Actor, case_uid: str, now: datetime) -> ReviewCase:
    """Gives a case back that the actor has taken. Raises as `claim_case`.

    :raises ReviewNotClaimed: it is not the actor's (any more).
    """
    require_reviewer(actor)
    case = selectors.get_case_for_update(actor=actor, uid=case_uid)
    require_open(case)
    require_claimed(actor, case, now)
    case.release()
    _record(actor, "review.release", case, now)
    return case


@outside_transaction
def look_at_case(*, actor: Actor, case_uid: str, now: datetime) -> Sequence[ShownImage]:
    """The person's pictures, marked with operator, purpose, viewer and date, for whoever has taken the case.

    Each look is audited and counts like any other look at a person, see `reveal_images`.

    :raises Forbidden: without the rights `realname.review` and `identity.reveal`. :raises TooManyReveals: see policy.
    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is decided.
    :raises ReviewNotClaimed: the actor has not taken it.
    """
    require_reviewer(actor)
    case = selectors.get_case(actor=actor, uid=case_uid)
    require_open(case)
    require_claimed(actor, case, now)
    verification = case.verification
    return reveal_images(
        actor=actor,
        subscriber_uid=verification.subscriber.uid,
        reason=f"Review of {verification.uid}",
        now=now,
    )


def open_doubt(*, verification: Verification, now: datetime) -> ReviewCase:
    """Puts a verification that has just come into REVIEW in the queue, in the caller's transaction."""
    name, code = selectors.get_decisive_check(verification_id=verification.pk)
    return ReviewCase.objects.create(
        operator_id=verification.operator_id,
        verification=verification,
        kind=CaseKind.DOUBT,
        check_name=name,
        check_code=code,
        opened_at=now,
    )


def close_doubt(*, actor: Actor, verification: Verification, status: CaseStatus, now: datetime) -> None:
    """What was in doubt is decided; in the caller's transaction, which holds the verification."""
    case = ReviewCase.objects.open().select_for_update().filter(verification=verification).first()
    if case is None:
        return
    if actor.kind is ActorKind.STAFF:
        case.decide(status, by=actor.id, label=actor.label, now=now)
    else:
        case.decide(CaseStatus.DROPPED, by=_NOBODY, label=_NOBODY, now=now)


def drop_cases(*, subscriber_id: int, now: datetime) -> None:
    """Nobody needs to decide about this person any more; in the caller's transaction."""
    rows = ReviewCase.objects.open().filter(verification__subscriber_id=subscriber_id)
    for case in rows.select_for_update().order_by("id"):
        case.decide(CaseStatus.DROPPED, by=_NOBODY, label=_NOBODY, now=now)


def require_reviewer(actor: Actor) -> None:
    """:raises Forbidden: not staff, or without the right."""
    actor.require(REVIEW)
    if actor.kind is not ActorKind.STAFF:
        raise Forbidden("Only a person can decide a review.")


def require_stranger(actor: Actor, verification: Verification, case: ReviewCase | None = None) -> None:
    """:raises ReviewNeedsSecondPerson: they registered the person or whoever stands for them, brought a picture that is
    looked at, asked for the check, or proposed the overruling; or had such a part in a check that this one repeats.
    """
    involved = {
        verification.subscriber.entered_by,
        *selectors.list_uploaders(subscriber_id=verification.subscriber_id),
    }
    proposers = {case.proposed_by if case else ""}
    while True:
        involved.add(verification.requested_by)
        if verification.representative is not None:
            involved.add(verification.representative.recorded_by)
        origin = selectors.get_override_of(verification_id=verification.pk)
        if origin is None:
            break
        proposers.add(origin.proposed_by)
        verification = origin.verification
    if f"{actor.kind}:{actor.id}" in involved or actor.id in proposers:
        raise errors.ReviewNeedsSecondPerson


def require_open(case: ReviewCase) -> None:
    """:raises InvalidTransition: it is decided."""
    if case.status != CaseStatus.OPEN:
        raise InvalidTransition("This case is decided.")


def require_not_anothers(actor: Actor, case: ReviewCase, now: datetime) -> None:
    """:raises ReviewClaimed: somebody else works on it."""
    if case.is_claimed_by_other(actor.id, now):
        raise errors.ReviewClaimed(f"{case.claimed_by_label} has taken this case.")


def require_claimed(actor: Actor, case: ReviewCase, now: datetime) -> None:
    """:raises ReviewNotClaimed: the actor does not work on it."""
    if not case.is_claimed_by(actor.id, now):
        raise errors.ReviewNotClaimed


def _record(actor: Actor, action: str, case: ReviewCase, now: datetime) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="verification",
        target_id=case.verification.uid,
        operator_id=case.operator_id,
        after={"case": case.uid},
        now=now,
    )
