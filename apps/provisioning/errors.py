"""Why an order is refused, or a job not touched."""

from apps.core.errors import Conflict, Forbidden, RuleViolation


class LineHasOpenOrder(Conflict):
    code = "line_has_open_order"
    detail = "Another order for this line is still open."


class OrderNotCancellable(Conflict):
    code = "order_not_cancellable"
    detail = "The order has gone too far to be cancelled."


class VerificationNotHolders(RuleViolation):
    """A real-name check of somebody else proves nothing about the line's holder."""

    code = "verification_not_holders"
    detail = "This real-name check is not of the line's holder."


class DemandListInvalid(RuleViolation):
    """A list of lines to be verified again: `errors` names each wrong row by its line in the file."""

    code = "demand_list_invalid"
    detail = "Not every row is a running line of this operator; nothing has been demanded."


class JobNotRetryable(Conflict):
    """Only a job that failed for the system's reasons can be tried again."""

    code = "job_not_retryable"
    detail = "This job cannot be tried again."


class ReconciliationRuns(Conflict):
    code = "reconciliation_runs"
    detail = "A reconciliation over this connection is running."


class DiscrepancyOutdated(Conflict):
    """It was seen too long ago, or the line has changed since: what would be repaired may be another thing now."""

    code = "discrepancy_outdated"
    detail = "The line has changed, or the carrier was asked too long ago; reconcile again."


class DiscrepancyNotRepairable(Conflict):
    code = "discrepancy_not_repairable"
    detail = "Nothing of ours can repair this; settle it with the host carrier, or ignore it with a reason."


class DiscrepanciesChanged(Conflict):
    """What would be accepted in bulk is not what somebody looked at."""

    code = "discrepancies_changed"
    detail = "Their number has changed; look again."


class DecisionReasonMissing(RuleViolation):
    code = "decision_reason_missing"
    detail = "Say why."


class JobNotResolvable(Conflict):
    """Only a dead letter that the carrier may know of can be said by people to be done or not."""

    code = "job_not_resolvable"
    detail = "This job does not wait for somebody to say how it ended."


class CallbackRefused(Forbidden):
    """Not signed by this carrier, too old, or not in its form: nothing of it is believed or kept."""

    code = "callback_refused"
    detail = "The callback is not acceptable."


class DisputeExists(Conflict):
    code = "dispute_exists"
    detail = "Somebody disputes this number already."


class DisputeItemUnknown(RuleViolation):
    """Not one of the numbers that were told, or not in this person's name any more."""

    code = "dispute_item_unknown"
    detail = "There is no such number among those that were told."


class DisputeOwn(Conflict):
    """Four eyes: who says that a line is not theirs, or writes it down, does not decide it too."""

    code = "dispute_own"
    detail = "You have opened this dispute; a second person decides."


class DisputeOvertaken(Conflict):
    """Whoever disputed the line has it no longer; it must not be done to the one who has."""

    code = "dispute_overtaken"
    detail = "The line has another holder by now; the dispute can only be withdrawn."


class HolderNotVerified(RuleViolation):
    """A transfer needs both sides: who gives a line away is checked like who gets it."""

    code = "holder_not_verified"
    detail = "The present holder has not passed a real-name check lately; have them verified and order again."


class LineDisputed(Conflict):
    """Somebody says that the line is not theirs: first that is decided, then it may change hands."""

    code = "line_disputed"
    detail = "The line is disputed; it cannot be transferred before that is decided."


class DisputeNotVerified(Conflict):
    """The line is its holder's only when they have passed another real-name check since that was demanded."""

    code = "dispute_not_verified"
    detail = "The holder has not passed a real-name check since one was demanded."
