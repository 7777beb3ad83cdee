"""Thresholds that regulators, contracts or operators set: versioned rows with a source, never constants in code.

The registry below says which policies exist and what a value looks like; the values live only in the table. An
operator's own row beats the default row, and of each the latest that has come into force counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, overload

from django.db.models import F, Q

from apps.operators.errors import PolicyInvalid, PolicyMissing
from apps.operators.models import Policy


class PolicyKey(StrEnum):
    HOLDER_LIMIT = "holder.limit"
    ORGANIZATIONS_EXEMPT = "holder.organizations_exempt"
    ACTUAL_USERS_COUNTED = "holder.actual_users_counted"
    ACTUAL_USER_REQUIRED = "lines.actual_user_required"
    HOLDER_CHECK_VERIFIED_MINUTES = "holder.check_verified_minutes"
    HOLDER_CHECKS_PER_HOUR = "holder.checks_per_hour"
    HOLDER_CHECKS_PER_DOCUMENT = "holder.checks_per_document"
    DISPUTE_DAYS = "holder.dispute_days"
    QUARANTINE_DAYS = "numbering.quarantine_days"
    RESERVATION_TTL_SECONDS = "numbering.reservation_ttl_seconds"
    RESERVATION_TTL_MAX_SECONDS = "numbering.reservation_ttl_max_seconds"
    RESERVATION_QUANTITY_MAX = "numbering.reservation_quantity_max"
    RESERVATION_HELD_MAX = "numbering.reservation_held_max"
    LEASE_WARNING_DAYS = "numbering.lease_warning_days"
    RETENTION_YEARS = "subscribers.retention_years"
    MINIMUM_AGE = "realname.minimum_age"
    MINIMUM_AGE_WITH_GUARDIAN = "realname.minimum_age_with_guardian"
    REPRESENTATIVE_AGE = "realname.representative_age"
    PROXY_CHANNELS = "realname.proxy_channels"
    AUTHORISATION_LETTER_REQUIRED = "realname.authorisation_letter_required"
    VERIFICATION_FRESH_DAYS = "realname.verification_fresh_days"
    VERIFICATION_PATIENCE_HOURS = "realname.verification_patience_hours"
    PHOTO_MAX_HOURS = "realname.photo_max_hours"
    REVIEW_CLAIM_MINUTES = "realname.review_claim_minutes"
    VERIFICATION_MAX_ATTEMPTS = "realname.verification_max_attempts"
    UNANSWERED_TO_REVIEW = "realname.unanswered_to_review"
    WATCHLIST_TO_REVIEW = "realname.watchlist_to_review"
    ACCEPTED_DOCUMENT_TYPES = "realname.accepted_document_types"
    FACE_EVIDENCE_REQUIRED = "realname.face_evidence_required"
    CONSENT_REQUIRED = "realname.consent_required"
    ABNORMAL_USE_HOURS = "reverification.abnormal_use_hours"
    DOCUMENT_EXPIRED_HOURS = "reverification.document_expired_hours"
    REGULATOR_LIST_HOURS = "reverification.regulator_list_hours"
    DISPUTE_HOURS = "reverification.dispute_hours"
    DOCUMENT_WARNING_DAYS = "reverification.document_warning_days"
    REVEALS_PER_HOUR = "identity.reveals_per_hour"
    HELD_ORDER_HOURS = "provisioning.held_order_hours"
    JOB_MAX_ATTEMPTS = "provisioning.job_max_attempts"
    JOB_PATIENCE_HOURS = "provisioning.job_patience_hours"
    SIM_CHANGE_CHECK_HOURS = "provisioning.sim_change_check_hours"
    ORDERS_NEEDING_PAPERS = "provisioning.orders_needing_papers"
    PAPERS_AT_FIRST_SEND = "provisioning.papers_at_first_send"
    PAPER_WARNING_DAYS = "operators.paper_warning_days"


NumberKey = Literal[
    PolicyKey.HOLDER_LIMIT,
    PolicyKey.HOLDER_CHECK_VERIFIED_MINUTES,
    PolicyKey.HOLDER_CHECKS_PER_HOUR,
    PolicyKey.HOLDER_CHECKS_PER_DOCUMENT,
    PolicyKey.DISPUTE_DAYS,
    PolicyKey.QUARANTINE_DAYS,
    PolicyKey.RESERVATION_TTL_SECONDS,
    PolicyKey.RESERVATION_TTL_MAX_SECONDS,
    PolicyKey.RESERVATION_QUANTITY_MAX,
    PolicyKey.RESERVATION_HELD_MAX,
    PolicyKey.LEASE_WARNING_DAYS,
    PolicyKey.RETENTION_YEARS,
    PolicyKey.MINIMUM_AGE,
    PolicyKey.MINIMUM_AGE_WITH_GUARDIAN,
    PolicyKey.REPRESENTATIVE_AGE,
    PolicyKey.VERIFICATION_FRESH_DAYS,
    PolicyKey.VERIFICATION_PATIENCE_HOURS,
    PolicyKey.PHOTO_MAX_HOURS,
    PolicyKey.REVIEW_CLAIM_MINUTES,
    PolicyKey.DOCUMENT_WARNING_DAYS,
    PolicyKey.VERIFICATION_MAX_ATTEMPTS,
    PolicyKey.REVEALS_PER_HOUR,
    PolicyKey.HELD_ORDER_HOURS,
    PolicyKey.JOB_MAX_ATTEMPTS,
    PolicyKey.JOB_PATIENCE_HOURS,
    PolicyKey.SIM_CHANGE_CHECK_HOURS,
]
FlagKey = Literal[
    PolicyKey.ORGANIZATIONS_EXEMPT,
    PolicyKey.ACTUAL_USERS_COUNTED,
    PolicyKey.ACTUAL_USER_REQUIRED,
    PolicyKey.AUTHORISATION_LETTER_REQUIRED,
    PolicyKey.CONSENT_REQUIRED,
    PolicyKey.FACE_EVIDENCE_REQUIRED,
    PolicyKey.PAPERS_AT_FIRST_SEND,
    PolicyKey.UNANSWERED_TO_REVIEW,
    PolicyKey.WATCHLIST_TO_REVIEW,
]
CodesKey = Literal[
    PolicyKey.ACCEPTED_DOCUMENT_TYPES, PolicyKey.PROXY_CHANNELS, PolicyKey.ORDERS_NEEDING_PAPERS
]
LadderKey = Literal[
    PolicyKey.ABNORMAL_USE_HOURS,
    PolicyKey.DOCUMENT_EXPIRED_HOURS,
    PolicyKey.REGULATOR_LIST_HOURS,
    PolicyKey.DISPUTE_HOURS,
]
StepsKey = Literal[PolicyKey.PAPER_WARNING_DAYS]


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """A whole number within bounds; the bounds keep a typo from switching a rule off."""

    least: int
    most: int

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            raise PolicyInvalid(f"Expected a whole number from {self.least} to {self.most}.")
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise PolicyInvalid("Expected true or false.")
        return value


@dataclass(frozen=True, slots=True)
class Codes:
    """Distinct codes: one or more, unless accepting nothing at all is a rule somebody may want; out of `among`, where
    a typo would switch a rule off unseen.
    """

    may_be_empty: bool = False
    among: frozenset[str] | None = None

    def read(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or not all(isinstance(code, str) and code for code in value):
            raise PolicyInvalid("Expected a list of codes.")
        if not value and not self.may_be_empty:
            raise PolicyInvalid("An empty list would accept nothing.")
        if len(set(value)) != len(value):
            raise PolicyInvalid("A code stands in the list twice.")
        if self.among is not None and not set(value) <= self.among:
            raise PolicyInvalid(f"Expected some of {', '.join(sorted(self.among))}.")
        return tuple(value)


@dataclass(frozen=True, slots=True)
class Ladder:
    """How long each of so many steps lasts, in whole hours from nothing to a year."""

    steps: int

    def read(self, value: object) -> tuple[int, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != self.steps:
            raise PolicyInvalid(f"Expected a list of {self.steps} whole numbers.")
        hours = WholeNumber(0, 366 * 24)
        return tuple(hours.read(each) for each in value)


@dataclass(frozen=True, slots=True)
class Steps:
    """Distinct whole numbers within bounds; read from the largest to the smallest."""

    least: int
    most: int

    def read(self, value: object) -> tuple[int, ...]:
        if not isinstance(value, (list, tuple)) or not value:
            raise PolicyInvalid("Expected a list of whole numbers.")
        step = WholeNumber(self.least, self.most)
        steps = {step.read(each) for each in value}
        if len(steps) != len(value):
            raise PolicyInvalid("A number stands in the list twice.")
        return tuple(sorted(steps, reverse=True))


# From the warning to one-way suspension, and from there to two-way suspension.
_DEMAND = Ladder(steps=2)

REGISTRY: Mapping[PolicyKey, WholeNumber | Flag | Codes | Ladder | Steps] = {
    # Live lines per identity document and enterprise, nationwide.
    PolicyKey.HOLDER_LIMIT: WholeNumber(1, 100),
    # How long ago a partner app may have had the person verified who asks for their numbers.
    PolicyKey.HOLDER_CHECK_VERIFIED_MINUTES: WholeNumber(5, 60 * 24 * 30),
    # By one app or member of staff.
    PolicyKey.HOLDER_CHECKS_PER_HOUR: WholeNumber(1, 100_000),
    # A day, about one document, whoever asks.
    PolicyKey.HOLDER_CHECKS_PER_DOCUMENT: WholeNumber(1, 1000),
    # From "this number is not mine" to a decision.
    PolicyKey.DISPUTE_DAYS: WholeNumber(1, 90),
    # Of organizations: whether their own lines are not counted; of people who use such lines: whether those are.
    PolicyKey.ORGANIZATIONS_EXEMPT: Flag(),
    PolicyKey.ACTUAL_USERS_COUNTED: Flag(),
    # A line of an organization is opened only when it is said who uses it.
    PolicyKey.ACTUAL_USER_REQUIRED: Flag(),
    # A month at least, whatever somebody types: the next holder must not get the last one's calls and codes.
    PolicyKey.QUARANTINE_DAYS: WholeNumber(30, 3650),
    PolicyKey.RESERVATION_TTL_SECONDS: WholeNumber(60, 30 * 86400),
    PolicyKey.RESERVATION_TTL_MAX_SECONDS: WholeNumber(60, 30 * 86400),
    # Numbers in one reservation.
    PolicyKey.RESERVATION_QUANTITY_MAX: WholeNumber(1, 10_000),
    # Numbers that one caller holds at once, in all its reservations.
    PolicyKey.RESERVATION_HELD_MAX: WholeNumber(1, 1_000_000),
    # Before the end of a lease.
    PolicyKey.LEASE_WARNING_DAYS: WholeNumber(1, 365),
    # After termination of the last line.
    PolicyKey.RETENTION_YEARS: WholeNumber(2, 30),
    # Who may register alone, and who with a guardian; whoever is younger not at all.
    PolicyKey.MINIMUM_AGE: WholeNumber(0, 30),
    PolicyKey.MINIMUM_AGE_WITH_GUARDIAN: WholeNumber(0, 30),
    # Of guardians, proxies, and people who answer for an organization.
    PolicyKey.REPRESENTATIVE_AGE: WholeNumber(0, 30),
    # Where somebody may come in the holder's place; nowhere when empty.
    PolicyKey.PROXY_CHANNELS: Codes(may_be_empty=True),
    PolicyKey.AUTHORISATION_LETTER_REQUIRED: Flag(),
    PolicyKey.VERIFICATION_FRESH_DAYS: WholeNumber(1, 3650),
    # How long a verification waits for checks that nobody answers.
    PolicyKey.VERIFICATION_PATIENCE_HOURS: WholeNumber(1, 24 * 90),
    # How old the photo of a counter may be.
    PolicyKey.PHOTO_MAX_HOURS: WholeNumber(1, 24 * 7),
    # How long nobody else may take a case.
    PolicyKey.REVIEW_CLAIM_MINUTES: WholeNumber(1, 24 * 60),
    # How often it is tried in that time; what comes first ends it.
    PolicyKey.VERIFICATION_MAX_ATTEMPTS: WholeNumber(1, 10_000),
    # What never got an answer, and whoever is listed: to a person instead of FAILED.
    PolicyKey.UNANSWERED_TO_REVIEW: Flag(),
    PolicyKey.WATCHLIST_TO_REVIEW: Flag(),
    PolicyKey.ACCEPTED_DOCUMENT_TYPES: Codes(),
    PolicyKey.FACE_EVIDENCE_REQUIRED: Flag(),
    PolicyKey.CONSENT_REQUIRED: Flag(),
    PolicyKey.ABNORMAL_USE_HOURS: _DEMAND,
    # From the end of the document; the warning comes before it.
    PolicyKey.DOCUMENT_EXPIRED_HOURS: _DEMAND,
    PolicyKey.REGULATOR_LIST_HOURS: _DEMAND,
    PolicyKey.DISPUTE_HOURS: _DEMAND,
    # Before the last day of a document.
    PolicyKey.DOCUMENT_WARNING_DAYS: WholeNumber(1, 365),
    # People in clear, by one member of staff.
    PolicyKey.REVEALS_PER_HOUR: WholeNumber(1, 10_000),
    PolicyKey.HELD_ORDER_HOURS: WholeNumber(1, 24 * 90),
    # Sends that nobody knows the outcome of.
    PolicyKey.JOB_MAX_ATTEMPTS: WholeNumber(1, 100),
    PolicyKey.JOB_PATIENCE_HOURS: WholeNumber(1, 24 * 30),
    # How old the real-name check may be that a change of SIM card names.
    PolicyKey.SIM_CHANGE_CHECK_HOURS: WholeNumber(1, 24 * 30),
    # Beside activations, which always do: what is not accepted after the licence or agreement has ended. Suspending,
    # resuming and ending a line need no papers, whatever somebody types.
    PolicyKey.ORDERS_NEEDING_PAPERS: Codes(
        among=frozenset({"activate", "change_number", "change_plan", "change_sim", "transfer"})
    ),
    # Whether such an order is refused too that was accepted in time and that the carrier has not been told of.
    PolicyKey.PAPERS_AT_FIRST_SEND: Flag(),
    # Before the last day of a licence or agreement.
    PolicyKey.PAPER_WARNING_DAYS: Steps(0, 365),
}


@overload
def get(*, operator_id: int | None, key: NumberKey, now: datetime) -> int: ...
@overload
def get(*, operator_id: int | None, key: FlagKey, now: datetime) -> bool: ...
@overload
def get(*, operator_id: int | None, key: CodesKey, now: datetime) -> tuple[str, ...]: ...
@overload
def get(*, operator_id: int | None, key: LadderKey | StepsKey, now: datetime) -> tuple[int, ...]: ...
def get(*, operator_id: int | None, key: PolicyKey, now: datetime) -> Any:
    """The value in force for the operator (None: the default for all), as int, bool, or tuple of codes or numbers.

    :raises PolicyMissing: when no row sets it.
    """
    return get_many(operator_id=operator_id, keys=(key,), now=now)[key]


def get_many(*, operator_id: int | None, keys: Collection[PolicyKey], now: datetime) -> dict[PolicyKey, Any]:
    """The values in force of several policies, in one query.

    :raises PolicyMissing: naming every policy that no row sets.
    """
    rows = (
        Policy.objects.filter(
            Q(operator_id=operator_id) | Q(operator_id=None), key__in=keys, valid_from__lte=now
        )
        .order_by("key", F("operator_id").asc(nulls_last=True), "-valid_from")
        .distinct("key")
        .values_list("key", "value")
    )
    found = {PolicyKey(key): REGISTRY[PolicyKey(key)].read(value) for key, value in rows}
    if missing := sorted(set(keys) - set(found)):
        raise PolicyMissing(f"no policy row sets {', '.join(missing)}; load the seeds or set them")
    return found
