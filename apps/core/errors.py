"""The error classes that services raise. HTTP knows them only through `core.api.problems`, the admin as messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field: a JSON pointer ("/document/number"), a stable code, a sentence without personal data."""

    pointer: str
    code: str
    detail: str


class DomainError(Exception):
    """Something a caller asked for cannot be done; `code` is stable, `detail` is for people and names nobody."""

    code: ClassVar[str] = "error"
    detail: str = "The request cannot be carried out."
    retryable: ClassVar[bool] = False

    def __init__(
        self, detail: str | None = None, *, errors: Sequence[FieldError] = (), **fields: Any
    ) -> None:
        if detail is not None:
            self.detail = detail
        self.errors = tuple(errors)
        self.fields = fields
        super().__init__(self.detail)

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class NotFound(DomainError):
    """It does not exist, or it belongs to another operator: the two are told apart by nobody."""

    code = "not_found"
    detail = "There is no such resource."


class Conflict(DomainError):
    """The state of the world forbids it now."""

    code = "conflict"


class InvalidTransition(Conflict):
    """The thing is in a state from which this step is not allowed."""

    code = "invalid_transition"
    detail = "The current state does not allow this step."


class RuleViolation(DomainError):
    """Well-formed, but law, contract or policy forbids it."""

    code = "rule_violation"


class Forbidden(DomainError):
    """This actor may not do it."""

    code = "forbidden"
    detail = "You may not do this."


class Busy(DomainError):
    """Somebody else holds what is needed; the same request may succeed in a moment."""

    code = "busy"
    detail = "Somebody else is working on this right now; try again in a moment."
    retryable = True


class RateLimited(DomainError):
    """Asked too often; the field `retry_after` says for how many seconds."""

    code = "rate_limited"
    detail = "Too many requests."
    retryable = True


class UpstreamFailure(DomainError):
    """A system we depend on answered wrongly or not at all."""

    code = "upstream_failure"
    retryable = True
