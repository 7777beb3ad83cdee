"""SIM batches and the cards in them."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Left

from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.operators.models import HostCarrier, VirtualOperator
from apps.sims.iccids import IDENTIFYING
from apps.sims.states import SIM, FormFactor, SimStatus


class SimBatch(models.Model):
    """One imported file."""

    uid = PublicIdField(prefix="smb")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, db_index=False)
    host_carrier = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, db_index=False)
    filename = models.CharField(max_length=200)
    rows = models.PositiveIntegerField()
    imported_at = models.DateTimeField()

    objects = TenantQuerySet["SimBatch"].as_manager()

    class Meta:
        verbose_name = "SIM batch"
        verbose_name_plural = "SIM batches"
        indexes = [models.Index(fields=["operator", "-id"], name="sim_batch_operator")]
        constraints = [models.CheckConstraint(condition=Q(rows__gt=0), name="sim_batch_has_rows")]

    def __str__(self) -> str:
        return self.filename


class SimCardQuerySet(TenantQuerySet["SimCard"]):
    def with_iccid(self, iccid: str) -> Self:
        """The card with that normalised ICCID, with or without its check digit."""
        return self.alias(identity=Left("iccid", IDENTIFYING)).filter(identity=iccid[:IDENTIFYING])


class SimCard(models.Model):
    """One card or eSIM profile. Its keys (Ki, OPc) and PINs stay with the host carrier and are never stored here."""

    iccid = models.CharField(verbose_name="ICCID", max_length=20)
    imsi = models.CharField(verbose_name="IMSI", max_length=15, null=True, unique=True)  # noqa: DJ001 - blank cards have none, unique if any
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT, db_index=False)
    host_carrier = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, db_index=False)
    batch = models.ForeignKey(SimBatch, on_delete=models.PROTECT)
    form_factor = models.CharField(max_length=8, choices=FormFactor)
    status = models.CharField(max_length=8, choices=SimStatus, default=SimStatus.IN_STOCK)
    # Has an ending that steers the mocked carrier, see magic.py.
    is_magic = models.BooleanField(verbose_name="magic")

    objects = SimCardQuerySet.as_manager()

    class Meta:
        verbose_name = "SIM card"
        indexes = [
            models.Index(fields=["operator", "iccid"], name="sim_card_operator"),
            models.Index(
                fields=["operator", "host_carrier", "id"],
                condition=Q(status=SimStatus.IN_STOCK, is_magic=False),
                name="sim_card_stock",
            ),
        ]
        constraints = [
            models.UniqueConstraint(Left("iccid", IDENTIFYING), name="sim_card_iccid"),
            models.CheckConstraint(
                condition=Q(iccid__regex=r"^89[0-9A-Z]{17,18}$"), name="sim_card_iccid_form"
            ),
            models.CheckConstraint(
                condition=Q(imsi__isnull=True) | Q(imsi__regex=r"^460[0-9]{12}$"), name="sim_card_imsi_form"
            ),
            models.CheckConstraint(condition=Q(status__in=SimStatus.values), name="sim_card_status"),
            models.CheckConstraint(
                condition=Q(form_factor__in=FormFactor.values), name="sim_card_form_factor"
            ),
        ]

    def __str__(self) -> str:
        return self.iccid

    def reserve(self) -> None:
        """:raises InvalidTransition: it is not IN_STOCK."""
        self._become(SimStatus.RESERVED)

    def bind(self) -> None:
        """:raises InvalidTransition: it is not RESERVED."""
        self._become(SimStatus.BOUND)

    def return_to_stock(self) -> None:
        """:raises InvalidTransition: it is not RESERVED."""
        self._become(SimStatus.IN_STOCK)

    def retire(self) -> None:
        """:raises InvalidTransition: it is RETIRED already."""
        self._become(SimStatus.RETIRED)

    def _become(self, status: SimStatus) -> None:
        SIM.check(self.status, status)
        self.status = status
        self.save(update_fields=["status"])
