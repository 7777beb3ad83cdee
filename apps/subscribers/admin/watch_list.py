"""The watch-list as staff see it: masked. People are added by hand or by a file, and taken off with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin

from apps.accounts.admin_base import Button, Create, TenantAdmin
from apps.accounts.admin_display import Panel, badge, link, list_link, moment, whole_id
from apps.accounts.admin_forms import DayField, ServiceForm
from apps.core import clock
from apps.core.actor import Actor
from apps.core.public_ids import MalformedId
from apps.operators import selectors as operators
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator
from apps.subscribers import selectors, services
from apps.subscribers.models import Verification, WatchListEntry, WatchListFile
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.services.watch_list import MANAGE_WATCH_LIST
from apps.subscribers.watch_list_file import REASON_CHARACTERS, SOURCE_CHARACTERS

NATIONAL = "National list (all operators)"


class _ListForm(ServiceForm):
    operator = forms.ModelChoiceField(
        queryset=operators.no_operators(),
        required=False,
        label="List",
        help_text="Nobody on the list passes a real-name check.",
        empty_label=NATIONAL,
    )


class PersonForm(_ListForm):
    document_type = forms.ChoiceField(
        choices=[(kind.value, kind.value.replace("_", " ")) for kind in DocumentType]
    )
    number = forms.CharField(
        max_length=64,
        label="Document number",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="Kept encrypted and shown masked.",
    )
    issuing_country = forms.CharField(
        max_length=3, required=False, help_text="Of a passport, three letters: USA."
    )
    source = forms.CharField(
        max_length=SOURCE_CHARACTERS, help_text="Who wants them listed: an authority and its document."
    )
    reason = forms.CharField(max_length=REASON_CHARACTERS, help_text="Never a name or a number of a person.")
    valid_until = DayField(help_text="The last day on which it counts.")


class FileForm(_ListForm):
    file = forms.FileField(
        label="CSV file",
        help_text="UTF-8 or GB18030, at most 8 MB and 50,000 rows, with the columns document_type, number, reason,"
        " source, valid_until (2026-12-31), and issuing_country where there are passports. Taken in whole, or not at"
        " all when a row is wrong. Who is on the list from the same source already is renewed.",
    )


def _add_person(
    *,
    actor: Actor,
    now: datetime,
    operator: VirtualOperator | None,
    document_type: str,
    number: str,
    issuing_country: str,
    source: str,
    reason: str,
    valid_until: date,
) -> tuple[WatchListEntry, str]:
    entry = services.list_person(
        actor=actor,
        operator=operator,
        document_type=document_type,
        number=number,
        issuing_country=issuing_country,
        source=source,
        reason=reason,
        valid_until=valid_until,
        now=now,
    )
    return entry, "Listed. Checks that this person has passed are ended within seconds."


def _add_file(
    *, actor: Actor, now: datetime, operator: VirtualOperator | None, file: Any
) -> tuple[WatchListFile, str]:
    row = services.import_watch_list(
        actor=actor, operator=operator, file_name=file.name, content=file.read(), now=now
    )
    return row, f"{row.added} people are new on the list, {row.rows - row.added} were on it and are renewed."


def _lift(*, actor: Actor, row: WatchListEntry, reason: str, now: datetime) -> str:
    services.lift_listing(actor=actor, entry_uid=row.uid, reason=reason, now=now)
    return "Taken off the list. Whoever failed for it asks for a new check."


def _standing(row: WatchListEntry) -> str:
    if row.lifted_at is not None:
        return "LIFTED"
    return "LISTED" if row.valid_until >= china_date(clock.now()) else "ENDED"


def _is_listed(row: WatchListEntry) -> bool:
    return _standing(row) == "LISTED"


def listings_of(*, actor: Actor, row: Verification) -> Iterator[tuple[object, ...]]:
    today = china_date(clock.now())
    for entry in selectors.list_listings_of(actor=actor, subscriber=row.subscriber, today=today):
        seen = actor.operator_id is None or entry.operator_id is not None
        key = entry.number_masked
        yield (
            link(model="subscribers_watchlistentry", key=entry.pk, text=key) if seen else key,
            "own list" if entry.operator_id else "national list",
            entry.source,
            entry.reason,
            entry.valid_until,
        )


LISTINGS = Panel(
    "On the watch-list",
    ("Document", "List", "Source", "Reason", "Until"),
    listings_of,
    "This person is on no list.",
)


class _OfAList(TenantAdmin):
    list_select_related = ("operator",)

    @admin.display(description="List")
    def whose(self, row: Any) -> str:
        return row.operator.code if row.operator else "national"


@admin.register(WatchListEntry)
class WatchListEntryAdmin(_OfAList):
    list_display = ("row_id", "document", "standing", "whose", "source", "reason", "valid_until", "listed")
    list_filter = ("document_type", "operator")
    search_fields = ("source",)
    search_help_text = "A whole id, or the whole name of a source"
    empty_sentence = "Nobody is listed. Add a person here, or many of them as a file."
    ordering = ("-id",)
    fields = (
        ("document", "standing"),
        ("whose", "valid_until"),
        ("source", "reason"),
        ("listed", "taken_off"),
        ("by", "from_file"),
        "public_id",
    )
    trail = "watch_list_entry"
    create = Create(right=MANAGE_WATCH_LIST, form=PersonForm, call=_add_person)
    buttons: ClassVar = (
        Button(
            "lift",
            "Take off the list",
            right=MANAGE_WATCH_LIST,
            call=_lift,
            shown=_is_listed,
            asks_reason=True,
            dangerous=True,
            hint="This person can pass a real-name check again.",
        ),
    )

    def search(self, queryset: Any, term: str) -> Any:
        """Also everybody of one file, by its id."""
        if term.startswith("wlf_"):
            try:
                return queryset.filter(file__uid=term)
            except MalformedId:
                return queryset.none()
        return super().search(queryset, term)

    @admin.display(description="Document")
    def document(self, row: WatchListEntry) -> str:
        return f"{row.document_type} {row.number_masked}"

    @admin.display(description="Status")
    def standing(self, row: WatchListEntry) -> str:
        return badge(_standing(row))

    @admin.display(description="Listed")
    def listed(self, row: WatchListEntry) -> str:
        return moment(row.listed_at)

    @admin.display(description="Taken off")
    def taken_off(self, row: WatchListEntry) -> str:
        return moment(row.lifted_at)

    @admin.display(description="Listed by")
    def by(self, row: WatchListEntry) -> str:
        return whole_id(row.listed_by.partition(":")[2])

    @admin.display(description="File")
    def from_file(self, row: WatchListEntry) -> str:
        if row.file is None:
            return "-"
        return link(model="subscribers_watchlistfile", key=row.file_id, text=row.file.file_name)


@admin.register(WatchListFile)
class WatchListFileAdmin(_OfAList):
    list_display = ("row_id", "file_name", "whose", "rows", "added", "imported")
    list_filter = ("operator",)
    search_fields = ("file_name",)
    search_help_text = "A whole id or file name"
    empty_sentence = "Add a file of people who get no service; it is taken in whole, or not at all."
    ordering = ("-id",)
    fields = (("file_name", "whose"), ("rows", "added"), ("imported", "by"), ("entries", "public_id"))
    trail = "watch_list_file"
    create = Create(right=MANAGE_WATCH_LIST, form=FileForm, call=_add_file)

    @admin.display(description="Imported")
    def imported(self, row: WatchListFile) -> str:
        return moment(row.imported_at)

    @admin.display(description="Imported by")
    def by(self, row: WatchListFile) -> str:
        return whole_id(row.imported_by.partition(":")[2])

    @admin.display(description="People")
    def entries(self, row: WatchListFile) -> str:
        return list_link(model="subscribers_watchlistentry", text="People of this file", q=row.uid)
