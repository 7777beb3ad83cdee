"""Subscribers with their documents, pictures, consents and verifications, and the cases that people decide."""

from apps.subscribers.models.cases import ReviewCase
from apps.subscribers.models.consents import Consent
from apps.subscribers.models.holds import LegalHold
from apps.subscribers.models.people import (
    TOMBSTONE,
    IdentityDocument,
    IdentityImage,
    Subscriber,
    Verification,
    VerificationCheck,
    VerificationQuerySet,
)
from apps.subscribers.models.representatives import Representative
from apps.subscribers.models.reverification import DemandStep, NoticeTemplate, ReverificationDemand
from apps.subscribers.models.watch_list import WatchListEntry, WatchListFile

__all__ = [
    "TOMBSTONE",
    "Consent",
    "DemandStep",
    "IdentityDocument",
    "IdentityImage",
    "LegalHold",
    "NoticeTemplate",
    "Representative",
    "ReverificationDemand",
    "ReviewCase",
    "Subscriber",
    "Verification",
    "VerificationCheck",
    "VerificationQuerySet",
    "WatchListEntry",
    "WatchListFile",
]
