"""What a worker takes along when it claims verifications: the person in clear, and all that our own tables say of them.

A fixed number of queries, however many are claimed at once: documents, policies, watch-list, holder slots.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from apps.core.sealing import SealBroken
from apps.operators import policies
from apps.operators.calendar import china_date
from apps.operators.policies import PolicyKey
from apps.operators.states import Validity
from apps.subscribers import holdings, selectors
from apps.subscribers.holdings import Holder
from apps.subscribers.models import IdentityDocument, IdentityImage, Representative, Verification
from apps.subscribers.realname import documents
from apps.subscribers.realname.checks import Party, Rules, Subject
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.realname.providers.base import ProviderUnavailable
from apps.subscribers.services.images import open_image
from apps.subscribers.states import RepresentativeRole

logger = logging.getLogger(__name__)

PHOTO_UNREADABLE = "photo_unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A verification in one worker's hands; `token` is what recording it will be asked for."""

    verification_id: int
    uid: str
    operator_id: int
    token: int
    attempts: int
    fresh_days: int
    claimed_at: datetime
    # From here on, or from this attempt on, a run without an answer is the last one.
    patient_until: datetime
    most_attempts: int
    # What the last one without an answer comes to.
    unanswered_to_review: bool
    # The run before was never recorded, and there is no patience left for another.
    given_up: bool
    # None when the sealed identity does not open.
    subject: Subject | None = field(repr=False)

    def is_last(self, *, now: datetime) -> bool:
        return now >= self.patient_until or self.attempts >= self.most_attempts


def make_claims(*, rows: Sequence[Verification], lost: Collection[int], now: datetime) -> list[Claim]:
    """Claims of these rows, locked by the caller; `lost` are the keys of those whose run before was never recorded."""
    policy = {operator_id: _policy(operator_id, now) for operator_id in {row.operator_id for row in rows}}
    papers = _papers_of(rows)
    holders = {key: holder for key, found in papers.items() if (holder := found.holder)}
    standing = {row.pk: read for row in rows if (read := _read_party(row.representative))}
    listed = selectors.find_listed(
        people={*holders.values(), *(person for _, person in standing.values())}, today=china_date(now)
    )
    filled = holdings.count_places(holders=holders)
    claims = []
    for row in rows:
        rules = policy[row.operator_id]
        found = papers[row.subscriber_id]
        patient_until = row.created_at + rules.patience
        claims.append(
            Claim(
                verification_id=row.pk,
                uid=row.uid,
                operator_id=row.operator_id,
                token=row.token,
                attempts=row.attempts,
                fresh_days=rules.fresh_days,
                claimed_at=now,
                patient_until=patient_until,
                most_attempts=rules.most_attempts,
                unanswered_to_review=rules.unanswered_to_review,
                given_up=row.pk in lost and (now >= patient_until or row.attempts > rules.most_attempts),
                subject=_subject(
                    row,
                    found,
                    rules,
                    party=_marked(standing.get(row.pk), listed),
                    is_listed=found.holder in listed,
                    places_filled=filled.get(row.subscriber_id),
                    now=now,
                ),
            )
        )
    return claims


@dataclass(frozen=True, slots=True)
class _Papers:
    """The documents of one subscriber, with their numbers by key; no holder when one of them does not open."""

    documents: Mapping[int, IdentityDocument]
    numbers: Mapping[int, str] = field(repr=False)
    holder: Holder | None = field(repr=False)


def _papers_of(rows: Sequence[Verification]) -> Mapping[int, _Papers]:
    by_subscriber = defaultdict[int, list[IdentityDocument]](list)
    for document in IdentityDocument.objects.filter(subscriber_id__in={row.subscriber_id for row in rows}):
        by_subscriber[document.subscriber_id].append(document)
    return {subscriber_id: _read_papers(found) for subscriber_id, found in by_subscriber.items()}


def _read_papers(found: Sequence[IdentityDocument]) -> _Papers:
    numbers: dict[int, str] = {}
    fingerprints = set[bytes]()
    for document in found:
        try:
            number = document.open_number()
        except SealBroken:
            continue
        numbers[document.pk] = number
        fingerprints.update(
            documents.fingerprints(
                type=DocumentType(document.type), number=number, issuing_country=document.issuing_country
            )
        )
    whole = len(numbers) == len(found)
    holder = Holder(found[0].operator_id, frozenset(fingerprints)) if whole else None
    return _Papers({document.pk: document for document in found}, numbers, holder)


def _read_party(row: Representative | None) -> tuple[Party, Holder] | None:
    """Whoever stands for the holder, and as whom the watch-list may hold them; None when they do not open."""
    if row is None:
        return None
    try:
        name, number = row.open_name(), row.open_number()
    except SealBroken:
        return None
    party = Party(
        role=RepresentativeRole(row.role),
        name=name,
        document_type=row.document_type,
        document_number=number,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )
    fingerprints = documents.fingerprints(
        type=DocumentType(row.document_type), number=number, issuing_country=row.issuing_country
    )
    return party, Holder(row.operator_id, frozenset(fingerprints))


def _marked(read: tuple[Party, Holder] | None, listed: Collection[Holder]) -> Party | None:
    if read is None:
        return None
    party, person = read
    return replace(party, is_listed=person in listed)


@dataclass(frozen=True, slots=True)
class _Policy:
    rules: Rules
    fresh_days: int
    patience: timedelta
    most_attempts: int
    unanswered_to_review: bool
    organizations_exempt: bool


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
            PolicyKey.HOLDER_LIMIT,
            PolicyKey.ORGANIZATIONS_EXEMPT,
            PolicyKey.WATCHLIST_TO_REVIEW,
            PolicyKey.VERIFICATION_FRESH_DAYS,
            PolicyKey.VERIFICATION_PATIENCE_HOURS,
            PolicyKey.VERIFICATION_MAX_ATTEMPTS,
            PolicyKey.UNANSWERED_TO_REVIEW,
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
        watchlist_to_review=found[PolicyKey.WATCHLIST_TO_REVIEW],
        holder_limit=found[PolicyKey.HOLDER_LIMIT],
    )
    return _Policy(
        rules=rules,
        fresh_days=found[PolicyKey.VERIFICATION_FRESH_DAYS],
        patience=timedelta(hours=found[PolicyKey.VERIFICATION_PATIENCE_HOURS]),
        most_attempts=found[PolicyKey.VERIFICATION_MAX_ATTEMPTS],
        unanswered_to_review=found[PolicyKey.UNANSWERED_TO_REVIEW],
        organizations_exempt=found[PolicyKey.ORGANIZATIONS_EXEMPT],
    )


def _subject(
    verification: Verification,
    papers: _Papers,
    policy: _Policy,
    *,
    party: Party | None,
    is_listed: bool,
    places_filled: int | None,
    now: datetime,
) -> Subject | None:
    subscriber, dealer, photo = verification.subscriber, verification.dealer, verification.photo
    try:
        name = subscriber.open_name()
    except SealBroken:
        name = ""
    number = papers.numbers.get(verification.document_id, "")
    represented = verification.representative is not None
    if not name or not number or papers.holder is None or (represented and party is None):
        logger.error("sealed identity does not open", extra={"verification": verification.uid})
        return None
    document = papers.documents[verification.document_id]
    rules = policy.rules
    if subscriber.is_organization and policy.organizations_exempt:
        # As where places are taken: the limit is one of people (six-ministry notice of 2016, art. 4).
        rules = rules.for_exempt()
    return Subject(
        request_id=f"{verification.uid}-{verification.attempts}",
        name=name,
        document_type=document.type,
        document_number=number,
        valid_from=document.valid_from,
        valid_until=document.valid_until,
        channel=verification.channel,
        face_session=verification.face_session,
        representative=party,
        reader=verification.reader,
        photo=None if photo is None else lambda: _open_photo(photo),
        dealer_may_act=None if dealer is None else dealer.validity(now=now) is Validity.VALID,
        is_listed=is_listed,
        places_filled=places_filled,
        today=china_date(now),
        rules=rules,
        overruled=_overruled(verification),
    )


def _overruled(verification: Verification) -> tuple[str, str] | None:
    """The failure that two people have overruled for this verification."""
    case = getattr(verification, "override", None)
    return None if case is None else (case.check_name, case.check_code)


def _open_photo(photo: IdentityImage) -> bytes:
    try:
        return open_image(image=photo)
    except (SealBroken, OSError):
        logger.error("image does not open", extra={"image": photo.uid})
        raise ProviderUnavailable(PHOTO_UNREADABLE, blames_question=True) from None
