"""What this app refuses with."""

from __future__ import annotations

from apps.core.errors import Conflict, Forbidden, InvalidTransition, RuleViolation


class RangeInvalid(RuleViolation):
    """Not a block of 7 or 8 leading digits (9 or 10 for machines), no home area, or dates outside the agreement;
    `errors` names each."""

    code = "range_invalid"
    detail = "The range cannot be leased like this."


class AccessCodeMismatch(RuleViolation):
    """The leading digits belong to no host carrier we know, or to another one than the agreement's."""

    code = "access_code_mismatch"
    detail = "These leading digits do not belong to the agreement's host carrier."


class RangeOverlap(Conflict):
    """Some of these numbers are leased already; by whom is not said."""

    code = "range_overlap"
    detail = "Some of these numbers are leased already."


class CarrierUnknown(RuleViolation):
    """There is no host carrier with that code."""

    code = "carrier_unknown"
    detail = "There is no such host carrier."


class NumberNotAvailable(Conflict):
    """Unknown, of another operator, reserved, in use, in quarantine, withheld or no longer leased: all the same."""

    code = "number_not_available"
    detail = "No such number is free."


class NumberWrongCarrier(Conflict):
    """The number is on another host carrier than what it is wanted for."""

    code = "number_wrong_carrier"
    detail = "The number belongs to another host carrier."


class ReservationClosed(InvalidTransition):
    """Nothing is left of it to use, extend or release."""

    code = "reservation_closed"
    detail = "The reservation has been used up or released."


class ReservationExpired(Conflict):
    """Its time is over."""

    code = "reservation_expired"
    detail = "The reservation has expired."


class ReservationNotYours(Conflict):
    """It belongs to the same operator, but somebody else made it."""

    code = "reservation_not_yours"
    detail = "The reservation was made by somebody else."


class ReservationAlreadyExtended(Conflict):
    """A reservation is prolonged once."""

    code = "reservation_already_extended"
    detail = "The reservation was extended before."


class ReservationTtlNotAllowed(RuleViolation):
    """Shorter than a minute, or longer than policy allows."""

    code = "reservation_ttl_not_allowed"
    detail = "A reservation cannot last that long."


class ReservationQuantityNotAllowed(RuleViolation):
    """None, or more numbers in one reservation than policy allows."""

    code = "reservation_quantity_not_allowed"
    detail = "That many numbers cannot be reserved at once."


class ReservationLimitReached(Conflict):
    """The caller holds as many numbers as policy lets one caller hold; it may release some."""

    code = "reservation_limit_reached"
    detail = "You hold as many reserved numbers as one caller may."


class GradePatternInvalid(RuleViolation):
    """Not written as grading.py says, or it means no ending, or too many of them."""

    code = "grade_pattern_invalid"


class GradeRuleInvalid(RuleViolation):
    """No name, or a priority out of bounds; `errors` names each."""

    code = "grade_rule_invalid"
    detail = "The rule cannot be made like this."


class GradePriorityTaken(Conflict):
    """Which of two rules counts must be clear."""

    code = "grade_priority_taken"
    detail = "Another rule has this priority."


class GradeRulesExist(Conflict):
    """The operator has rules of its own, which a copy of the catalogue would mix with."""

    code = "grade_rules_exist"
    detail = "The operator has rules of its own already."


class GradePolicyInvalid(RuleViolation):
    """Amounts or months out of bounds, a beginning in the past, or terms for ordinary numbers; `errors` names each."""

    code = "grade_policy_invalid"
    detail = "The terms cannot be set like this."


class GradePolicyExists(Conflict):
    """Another version starts at that very moment."""

    code = "grade_policy_exists"
    detail = "There are terms for this grade from that moment on already."


class RangeCrossesHomeArea(RuleViolation):
    """Numbers of several ten-thousand blocks, or another home area than the block's other ranges have."""

    code = "range_crosses_home_area"
    detail = "A ten-thousand block has one home area, and a range lies within one such block."


class RangeNotDue(Conflict):
    """Its numbers are ours only from the first day of the lease on."""

    code = "range_not_due"
    detail = "The lease has not begun."


class LeaseEnded(Conflict):
    """Its last day is over."""

    code = "lease_ended"
    detail = "The lease is over."


class LeaseNotLater(RuleViolation):
    """A renewal prolongs."""

    code = "lease_not_later"
    detail = "The new end is not after the present one, or not in the future."


class RangeNotEmpty(Conflict):
    """Reserved, used or quarantined numbers; `counts` says how many of each."""

    code = "range_not_empty"
    detail = "Some numbers of the range still live."


class RangesNotMergeable(RuleViolation):
    """Not side by side, or leased on different terms; `errors` names what differs."""

    code = "ranges_not_mergeable"
    detail = "These two ranges cannot become one."


class BulkFileTooLarge(RuleViolation):
    """More bytes, rows or numbers than one file may have."""

    code = "bulk_file_too_large"
    detail = "The file is too large."


class BulkFileInvalid(RuleViolation):
    """Not the CSV that it should be; nothing of it was read."""

    code = "bulk_file_invalid"
    detail = "The file cannot be read."


class BulkHasInvalidRows(RuleViolation):
    """Nothing is applied unless the caller wants the valid rows alone; `errors` names rows."""

    code = "bulk_has_invalid_rows"
    detail = "Some rows are not valid."


class BulkHasNoValidRows(RuleViolation):
    """There is nothing to apply."""

    code = "bulk_has_no_valid_rows"
    detail = "No row is valid."


class NumberReasonMissing(RuleViolation):
    """Whoever keeps a number from sale, or lets it go early, says why; at most 500 characters."""

    code = "number_reason_missing"
    detail = "Say why, in at most 500 characters."


class NumberInUse(InvalidTransition):
    """Staff do not take a number away from a line: the line is terminated first."""

    code = "number_in_use"
    detail = "A line has this number."


class NumberNotWithheld(InvalidTransition):
    """There is nothing to release."""

    code = "number_not_withheld"
    detail = "The number is not withheld."


class NumberNotQuarantined(InvalidTransition):
    """Its quarantine is over, or it never was in one."""

    code = "number_not_quarantined"
    detail = "The number is not in quarantine."


class EarlyReleaseExists(Conflict):
    """One request at a time."""

    code = "early_release_exists"
    detail = "Somebody has asked for this already; it waits for a decision."


class EarlyReleaseNeedsSecondPerson(Forbidden):
    """Whoever asked cannot decide as well."""

    code = "early_release_needs_second_person"
    detail = "Somebody else has to decide this."
