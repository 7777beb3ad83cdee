"""What this app refuses with."""

from __future__ import annotations

from apps.core.errors import Conflict, RuleViolation


class NameTaken(Conflict):
    """A user or app with that name exists."""

    code = "name_taken"


class AlreadyRevoked(Conflict):
    code = "already_revoked"
    detail = "This app was revoked before."


class RoleNotAllowed(RuleViolation):
    """PLATFORM belongs to no operator, every other role to one; nobody gives more than he has."""

    code = "role_not_allowed"


class ClientChanged(Conflict):
    """The app got another secret or was revoked while it asked for a token; told as OAuth's invalid_client."""

    code = "invalid_client"
    detail = "The client secret is not valid any more."


class ScopeUnknown(RuleViolation):
    code = "scope_unknown"


class PasswordTooWeak(RuleViolation):
    code = "password_too_weak"


class KeyReused(RuleViolation):
    """The key was used for another method, path or body."""

    code = "idempotency_key_reused"
    detail = "This Idempotency-Key was used for a different request."


class KeyInProgress(Conflict):
    """The first request with this key has not ended yet."""

    code = "idempotency_in_progress"
    detail = "The first request with this Idempotency-Key is still running."
    retryable = True
