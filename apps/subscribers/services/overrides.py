"""Overruling a failed check: one person proposes it with a reason, another confirms or refuses.

A failed verification stays failed. A confirmed proposal starts another one with the same document and evidence, in
which that failure alone no longer counts: what had not run yet still has to pass.
"""

from __future__ import annotations

from datetime import datetime

from apps.audit import services as audit
from apps.core import dispatch
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.public_ids import get_by_uid
from apps.subscribers import errors, selectors
from apps.subscribers.models import ReviewCase, Subscriber, Verification
from apps.subscribers.services.cases import require_claimed, require_open, require_reviewer, require_stranger
from apps.subscribers.services.reasons import checked_reason
from apps.subscribers.states import OVERRULABLE, CaseKind, CaseStatus, CheckOutcome, VerificationStatus


@operation
def propose_override(*, actor: Actor, verification_uid: str, reason: str, now: datetime) -> ReviewCase:
    """Asks a second person to overrule the check that failed; until they have, nothing changes.

    :raises Forbidden: not staff, or without the right `realname.review`. :raises ReasonMissing: no reason.
    :raises NotFound: unknown or another operator's.
    :raises ReviewNeedsSecondPerson: the actor registered the subscriber or asked for the verification.
    :raises CheckNotOverrulable: it did not fail, or for what nobody may overrule, see `states.OVERRULABLE`.
    :raises OverrideOvertaken: it is not the person's latest verification. :raises SubscriberErased:
    :raises OverridePending: somebody has proposed it already.
    """
    require_reviewer(actor)
    written = checked_reason(reason)
    verification = _lock(actor, verification_uid)
    require_stranger(actor, verification)
    name, code = require_overrulable(verification)
    if selectors.get_open_case(verification_id=verification.pk) is not None:
        raise errors.OverridePending
    case = ReviewCase.objects.create(
        operator_id=verification.operator_id,
        verification=verification,
        kind=CaseKind.OVERRIDE,
        check_name=name,
        check_code=code,
        proposed_by=actor.id,
        proposed_by_label=actor.label,
        reason=written,
        opened_at=now,
    )
    _record(actor, "override.propose", case, written, now)
    return case


@operation
def decide_override(*, actor: Actor, case_uid: str, accepted: bool, reason: str, now: datetime) -> ReviewCase:
    """Confirms a proposal, which starts another verification (`case.rerun`), or refuses it.

    :raises Forbidden: not staff, or without the right `realname.review`. :raises ReasonMissing: no reason.
    :raises NotFound: unknown or another operator's. :raises InvalidTransition: it is decided.
    :raises ReviewNeedsSecondPerson: the actor proposed it, registered the subscriber or asked for the verification.
    :raises ReviewNotClaimed: the actor has not taken the case.
    :raises OverrideOvertaken: another verification has begun since, or whoever stood for the holder does so no longer.
    :raises SubscriberErased:
    """
    require_reviewer(actor)
    written = checked_reason(reason)
    seen = selectors.get_case(actor=actor, uid=case_uid)
    verification = _lock(actor, seen.verification.uid)
    case = selectors.get_case_for_update(actor=actor, uid=case_uid)
    require_open(case)
    require_stranger(actor, verification, case)
    require_claimed(actor, case, now)
    if not accepted:
        case.decide(CaseStatus.REFUSED, by=actor.id, label=actor.label, now=now)
        _record(actor, "override.refuse", case, written, now)
        return case
    require_overrulable(verification)
    party = verification.representative
    if party is not None and party.ended_at is not None:
        raise errors.OverrideOvertaken(
            "Whoever stood for the holder does so no longer; ask for another check."
        )
    case.decide(CaseStatus.ACCEPTED, by=actor.id, label=actor.label, now=now)
    case.note_rerun(_run_again(actor, verification, now))
    _record(actor, "override.confirm", case, written, now)
    return case


def require_overrulable(verification: Verification) -> tuple[str, str]:
    """Name and code of the check that failed.

    :raises CheckNotOverrulable: :raises OverrideOvertaken: :raises SubscriberErased:
    """
    if verification.subscriber.erased_at is not None:
        raise errors.SubscriberErased
    if Verification.objects.filter(subscriber=verification.subscriber_id, id__gt=verification.pk).exists():
        raise errors.OverrideOvertaken
    found = list(verification.checks.exclude(outcome=CheckOutcome.PASS).order_by("position"))
    if verification.status != VerificationStatus.FAILED or len(found) != 1:
        raise errors.CheckNotOverrulable
    [failed] = found
    if failed.outcome != CheckOutcome.FAIL or failed.code not in OVERRULABLE:
        raise errors.CheckNotOverrulable
    return failed.name, failed.code


def _lock(actor: Actor, verification_uid: str) -> Verification:
    """The verification, its subscriber locked: nobody asks for another one meanwhile."""
    seen = get_by_uid(Verification.objects.visible_to(actor), verification_uid)
    Subscriber.objects.select_for_update(no_key=True).get(pk=seen.subscriber_id)
    rows = Verification.objects.select_related("subscriber", "representative")
    return rows.select_for_update(of=("self",), no_key=True).get(pk=seen.pk)


def _run_again(actor: Actor, failed: Verification, now: datetime) -> Verification:
    verification = Verification.objects.create(
        operator_id=failed.operator_id,
        subscriber=failed.subscriber,
        document_id=failed.document_id,
        channel=failed.channel,
        dealer_id=failed.dealer_id,
        representative_id=failed.representative_id,
        face_session=failed.face_session,
        reader=failed.reader,
        photo_id=failed.photo_id,
        requested_by=f"{actor.kind}:{actor.id}",
        status=VerificationStatus.PENDING,
        next_attempt_at=now,
        created_at=now,
        evidence_at=failed.proved_at,
        again_of=failed,
    )
    audit.record(
        actor=actor,
        action="verification.request",
        target_type="verification",
        target_id=verification.uid,
        operator_id=verification.operator_id,
        after={
            "status": verification.status,
            "subscriber": failed.subscriber.uid,
            "channel": failed.channel,
            "again": failed.uid,
        },
        now=now,
    )
    dispatch.after_commit("subscribers.run_verifications")
    return verification


def _record(actor: Actor, action: str, case: ReviewCase, reason: str, now: datetime) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="verification",
        target_id=case.verification.uid,
        operator_id=case.operator_id,
        after={
            "case": case.uid,
            "status": case.status,
            "check": case.check_name,
            "code": case.check_code,
            **({"rerun": case.rerun.uid} if case.rerun else {}),
        },
        reason=reason,
        now=now,
    )
