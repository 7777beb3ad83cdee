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


class JobNotRetryable(Conflict):
    """Only a job that failed for the system's reasons can be tried again."""

    code = "job_not_retryable"
    detail = "This job cannot be tried again."


class CallbackRefused(Forbidden):
    """Not signed by this carrier, too old, or not in its form: nothing of it is believed or kept."""

    code = "callback_refused"
    detail = "The callback is not acceptable."
