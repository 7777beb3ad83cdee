"""Reconciliation in the admin: how far a run is, what it found, and what staff decide about it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html

from apps.accounts.admin_base import Button, Create, TenantAdmin
from apps.accounts.admin_display import Panel, StateFilter, badge, code, link, list_link, moment
from apps.accounts.admin_forms import ServiceForm
from apps.carriers import selectors as carriers
from apps.core.actor import Actor
from apps.numbering.numbers import to_e164
from apps.provisioning import selectors, services
from apps.provisioning.models import Discrepancy, ReconciliationRun
from apps.provisioning.services.reconciliation.repairs import FRESH_FOR
from apps.provisioning.services.reconciliation.runs import MANAGE
from apps.provisioning.states import DiscrepancyKind, DiscrepancyStatus

# How often the page of a run that goes on looks again.
REFRESH_SECONDS = 3

PROPOSALS = {
    DiscrepancyKind.ENDED_THERE: "End the line here",
    DiscrepancyKind.MISSING_THERE: "End the line here",
    DiscrepancyKind.LIVE_THERE: "Have the carrier end it",
    DiscrepancyKind.UNKNOWN_HERE: "Keep the number from sale",
    DiscrepancyKind.SUSPENSION: "Have the carrier set what we have",
    DiscrepancyKind.SIM: "Have the carrier put our card back",
    DiscrepancyKind.NUMBER: "Have the carrier put our number back",
    DiscrepancyKind.PLAN: "Have the carrier set our plan",
}


class StartForm(ServiceForm):
    connection = forms.ChoiceField(label="Carrier connection")

    def prepare(self) -> None:
        field = self.fields["connection"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        field.choices = [
            (each.uid, f"{each.operator.code} at {each.host_carrier.code} ({each.app_key})")
            for each in carriers.list_connections(actor=self.actor).order_by("operator__code", "pk")
            if each.is_active
        ]


def start(*, actor: Actor, now: datetime, connection: str) -> tuple[ReconciliationRun, str]:
    run = services.start_reconciliation(actor=actor, connection=connection, now=now)
    return run, "The carrier's lines are being fetched."


class AcceptForm(ServiceForm):
    kind = forms.ChoiceField(label="What to accept")
    count = forms.IntegerField(
        label="How many", min_value=1, help_text="Type their number: nothing happens if it is another by now."
    )
    reason = forms.CharField(
        label="Reason", max_length=200, help_text="It goes into the audit trail of each."
    )

    def prepare(self) -> None:
        field = self.fields["kind"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        counts = selectors.count_discrepancies(actor=self.actor, run=self.row)
        field.choices = [
            (kind.value, f"{count:,} × {kind.label}: {PROPOSALS[kind].lower()}")
            for kind in DiscrepancyKind
            if (count := counts.get((kind, DiscrepancyStatus.OPEN), 0))
        ]


def accept_all(
    *, actor: Actor, row: ReconciliationRun, kind: str, count: int, reason: str, now: datetime
) -> str:
    done = services.accept_discrepancies(
        actor=actor, run=row.uid, kind=DiscrepancyKind(kind), count=count, reason=reason, now=now
    )
    return f"{done:,} repairs are on their way; one that is refused comes back as open and says why."


def cancel(*, actor: Actor, row: ReconciliationRun, reason: str, now: datetime) -> str:
    services.cancel_reconciliation(actor=actor, run=row.uid, reason=reason, now=now)
    return "The run is cancelled."


def kinds_of(*, actor: Actor, row: ReconciliationRun) -> Iterator[tuple[object, ...]]:
    counts = selectors.count_discrepancies(actor=actor, run=row)
    for kind in DiscrepancyKind:
        each = {status: counts.get((kind, status), 0) for status in DiscrepancyStatus}
        if any(each.values()):
            address = {"run__uid": row.uid, "kind__exact": kind.value}
            yield (
                list_link(model="provisioning_discrepancy", text=_title(kind), **address),
                PROPOSALS[kind],
                *(f"{each[status]:,}" for status in _COUNTED),
            )


def _title(kind: DiscrepancyKind) -> str:
    return kind.label[0].upper() + kind.label[1:]


_COUNTED = (
    DiscrepancyStatus.OPEN,
    DiscrepancyStatus.ACCEPTED,
    DiscrepancyStatus.REPAIRED,
    DiscrepancyStatus.IGNORED,
    DiscrepancyStatus.GONE,
)


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(TenantAdmin):
    list_display = (
        "row_id",
        "state",
        "carrier",
        "progress",
        "result",
        "asked",
        "created",
        "finished",
        "operator",
    )
    list_filter = (("status", StateFilter), "connection__host_carrier", "operator")
    list_select_related = ("operator", "connection__host_carrier")
    search_fields = ("uid",)
    search_help_text = "A whole run id"
    shortcuts = (
        ("All", ""),
        ("Fetching", "status__exact=FETCHING"),
        ("Completed", "status__exact=COMPLETED"),
        ("Failed", "status__exact=FAILED"),
    )
    empty_sentence = "Each night every carrier is asked for its own view of our lines; or add a run now."
    ordering = ("-id",)
    fields = (
        ("carrier", "state"),
        ("progress", "result"),
        ("error", "error_detail"),
        ("asked", "created"),
        ("finished", "connection_link"),
        ("public_id", "operator"),
    )
    panels = (
        Panel(
            "Differences by kind",
            ("Difference", "Proposed repair", *(status.value for status in _COUNTED)),
            kinds_of,
            "None: as far as lines were at rest, the carrier has what we have.",
        ),
    )
    trail = "reconciliation"
    create = Create(right=MANAGE, form=StartForm, call=start)
    buttons: ClassVar = (
        Button(
            "accept",
            "Accept in bulk",
            right=MANAGE,
            call=accept_all,
            shown=lambda run: run.status == "COMPLETED" and run.found > 0,
            form=AcceptForm,
            dangerous=True,
            hint="Accepts the proposed repair of every open difference of one kind. Nothing is repaired by itself.",
        ),
        Button(
            "cancel",
            "Cancel run",
            right=MANAGE,
            call=cancel,
            shown=lambda run: run.is_open,
            asks_reason=True,
            hint="The pages fetched so far are forgotten.",
        ),
    )

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Looks again by itself while the run goes on."""
        response = super().change_view(request, *args, **kwargs)
        row = getattr(response, "context_data", {}).get("original")
        if isinstance(row, ReconciliationRun) and row.is_open:
            response["Refresh"] = str(REFRESH_SECONDS)
        return response

    @admin.display(description="Carrier")
    def carrier(self, run: ReconciliationRun) -> str:
        return run.connection.host_carrier.code

    @admin.display(description="Lines fetched")
    def progress(self, run: ReconciliationRun) -> str:
        most = max(run.lines_expected, run.lines_fetched, 1)
        return format_html(
            '<span class="whitespace-nowrap"><progress value="{}" max="{}"></progress> {} of about {}, {} pages</span>',
            run.lines_fetched if run.is_open else most,
            most,
            f"{run.lines_fetched:,}",
            f"{run.lines_expected:,}",
            f"{run.pages:,}",
        )

    @admin.display(description="Differences")
    def result(self, run: ReconciliationRun) -> str:
        if run.status != "COMPLETED":
            return "-"
        text = f"{run.found:,}" if run.found else "None"
        aside = f" ({run.set_aside:,} on the move, left alone)" if run.set_aside else ""
        shown = (
            list_link(model="provisioning_discrepancy", text=text, run__uid=run.uid) if run.found else text
        )
        return format_html("{}{}", shown, aside)

    @admin.display(description="Asked by")
    def asked(self, run: ReconciliationRun) -> str:
        return run.asked_by_label

    @admin.display(description="Error")
    def error(self, run: ReconciliationRun) -> str:
        return code(run.error_code)

    @admin.display(description="Finished")
    def finished(self, run: ReconciliationRun) -> str:
        return moment(run.finished_at)

    @admin.display(description="Connection")
    def connection_link(self, run: ReconciliationRun) -> str:
        return link(model="carriers_carrierconnection", key=run.connection_id, text=run.connection.app_key)


def accept(*, actor: Actor, row: Discrepancy, reason: str, now: datetime) -> str:
    done = services.accept_discrepancy(actor=actor, discrepancy=row.uid, reason=reason, now=now)
    if done.order is None:
        return "The number is kept from sale."
    return f"Repaired by order {done.order.uid}."


def ignore(*, actor: Actor, row: Discrepancy, reason: str, now: datetime) -> str:
    services.ignore_discrepancy(actor=actor, discrepancy=row.uid, reason=reason, now=now)
    return "Ignored for as long as it stays the same."


def reopen(*, actor: Actor, row: Discrepancy, reason: str, now: datetime) -> str:
    services.reopen_discrepancy(actor=actor, discrepancy=row.uid, reason=reason, now=now)
    return "It waits for a decision again."


_SIDES = (
    ("Status", "status", "state"),
    ("Number", "number", "number"),
    ("SIM card", "iccid", "iccid"),
    ("Plan", "plan", "plan"),
)


def sides_of(*, actor: Actor, row: Discrepancy) -> Iterator[tuple[object, ...]]:
    for title, here, there in _SIDES:
        ours, theirs = row.ours.get(here), row.theirs.get(there)
        if here == "status":
            ours = "_".join(filter(None, (ours, row.ours.get("suspension"))))
        if here == "number":
            ours, theirs = (to_e164(each) if each else None for each in (ours, theirs))
        differs = badge("CONFLICT") if ours != theirs else ""
        yield title, ours or "-", theirs or "-", differs


@admin.register(Discrepancy)
class DiscrepancyAdmin(TenantAdmin):
    list_display = (
        "what",
        "state",
        "number_shown",
        "here",
        "there",
        "proposal",
        "carrier",
        "operator",
    )
    list_filter = (
        ("status", StateFilter),
        ("kind", StateFilter),
        "connection__host_carrier",
        "operator",
    )
    list_select_related = ("operator", "connection__host_carrier", "line", "run", "order")
    search_fields = ("uid",)
    search_help_text = "A whole number, or discrepancy, run or line id"
    shortcuts = (
        ("All", ""),
        ("Open", "status__exact=OPEN"),
        ("Ignored", "status__exact=IGNORED"),
        ("Repaired", "status__exact=REPAIRED"),
        ("Gone", "status__exact=GONE"),
    )
    empty_sentence = "A discrepancy appears when a carrier's own view of a line differs from ours."
    ordering = ("-id",)
    fields = (
        ("what", "state"),
        ("number_shown", "line_link"),
        ("proposal", "order_link"),
        ("why", "decided"),
        ("refused", "error_detail"),
        ("first_seen", "seen"),
        ("carrier", "run_link"),
        ("public_id", "operator"),
    )
    panels = (Panel("What each side has", ("", "Here", "At the carrier", ""), sides_of, "Nothing."),)
    trail = "discrepancy"
    buttons: ClassVar = (
        Button(
            "accept",
            "Accept the proposed repair",
            right=MANAGE,
            call=accept,
            shown=lambda row: row.status == DiscrepancyStatus.OPEN,
            asks_reason=True,
            dangerous=True,
            hint=(
                "Every repair is an ordinary order, or a correction on record. Refused when the line has changed, or"
                f" the carrier was asked more than {FRESH_FOR.days * 24} hours ago."
            ),
        ),
        Button(
            "ignore",
            "Ignore",
            right=MANAGE,
            call=ignore,
            shown=lambda row: row.status == DiscrepancyStatus.OPEN,
            asks_reason=True,
        ),
        Button(
            "reopen",
            "Look at it again",
            right=MANAGE,
            call=reopen,
            shown=lambda row: row.status == DiscrepancyStatus.IGNORED,
            asks_reason=True,
        ),
    )

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """The page of a run leads here."""
        return lookup == "run__uid" or super().lookup_allowed(lookup, value, request)

    def search(self, queryset: Any, term: str) -> Any:
        return queryset.search(term)

    @admin.display(description="Difference")
    def what(self, row: Discrepancy) -> str:
        return _title(DiscrepancyKind(row.kind))

    @admin.display(description="Number")
    def number_shown(self, row: Discrepancy) -> str:
        text = to_e164(row.number)
        return link(model="lines_line", key=row.line_id, text=text) if row.line_id else text

    @admin.display(description="Here")
    def here(self, row: Discrepancy) -> str:
        return _aspect(row, row.ours, "status")

    @admin.display(description="At the carrier")
    def there(self, row: Discrepancy) -> str:
        return _aspect(row, row.theirs, "state")

    @admin.display(description="Proposed repair")
    def proposal(self, row: Discrepancy) -> str:
        return PROPOSALS[DiscrepancyKind(row.kind)]

    @admin.display(description="Line")
    def line_link(self, row: Discrepancy) -> str:
        return link(model="lines_line", key=row.line_id, text=f"…{row.line.uid[-8:]}") if row.line else "-"

    @admin.display(description="Carrier")
    def carrier(self, row: Discrepancy) -> str:
        return row.connection.host_carrier.code

    @admin.display(description="First seen")
    def first_seen(self, row: Discrepancy) -> str:
        return moment(row.first_seen_at)

    @admin.display(description="Last seen")
    def seen(self, row: Discrepancy) -> str:
        return moment(row.seen_at)

    @admin.display(description="Reason")
    def why(self, row: Discrepancy) -> str:
        return row.reason or "-"

    @admin.display(description="Decided by")
    def decided(self, row: Discrepancy) -> str:
        return f"{row.decided_by_label}, {row.decided_at:%Y-%m-%d %H:%M}" if row.decided_at else "-"

    @admin.display(description="Repair refused")
    def refused(self, row: Discrepancy) -> str:
        return code(row.error_code)

    @admin.display(description="Order")
    def order_link(self, row: Discrepancy) -> str:
        if row.order is None:
            return "-"
        return link(model="provisioning_serviceorder", key=row.order_id, text=row.order.uid)

    @admin.display(description="Run")
    def run_link(self, row: Discrepancy) -> str:
        return link(model="provisioning_reconciliationrun", key=row.run_id, text=row.run.uid)


def _aspect(row: Discrepancy, side: dict[str, Any], state: str) -> str:
    """What the difference is about, on one side."""
    match row.kind:
        case DiscrepancyKind.SIM:
            return str(side.get("iccid") or "-")
        case DiscrepancyKind.PLAN:
            return str(side.get("plan") or "-")
        case DiscrepancyKind.NUMBER:
            return to_e164(side["number"]) if side.get("number") else "-"
    word = "_".join(filter(None, (side.get(state), side.get("suspension"))))
    return badge(word.partition("_")[0], beside=word.partition("_")[2].lower()) if word else "-"
