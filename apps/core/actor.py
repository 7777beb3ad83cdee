"""Who does something. Built once per interface, passed as a keyword through every service and into the audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from apps.core.errors import Forbidden


class ActorKind(StrEnum):
    STAFF = "STAFF"
    PARTNER = "PARTNER"
    CARRIER = "CARRIER"
    SYSTEM = "SYSTEM"


@dataclass(frozen=True, slots=True)
class Actor:
    """One caller: `id` and `label` are copied into the audit, `operator_id` None means the whole platform."""

    kind: ActorKind
    id: str
    label: str
    operator_id: int | None
    request_id: str = ""
    # W3C trace id of the request, 32 hex digits; empty without one.
    trace_id: str = ""
    ip: str | None = None
    capabilities: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def system(cls, label: str, operator_id: int | None = None) -> Actor:
        """A background job, command or seed acting for nobody in particular."""
        return cls(kind=ActorKind.SYSTEM, id=label, label=label, operator_id=operator_id)

    def sees(self, operator_id: int | None) -> bool:
        """Whether data of that operator exists for this actor at all."""
        return self.operator_id is None or self.operator_id == operator_id

    def can(self, capability: str) -> bool:
        return self.kind is ActorKind.SYSTEM or capability in self.capabilities

    def require(self, capability: str) -> None:
        """:raises Forbidden: when the actor lacks the capability."""
        if not self.can(capability):
            raise Forbidden(f"This needs the right '{capability}'.")
