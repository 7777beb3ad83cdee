"""The words of this app."""

from __future__ import annotations

from django.db import models


class Role(models.TextChoices):
    """What somebody's job is. PLATFORM belongs to no operator and sees all; every other role belongs to one."""

    OPERATOR_ADMIN = "OPERATOR_ADMIN"
    COMPLIANCE = "COMPLIANCE"
    SUPPORT = "SUPPORT"
    ENGINEER = "ENGINEER"
    PLATFORM = "PLATFORM"
