"""The real-name checks: an ordered list of small functions, each giving an outcome and a code.

The list runs until a check fails or has no answer; what comes after is not asked, so that nobody's face is sent
anywhere for a card that is void. Cheap checks of our own come first. A verification passes only when every check of
the list has run and passed: whatever is missing, unknown or broken holds it back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

from apps.subscribers.realname import documents, names
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.realname.providers.base import (
    AuthorityAnswer,
    FaceAnswer,
    Providers,
    ProviderUnavailable,
)
from apps.subscribers.states import OVERRULED, CheckOutcome, RepresentativeRole

logger = logging.getLogger(__name__)

OK = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What policy says about one operator's verifications."""

    accepted_document_types: frozenset[str]
    minimum_age: int
    minimum_age_with_guardian: int
    representative_age: int
    # In lower case, as the API says them.
    proxy_channels: frozenset[str]
    face_session_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Somebody who stands for the holder and is checked with them, in clear."""

    role: RepresentativeRole
    name: str = field(repr=False)
    document_type: str
    document_number: str = field(repr=False)
    valid_from: date | None
    valid_until: date | None


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
    """What one check found. `code` is stable; `provider` says who answered when it was not ourselves."""

    name: str
    outcome: CheckOutcome
    code: str
    provider: str = ""


Check = Callable[[Subject, Providers], tuple[CheckOutcome, str, str]]
_PASSED = (CheckOutcome.PASS, OK, "")
_AUTHORITY = {
    AuthorityAnswer.MATCH: (CheckOutcome.PASS, OK),
    AuthorityAnswer.NAME_MISMATCH: (CheckOutcome.FAIL, "name_mismatch"),
    AuthorityAnswer.NOT_FOUND: (CheckOutcome.FAIL, "document_unknown"),
    AuthorityAnswer.DOCUMENT_VOID: (CheckOutcome.FAIL, "document_void"),
}


def dealer_allowed(subject: Subject, providers: Providers) -> tuple[CheckOutcome, str, str]:
    """The dealer may still act for the operator (Anti-Telecom-Fraud Law art. 9: we answer for our agents)."""
    return (CheckOutcome.FAIL, "dealer_not_allowed", "") if subject.dealer_may_act is False else _PASSED


def document_type(subject: Subject, providers: Providers) -> tuple[CheckOutcome, str, str]:
    """The type is accepted by policy today, in this channel."""
    if documents.accepts(
        subject.rules.accepted_document_types, DocumentType(subject.document_type), channel=subject.channel
    ):
        return _PASSED
    return CheckOutcome.FAIL, "document_type_not_accepted", ""


def document_number(subject: Subject, providers: Providers) -> tuple[CheckOutcome, str, str]:
    """Length, alphabet, birth date and check digit fit."""
    try:
        _parse(subject)
    except documents.NumberFault:
        return CheckOutcome.FAIL, "document_invalid", ""
    return _PASSED


def document_validity(subject: Subject, providers: Providers) -> tuple[CheckOutcome, str, str]:
    """The document is valid today, as far as its dates are known."""
    if subject.valid_until is not None and subject.today > subject.valid_until:
        return CheckOutcome.FAIL, "document_expired", ""
    if subject.valid_from is not None and subject.today < subject.valid_from:
        return CheckOutcome.FAIL, "document_invalid", ""
    return _PASSED


def minimum_age(subject: Subject, providers: Providers) -> tuple[CheckOutcome, str, str]:
    """Old enough today, alone or with a guardian; where the number does not tell, a person looks at the document."""
    if subject.is_organization:
        return _PASSED
    born = _parse(subject).birth_date
    if born is None:
        return CheckOutcome.REVIEW, "age_unknown", ""
    age, rules = documents.age_on(born, subject.today), subject.rules
    guarded = (
        subject.representative is not None and subject.representative.role == RepresentativeRole.GUARDIAN
    )
    if age < rules.minimum_age and not (guarded and age >= rules.minimum_age_with_guardian):
        return CheckOutcome.FAIL, "subscriber_under_age", ""
    return _PASSED


def representative(subject: Subject, providers: Providers) -> tuple[CheckOutcome, str, str]:
    """Whoever stands for the holder may do so here, is of age, and shows a document that holds today.

    A holder who comes in person passes. An organization never does.
    """
    party, rules = subject.representative, subject.rules
    if party is None:
        return (CheckOutcome.FAIL, "representative_missing", "") if subject.is_organization else _PASSED
    if (party.role == RepresentativeRole.RESPONSIBLE) != subject.is_organization:
        return CheckOutcome.FAIL, "role_not_accepted", ""
    if party.role == RepresentativeRole.PROXY and subject.channel.lower() not in rules.proxy_channels:
        return CheckOutcome.FAIL, "proxy_not_accepted", ""
    type = DocumentType(party.document_type)
    if not documents.accepts(rules.accepted_document_types, type, channel=subject.channel):
        return CheckOutcome.FAIL, "representative_document_not_accepted", ""
    try:
        parsed = documents.parse(type=type, number=party.document_number, today=subject.today)
    except documents.NumberFault:
        return CheckOutcome.FAIL, "representative_document_invalid", ""
    if party.valid_until is not None and subject.today > party.valid_until:
        return CheckOutcome.FAIL, "representative_document_expired", ""
    if party.valid_from is not None and subject.today < party.valid_from:
        return CheckOutcome.FAIL, "representative_document_invalid", ""
    if parsed.birth_date is None:
        return CheckOutcome.REVIEW, "representative_age_unknown", ""
    if documents.age_on(parsed.birth_date, subject.today) < rules.representative_age:
        return CheckOutcome.FAIL, "representative_under_age", ""
    return _PASSED


def authority_match(subject: Subject, providers: Providers) -> tuple[CheckOutcome, str, str]:
    """The authority knows this name with this number, and the document is not void."""
    answer = providers.authority.match(
        name=names.canonical(subject.name, organization=subject.is_organization),
        document_type=subject.document_type,
        document_number=subject.document_number,
        request_id=subject.request_id,
    )
    outcome, code = _AUTHORITY[answer]
    return outcome, code, providers.authority.name


def representative_authority_match(subject: Subject, providers: Providers) -> tuple[CheckOutcome, str, str]:
    """The authority knows whoever stands for the holder as well."""
    party = subject.representative
    if party is None:
        return _PASSED
    answer = providers.authority.match(
        name=names.canonical(party.name),
        document_type=party.document_type,
        document_number=party.document_number,
        request_id=f"{subject.request_id}-{party.role.lower()}",
    )
    outcome, code = _AUTHORITY[answer]
    return outcome, OK if outcome == CheckOutcome.PASS else f"representative_{code}", providers.authority.name


def face_match(subject: Subject, providers: Providers) -> tuple[CheckOutcome, str, str]:
    """The person before us is the document's (live match in every channel since 2019-12-01)."""
    if subject.rules.face_session_required and not subject.face_session:
        return CheckOutcome.FAIL, "evidence_missing", ""
    answer = providers.face.match(
        document_number=subject.present.document_number,
        face_session=subject.face_session,
        channel=subject.channel.lower(),
        request_id=subject.request_id,
    )
    outcome, code = {
        FaceAnswer.MATCH: (CheckOutcome.PASS, OK),
        FaceAnswer.MISMATCH: (CheckOutcome.FAIL, "face_mismatch"),
        FaceAnswer.UNCERTAIN: (CheckOutcome.REVIEW, "face_uncertain"),
    }[answer]
    return outcome, code, providers.face.name


CHECKS: tuple[Check, ...] = (
    dealer_allowed,
    document_type,
    document_number,
    document_validity,
    minimum_age,
    representative,
    authority_match,
    representative_authority_match,
    face_match,
)


def names_in_order() -> tuple[str, ...]:
    """Of the whole list: what has not run yet is not in a verification's findings."""
    return tuple(_name(check) for check in CHECKS)


def run(subject: Subject, providers: Providers) -> tuple[Finding, ...]:
    """Runs the list and tells what it found, in order. Calls the network, touches no database, never raises."""
    findings: list[Finding] = []
    for check in CHECKS:
        finding = _run_one(check, subject, providers)
        findings.append(finding)
        if finding.outcome in (CheckOutcome.FAIL, CheckOutcome.UNAVAILABLE):
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


def _run_one(check: Check, subject: Subject, providers: Providers) -> Finding:
    name = _name(check)
    try:
        outcome, code, provider = check(subject, providers)
    except ProviderUnavailable as error:
        asked: dict[Check, str] = {
            authority_match: providers.authority.name,
            representative_authority_match: providers.authority.name,
            face_match: providers.face.name,
        }
        return Finding(name, CheckOutcome.UNAVAILABLE, error.code, asked.get(check, ""))
    except Exception as error:  # a fault of ours must hold the verification back, not lose or pass it
        logger.error("check crashed", extra={"check": name, "error": type(error).__name__})
        return Finding(name, CheckOutcome.UNAVAILABLE, "check_crashed")
    if outcome == CheckOutcome.FAIL and (name, code) == subject.overruled:
        return Finding(name, CheckOutcome.PASS, OVERRULED, provider)
    return Finding(name, outcome, code, provider)


def _name(check: Check) -> str:
    return check.__name__


def _parse(subject: Subject) -> documents.ParsedNumber:
    # What is stored is the normal form already: the old 15 digits were a matter of registration.
    return documents.parse(
        type=DocumentType(subject.document_type), number=subject.document_number, today=subject.today
    )
