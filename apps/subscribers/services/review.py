"""Doubtful verifications: a person decides, and never the one who entered what is in doubt."""

from __future__ import annotations

from datetime import datetime

from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import InvalidTransition
from apps.core.public_ids import get_by_uid
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, selectors
from apps.subscribers.models import Verification
from apps.subscribers.realname import checks
from apps.subscribers.services.cases import require_not_anothers, require_reviewer, require_stranger
from apps.subscribers.services.reasons import checked_reason
from apps.subscribers.services.verify import fresh_until, note_decision
from apps.subscribers.states import CheckOutcome, VerificationStatus


@operation
def decide_review(
    *, actor: Actor, verification_uid: str, passed: bool, reason: str, now: datetime
) -> Verification:
    """A staff member lets a verification in REVIEW pass or fail, with a reason that goes into the audit.

    Its case in the queue is closed; orders that were HELD for it hear of it and go on, or end.

    :raises Forbidden: not staff, or without the right `realname.review`.
    :raises ReviewNeedsSecondPerson: the actor registered the subscriber or asked for the verification.
    :raises ReviewClaimed: somebody else has taken the case. :raises OverrideNeeded: to pass, though a check has failed.
    :raises ChecksUnanswered: to pass, though a check has had no answer, or was never reached.
    :raises DocumentExpired: to pass, though the document, or that of whoever stands for them, has ended meanwhile.
    :raises ReasonMissing: no reason. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: it is not in REVIEW (any more).
    """
    require_reviewer(actor)
    written = checked_reason(reason)
    rows = Verification.objects.visible_to(actor).select_related("subscriber", "document", "representative")
    verification = get_by_uid(rows.select_for_update(of=("self",), no_key=True), verification_uid)
    case = selectors.get_open_case(verification_id=verification.pk)
    require_stranger(actor, verification, case)
    if case is not None:
        require_not_anothers(actor, case, now)
    if verification.status != VerificationStatus.REVIEW:
        raise InvalidTransition("This verification does not wait for a decision.")
    if passed:
        _require_answers(verification)
        days = policies.get(
            operator_id=verification.operator_id, key=PolicyKey.VERIFICATION_FRESH_DAYS, now=now
        )
        until = fresh_until(verification, days=days, now=now)
        if until <= now:
            raise errors.DocumentExpired
        verification.pass_(now=now, fresh_until=until)
    else:
        verification.fail(now=now)
    note_decision(
        actor=actor, verification=verification, before=VerificationStatus.REVIEW, reason=written, now=now
    )
    return verification


def _require_answers(verification: Verification) -> None:
    """A person decides what is doubtful, never what nobody has answered."""
    outcomes = dict(verification.checks.values_list("name", "outcome"))
    if CheckOutcome.FAIL in outcomes.values():
        raise errors.OverrideNeeded
    if any(
        outcomes.get(name) not in (CheckOutcome.PASS, CheckOutcome.REVIEW) for name in checks.names_in_order()
    ):
        raise errors.ChecksUnanswered
