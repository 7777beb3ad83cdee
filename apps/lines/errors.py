"""What can stand in the way of a line."""

from apps.core.errors import Conflict, RuleViolation


class HolderLimitReached(Conflict):
    """The person holds as many lines of this operator as policy allows (one-ID-five-cards, 2016 notice art. 4)."""

    code = "holder_limit_reached"
    detail = "This holder already has as many lines as the policy allows."


class ActualUserMissing(RuleViolation):
    """Policy `lines.actual_user_required`: of a line of an organization it is known who uses it."""

    code = "actual_user_missing"
    detail = "Say who is going to use this line of an organization."


class ActualUserNotAccepted(RuleViolation):
    """Only a line of an organization has an actual user, who is a person; others are used by their holder."""

    code = "actual_user_not_accepted"
    detail = "Only a line of an organization has an actual user, and that is a person."


class PlanNotAvailable(RuleViolation):
    code = "plan_not_available"
    detail = "There is no such plan to order."


class LineNotActive(Conflict):
    code = "line_not_active"
    detail = "The line is not active."


class SuspensionAlreadyPlaced(Conflict):
    """The same caller has suspended the line for this reason and in this way; once is enough."""

    code = "suspension_already_placed"
    detail = "You have suspended the line for this reason already."


class SuspensionNotFound(Conflict):
    code = "suspension_not_found"
    detail = "The line is not suspended for this reason."


class SuspensionNotYours(Conflict):
    """Somebody else has suspended the line for this reason."""

    code = "suspension_not_yours"
    detail = "Only who placed this suspension can lift it."


class PlanUnchanged(Conflict):
    code = "plan_unchanged"
    detail = "The line has this plan."


class HolderUnchanged(Conflict):
    code = "holder_unchanged"
    detail = "The line belongs to this subscriber."


class LineDetached(Conflict):
    """Its holder does not own it: it stands still until its user has registered in their own name (transfer)."""

    code = "line_detached"
    detail = "The line is nobody's until somebody registers for it."


class HolderCheckReasonMissing(RuleViolation):
    """Staff who look for a person's numbers say why."""

    code = "reason_missing"
    detail = "Give a reason of at least five characters."


class HolderCheckInvalid(RuleViolation):
    """There is no such document."""

    code = "document_invalid"
    detail = "The identity document is not valid."


class HolderCheckExpired(Conflict):
    """What was told then may have changed; ask again."""

    code = "holder_check_expired"
    detail = "This question was asked too long ago; ask again."
