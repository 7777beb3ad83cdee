"""The table of what lets carrier calls pass."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Gate(models.Model):
    """What lets the calls over one connection pass: its rate, its budget of retries, its circuit. One for all workers,
    by the database's clock.
    """

    connection = models.OneToOneField(
        "carriers.CarrierConnection", on_delete=models.PROTECT, primary_key=True
    )
    # The rate: when the next call is due if all so far had been evenly spaced (GCRA's theoretical arrival time).
    next_call_at = models.DateTimeField(db_default=Now())
    # The budget of retries: when the next place for one is free.
    next_retry_at = models.DateTimeField(db_default=Now())
    # Calls in a row that the carrier did not answer, and the code of the last.
    failures = models.PositiveIntegerField(default=0)
    why = models.CharField(max_length=48, blank=True)
    # The circuit: while it is open only a probe passes, at `probe_at` and not before.
    is_open = models.BooleanField(default=False)
    probe_at = models.DateTimeField(db_default=Now())
    # When the circuit last opened or closed: what calls from before then come back with tells nothing new.
    changed_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.connection_id} {'open' if self.is_open else 'closed'}"
