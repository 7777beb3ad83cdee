"""What can stand in the way of a line."""

from apps.core.errors import Conflict, RuleViolation


class HolderLimitReached(Conflict):
    """The person holds as many lines of this operator as policy allows (one-ID-five-cards, 2016 notice art. 4)."""

    code = "holder_limit_reached"
    detail = "This holder already has as many lines as the policy allows."


class PlanNotAvailable(RuleViolation):
    code = "plan_not_available"
    detail = "There is no such plan to order."


class LineNotActive(Conflict):
    code = "line_not_active"
    detail = "The line is not active."
