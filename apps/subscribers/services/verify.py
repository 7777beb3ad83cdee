"""Verifications: asked for, claimed by a worker, checked without a transaction, recorded behind a fence.

A worker that dies keeps nothing: its lease ends and the sweep offers the verification again. One that comes back late
holds an old token and can record nothing. Running twice is harmless, the providers are only asked.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

from apps.audit import services as audit
from apps.core import dispatch
from apps.core.actor import Actor
from apps.core.db import operation, outside_transaction, use_case
from apps.core.errors import FieldError
from apps.core.public_ids import get_by_uid
from apps.core.sealing import SealBroken
from apps.events import services as events
from apps.operators import policies
from apps.operators import services as operators
from apps.operators.calendar import CHINA, china_date
from apps.operators.policies import PolicyKey
from apps.operators.states import Validity
from apps.subscribers import errors, selectors
from apps.subscribers.models import (
    IdentityDocument,
    Representative,
    Subscriber,
    Verification,
    VerificationCheck,
)
from apps.subscribers.realname import checks, text
from apps.subscribers.realname.checks import Finding, Party, Rules, Subject
from apps.subscribers.realname.providers import http
from apps.subscribers.realname.providers.base import Providers
from apps.subscribers.services import cases
from apps.subscribers.services.examining import PersonInput, names_somebody
from apps.subscribers.services.representatives import choose_representative, require_register
from apps.subscribers.services.reverification import meet_demands
from apps.subscribers.states import (
    CaseStatus,
    Channel,
    CheckOutcome,
    RepresentativeRole,
    VerificationStatus,
)

logger = logging.getLogger(__name__)

# Two providers of at most 8 s each, and two rounds of the pool, stay well inside the lease.
CLAIM_LIMIT = 32
THREADS = 16
LEASE = timedelta(seconds=60)
RUN_FOR = timedelta(seconds=20)
FIRST_BACK_OFF = timedelta(seconds=1)
LONGEST_BACK_OFF = timedelta(minutes=10)
FACE_SESSION_CHARACTERS = 128


@operation
def request_verification(
    *,
    actor: Actor,
    subscriber_uid: str,
    channel: Channel,
    now: datetime,
    dealer: str | None = None,
    face_session: str | None = None,
    proxy: PersonInput | None = None,
) -> Verification:
    """Puts a verification of the subscriber's latest document in the queue: PENDING, due at once.

    `dealer` is a code or public id, `face_session` the face provider's handle of the live session: of the holder, or of
    whoever stands for them. That is the guardian, the responsible person or, recorded with this verification, `proxy`.

    :raises NotFound: the subscriber is unknown or another operator's.
    :raises SubscriberErased:
    :raises VerificationInProgress: one is still open. :raises DealerNotAllowed: as operators says.
    :raises EvidenceMissing: policy `realname.face_evidence_required` wants a face session.
    :raises TextInvalid: the face session is not one. :raises Forbidden: staff without `subscribers.register`.
    :raises ProxyNotAccepted, RepresentativeMissing, AuthorisationLetterMissing: see `choose_representative`.
    """
    require_register(actor)
    session = face_session or ""
    # Two requests at once for one subscriber: the second waits here and then sees the first.
    subscriber = get_by_uid(
        Subscriber.objects.visible_to(actor).select_for_update(no_key=True), subscriber_uid
    )
    if subscriber.erased_at is not None:
        raise errors.SubscriberErased
    if Verification.objects.filter(subscriber=subscriber).open().exists():
        raise errors.VerificationInProgress
    document = IdentityDocument.objects.filter(subscriber=subscriber).order_by("-id")[0]
    _check_face_session(session, subscriber, document, now)
    representative = choose_representative(
        actor=actor, subscriber=subscriber, proxy=proxy, channel=channel, now=now
    )
    _check_nobody_named(session, representative)
    acting = None
    if dealer:
        acting = operators.require_dealer(
            operator_id=subscriber.operator_id, dealer_code_or_uid=dealer, now=now
        )
    verification = Verification.objects.create(
        operator_id=subscriber.operator_id,
        subscriber=subscriber,
        document=document,
        channel=channel,
        dealer=acting,
        representative=representative,
        face_session=session,
        requested_by=f"{actor.kind}:{actor.id}",
        status=VerificationStatus.PENDING,
        next_attempt_at=now,
        created_at=now,
    )
    audit.record(
        actor=actor,
        action="verification.request",
        target_type="verification",
        target_id=verification.uid,
        operator_id=verification.operator_id,
        after={
            "status": verification.status,
            "subscriber": subscriber.uid,
            "channel": channel,
            **({"representative": representative.uid} if representative else {}),
        },
        now=now,
    )
    dispatch.after_commit("subscribers.run_verifications")
    return verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A verification in one worker's hands; `token` is what recording it will be asked for."""

    verification_id: int
    uid: str
    operator_id: int
    token: int
    attempts: int
    fresh_days: int
    # From here on a run without an answer is the last one.
    patient_until: datetime
    # The run before was never recorded, and there is no patience left for another.
    given_up: bool
    # None when the sealed identity does not open.
    subject: Subject | None = field(repr=False)


@use_case
def claim_due_verifications(
    *, now: datetime, limit: int = CLAIM_LIMIT, lease: timedelta = LEASE
) -> list[Claim]:
    """Takes up to `limit` due verifications that nobody holds, longest due first; each attempt is counted here.

    Concurrent callers get different ones and never wait for each other.
    """
    rows = list(
        Verification.objects.due(now=now)
        .select_related("subscriber", "document", "dealer", "override", "representative")
        .select_for_update(skip_locked=True, of=("self",), no_key=True)
        .order_by("next_attempt_at", "id")[:limit]
    )
    policy = {operator_id: _policy(operator_id, now) for operator_id in {row.operator_id for row in rows}}
    lost = {row.pk for row in rows if row.lease_until is not None}
    Verification.objects.claim(rows, lease_until=now + lease)
    return [_claim(row, policy[row.operator_id], lost=row.pk in lost, now=now) for row in rows]


@outside_transaction
def run_checks(
    *, claims: Sequence[Claim], providers: Providers, threads: int = THREADS
) -> Iterator[tuple[Claim, tuple[Finding, ...]]]:
    """Runs the checks of all claims side by side and yields each as it is done. The threads touch no database."""
    return _run_checks(claims, providers, threads)


@use_case
def record_verification(
    *, actor: Actor, claim: Claim, findings: Sequence[Finding], now: datetime
) -> Verification | None:
    """Records what a claimed run found: PASSED, FAILED or REVIEW with its trace, or PENDING again with back-off.

    A run without an answer that comes when the patience of policy `realname.verification_patience_hours` is over ends
    it: FAILED with the code of the check that was not answered, so that the person can ask again. It never passes.
    Returns None and changes nothing when the claim is no longer the latest, or somebody decided meanwhile.
    """
    verification = (
        Verification.objects.select_related("subscriber", "document")
        .select_for_update(of=("self",), no_key=True)
        .filter(pk=claim.verification_id, token=claim.token, status=VerificationStatus.PENDING)
        .first()
    )
    if verification is None:
        logger.warning(
            "verification not recorded: fenced", extra={"verification": claim.uid, "token": claim.token}
        )
        return None
    _store_findings(verification, findings, now)
    verdict = checks.verdict(findings)
    reason = ""
    if verdict == CheckOutcome.UNAVAILABLE and now < claim.patient_until:
        verification.put_off(next_attempt_at=now + back_off(claim.attempts, spread=random.random()))  # noqa: S311
        return verification
    if verdict == CheckOutcome.PASS:
        verification.pass_(now=now, fresh_until=fresh_until(verification, days=claim.fresh_days, now=now))
    elif verdict == CheckOutcome.REVIEW:
        verification.to_review()
    else:
        verification.fail(now=now)
        reason = _unanswered(findings)
    note_decision(
        actor=actor, verification=verification, before=VerificationStatus.PENDING, reason=reason, now=now
    )
    return verification


def run_due_verifications(
    *, clock: Callable[[], datetime], providers: Providers | None = None, limit: int = CLAIM_LIMIT
) -> int:
    """Claims, checks and records until nothing is due or the time for one task is up; returns how many were recorded.

    `limit` is how many are claimed at once. What is left when time is up gets another nudge. One that cannot be
    recorded costs the others nothing: it keeps its lease, and is offered again when that ends.
    """
    asked = providers or http.configured()
    started = clock()
    recorded = 0
    while claims := claim_due_verifications(now=clock(), limit=limit):
        for claim, findings in run_checks(claims=claims, providers=asked):
            actor = Actor.system("subscribers.run_verifications", operator_id=claim.operator_id)
            try:
                verification = record_verification(actor=actor, claim=claim, findings=findings, now=clock())
            except Exception:  # whatever is wrong with this one must not lose the answers for the others
                logger.exception(
                    "verification not recorded", extra={"verification": claim.uid, "token": claim.token}
                )
                continue
            recorded += verification is not None
        if clock() - started > RUN_FOR:
            dispatch.now("subscribers.run_verifications")
            break
    return recorded


def sweep(*, now: datetime) -> bool:
    """Nudges the workers when verifications are due: nudges that were lost, back-offs that ended, workers that died."""
    if not selectors.has_due_verifications(now=now):
        return False
    dispatch.now("subscribers.run_verifications")
    return True


_ACTIONS = {
    VerificationStatus.PASSED: "verification.pass",
    VerificationStatus.FAILED: "verification.fail",
    VerificationStatus.REVIEW: "verification.review",
}


def note_decision(
    *, actor: Actor, verification: Verification, before: VerificationStatus, now: datetime, reason: str = ""
) -> None:
    """The trace of a step that a verification has just taken; call it in the same transaction.

    What comes into REVIEW gets a case in the queue, what leaves it has its case closed.
    An audit row for each step, and `verification.completed` once: of a pass or a fail. In REVIEW nothing is completed.
    """
    status = VerificationStatus(verification.status)
    if before == VerificationStatus.REVIEW:
        closed = CaseStatus.ACCEPTED if status == VerificationStatus.PASSED else CaseStatus.REFUSED
        cases.close_doubt(actor=actor, verification=verification, status=closed, now=now)
    audit.record(
        actor=actor,
        action=_ACTIONS[status],
        target_type="verification",
        target_id=verification.uid,
        operator_id=verification.operator_id,
        before={"status": before},
        after={"status": status},
        reason=reason,
        now=now,
    )
    if status == VerificationStatus.REVIEW:
        cases.open_doubt(verification=verification, now=now)
        return
    if status == VerificationStatus.PASSED:
        meet_demands(actor=actor, verification=verification, now=now)
    events.publish(
        type="verification.completed",
        operator_id=verification.operator_id,
        subject=verification.uid,
        data={"subscriber": verification.subscriber.uid, "before": before, "status": status},
        actor=actor,
        now=now,
    )


def back_off(attempts: int, *, spread: float) -> timedelta:
    """How long to wait after that many attempts: doubling up to a cap, of which `spread` (0 to 1) keeps half to all."""
    longest = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * (1 << min(attempts - 1, 20)))
    return longest * (0.5 + spread / 2)


def fresh_until(verification: Verification, *, days: int, now: datetime) -> datetime:
    """Until when a pass of now counts: policy's days, but never beyond the document's last day in China."""
    until = now + timedelta(days=days)
    last_day = verification.document.valid_until
    # Compared as days: cards without an end are often keyed in as 9999-12-31, which has no day after it.
    if last_day is None or china_date(until) <= last_day:
        return until
    return datetime.combine(last_day + timedelta(days=1), time.min, CHINA)


def _check_face_session(
    session: str, subscriber: Subscriber, document: IdentityDocument, now: datetime
) -> None:
    if not session:
        if policies.get(operator_id=subscriber.operator_id, key=PolicyKey.FACE_EVIDENCE_REQUIRED, now=now):
            fault = FieldError(
                "/evidence/face_session", errors.EvidenceMissing.code, errors.EvidenceMissing.detail
            )
            raise errors.EvidenceMissing(errors=[fault])
        return
    # It is stored in clear: nobody's number or name may hide in it.
    personal = document.open_number() in session.upper() or subscriber.open_name() in session
    if personal or len(session) > FACE_SESSION_CHARACTERS or text.has_refused(session):
        raise _no_session()


def _check_nobody_named(session: str, person: Representative | None) -> None:
    if session and person is not None and names_somebody(session, person.open_name(), [person.open_number()]):
        raise _no_session()


def _no_session() -> errors.TextInvalid:
    detail = f"The provider's handle: at most {FACE_SESSION_CHARACTERS} visible characters, nothing personal."
    return errors.TextInvalid(errors=[FieldError("/evidence/face_session", errors.TextInvalid.code, detail)])


@dataclass(frozen=True, slots=True)
class _Policy:
    rules: Rules
    fresh_days: int
    patience: timedelta


def _policy(operator_id: int, now: datetime) -> _Policy:
    found = policies.get_many(
        operator_id=operator_id,
        keys=(
            PolicyKey.ACCEPTED_DOCUMENT_TYPES,
            PolicyKey.MINIMUM_AGE,
            PolicyKey.MINIMUM_AGE_WITH_GUARDIAN,
            PolicyKey.REPRESENTATIVE_AGE,
            PolicyKey.PROXY_CHANNELS,
            PolicyKey.FACE_EVIDENCE_REQUIRED,
            PolicyKey.VERIFICATION_FRESH_DAYS,
            PolicyKey.VERIFICATION_PATIENCE_HOURS,
        ),
        now=now,
    )
    rules = Rules(
        accepted_document_types=frozenset(found[PolicyKey.ACCEPTED_DOCUMENT_TYPES]),
        minimum_age=found[PolicyKey.MINIMUM_AGE],
        minimum_age_with_guardian=found[PolicyKey.MINIMUM_AGE_WITH_GUARDIAN],
        representative_age=found[PolicyKey.REPRESENTATIVE_AGE],
        proxy_channels=frozenset(found[PolicyKey.PROXY_CHANNELS]),
        face_session_required=found[PolicyKey.FACE_EVIDENCE_REQUIRED],
    )
    patience = timedelta(hours=found[PolicyKey.VERIFICATION_PATIENCE_HOURS])
    return _Policy(rules, found[PolicyKey.VERIFICATION_FRESH_DAYS], patience)


def _claim(verification: Verification, policy: _Policy, *, lost: bool, now: datetime) -> Claim:
    patient_until = verification.created_at + policy.patience
    return Claim(
        verification_id=verification.pk,
        uid=verification.uid,
        operator_id=verification.operator_id,
        token=verification.token,
        attempts=verification.attempts,
        fresh_days=policy.fresh_days,
        patient_until=patient_until,
        given_up=lost and now >= patient_until,
        subject=_subject(verification, policy.rules, now),
    )


def _subject(verification: Verification, rules: Rules, now: datetime) -> Subject | None:
    subscriber, document, dealer = verification.subscriber, verification.document, verification.dealer
    try:
        name, number = subscriber.open_name(), document.open_number()
        representative = _party(verification.representative)
    except SealBroken:
        logger.error("sealed identity does not open", extra={"verification": verification.uid})
        return None
    return Subject(
        request_id=f"{verification.uid}-{verification.attempts}",
        name=name,
        document_type=document.type,
        document_number=number,
        valid_from=document.valid_from,
        valid_until=document.valid_until,
        channel=verification.channel,
        face_session=verification.face_session,
        representative=representative,
        dealer_may_act=None if dealer is None else dealer.validity(now=now) is Validity.VALID,
        today=china_date(now),
        rules=rules,
        overruled=_overruled(verification),
    )


def _overruled(verification: Verification) -> tuple[str, str] | None:
    """The failure that two people have overruled for this verification."""
    case = getattr(verification, "override", None)
    return None if case is None else (case.check_name, case.check_code)


def _party(row: Representative | None) -> Party | None:
    """:raises SealBroken: when a ciphertext is not the row's."""
    if row is None:
        return None
    return Party(
        role=RepresentativeRole(row.role),
        name=row.open_name(),
        document_type=row.document_type,
        document_number=row.open_number(),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )


def _run_checks(
    claims: Sequence[Claim], providers: Providers, threads: int
) -> Iterator[tuple[Claim, tuple[Finding, ...]]]:
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="realname") as pool:
        running = {pool.submit(_run_one, claim, providers): claim for claim in claims}
        for done in as_completed(running):
            yield running[done], done.result()


def _run_one(claim: Claim, providers: Providers) -> tuple[Finding, ...]:
    if claim.given_up:
        return (Finding("run", CheckOutcome.UNAVAILABLE, "run_not_finished"),)
    if claim.subject is None:
        return (Finding("identity", CheckOutcome.UNAVAILABLE, "identity_unreadable"),)
    return checks.run(claim.subject, providers)


def _unanswered(findings: Sequence[Finding]) -> str:
    """The code of the check that had no answer; empty when one failed."""
    outcomes = {finding.outcome: finding.code for finding in findings}
    if CheckOutcome.FAIL in outcomes:
        return ""
    return outcomes.get(CheckOutcome.UNAVAILABLE, "checks_incomplete")


def _store_findings(verification: Verification, findings: Sequence[Finding], now: datetime) -> None:
    """The latest run replaces the one before, position by position."""
    VerificationCheck.objects.bulk_create(
        [
            VerificationCheck(
                verification=verification,
                position=position,
                name=finding.name,
                outcome=finding.outcome,
                code=finding.code,
                provider=finding.provider,
                checked_at=now,
            )
            for position, finding in enumerate(findings, start=1)
        ],
        update_conflicts=True,
        unique_fields=["verification", "position"],
        update_fields=["name", "outcome", "code", "provider", "checked_at"],
    )
    VerificationCheck.objects.filter(verification=verification, position__gt=len(findings)).delete()
