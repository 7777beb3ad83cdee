"""What can be done with subscribers: one function per use case."""

from apps.subscribers.realname.documents import DocumentInput, DocumentType
from apps.subscribers.services.register import register_individual
from apps.subscribers.services.reveal import HolderIdentity, open_identity_for_carrier, reveal_document
from apps.subscribers.services.review import decide_review
from apps.subscribers.services.verify import (
    claim_due_verifications,
    expire_verifications,
    record_verification,
    request_verification,
    run_checks,
    run_due_verifications,
    sweep,
)

__all__ = [
    "DocumentInput",
    "DocumentType",
    "HolderIdentity",
    "claim_due_verifications",
    "decide_review",
    "expire_verifications",
    "open_identity_for_carrier",
    "record_verification",
    "register_individual",
    "request_verification",
    "reveal_document",
    "run_checks",
    "run_due_verifications",
    "sweep",
]
