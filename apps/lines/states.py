"""The life of a line, and why it may be suspended."""

from django.db import models

from apps.core.states import StateMachine


class LineStatus(models.TextChoices):
    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    TERMINATED = "TERMINATED"


# What the host carrier has.
LIVE_LINE = (LineStatus.ACTIVE, LineStatus.SUSPENDED)

LINE = StateMachine(
    "line",
    {
        # PENDING -> TERMINATED: the activation failed or was cancelled.
        LineStatus.PENDING: {LineStatus.ACTIVE, LineStatus.TERMINATED},
        LineStatus.ACTIVE: {LineStatus.SUSPENDED, LineStatus.TERMINATED},
        LineStatus.SUSPENDED: {LineStatus.ACTIVE, LineStatus.TERMINATED},
        LineStatus.TERMINATED: set(),
    },
)


class HolderCheckStatus(models.TextChoices):
    """NOT_VERIFIED: nobody of that name and number has just been verified by the caller, be they known or not."""

    ANSWERED = "ANSWERED"
    NOT_VERIFIED = "NOT_VERIFIED"


class SuspensionKind(models.TextChoices):
    """One-way: no outgoing traffic; two-way: neither direction (domain: 单停, 双停). The later is the stronger."""

    ONE_WAY = "ONE_WAY"
    TWO_WAY = "TWO_WAY"


def strongest(*kinds: str | None) -> SuspensionKind | None:
    """What a line is, of which these are in force; None when nothing is."""
    found = [SuspensionKind(kind) for kind in kinds if kind]
    return max(found, key=list(SuspensionKind).index, default=None)


class SuspensionCause(models.TextChoices):
    """Why. The last three are the operator's and authorities' business: no partner places or lifts them."""

    USER_REQUEST = "USER_REQUEST", "the subscriber asked for it"
    LOST = "LOST", "phone or SIM card lost"
    ARREARS = "ARREARS", "bills not paid"
    FRAUD = "FRAUD", "suspected fraud"
    REGULATOR = "REGULATOR", "order of police or regulator"
    REVERIFICATION = "REVERIFICATION", "identity must be verified again"


GRAVE = (SuspensionCause.FRAUD, SuspensionCause.REGULATOR, SuspensionCause.REVERIFICATION)


class SuspensionOwner(models.TextChoices):
    """Whose decision it is that the line stands still."""

    PARTNER = "PARTNER"
    OPERATOR = "OPERATOR"
    REGULATOR = "REGULATOR"
    SYSTEM = "SYSTEM"


# What the subscriber is told, and what helps: every restriction must say both (anti-fraud law 2022, art. 32).
NOTICES: dict[SuspensionCause, tuple[str, str]] = {
    SuspensionCause.USER_REQUEST: (
        "Suspended as you asked.",
        "Ask where you bought the line to resume it.",
    ),
    SuspensionCause.LOST: (
        "Suspended because the phone or SIM card was reported lost.",
        "Resume it when it is found, or have the SIM card replaced with your identity document.",
    ),
    SuspensionCause.ARREARS: ("Suspended because bills are not paid.", "Pay what is due."),
    SuspensionCause.FRAUD: (
        "Suspended because of suspected fraud.",
        "Appeal to the operator with your identity document.",
    ),
    SuspensionCause.REGULATOR: (
        "Suspended by order of police or regulator.",
        "Appeal to the authority that ordered it; the operator names it.",
    ),
    SuspensionCause.REVERIFICATION: (
        "Suspended until your identity is verified again.",
        "Verify your identity with your own document, in a shop or by video.",
    ),
}
