"""Verifications: asked for, claimed by a worker, checked without a transaction, recorded behind a fence.

A worker that dies keeps nothing: its lease ends and the sweep offers the verification again. One that comes back late
holds an old token and can record nothing. Running twice is harmless, the providers are only asked.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime, time, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from apps.audit import services as audit
from apps.core import dispatch
from apps.core.actor import Actor
from apps.core.db import operation, outside_transaction, use_case, violated_constraint
from apps.core.errors import FieldError, NotFound
from apps.core.public_ids import get_by_uid
from apps.events import services as events
from apps.operators import policies
from apps.operators import services as operators
from apps.operators.calendar import CHINA, china_date
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, selectors
from apps.subscribers.models import (
    IdentityDocument,
    IdentityImage,
    Representative,
    Subscriber,
    Verification,
    VerificationCheck,
)
from apps.subscribers.realname import checks, text
from apps.subscribers.realname.checks import Finding
from apps.subscribers.realname.providers import chain
from apps.subscribers.realname.providers.base import Providers
from apps.subscribers.services import cases
from apps.subscribers.services.claims import Claim, make_claims
from apps.subscribers.services.examining import PersonInput, names_somebody
from apps.subscribers.services.representatives import choose_representative, require_register
from apps.subscribers.services.reverification import meet_demands
from apps.subscribers.states import (
    CaseStatus,
    Channel,
    CheckOutcome,
    ImageKind,
    VerificationStatus,
)

logger = logging.getLogger(__name__)

# Two providers for each of three questions (holder, whoever stands for them, face), at most 6 s each, and two rounds of
# the pool, stay inside the lease.
CLAIM_LIMIT = 32
THREADS = 16
LEASE = timedelta(seconds=90)
RUN_FOR = timedelta(seconds=20)
FIRST_BACK_OFF = timedelta(seconds=2)
LONGEST_BACK_OFF = timedelta(minutes=10)
FACE_SESSION_CHARACTERS = 128
READER_CHARACTERS = 64


@operation
def request_verification(
    *,
    actor: Actor,
    subscriber_uid: str,
    channel: Channel,
    now: datetime,
    dealer: str | None = None,
    face_session: str | None = None,
    reader: str | None = None,
    photo: str | None = None,
    proxy: PersonInput | None = None,
) -> Verification:
    """Puts a verification of the subscriber's latest document in the queue: PENDING, due at once.

    `dealer` is a code or public id, `face_session` the face provider's handle of the live session: of the holder, or of
    whoever stands for them. That is the guardian, the responsible person or, recorded with this verification, `proxy`.
    A store may have a `reader` (its serial) and a `photo` (id of an image of the person, taken at the counter) instead.

    :raises NotFound: the subscriber is unknown or another operator's.
    :raises SubscriberErased:
    :raises VerificationInProgress: one is still open. :raises DealerNotAllowed: as operators says.
    :raises EvidenceMissing: policy `realname.face_evidence_required` wants a face session, or reader and photo.
    :raises TextInvalid: face session or reader are none. :raises PhotoNotUsable: the photo is no picture of the person,
        older than policy `realname.photo_max_hours` allows, or than what has been demanded of the person.
    :raises EvidenceUsed: another verification has had this face session or photo.
    :raises Forbidden: staff without `subscribers.register`.
    :raises ProxyNotAccepted, RepresentativeMissing, AuthorisationLetterMissing: see `choose_representative`.
    """
    require_register(actor)
    session, serial = face_session or "", reader or ""
    # Two requests at once for one subscriber: the second waits here and then sees the first.
    subscriber = get_by_uid(
        Subscriber.objects.visible_to(actor).select_for_update(no_key=True), subscriber_uid
    )
    if subscriber.erased_at is not None:
        raise errors.SubscriberErased
    if Verification.objects.filter(subscriber=subscriber).open().exists():
        raise errors.VerificationInProgress
    document = IdentityDocument.objects.filter(subscriber=subscriber).order_by("-id")[0]
    picture = _photo(photo, subscriber, now)
    _require_unused(subscriber, session, picture)
    _check_evidence(subscriber, channel, session, serial, picture, now)
    representative = choose_representative(
        actor=actor, subscriber=subscriber, proxy=proxy, channel=channel, now=now
    )
    for pointer, handle, longest in (
        ("/evidence/face_session", session, FACE_SESSION_CHARACTERS),
        ("/evidence/reader", serial, READER_CHARACTERS),
    ):
        _check_handle(pointer, handle, longest, subscriber, document, representative)
    acting = None
    if dealer:
        acting = operators.require_dealer(
            operator_id=subscriber.operator_id, dealer_code_or_uid=dealer, now=now
        )
    verification = _insert(
        operator_id=subscriber.operator_id,
        subscriber=subscriber,
        document=document,
        channel=channel,
        dealer=acting,
        representative=representative,
        face_session=session,
        reader=serial,
        photo=picture,
        requested_by=f"{actor.kind}:{actor.id}",
        status=VerificationStatus.PENDING,
        next_attempt_at=now,
        created_at=now,
        evidence_at=now,
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


@use_case
def claim_due_verifications(
    *, now: datetime, limit: int = CLAIM_LIMIT, lease: timedelta = LEASE
) -> list[Claim]:
    """Takes up to `limit` due verifications that nobody holds, longest due first; each attempt is counted here.

    Concurrent callers get different ones and never wait for each other.
    """
    rows = list(
        Verification.objects.due(now=now)
        .select_related("subscriber", "dealer", "photo", "override", "representative")
        .select_for_update(skip_locked=True, of=("self",), no_key=True)
        .order_by("next_attempt_at", "id")[:limit]
    )
    if not rows:
        return []
    lost = {row.pk for row in rows if row.lease_until is not None}
    Verification.objects.claim(rows, lease_until=now + lease)
    return make_claims(rows=rows, lost=lost, now=now)


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

    A run without an answer is the last one when the patience of policy `realname.verification_patience_hours` is over,
    or the attempts of `realname.verification_max_attempts` are used up. Then it is FAILED with the code of the check
    that was not answered, so that the person can ask again, or in REVIEW (`realname.unanswered_to_review`). It never
    passes.
    Returns None and changes nothing when the claim is no longer the latest, or somebody decided meanwhile.
    """
    verification = (
        Verification.objects.select_related("subscriber", "document", "representative")
        .select_for_update(of=("self",), no_key=True)
        .filter(pk=claim.verification_id, token=claim.token, status=VerificationStatus.PENDING)
        .first()
    )
    if verification is None:
        logger.warning(
            "verification not recorded: fenced", extra={"verification": claim.uid, "token": claim.token}
        )
        return None
    _store_findings(verification, findings, claim.claimed_at)
    verdict = checks.verdict(findings)
    unanswered = verdict == CheckOutcome.UNAVAILABLE
    if unanswered and not claim.is_last(now=now):
        verification.put_off(next_attempt_at=now + back_off(claim.attempts, spread=random.random()))  # noqa: S311
        return verification
    if verdict == CheckOutcome.PASS:
        verification.pass_(now=now, fresh_until=fresh_until(verification, days=claim.fresh_days, now=now))
    elif verdict == CheckOutcome.REVIEW or (unanswered and claim.unanswered_to_review):
        verification.to_review()
    else:
        verification.fail(now=now)
    note_decision(
        actor=actor,
        verification=verification,
        before=VerificationStatus.PENDING,
        reason=_unanswered(findings) if unanswered else "",
        now=now,
    )
    return verification


def run_due_verifications(
    *, clock: Callable[[], datetime], providers: Providers | None = None, limit: int = CLAIM_LIMIT
) -> int:
    """Claims, checks and records until nothing is due or the time for one task is up; returns how many were recorded.

    `limit` is how many are claimed at once. What is left when time is up gets another nudge. One that cannot be
    recorded costs the others nothing: it keeps its lease, and is offered again when that ends.
    """
    asked = providers or chain.configured()
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
    """Nudges the workers when verifications are due or people newly listed; whether there was anything.

    It finds nudges that were lost, back-offs that ended, workers that died.
    """
    due = {
        "subscribers.run_verifications": selectors.has_due_verifications(now=now),
        "subscribers.apply_listings": selectors.has_listings_to_apply(),
    }
    for task in (task for task, is_due in due.items() if is_due):
        dispatch.now(task)
    return any(due.values())


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
    """How long to wait after that many attempts: full jitter, a share (`spread`, 0 to 1) of what doubles to a cap."""
    return min(LONGEST_BACK_OFF, FIRST_BACK_OFF * (1 << min(attempts - 1, 20))) * spread


def fresh_until(verification: Verification, *, days: int, now: datetime) -> datetime:
    """Until when a pass of now counts: policy's days, but never beyond the last day in China of the document, or of
    that of whoever stands for the holder.
    """
    until = now + timedelta(days=days)
    party = verification.representative
    ends = (verification.document.valid_until, party.valid_until if party is not None else None)
    last_day = min((each for each in ends if each is not None), default=None)
    # Compared as days: cards without an end are often keyed in as 9999-12-31, which has no day after it.
    if last_day is None or china_date(until) <= last_day:
        return until
    return datetime.combine(last_day + timedelta(days=1), time.min, CHINA)


def _photo(uid: str | None, subscriber: Subscriber, now: datetime) -> IdentityImage | None:
    if not uid:
        return None
    hours = policies.get(operator_id=subscriber.operator_id, key=PolicyKey.PHOTO_MAX_HOURS, now=now)
    demanded = selectors.get_last_demand_at(subscriber_id=subscriber.pk)
    try:
        pictures = IdentityImage.objects.filter(
            subscriber=subscriber,
            kind=ImageKind.PERSON,
            key_sealed__isnull=False,
            created_at__gte=now - timedelta(hours=hours),
        )
        if demanded is not None:
            pictures = pictures.filter(created_at__gt=demanded)
        return get_by_uid(pictures, uid)
    except NotFound:
        fault = FieldError("/evidence/photo", errors.PhotoNotUsable.code, errors.PhotoNotUsable.detail)
        raise errors.PhotoNotUsable(errors=[fault]) from None


def _insert(**values: Any) -> Verification:
    """:raises EvidenceUsed: somebody else has brought the same face session this moment."""
    try:
        with transaction.atomic():
            return Verification.objects.create(**values)
    except IntegrityError as error:
        if violated_constraint(error) == "verification_face_session":
            raise errors.EvidenceUsed(errors=[_used("/evidence/face_session")]) from None
        raise


def _used(pointer: str) -> FieldError:
    return FieldError(pointer, errors.EvidenceUsed.code, errors.EvidenceUsed.detail)


def _require_unused(subscriber: Subscriber, session: str, photo: IdentityImage | None) -> None:
    """A friendly answer; two at once are kept apart by the constraints `verification_face_session` and `_photo`."""
    used = Verification.objects.bringing_evidence()
    for pointer, found in (
        (
            "/evidence/face_session",
            session and used.filter(operator_id=subscriber.operator_id, face_session=session),
        ),
        ("/evidence/photo", photo and used.filter(photo=photo)),
    ):
        if found and found.exists():
            raise errors.EvidenceUsed(errors=[_used(pointer)])


def _check_evidence(
    subscriber: Subscriber,
    channel: Channel,
    session: str,
    reader: str,
    photo: IdentityImage | None,
    now: datetime,
) -> None:
    if checks.has_evidence(
        channel=channel, face_session=session, reader=reader, has_photo=photo is not None
    ) or not policies.get(operator_id=subscriber.operator_id, key=PolicyKey.FACE_EVIDENCE_REQUIRED, now=now):
        return
    fault = FieldError("/evidence/face_session", errors.EvidenceMissing.code, errors.EvidenceMissing.detail)
    raise errors.EvidenceMissing(errors=[fault])


def _check_handle(
    pointer: str,
    handle: str,
    longest: int,
    subscriber: Subscriber,
    document: IdentityDocument,
    representative: Representative | None,
) -> None:
    """It is stored in clear: nobody's number or name may hide in it."""
    if not handle:
        return
    personal = document.open_number() in handle.upper() or subscriber.open_name() in handle
    if representative is not None:
        personal |= names_somebody(handle, representative.open_name(), [representative.open_number()])
    if personal or len(handle) > longest or text.has_refused(handle):
        detail = (
            f"A handle of the provider or reader: at most {longest} visible characters, nothing personal."
        )
        raise errors.TextInvalid(errors=[FieldError(pointer, errors.TextInvalid.code, detail)])


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
    """The code of the check that had no answer."""
    outcomes = {finding.outcome: finding.code for finding in findings}
    return outcomes.get(CheckOutcome.UNAVAILABLE, "checks_incomplete")


def _store_findings(verification: Verification, findings: Sequence[Finding], began: datetime) -> None:
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
                checked_at=began + finding.after,
            )
            for position, finding in enumerate(findings, start=1)
        ],
        update_conflicts=True,
        unique_fields=["verification", "position"],
        update_fields=["name", "outcome", "code", "provider", "checked_at"],
    )
    if verification.attempts > 1:
        # A run before may have come further.
        VerificationCheck.objects.filter(verification=verification, position__gt=len(findings)).delete()
