"""The life of an order (TMF641 words) and of a job at the host carrier."""

from django.db import models

from apps.core.states import StateMachine


class OrderType(models.TextChoices):
    """What may be asked for; also what a job asks of the host carrier."""

    ACTIVATE = "ACTIVATE"
    SUSPEND = "SUSPEND"
    RESUME = "RESUME"
    CHANGE_SIM = "CHANGE_SIM"
    CHANGE_NUMBER = "CHANGE_NUMBER"
    CHANGE_PLAN = "CHANGE_PLAN"
    TRANSFER = "TRANSFER"
    TERMINATE = "TERMINATE"


class OrderStatus(models.TextChoices):
    ACKNOWLEDGED = "ACKNOWLEDGED"
    HELD = "HELD"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


# What is worked on, or waits for its check. An order for a later day is ACKNOWLEDGED until then, and in nobody's way.
OPEN_ORDER = (OrderStatus.HELD, OrderStatus.IN_PROGRESS)

ORDER = StateMachine(
    "order",
    {
        # ACKNOWLEDGED -> COMPLETED: the carrier needs not be told; -> CANCELLED: it was for a later day.
        OrderStatus.ACKNOWLEDGED: {
            OrderStatus.HELD,
            OrderStatus.IN_PROGRESS,
            OrderStatus.COMPLETED,
            OrderStatus.CANCELLED,
        },
        OrderStatus.HELD: {OrderStatus.IN_PROGRESS, OrderStatus.FAILED, OrderStatus.CANCELLED},
        OrderStatus.IN_PROGRESS: {OrderStatus.COMPLETED, OrderStatus.FAILED, OrderStatus.CANCELLED},
        OrderStatus.COMPLETED: set(),
        OrderStatus.FAILED: set(),
        OrderStatus.CANCELLED: set(),
    },
)


class JobStatus(models.TextChoices):
    QUEUED = "QUEUED"
    SENDING = "SENDING"
    ACCEPTED = "ACCEPTED"
    IN_DOUBT = "IN_DOUBT"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


# What a worker may have to touch: QUEUED is sent, ACCEPTED without news and IN_DOUBT are asked about.
DUE_JOB = (JobStatus.QUEUED, JobStatus.ACCEPTED, JobStatus.IN_DOUBT)
OPEN_JOB = (*DUE_JOB, JobStatus.SENDING)

JOB = StateMachine(
    "job",
    {
        # QUEUED -> SUCCEEDED: it was sent once, queued again, and then the carrier's answer came after all.
        JobStatus.QUEUED: {JobStatus.SENDING, JobStatus.SUCCEEDED, JobStatus.FAILED},
        JobStatus.SENDING: {
            JobStatus.ACCEPTED,
            JobStatus.SUCCEEDED,
            JobStatus.FAILED,
            JobStatus.QUEUED,
            JobStatus.IN_DOUBT,
        },
        # ACCEPTED -> IN_DOUBT: the carrier says it has never heard of it.
        JobStatus.ACCEPTED: {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.IN_DOUBT},
        # Never straight to SENDING: the carrier is asked first (rule of reliability 2.0).
        JobStatus.IN_DOUBT: {JobStatus.ACCEPTED, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.QUEUED},
        JobStatus.SUCCEEDED: set(),
        # Only a dead letter moves on: staff queue it again, or the carrier's yes or no comes after all.
        JobStatus.FAILED: {JobStatus.QUEUED, JobStatus.IN_DOUBT, JobStatus.SUCCEEDED, JobStatus.FAILED},
    },
)


class FailureKind(models.TextChoices):
    """BUSINESS is the carrier's final no, CANCELLED ours; SYSTEM is a dead letter that waits for staff."""

    BUSINESS = "BUSINESS"
    CANCELLED = "CANCELLED"
    SYSTEM = "SYSTEM"


class AttemptKind(models.TextChoices):
    SEND = "SEND"
    QUERY = "QUERY"


class AttemptOutcome(models.TextChoices):
    """What came of one call; empty while it is out."""

    ACCEPTED = "ACCEPTED"
    SUCCEEDED = "SUCCEEDED"
    REJECTED = "REJECTED"
    UNAVAILABLE = "UNAVAILABLE"
    MISCONFIGURED = "MISCONFIGURED"
    UNKNOWN = "UNKNOWN"
    NOT_FOUND = "NOT_FOUND"
    IN_PROGRESS = "IN_PROGRESS"
    # We kept it back ourselves.
    NOT_SENT = "NOT_SENT"
    # The worker died.
    LOST = "LOST"
    # The carrier called back, or staff acted, before the call came back.
    OVERTAKEN = "OVERTAKEN"
    # It came back when somebody else had the job already.
    FENCED = "FENCED"


class CallbackOutcome(models.TextChoices):
    """CONFLICT contradicts what is final and UNMATCHED speaks of no job we sent: both are for staff to look at."""

    APPLIED = "APPLIED"
    REPEATED = "REPEATED"
    CONFLICT = "CONFLICT"
    UNMATCHED = "UNMATCHED"


class ReconciliationStatus(models.TextChoices):
    FETCHING = "FETCHING"
    COMPARING = "COMPARING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


OPEN_RECONCILIATION = (ReconciliationStatus.FETCHING, ReconciliationStatus.COMPARING)

RECONCILIATION = StateMachine(
    "reconciliation run",
    {
        ReconciliationStatus.FETCHING: {
            ReconciliationStatus.COMPARING,
            ReconciliationStatus.FAILED,
            ReconciliationStatus.CANCELLED,
        },
        # COMPARING -> FETCHING: a crash of the database has emptied the pages, which are kept in no log.
        ReconciliationStatus.COMPARING: {
            ReconciliationStatus.COMPLETED,
            ReconciliationStatus.FETCHING,
            ReconciliationStatus.FAILED,
            ReconciliationStatus.CANCELLED,
        },
        ReconciliationStatus.COMPLETED: set(),
        ReconciliationStatus.FAILED: set(),
        ReconciliationStatus.CANCELLED: set(),
    },
)


class DiscrepancyKind(models.TextChoices):
    """In what the carrier's view differs from ours, for one number."""

    ENDED_THERE = "ENDED_THERE", "live here, ended at the carrier"
    MISSING_THERE = "MISSING_THERE", "live here, unknown to the carrier"
    LIVE_THERE = "LIVE_THERE", "ended here, live at the carrier"
    UNKNOWN_HERE = "UNKNOWN_HERE", "live at the carrier, unknown to us"
    SUSPENSION = "SUSPENSION", "suspended differently"
    SIM = "SIM", "another SIM card"
    NUMBER = "NUMBER", "another number"
    PLAN = "PLAN", "another plan"


class DiscrepancyStatus(models.TextChoices):
    """OPEN waits for staff, ACCEPTED for a worker that carries the repair out; GONE was not found again."""

    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"
    REPAIRED = "REPAIRED"
    IGNORED = "IGNORED"
    GONE = "GONE"


# Of one kind and number at most one at a time.
STANDING_DISCREPANCY = (DiscrepancyStatus.OPEN, DiscrepancyStatus.ACCEPTED, DiscrepancyStatus.IGNORED)

DISCREPANCY = StateMachine(
    "discrepancy",
    {
        DiscrepancyStatus.OPEN: {
            DiscrepancyStatus.ACCEPTED,
            DiscrepancyStatus.IGNORED,
            DiscrepancyStatus.GONE,
        },
        # ACCEPTED -> OPEN: the repair was refused.
        DiscrepancyStatus.ACCEPTED: {DiscrepancyStatus.REPAIRED, DiscrepancyStatus.OPEN},
        # IGNORED -> OPEN: it is another difference than the one that was ignored, or staff want it back.
        DiscrepancyStatus.IGNORED: {DiscrepancyStatus.OPEN, DiscrepancyStatus.GONE},
        DiscrepancyStatus.REPAIRED: set(),
        DiscrepancyStatus.GONE: set(),
    },
)


class DisputeStatus(models.TextChoices):
    """OPEN waits for staff; VERIFYING for the line's user to prove who they are."""

    OPEN = "OPEN"
    VERIFYING = "VERIFYING"
    RESOLVED = "RESOLVED"
    WITHDRAWN = "WITHDRAWN"


UNDECIDED = (DisputeStatus.OPEN, DisputeStatus.VERIFYING)


class DisputeOutcome(models.TextChoices):
    """What comes of "this number is not mine" (one-ID lookup: verify, detach, shut down, close)."""

    VERIFY = "VERIFY", "the holder was verified again: it is theirs"
    DETACH = "DETACH", "no longer counted as theirs; its user must register"
    SUSPEND = "SUSPEND", "suspended"
    TERMINATE = "TERMINATE", "closed"


DISPUTE = StateMachine(
    "holder dispute",
    {
        DisputeStatus.OPEN: {
            DisputeStatus.VERIFYING,
            DisputeStatus.RESOLVED,
            DisputeStatus.WITHDRAWN,
        },
        DisputeStatus.VERIFYING: {DisputeStatus.RESOLVED, DisputeStatus.WITHDRAWN},
        DisputeStatus.RESOLVED: set(),
        DisputeStatus.WITHDRAWN: set(),
    },
)


def drain_queue(carrier_code: str) -> str:
    """The Celery queue of one host carrier: a slow carrier never delays another's jobs."""
    return f"carrier.{carrier_code}"
