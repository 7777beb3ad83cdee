"""The words of this app, and the steps a verification may take."""

from __future__ import annotations

from django.db import models

from apps.core.states import StateMachine


class SubscriberKind(models.TextChoices):
    """A person, or a company or other unit with a unified social credit code."""

    INDIVIDUAL = "INDIVIDUAL"
    ORGANIZATION = "ORGANIZATION"


class RepresentativeRole(models.TextChoices):
    """For whom somebody stands: a minor, a person who does not come, an organization (Order 25 arts. 6 and 7)."""

    GUARDIAN = "GUARDIAN"
    PROXY = "PROXY"
    RESPONSIBLE = "RESPONSIBLE"


class Channel(models.TextChoices):
    """Where the person stands before us: at a counter with a card reader, or live on video (MIIT 2016, item 452)."""

    IN_STORE = "IN_STORE"
    ONLINE_VIDEO = "ONLINE_VIDEO"


class VerificationStatus(models.TextChoices):
    PENDING = "PENDING"
    REVIEW = "REVIEW"
    PASSED = "PASSED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class CheckOutcome(models.TextChoices):
    """UNAVAILABLE is no answer at all: it holds the verification back and never counts as a pass."""

    PASS = "PASS"  # noqa: S105 - an outcome
    FAIL = "FAIL"
    REVIEW = "REVIEW"
    UNAVAILABLE = "UNAVAILABLE"


class CaseKind(models.TextChoices):
    """Why people are asked: a check is in doubt, or somebody wants to overrule one that failed."""

    DOUBT = "DOUBT", "a check is in doubt"
    OVERRIDE = "OVERRIDE", "a failed check is to be overruled"


class CaseStatus(models.TextChoices):
    """DROPPED is nobody's decision: what it was about is gone or has been overtaken."""

    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    DROPPED = "DROPPED"


class Standing(models.TextChoices):
    """How a subscriber stands with the real-name rule at one moment: what an order asks before it goes on."""

    NONE = "NONE"
    PENDING = "PENDING"
    REVIEW = "REVIEW"
    PASSED_FRESH = "PASSED_FRESH"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class ImageKind(models.TextChoices):
    """What a picture shows."""

    DOCUMENT_FRONT = "DOCUMENT_FRONT"
    DOCUMENT_BACK = "DOCUMENT_BACK"
    PERSON = "PERSON"
    AUTHORISATION_LETTER = "AUTHORISATION_LETTER"


class ConsentPurpose(models.TextChoices):
    """What personal data may be processed for; each is agreed to by itself (PIPL arts. 14 and 29)."""

    REAL_NAME = "REAL_NAME"
    FACE_MATCH = "FACE_MATCH"
    MARKETING = "MARKETING"


class DemandReason(models.TextChoices):
    """Why somebody has to be verified again (Anti-Telecom-Fraud Law arts. 10 and 11; Order 25 art. 10)."""

    ABNORMAL_USE = "ABNORMAL_USE", "abnormal use"
    DOCUMENT_EXPIRED = "DOCUMENT_EXPIRED", "document expires"
    REGULATOR_LIST = "REGULATOR_LIST", "on a regulator's list"
    DISPUTE = "DISPUTE", "somebody disputes whose line it is"


class DemandStatus(models.TextChoices):
    """How far a demand has come. ONE_WAY and TWO_WAY are what the lines are to be."""

    WARNED = "WARNED", "warned"
    ONE_WAY = "ONE_WAY", "one-way"
    TWO_WAY = "TWO_WAY", "two-way"
    PASSED = "PASSED", "passed"
    WITHDRAWN = "WITHDRAWN", "withdrawn"


OPEN_DEMAND = (DemandStatus.WARNED, DemandStatus.ONE_WAY, DemandStatus.TWO_WAY)
# What comes by itself when nobody is verified.
NEXT_STEP = {DemandStatus.WARNED: DemandStatus.ONE_WAY, DemandStatus.ONE_WAY: DemandStatus.TWO_WAY}

# Everybody is warned first, if only for a moment, and nobody's line is ended for want of a verification.
REVERIFICATION = StateMachine(
    "re-verification demand",
    {
        DemandStatus.WARNED: {DemandStatus.ONE_WAY, DemandStatus.PASSED, DemandStatus.WITHDRAWN},
        DemandStatus.ONE_WAY: {DemandStatus.TWO_WAY, DemandStatus.PASSED, DemandStatus.WITHDRAWN},
        DemandStatus.TWO_WAY: {DemandStatus.PASSED, DemandStatus.WITHDRAWN},
        DemandStatus.PASSED: set(),
        DemandStatus.WITHDRAWN: set(),
    },
)

# A verification is never reopened: whoever failed or expired starts a new one.
VERIFICATION = StateMachine(
    "verification",
    {
        VerificationStatus.PENDING: {
            VerificationStatus.PASSED,
            VerificationStatus.FAILED,
            VerificationStatus.REVIEW,
        },
        VerificationStatus.REVIEW: {VerificationStatus.PASSED, VerificationStatus.FAILED},
        VerificationStatus.PASSED: {VerificationStatus.EXPIRED},
        VerificationStatus.FAILED: set(),
        VerificationStatus.EXPIRED: set(),
    },
)

REVIEW_CASE = StateMachine(
    "review case",
    {
        CaseStatus.OPEN: {CaseStatus.ACCEPTED, CaseStatus.REFUSED, CaseStatus.DROPPED},
        CaseStatus.ACCEPTED: set(),
        CaseStatus.REFUSED: set(),
        CaseStatus.DROPPED: set(),
    },
)

# Failures that two people may overrule: a register that is behind or spells a name differently, a camera that erred.
# What a law or a policy demands (age, validity, type, dealer, watch-list, evidence), a void document and a missing
# answer are not among them.
OVERRULABLE = frozenset(
    {
        "name_mismatch",
        "document_unknown",
        "representative_name_mismatch",
        "representative_document_unknown",
        "not_live",
        "face_mismatch",
    }
)
# In the place of the code of a failure that two people have overruled.
OVERRULED = "overruled"
