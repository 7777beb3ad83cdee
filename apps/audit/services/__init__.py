"""What can be done with the audit trail: adding to it, and sealing what was added."""

from apps.audit.services.recording import Entry, record, record_many
from apps.audit.services.sealing import seal

__all__ = ["Entry", "record", "record_many", "seal"]
