"""What this app refuses with."""

from __future__ import annotations

from apps.core.errors import Conflict, RuleViolation


class LicenceNotValid(RuleViolation):
    """No licence of the operator is valid now and here; `reason` says which way (a `Validity` word).

    Telecom Regulations art. 7: nobody runs a telecom business without a permit.
    """

    code = "licence_not_valid"
    detail = "The operator has no valid licence."


class AgreementNotValid(RuleViolation):
    """No wholesale agreement with that host carrier is valid now and here; `reason` is a `Validity` word."""

    code = "agreement_not_valid"
    detail = "The operator has no valid agreement with this host carrier."


class DealerNotAllowed(RuleViolation):
    """Unknown, foreign, suspended and expired dealers alike. Anti-Telecom-Fraud Law art. 9: we answer for agents."""

    code = "dealer_not_allowed"
    detail = "This dealer may not act for the operator."


class PolicyMissing(Exception):
    """No row sets this policy: the installation is incomplete. Never replaced by a guess; a 500, not a refusal."""


class PolicyInvalid(RuleViolation):
    """The value does not have the policy's type or lies outside its bounds."""

    code = "policy_invalid"


class TermInvalid(RuleViolation):
    """A period that ends before it begins, or areas that name no place."""

    code = "term_invalid"


class AlreadyExists(Conflict):
    """The code, number or contract is taken."""

    code = "already_exists"


class AlreadyEnded(Conflict):
    """It was revoked, terminated or suspended before."""

    code = "already_ended"
