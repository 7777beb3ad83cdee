"""What the codes of the checks mean, in plain words, for whoever has to act on them. They name nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from apps.subscribers.states import CheckOutcome, VerificationStatus

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "ok": "As it should be.",
        "dealer_not_allowed": "The dealer may not act for the operator (any more).",
        "document_type_not_accepted": "The operator does not accept this type of document in this channel.",
        "document_invalid": "The number or the dates of the document cannot be right.",
        "document_expired": "The document has expired; a valid one must be shown.",
        "age_unknown": "The number does not tell the age; a person looks at the document.",
        "subscriber_under_age": "The person is too young to register alone.",
        "representative_missing": "Nobody answers for the organization.",
        "role_not_accepted": "Whoever comes cannot stand for this subscriber.",
        "proxy_not_accepted": "The operator accepts no proxy in this channel.",
        "representative_document_not_accepted": "The document of whoever stands for the subscriber is not accepted.",
        "representative_document_invalid": "The number or dates of the representative's document cannot be right.",
        "representative_document_expired": "The representative's document has expired; a valid one must be shown.",
        "representative_age_unknown": "The number does not tell the representative's age; a person looks at it.",
        "representative_under_age": "Whoever stands for the subscriber is too young to do so.",
        "watchlisted": "The person is on a list of people who get no service.",
        "representative_watchlisted": "Whoever stands for the subscriber is on a list of people who get no service.",
        "holder_limit_full": "The person has as many lines as allowed; another one will be refused.",
        "holder_limit_exceeded": "The person has more lines than allowed; a person decides.",
        "holder_count_unknown": "How many lines the person has could not be counted.",
        "name_mismatch": "The authority knows this number under another name.",
        "document_unknown": "The authority does not know this number.",
        "document_void": "The authority has declared the document void.",
        "representative_name_mismatch": "The authority knows the representative's number under another name.",
        "representative_document_unknown": "The authority does not know the representative's number.",
        "representative_document_void": "The authority has declared the representative's document void.",
        "evidence_missing": "A face session, or in a store the card reader and a photo, is missing.",
        "not_live": "What the camera saw was not a living person.",
        "liveness_uncertain": "It is in doubt whether a living person stood before the camera; a person decides.",
        "face_mismatch": "The face is not that of the document.",
        "face_uncertain": "It is in doubt whether the face is that of the document; a person decides.",
        "photo_unreadable": "The photo taken at the counter cannot be opened.",
        "identity_unreadable": "What is stored of the person cannot be opened; staff of the platform must look.",
        "provider_unavailable": "The provider does not answer.",
        "provider_refused_us": "The provider refuses our question; staff of the platform must look.",
        "provider_answer_invalid": "The provider's answer is not one that was agreed on.",
        "provider_wrong_echo": "The provider answered another question than ours.",
        "provider_breaker_open": "The provider has failed too often and is left alone for a moment.",
        "overruled": "It failed before, and two people have overruled that.",
        "check_crashed": "The check itself broke; staff of the platform must look.",
        "run_not_finished": "The check was begun and never finished.",
    }
)


_SUMMARIES: Mapping[VerificationStatus, str] = MappingProxyType(
    {
        VerificationStatus.PENDING: "The checks have not run yet.",
        VerificationStatus.PASSED: "All checks have passed.",
        VerificationStatus.FAILED: "A person has decided that it fails.",
        VerificationStatus.REVIEW: "A person decides.",
        VerificationStatus.EXPIRED: "It had passed and does not count any more; ask for another check.",
    }
)


def summary(
    *, status: VerificationStatus, attempts: int, findings: Iterable[tuple[CheckOutcome, str]]
) -> str:
    """Where a verification stands and what helps; `findings` are its outcomes and codes in order."""
    if status in (VerificationStatus.PASSED, VerificationStatus.EXPIRED):
        return _SUMMARIES[status]
    codes: dict[CheckOutcome, str] = {}
    for outcome, code in findings:
        codes.setdefault(outcome, code)
    if failed := codes.get(CheckOutcome.FAIL):
        return of(failed)
    if unanswered := codes.get(CheckOutcome.UNAVAILABLE):
        tries = "1 try" if attempts == 1 else f"{attempts} tries"
        follows = {
            VerificationStatus.PENDING: f"It is tried again by itself; so far {tries}.",
            VerificationStatus.REVIEW: f"Given up after {tries}; a person decides.",
        }.get(status, f"Given up after {tries}; ask for another check.")
        return f"{of(unanswered)} {follows}"
    if doubtful := codes.get(CheckOutcome.REVIEW):
        return of(doubtful) if status == VerificationStatus.REVIEW else _SUMMARIES[status]
    return _SUMMARIES[status]


def of(code: str) -> str:
    """The sentence of a code; the code itself when it has none."""
    return _WORDS.get(code, code)
