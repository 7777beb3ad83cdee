"""Demands to be verified again: their page, and buttons on people and lines. Here, since they concern lines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from apps.accounts.admin_base import Button, Create, Shown, TenantAdmin, add_buttons, add_panel
from apps.accounts.admin_display import Panel, StateFilter, badge, link, list_link, moment, short_id
from apps.accounts.admin_forms import ServiceForm
from apps.core.actor import Actor
from apps.lines.models import Line
from apps.lines.states import LIVE_LINE
from apps.operators import selectors as operators
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.services.reverification import MOST_LINES
from apps.subscribers import selectors as people
from apps.subscribers import services as subscribers
from apps.subscribers.models import NoticeTemplate, ReverificationDemand, Subscriber
from apps.subscribers.services.reverification import DEMAND
from apps.subscribers.states import DemandReason

_REASONS = [(reason.value, reason.label.capitalize()) for reason in DemandReason]


class DemandForm(ServiceForm):
    because = forms.ChoiceField(
        label="Reason", choices=_REASONS, help_text="By it policy says which step comes when."
    )
    note = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="For the files: no names or identity numbers. The person is told the text of the reason.",
    )


class ListForm(DemandForm):
    operator = forms.ModelChoiceField(queryset=operators.no_operators())
    file = forms.FileField(
        label="CSV file",
        help_text=f"A column called number, at most {MOST_LINES:,} rows, UTF-8 or GB18030.",
    )
    skip_invalid = forms.BooleanField(
        required=False,
        label="Pass over wrong rows",
        help_text="Otherwise nothing happens before every row is right.",
    )

    def prepare(self) -> None:
        self.fields["because"].initial = DemandReason.REGULATOR_LIST


def demand_list(
    *,
    actor: Actor,
    now: datetime,
    operator: VirtualOperator,
    because: str,
    note: str,
    file: Any,
    skip_invalid: bool,
) -> tuple[None, str | Shown]:
    outcome = services.demand_reverification_of_list(
        actor=actor,
        operator_id=operator.pk,
        content=file.read(),
        reason=DemandReason(because),
        note=note,
        skip_invalid=skip_invalid,
        now=now,
    )
    said = f"Demanded of {outcome.demanded} lines; of {outcome.already} it was demanded already."
    if not outcome.errors:
        return None, said
    rows = "\n".join(f"line {line}: {detail}" for line, _, detail in outcome.errors)
    return None, Shown("Rows that were passed over", f"{said}\n\n{rows}")


def demand_of_person(
    *, actor: Actor, row: Subscriber, because: str, note: str, reason: str, now: datetime
) -> str:
    subscribers.demand_reverification(
        actor=actor, subscriber_uid=row.uid, reason=DemandReason(because), note=note, now=now
    )
    return "The subscriber is warned; all their lines follow when the time is up."


def demand_of_line(*, actor: Actor, row: Line, because: str, note: str, reason: str, now: datetime) -> str:
    services.demand_reverification_of_line(
        actor=actor, line=row.uid, reason=DemandReason(because), note=note, now=now
    )
    return "The holder is warned; this line follows when the time is up."


def withdraw(*, actor: Actor, row: ReverificationDemand, reason: str, now: datetime) -> str:
    subscribers.withdraw_demand(actor=actor, demand_uid=row.uid, reason=reason, now=now)
    return "Withdrawn; what it alone has suspended is on its way to run again."


def steps_of(*, actor: Actor, row: ReverificationDemand) -> Iterator[tuple[object, ...]]:
    for step in row.steps.order_by("-id"):
        words = (
            format_html("{}<br>{}", getattr(step, f"{name}_zh"), getattr(step, f"{name}_en"))
            for name in ("notice", "remedy", "papers")
        )
        yield badge(step.status), moment(step.taken_at), moment(step.next_step_at), *words


def demands_of_person(*, actor: Actor, row: Subscriber) -> Iterator[tuple[object, ...]]:
    for demand in people.list_demands(actor=actor, subscriber_id=row.pk):
        yield _told(demand)


def demands_of_line(*, actor: Actor, row: Line) -> Iterator[tuple[object, ...]]:
    for demand in people.list_demands(actor=actor, subscriber_id=row.subscriber_id, line_uid=row.uid):
        yield _told(demand)


def _told(demand: ReverificationDemand) -> tuple[object, ...]:
    step = list(demand.steps.all())[-1]
    return (
        link(model="subscribers_reverificationdemand", key=demand.pk, text=short_id(demand.uid)),
        badge(demand.status),
        demand.get_reason_display(),
        _scope(demand),
        moment(demand.next_step_at),
        format_html("{}<br>{}", step.notice_zh, step.notice_en),
    )


def _scope(demand: ReverificationDemand) -> str:
    if not demand.line_uid:
        return "all lines"
    return list_link(model="lines_line", text=short_id(demand.line_uid), q=demand.line_uid)


_COLUMNS = ("Re-verification", "Step", "Reason", "Of", "Next step", "What the person is told")
_NONE = "Nobody demands that the subscriber is verified again."
_HINT = "The person is warned, then suspended one-way, then both ways, until they are verified again."
add_panel(Subscriber, Panel("Re-verification", _COLUMNS, demands_of_person, _NONE))
add_panel(Line, Panel("Re-verification", _COLUMNS, demands_of_line, _NONE))
add_buttons(
    Subscriber,
    Button(
        "demand",
        "Demand re-verification",
        right=DEMAND,
        call=demand_of_person,
        shown=lambda row: row.erased_at is None,
        form=DemandForm,
        dangerous=True,
        hint=_HINT,
    ),
)
add_buttons(
    Line,
    Button(
        "demand",
        "Demand re-verification",
        right=DEMAND,
        call=demand_of_line,
        shown=lambda row: row.status in LIVE_LINE,
        form=DemandForm,
        dangerous=True,
        hint=f"{_HINT} Only this line is suspended.",
    ),
)


@admin.register(ReverificationDemand)
class ReverificationAdmin(TenantAdmin):
    list_display = ("row_id", "state", "person", "because", "scope", "due", "created", "demanded", "operator")
    list_filter = (("status", StateFilter), "reason", "operator")
    list_select_related = ("operator", "subscriber")
    search_fields = ("uid",)
    search_help_text = "A whole id of a re-verification, subscriber or line"
    shortcuts = (
        ("All", ""),
        ("Warned", "status__exact=WARNED"),
        ("One-way", "status__exact=ONE_WAY"),
        ("Two-way", "status__exact=TWO_WAY"),
        ("Passed", "status__exact=PASSED"),
        ("Withdrawn", "status__exact=WITHDRAWN"),
    )
    empty_sentence = (
        "Nobody has to be verified again. Demand it on the page of a subscriber or a line, or add a list of numbers;"
        " documents that end are found by themselves."
    )
    ordering = ("-uid",)
    fields = (
        ("person", "state"),
        ("because", "scope"),
        ("next_step", "due"),
        ("note", "document_until"),
        ("created", "demanded"),
        ("closed", "met_by"),
        ("public_id", "operator"),
    )
    panels = (
        Panel(
            "Steps, and what the person was told",
            ("Step", "Taken", "Next step", "Why", "What to do, how to object", "What to bring"),
            steps_of,
            "None.",
        ),
    )
    trail = "reverification_demand"
    create = Create(right=DEMAND, form=ListForm, call=demand_list)
    buttons: ClassVar = (
        Button(
            "withdraw",
            "Withdraw",
            right=DEMAND,
            call=withdraw,
            shown=lambda row: row.is_open,
            asks_reason=True,
            dangerous=True,
            hint="What it alone has suspended runs again at once.",
        ),
    )

    def search(self, queryset: Any, term: str) -> Any:
        return queryset.search(term)

    @admin.display(description="Subscriber")
    def person(self, row: ReverificationDemand) -> str:
        return link(model="subscribers_subscriber", key=row.subscriber_id, text=row.subscriber.name_masked)

    @admin.display(description="Reason")
    def because(self, row: ReverificationDemand) -> str:
        return row.get_reason_display()

    @admin.display(description="Of")
    def scope(self, row: ReverificationDemand) -> str:
        return _scope(row)

    @admin.display(description="Next step")
    def next_step(self, row: ReverificationDemand) -> str:
        return badge(row.next_status) if row.next_status else "-"

    @admin.display(description="Next step at")
    def due(self, row: ReverificationDemand) -> str:
        return moment(row.next_step_at)

    @admin.display(description="Demanded by")
    def demanded(self, row: ReverificationDemand) -> str:
        return row.demanded_by_label

    @admin.display(description="Closed")
    def closed(self, row: ReverificationDemand) -> str:
        return moment(row.closed_at)

    @admin.display(description="Met by")
    def met_by(self, row: ReverificationDemand) -> str:
        if row.verification is None:
            return "-"
        return link(model="subscribers_verification", key=row.verification_id, text=row.verification.uid)


@admin.register(NoticeTemplate)
class NoticeAdmin(TenantAdmin):
    list_display = ("because", "step", "told", "holds_for", "since")
    list_filter = (("status", StateFilter), "reason")
    list_select_related = ("operator",)
    search_fields = ("reason",)
    search_help_text = "Reason and step, such as DISPUTE/WARNED"
    empty_sentence = (
        "The words that people are told at each step of a re-verification; they come from the seeds."
    )
    ordering = ("reason", "status", "operator_id", "-valid_from")
    fields = (
        ("because", "step"),
        ("notice_zh", "notice_en"),
        ("remedy_zh", "remedy_en"),
        ("papers_zh", "papers_en"),
        ("holds_for", "since"),
        ("source_note", "created"),
    )
    trail = "notice_template"

    def get_queryset(self, request: HttpRequest) -> QuerySet[NoticeTemplate]:
        """One's own words and those that hold where there are none."""
        return people.list_notice_templates(actor=self.actor_of(request))

    def search(self, queryset: Any, term: str) -> Any:
        reason, _, status = term.partition("/")
        return queryset.filter(reason=reason.strip("*"), status=status)

    def trail_id(self, row: NoticeTemplate) -> str:
        return f"{row.reason or '*'}/{row.status}"

    @admin.display(description="Reason")
    def because(self, row: NoticeTemplate) -> str:
        return row.get_reason_display() if row.reason else "every reason"

    @admin.display(description="Step")
    def step(self, row: NoticeTemplate) -> str:
        return badge(row.status)

    @admin.display(description="What the person is told")
    def told(self, row: NoticeTemplate) -> str:
        return format_html("{}<br>{}", row.notice_zh, row.notice_en)

    @admin.display(description="Holds for")
    def holds_for(self, row: NoticeTemplate) -> str:
        return str(row.operator) if row.operator else "all operators"

    @admin.display(description="Since")
    def since(self, row: NoticeTemplate) -> str:
        return moment(row.valid_from)
