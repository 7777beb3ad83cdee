"""The real-name checks: an ordered list of small functions, each giving an outcome and a code.

The list runs until a check fails or has no answer; what comes after is not asked, so that nobody's face is sent
anywhere for a card that is void. Cheap checks of our own come first. A verification passes only when every check of
the list has run and passed: whatever is missing, unknown or broken holds it back.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import NamedTuple

from apps.subscribers.realname import documents, names
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.realname.providers.base import (
    AuthorityAnswer,
    Evidence,
    FaceAnswer,
    FaceVerdict,
    LivenessAnswer,
    Providers,
    ProviderUnavailable,
    Reply,
)
from apps.subscribers.states import OVERRULED, Channel, CheckOutcome, RepresentativeRole

logger = logging.getLogger(__name__)

OK = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What policy says about one operator's verifications. `holder_limit` is None for who is exempt of it."""

    accepted_document_types: frozenset[str]
    minimum_age: int
    minimum_age_with_guardian: int
    representative_age: int
    # In lower case, as the API says them.
    proxy_channels: frozenset[str]
    face_session_required: bool
    watchlist_to_review: bool = False
    holder_limit: int | None = None

    def for_exempt(self) -> Rules:
        """The same rules without a holder limit."""
        return replace(self, holder_limit=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Somebody who stands for the holder and is checked with them, in clear."""

    role: RepresentativeRole
    name: str = field(repr=False)
    document_type: str
    document_number: str = field(repr=False)
    valid_from: date | None
    valid_until: date | None
    # Whether a watch-list holds them.
    is_listed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Everything the checks look at, in clear; never logged, never stored."""

    request_id: str
    name: str = field(repr=False)
    document_type: str
    document_number: str = field(repr=False)
    valid_from: date | None
    valid_until: date | None
    channel: str
    face_session: str = field(repr=False)
    representative: Party | None = None
    # None: no dealer takes part.
    dealer_may_act: bool | None
    today: date
    rules: Rules
    # The serial of the card reader at the counter, and how to get the photo taken there.
    reader: str = ""
    photo: Callable[[], bytes] | None = field(default=None, repr=False)
    # Whether a watch-list holds this person, under any of their documents.
    is_listed: bool = False
    # Places of the holder limit that are filled; None when nobody could tell.
    places_filled: int | None = None
    # Name and code of a failure that two people have overruled: alone it does not count.
    overruled: tuple[str, str] | None = None

    @property
    def is_organization(self) -> bool:
        return self.document_type == DocumentType.USCC

    @property
    def present(self) -> Subject | Party:
        """Whose face is before us: whoever stands for the holder, when somebody does."""
        return self.representative or self


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `code` is stable; `provider` says who answered when it was not ourselves.

    `after` is when, counted from the beginning of the run.
    """

    name: str
    outcome: CheckOutcome
    code: str
    provider: str = ""
    after: timedelta = field(default=timedelta(), compare=False)


class Found(NamedTuple):
    outcome: CheckOutcome
    code: str
    provider: str = ""


class Answers:
    """What providers say about one subject, in one run; each is asked when a check first wants to know.

    Everything raises ProviderUnavailable.
    """

    def __init__(self, subject: Subject, providers: Providers) -> None:
        self._subject = subject
        self._providers = providers

    def authority(self) -> Reply[AuthorityAnswer]:
        subject = self._subject
        return self._providers.authority.match(
            name=names.canonical(subject.name, organization=subject.is_organization),
            document_type=subject.document_type,
            document_number=subject.document_number,
            request_id=subject.request_id,
        )

    def authority_on(self, party: Party) -> Reply[AuthorityAnswer]:
        """A question of its own, and so with an id of its own; the number of the attempt stays at its end."""
        question, _, attempt = self._subject.request_id.rpartition("-")
        return self._providers.authority.match(
            name=names.canonical(party.name),
            document_type=party.document_type,
            document_number=party.document_number,
            request_id=f"{question}-{party.role.lower()}-{attempt}",
        )

    @functools.cached_property
    def face(self) -> Reply[FaceVerdict]:
        """One look at the evidence answers two checks."""
        subject = self._subject
        return self._providers.face.match(
            document_number=subject.present.document_number,
            evidence=Evidence(
                channel=subject.channel.lower(),
                face_session=subject.face_session,
                reader=subject.reader,
                photo=subject.photo() if subject.photo else b"",
            ),
            request_id=subject.request_id,
        )


Check = Callable[[Subject, Answers], Found]
_PASSED = Found(CheckOutcome.PASS, OK)
_AUTHORITY = {
    AuthorityAnswer.MATCH: (CheckOutcome.PASS, OK),
    AuthorityAnswer.NAME_MISMATCH: (CheckOutcome.FAIL, "name_mismatch"),
    AuthorityAnswer.NOT_FOUND: (CheckOutcome.FAIL, "document_unknown"),
    AuthorityAnswer.DOCUMENT_VOID: (CheckOutcome.FAIL, "document_void"),
}


def dealer_allowed(subject: Subject, answers: Answers) -> Found:
    """The dealer may still act for the operator (Anti-Telecom-Fraud Law art. 9: we answer for our agents)."""
    return Found(CheckOutcome.FAIL, "dealer_not_allowed") if subject.dealer_may_act is False else _PASSED


def document_type(subject: Subject, answers: Answers) -> Found:
    """The type is accepted by policy today, in this channel."""
    if documents.accepts(
        subject.rules.accepted_document_types, DocumentType(subject.document_type), channel=subject.channel
    ):
        return _PASSED
    return Found(CheckOutcome.FAIL, "document_type_not_accepted")


def document_number(subject: Subject, answers: Answers) -> Found:
    """Length, alphabet, birth date and check digit fit."""
    try:
        _parse(subject)
    except documents.NumberFault:
        return Found(CheckOutcome.FAIL, "document_invalid")
    return _PASSED


def document_validity(subject: Subject, answers: Answers) -> Found:
    """The document is valid today, as far as its dates are known."""
    if subject.valid_until is not None and subject.today > subject.valid_until:
        return Found(CheckOutcome.FAIL, "document_expired")
    if subject.valid_from is not None and subject.today < subject.valid_from:
        return Found(CheckOutcome.FAIL, "document_invalid")
    return _PASSED


def minimum_age(subject: Subject, answers: Answers) -> Found:
    """Old enough today, alone or with a guardian; where the number does not tell, a person looks at the document."""
    if subject.is_organization:
        return _PASSED
    born = _parse(subject).birth_date
    if born is None:
        return Found(CheckOutcome.REVIEW, "age_unknown")
    age, rules = documents.age_on(born, subject.today), subject.rules
    guarded = (
        subject.representative is not None and subject.representative.role == RepresentativeRole.GUARDIAN
    )
    if age < rules.minimum_age and not (guarded and age >= rules.minimum_age_with_guardian):
        return Found(CheckOutcome.FAIL, "subscriber_under_age")
    return _PASSED


def representative(subject: Subject, answers: Answers) -> Found:
    """Whoever stands for the holder may do so here, is of age, and shows a document that holds today.

    A holder who comes in person passes. An organization never does. Nor does a guardian of somebody old enough, whose
    own face it has to be; where the number does not tell the age, `minimum_age` sends it to a person.
    """
    party, rules = subject.representative, subject.rules
    if party is None:
        return Found(CheckOutcome.FAIL, "representative_missing") if subject.is_organization else _PASSED
    if (party.role == RepresentativeRole.RESPONSIBLE) != subject.is_organization:
        return Found(CheckOutcome.FAIL, "role_not_accepted")
    if party.role == RepresentativeRole.GUARDIAN:
        holder_born = _parse(subject).birth_date
        if holder_born and documents.age_on(holder_born, subject.today) >= rules.minimum_age:
            return Found(CheckOutcome.FAIL, "guardian_not_needed")
    if party.role == RepresentativeRole.PROXY and subject.channel.lower() not in rules.proxy_channels:
        return Found(CheckOutcome.FAIL, "proxy_not_accepted")
    type = DocumentType(party.document_type)
    if not documents.accepts(rules.accepted_document_types, type, channel=subject.channel):
        return Found(CheckOutcome.FAIL, "representative_document_not_accepted")
    try:
        parsed = documents.parse(type=type, number=party.document_number, today=subject.today)
    except documents.NumberFault:
        return Found(CheckOutcome.FAIL, "representative_document_invalid")
    if party.valid_until is not None and subject.today > party.valid_until:
        return Found(CheckOutcome.FAIL, "representative_document_expired")
    if party.valid_from is not None and subject.today < party.valid_from:
        return Found(CheckOutcome.FAIL, "representative_document_invalid")
    if parsed.birth_date is None:
        return Found(CheckOutcome.REVIEW, "representative_age_unknown")
    if documents.age_on(parsed.birth_date, subject.today) < rules.representative_age:
        return Found(CheckOutcome.FAIL, "representative_under_age")
    return _PASSED


def watch_list(subject: Subject, answers: Answers) -> Found:
    """On no list of people without service (joint punishment of 2024, arts. 12 to 14), nor is whoever stands for them.

    Policy says what a hit is.
    """
    outcome = CheckOutcome.REVIEW if subject.rules.watchlist_to_review else CheckOutcome.FAIL
    if subject.is_listed:
        return Found(outcome, "watchlisted")
    if subject.representative is not None and subject.representative.is_listed:
        return Found(outcome, "representative_watchlisted")
    return _PASSED


def holder_limit(subject: Subject, answers: Answers) -> Found:
    """No more lines than allowed. Who has exactly as many may still be verified, to keep them: another one is refused
    where places are taken. More of them is old stock that a person looks at (MIIT 452 of 2016).
    """
    limit, filled = subject.rules.holder_limit, subject.places_filled
    if limit is None:
        return _PASSED
    if filled is None:
        return Found(CheckOutcome.UNAVAILABLE, "holder_count_unknown")
    if filled > limit:
        return Found(CheckOutcome.REVIEW, "holder_limit_exceeded")
    return Found(CheckOutcome.PASS, "holder_limit_full") if filled == limit else _PASSED


def authority_match(subject: Subject, answers: Answers) -> Found:
    """The authority knows this name with this number, and the document is not void."""
    reply = answers.authority()
    outcome, code = _AUTHORITY[reply.answer]
    return Found(outcome, code, reply.provider)


def representative_authority_match(subject: Subject, answers: Answers) -> Found:
    """The authority knows whoever stands for the holder as well."""
    if subject.representative is None:
        return _PASSED
    reply = answers.authority_on(subject.representative)
    outcome, code = _AUTHORITY[reply.answer]
    return Found(outcome, OK if outcome == CheckOutcome.PASS else f"representative_{code}", reply.provider)


def liveness(subject: Subject, answers: Answers) -> Found:
    """A living person was there: in a face session, or at a counter with reader and photo (MIIT 452 of 2016)."""
    if subject.rules.face_session_required and not has_evidence(
        channel=subject.channel,
        face_session=subject.face_session,
        reader=subject.reader,
        has_photo=subject.photo is not None,
    ):
        return Found(CheckOutcome.FAIL, "evidence_missing")
    reply = answers.face
    outcome, code = {
        LivenessAnswer.LIVE: (CheckOutcome.PASS, OK),
        LivenessAnswer.NOT_LIVE: (CheckOutcome.FAIL, "not_live"),
        LivenessAnswer.UNCERTAIN: (CheckOutcome.REVIEW, "liveness_uncertain"),
    }[reply.answer.liveness]
    return Found(outcome, code, reply.provider)


def face_match(subject: Subject, answers: Answers) -> Found:
    """The person before us is the document's (live match in every channel since 2019-12-01)."""
    reply = answers.face
    outcome, code = {
        FaceAnswer.MATCH: (CheckOutcome.PASS, OK),
        FaceAnswer.MISMATCH: (CheckOutcome.FAIL, "face_mismatch"),
        FaceAnswer.UNCERTAIN: (CheckOutcome.REVIEW, "face_uncertain"),
    }[reply.answer.face]
    return Found(outcome, code, reply.provider)


def has_evidence(*, channel: str, face_session: str, reader: str, has_photo: bool) -> bool:
    """Whether that is enough to show that somebody was there; a counter has a reader and takes a photo."""
    return bool(face_session) or (channel == Channel.IN_STORE and bool(reader) and has_photo)


CHECKS: tuple[Check, ...] = (
    dealer_allowed,
    document_type,
    document_number,
    document_validity,
    minimum_age,
    representative,
    watch_list,
    holder_limit,
    authority_match,
    representative_authority_match,
    liveness,
    face_match,
)


def names_in_order() -> tuple[str, ...]:
    """Of the whole list: what has not run yet is not in a verification's findings."""
    return tuple(_name(check) for check in CHECKS)


def run(subject: Subject, providers: Providers) -> tuple[Finding, ...]:
    """Runs the list and tells what it found, in order. Calls the network, touches no database, never raises."""
    began = time.monotonic()
    answers = Answers(subject, providers)
    findings: list[Finding] = []
    for check in CHECKS:
        outcome, code, provider = _run_one(check, subject, answers)
        after = timedelta(seconds=time.monotonic() - began)
        findings.append(Finding(_name(check), outcome, code, provider, after))
        if outcome in (CheckOutcome.FAIL, CheckOutcome.UNAVAILABLE):
            break
    return tuple(findings)


def verdict(findings: Sequence[Finding]) -> CheckOutcome:
    """What the findings amount to: FAIL before UNAVAILABLE before REVIEW; PASS only when the whole list passed."""
    outcomes = [finding.outcome for finding in findings]
    for outcome in (CheckOutcome.FAIL, CheckOutcome.UNAVAILABLE, CheckOutcome.REVIEW):
        if outcome in outcomes:
            return outcome
    complete = [finding.name for finding in findings] == [_name(check) for check in CHECKS]
    return CheckOutcome.PASS if complete else CheckOutcome.UNAVAILABLE


def _run_one(check: Check, subject: Subject, answers: Answers) -> Found:
    try:
        found = check(subject, answers)
    except ProviderUnavailable as error:
        return Found(CheckOutcome.UNAVAILABLE, error.code, error.provider)
    except Exception as error:  # a fault of ours must hold the verification back, not lose or pass it
        logger.error("check crashed", extra={"check": _name(check), "error": type(error).__name__})
        return Found(CheckOutcome.UNAVAILABLE, "check_crashed")
    if found.outcome == CheckOutcome.FAIL and (_name(check), found.code) == subject.overruled:
        return Found(CheckOutcome.PASS, OVERRULED, found.provider)
    return found


def _name(check: Check) -> str:
    return check.__name__


def _parse(subject: Subject) -> documents.ParsedNumber:
    # What is stored is the normal form already: the old 15 digits were a matter of registration.
    return documents.parse(
        type=DocumentType(subject.document_type), number=subject.document_number, today=subject.today
    )
