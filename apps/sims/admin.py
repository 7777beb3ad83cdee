"""What staff see of SIM batches and cards; nothing is changed here."""

from __future__ import annotations

import re
from typing import Any

from django.contrib import admin
from django.db.models.functions import Left

from apps.accounts.admin_base import TenantAdmin
from apps.accounts.admin_display import StateFilter, list_link, moment, whole_id
from apps.core.public_ids import MalformedId
from apps.sims.iccids import IDENTIFYING, MalformedIccid, normalise
from apps.sims.models import SimBatch, SimCard


@admin.register(SimBatch)
class SimBatchAdmin(TenantAdmin):
    list_display = ("row_id", "filename", "carrier", "rows", "imported", "operator")
    list_filter = ("host_carrier", "operator")
    list_select_related = ("operator", "host_carrier")
    search_fields = ("filename",)
    search_help_text = "A whole batch id or file name"
    empty_sentence = "A batch is a file of SIM cards, imported whole or not at all."
    ordering = ("-id",)
    fields = (("filename", "carrier"), ("rows", "imported"), ("public_id", "operator"), "cards")
    trail = "sim_batch"

    @admin.display(description="Imported")
    def imported(self, batch: SimBatch) -> str:
        return moment(batch.imported_at)

    @admin.display(description="SIM cards")
    def cards(self, batch: SimBatch) -> str:
        return list_link(model="sims_simcard", text="Cards of this batch", q=batch.uid)


@admin.register(SimCard)
class SimCardAdmin(TenantAdmin):
    list_display = ("card", "state", "carrier", "form_factor", "batch_name", "steers", "operator")
    list_filter = (
        ("status", StateFilter),
        ("form_factor", StateFilter),
        "host_carrier",
        "operator",
        "is_magic",
    )
    list_select_related = ("operator", "host_carrier", "batch")
    search_fields = ("iccid", "imsi")
    search_help_text = "A whole ICCID or its beginning, an IMSI, or a batch id"
    shortcuts = (
        ("All", ""),
        ("In stock", "status__exact=IN_STOCK"),
        ("Reserved", "status__exact=RESERVED"),
        ("Bound", "status__exact=BOUND"),
        ("Retired", "status__exact=RETIRED"),
        ("Lost", "status__exact=LOST"),
    )
    empty_sentence = "SIM cards come in with a batch file."
    # An index gives this order, within one operator as well.
    ordering = ("operator_id", "iccid")
    fields = (
        ("card", "state"),
        ("imsi", "carrier"),
        ("form_factor", "batch_link"),
        ("steers", "operator"),
    )
    trail = "sim_card"

    def trail_id(self, row: SimCard) -> str:
        return row.iccid

    def recognises(self, term: str) -> bool:
        try:
            return bool(normalise(term))
        except MalformedIccid:
            return False

    def search(self, queryset: Any, term: str) -> Any:
        """By what has an index: the ICCID without its check digit, how it begins, the IMSI, the batch."""
        text = re.sub(r"[\s-]", "", term).upper()
        if term.startswith("smb_"):
            try:
                return queryset.filter(batch__uid=term)
            except MalformedId:
                return queryset.none()
        if text.startswith("460"):
            return queryset.filter(imsi=text)
        if len(text) >= IDENTIFYING:
            return queryset.with_iccid(text)
        return queryset.alias(identity=Left("iccid", IDENTIFYING)).filter(identity__startswith=text)

    @admin.display(description="ICCID")
    def card(self, row: SimCard) -> str:
        return whole_id(row.iccid)

    @admin.display(description="Magic")
    def steers(self, row: SimCard) -> str:
        return f"ends in {row.iccid[-4:]}" if row.is_magic else "-"

    @admin.display(description="Batch")
    def batch_name(self, row: SimCard) -> str:
        return row.batch.filename

    @admin.display(description="Batch")
    def batch_link(self, row: SimCard) -> str:
        return list_link(model="sims_simbatch", text=row.batch.filename, q=row.batch.uid)
