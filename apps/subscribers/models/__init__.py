"""Subscribers with their documents, pictures, consents and verifications, and the cases that people decide."""

from apps.subscribers.models.cases import ReviewCase
from apps.subscribers.models.people import (
    TOMBSTONE,
    Consent,
    IdentityDocument,
    IdentityImage,
    LegalHold,
    Subscriber,
    Verification,
    VerificationCheck,
)

__all__ = [
    "TOMBSTONE",
    "Consent",
    "IdentityDocument",
    "IdentityImage",
    "LegalHold",
    "ReviewCase",
    "Subscriber",
    "Verification",
    "VerificationCheck",
]
