"""The one table of core: the keys of personal data, each wrapped by a master key that only the environment has."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q

from apps.core.states import StateMachine


class KeyPurpose(models.TextChoices):
    """DATA seals; INDEX makes the blind indexes that sealed values are found by."""

    DATA = "DATA"
    INDEX = "INDEX"


class KeyStatus(models.TextChoices):
    """NEXT is known to every process before anything is written with it; OLD only opens; RETIRED is used by nothing."""

    NEXT = "NEXT"
    CURRENT = "CURRENT"
    OLD = "OLD"
    RETIRED = "RETIRED"


SEALING_KEY = StateMachine(
    "sealing key",
    {
        KeyStatus.NEXT: {KeyStatus.CURRENT},
        KeyStatus.CURRENT: {KeyStatus.OLD},
        KeyStatus.OLD: {KeyStatus.RETIRED},
        KeyStatus.RETIRED: set(),
    },
)


class SealingKey(models.Model):
    """A data key or index key. `name` stands at the head of everything that was made with it."""

    name = models.CharField(max_length=4, unique=True)
    purpose = models.CharField(max_length=5, choices=KeyPurpose)
    status = models.CharField(max_length=7, choices=KeyStatus, default=KeyStatus.NEXT)
    wrapped = models.BinaryField()
    created_at = models.DateTimeField()
    # When the status last changed, by the database's clock.
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["purpose"], condition=Q(status="CURRENT"), name="sealing_key_one_current"
            ),
            models.UniqueConstraint(
                fields=["purpose"], condition=Q(status="NEXT"), name="sealing_key_one_next"
            ),
            models.CheckConstraint(condition=Q(name__regex=r"^[a-z0-9]{4}$"), name="sealing_key_name"),
            models.CheckConstraint(condition=Q(purpose__in=KeyPurpose.values), name="sealing_key_purpose"),
            models.CheckConstraint(condition=Q(status__in=KeyStatus.values), name="sealing_key_status"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.status}"

    def promote(self, *, now: datetime) -> None:
        """NEXT -> CURRENT."""
        self._become(KeyStatus.CURRENT, now)

    def supersede(self, *, now: datetime) -> None:
        """CURRENT -> OLD."""
        self._become(KeyStatus.OLD, now)

    def retire(self, *, now: datetime) -> None:
        """OLD -> RETIRED."""
        self._become(KeyStatus.RETIRED, now)

    def rewrap(self, wrapped: bytes) -> None:
        """The same key under another master key."""
        self.wrapped = wrapped
        self.save(update_fields=["wrapped"])

    def _become(self, status: KeyStatus, now: datetime) -> None:
        SEALING_KEY.check(self.status, status)
        self.status = status
        self.changed_at = now
        self.save(update_fields=["status", "changed_at"])
