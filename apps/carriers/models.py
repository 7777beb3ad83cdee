"""Connections: under which account an operator talks to a host carrier, and how patient it is."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Q

from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet


class ConnectionQuerySet(TenantQuerySet["CarrierConnection"]):
    def live(self) -> ConnectionQuerySet:
        """Those that jobs may be sent over."""
        return self.filter(disconnected_at__isnull=True)


class CarrierConnection(models.Model):
    """One operator's account at one host carrier. A disconnected one stays: old jobs and callbacks point to
    it.
    """

    uid = PublicIdField(prefix="con")
    operator = models.ForeignKey("operators.VirtualOperator", on_delete=models.PROTECT)
    host_carrier = models.ForeignKey("operators.HostCarrier", on_delete=models.PROTECT)
    dialect = models.CharField(max_length=16)
    base_url = models.CharField(verbose_name="base URL", max_length=200)
    app_key = models.CharField(max_length=64)
    secret_sealed = models.BinaryField()
    callback_secret_sealed = models.BinaryField()
    # One whole call, connecting included.
    timeout_seconds = models.FloatField()
    # How long after a call the carrier may still come to know of it: before that, "not found" is not
    # believed.
    settle_seconds = models.FloatField()
    # Accepted and no callback for this long: ask.
    callback_wait_seconds = models.FloatField()
    max_in_flight = models.PositiveSmallIntegerField()
    # Calls begun in one second, questions included, as agreed with the carrier.
    calls_per_second = models.FloatField(default=100.0)
    # Whether the carrier answers a repeated reference with its first order; without it nothing is sent twice
    # unasked.
    dedupes_by_reference = models.BooleanField()
    # Staff have stopped all calls over it until they allow them again; callbacks are heard.
    stopped_at = models.DateTimeField(null=True, blank=True)
    connected_at = models.DateTimeField()
    disconnected_at = models.DateTimeField(null=True, blank=True)

    objects = ConnectionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["operator", "host_carrier"],
                condition=Q(disconnected_at__isnull=True),
                name="connection_one_live_per_carrier",
            ),
            # The carrier tells resellers apart by this key: two operators under one would see each other's
            # lines.
            models.UniqueConstraint(
                fields=["host_carrier", "app_key"],
                condition=Q(disconnected_at__isnull=True),
                name="connection_one_operator_per_account",
            ),
            models.CheckConstraint(
                condition=Q(
                    timeout_seconds__gt=0,
                    settle_seconds__gte=0,
                    callback_wait_seconds__gt=0,
                    max_in_flight__gt=0,
                    calls_per_second__gt=0,
                ),
                name="connection_limits_are_positive",
            ),
            models.CheckConstraint(
                condition=Q(disconnected_at__isnull=True) | Q(disconnected_at__gte=F("connected_at")),
                name="connection_ends_after_it_began",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.uid} {self.app_key}"

    @property
    def is_active(self) -> bool:
        """Whether jobs may be sent over it; callbacks are heard on any."""
        return self.disconnected_at is None

    def secret_context(self) -> str:
        """What the sealed secret is bound to: it opens in this row only."""
        return f"carriers.carrierconnection.secret:{self.operator_id}:{self.uid}"

    def callback_secret_context(self) -> str:
        return f"carriers.carrierconnection.callback_secret:{self.operator_id}:{self.uid}"

    def stop(self, *, now: datetime) -> None:
        self.stopped_at = now
        self.save(update_fields=["stopped_at"])

    def allow(self) -> None:
        self.stopped_at = None
        self.save(update_fields=["stopped_at"])

    def disconnect(self, *, now: datetime) -> None:
        self.disconnected_at = now
        self.save(update_fields=["disconnected_at"])
