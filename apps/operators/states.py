"""The words of this app. Validity is not a stored state: it follows from dates, asked for a moment."""

from __future__ import annotations

from django.db import models


class OperatorMode(models.TextChoices):
    """TEST is a sandbox: a tenant of its own, so that tenancy alone keeps test data from live data."""

    LIVE = "LIVE"
    TEST = "TEST"


class LicenceKind(models.TextChoices):
    """PILOT: the approvals of 2013 to 2018, tied to named cities. COMMERCIAL: since 2018-05-01."""

    PILOT = "PILOT"
    COMMERCIAL = "COMMERCIAL"


class HolderKind(models.TextChoices):
    INDIVIDUAL = "INDIVIDUAL"
    ORGANIZATION = "ORGANIZATION"


class Validity(models.TextChoices):
    """What a licence, agreement or dealer is worth at one moment and place."""

    VALID = "VALID"
    NONE = "NONE"
    NOT_YET_VALID = "NOT_YET_VALID"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"
    NOT_COVERED = "NOT_COVERED"
