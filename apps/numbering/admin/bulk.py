"""Work on many ranges or numbers: files that are looked at before they are applied, and how far long work has come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html

from apps.accounts.admin_base import Button, Create, TenantAdmin
from apps.accounts.admin_display import Panel, StateFilter, badge, link, moment
from apps.accounts.admin_forms import ServiceForm
from apps.core.actor import Actor
from apps.numbering import selectors, services
from apps.numbering.bulk_file import MAX_BYTES
from apps.numbering.errors import BulkFileTooLarge
from apps.numbering.models import BulkRun
from apps.numbering.services.bulk import COLUMNS
from apps.numbering.services.single import MANAGE_NUMBERS
from apps.numbering.states import BulkKind, BulkStatus, RowStatus
from apps.operators import selectors as operators
from apps.operators.models import VirtualOperator

# Of each kind of row on one page.
ROWS_SHOWN = 100
# How often the page of running work looks again.
REFRESH_SECONDS = 2

_KINDS = {
    BulkKind.LEASES: "Leases of number ranges",
    BulkKind.WITHHOLD: "Numbers to be withheld",
    BulkKind.REGRADE: "Grading again",
}
_CALLS = {BulkKind.LEASES: services.preview_leases, BulkKind.WITHHOLD: services.preview_withholding}


class ImportForm(ServiceForm):
    operator = forms.ModelChoiceField(queryset=operators.no_operators())
    kind = forms.ChoiceField(
        label="What it lists",
        choices=[(kind.value, _KINDS[kind]) for kind in _CALLS],
        help_text=(
            "Leases: carrier or contract_no, prefix, home_province, home_city, leased_from, leased_until; if there are"
            " any, contract_reference, monthly_fee, minimum_use. Numbers: number, or first and last; withheld_by"
            " (carrier, police, fraud, operator), reason."
        ),
    )
    file = forms.FileField(
        label="CSV file",
        help_text="UTF-8 or GB18030, at most 16 MB and 100,000 rows. Nothing happens before you have seen the rows.",
    )


def look_at(
    *, actor: Actor, now: datetime, operator: VirtualOperator, kind: str, file: Any
) -> tuple[BulkRun, str]:
    if file.size > MAX_BYTES:
        raise BulkFileTooLarge
    run = _CALLS[BulkKind(kind)](
        actor=actor, operator=operator, file_name=file.name, content=file.read(), now=now
    )
    return run, "The file is read; nothing has happened yet."


def apply(*, actor: Actor, row: BulkRun, reason: str, now: datetime) -> str:
    return _said(services.apply_run(actor=actor, run_uid=row.uid, now=now))


def apply_valid(*, actor: Actor, row: BulkRun, reason: str, now: datetime) -> str:
    return _said(services.apply_run(actor=actor, run_uid=row.uid, skip_invalid=True, now=now))


def _said(run: BulkRun) -> str:
    if run.status == BulkStatus.COMPLETED:
        return f"Done: {run.done} rows."
    return f"{run.total} ranges are planned; their numbers are being created."


def discard(*, actor: Actor, row: BulkRun, reason: str, now: datetime) -> str:
    services.discard_run(actor=actor, run_uid=row.uid, now=now)
    return "Discarded."


def _previewed(row: BulkRun) -> bool:
    return row.status == BulkStatus.PREVIEWED


def _whole(row: BulkRun) -> bool:
    return _previewed(row) and RowStatus.INVALID not in selectors.count_rows(run=row)


def _mixed(row: BulkRun) -> bool:
    return _previewed(row) and {RowStatus.INVALID, RowStatus.VALID} <= set(selectors.count_rows(run=row))


def _bad_rows(*, actor: Actor, row: BulkRun) -> Iterator[tuple[object, ...]]:
    bad = (RowStatus.INVALID, RowStatus.SKIPPED, RowStatus.FAILED)
    for each in selectors.list_rows(actor=actor, run=row, states=bad)[:ROWS_SHOWN]:
        for error in each.errors:
            column = error["pointer"].strip("/")
            yield each.line, badge(each.status), column or "-", each.fields.get(column, "-"), error["detail"]


def _good_rows(*, actor: Actor, row: BulkRun) -> Iterator[tuple[object, ...]]:
    good = (RowStatus.VALID, RowStatus.SUCCEEDED)
    names = COLUMNS[BulkKind(row.kind)].names.values() if row.kind in COLUMNS else ()
    for each in selectors.list_rows(actor=actor, run=row, states=good)[:ROWS_SHOWN]:
        leased = each.range
        yield (
            each.line,
            badge(each.status),
            ", ".join(filter(None, (each.fields.get(name) for name in dict.fromkeys(names)))),
            link(model="numbering_numberrange", key=leased.pk, text=leased.prefix) if leased else "-",
            badge(leased.status) if leased else "-",
        )


@admin.register(BulkRun)
class BulkRunAdmin(TenantAdmin):
    list_display = (
        "row_id",
        "what",
        "state",
        "progress",
        "file_name",
        "asked",
        "created",
        "operator",
    )
    list_filter = (("status", StateFilter), ("kind", StateFilter), "operator")
    list_select_related = ("operator",)
    search_fields = ("uid",)
    search_help_text = "A whole run id"
    shortcuts = (
        ("All", ""),
        ("Previewed", "status__exact=PREVIEWED"),
        ("Running", "status__exact=RUNNING"),
        ("Completed", "status__exact=COMPLETED"),
        ("Discarded", "status__exact=DISCARDED"),
    )
    empty_sentence = (
        "Add a file of leases or of numbers to be withheld; it is looked at before anything happens."
    )
    ordering = ("-id",)
    fields = (
        ("what", "state"),
        ("counts", "progress"),
        ("file_name", "asked"),
        ("created", "started"),
        ("ended", "public_id"),
        "operator",
    )
    panels = (
        Panel(
            f"Rows that are not applied (the first {ROWS_SHOWN})",
            ("Line", "Status", "Column", "It says", "What is wrong"),
            _bad_rows,
            "None.",
        ),
        Panel(
            f"Rows as they should be (the first {ROWS_SHOWN})",
            ("Line", "Status", "It says", "Range", "Range status"),
            _good_rows,
            "None.",
        ),
    )
    trail = "bulk_run"
    create = Create(right=MANAGE_NUMBERS, form=ImportForm, call=look_at)
    buttons: ClassVar = (
        Button(
            "apply",
            "Apply",
            right=MANAGE_NUMBERS,
            call=apply,
            shown=_whole,
            hint="All rows, or none when one is not valid any more.",
        ),
        Button(
            "apply-valid",
            "Apply valid rows only",
            right=MANAGE_NUMBERS,
            call=apply_valid,
            shown=_mixed,
            dangerous=True,
            hint="Some rows are not valid: mend the file and add it again, or have them skipped.",
        ),
        Button("discard", "Discard", right=MANAGE_NUMBERS, call=discard, shown=_previewed),
    )

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Looks again by itself while the work goes on."""
        response = super().change_view(request, *args, **kwargs)
        row = getattr(response, "context_data", {}).get("original")
        if isinstance(row, BulkRun) and row.status == BulkStatus.RUNNING:
            response["Refresh"] = str(REFRESH_SECONDS)
        return response

    @admin.display(description="What")
    def what(self, row: BulkRun) -> str:
        return _KINDS[BulkKind(row.kind)]

    @admin.display(description="Done")
    def progress(self, row: BulkRun) -> str:
        if not row.total:
            return "-"
        return format_html(
            '<span class="whitespace-nowrap"><progress value="{}" max="{}"></progress> {} of {}</span>',
            row.done,
            row.total,
            row.done,
            row.total,
        )

    @admin.display(description="Rows")
    def counts(self, row: BulkRun) -> str:
        counted = selectors.count_rows(run=row)
        return ", ".join(f"{count} {status.lower()}" for status, count in counted.items()) or "-"

    @admin.display(description="Asked by")
    def asked(self, row: BulkRun) -> str:
        return row.asked_by_label

    @admin.display(description="Started")
    def started(self, row: BulkRun) -> str:
        return moment(row.started_at)

    @admin.display(description="Ended")
    def ended(self, row: BulkRun) -> str:
        return moment(row.ended_at)
