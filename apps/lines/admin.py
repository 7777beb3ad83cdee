"""Lines and plans in the admin: what a support agent looks up first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.accounts.admin_base import Button, Create, Shown, TenantAdmin, add_buttons, add_panel
from apps.accounts.admin_display import Panel, StateFilter, badge, link, list_link, moment
from apps.accounts.admin_forms import ServiceForm
from apps.core.actor import Actor
from apps.lines import selectors, services
from apps.lines.models import HolderCheck, Line, Plan
from apps.lines.services.holder_checks import CHECK, Question
from apps.lines.states import HolderCheckStatus, LineStatus
from apps.numbering.models import PhoneNumber
from apps.numbering.numbers import MalformedNumber, parse_e164, to_e164
from apps.operators import selectors as operators
from apps.operators.models import VirtualOperator
from apps.sims.iccids import MalformedIccid, normalise
from apps.sims.models import SimCard
from apps.subscribers.models import Subscriber
from apps.subscribers.realname.documents import DocumentType


def numbers_of(*, actor: Actor, row: Line) -> Iterator[tuple[object, ...]]:
    for held in row.number_assignments.order_by("-id"):
        number = to_e164(held.number_id)
        page = link(model="numbering_phonenumber", key=held.number_id, text=number)
        yield page, moment(held.assigned_at), moment(held.released_at) if held.released_at else "now"


def cards_of(*, actor: Actor, row: Line) -> Iterator[tuple[object, ...]]:
    for held in row.sim_assignments.select_related("sim").order_by("-id"):
        page = link(model="sims_simcard", key=held.sim_id, text=held.sim.iccid)
        yield page, moment(held.assigned_at), moment(held.released_at) if held.released_at else "now"


def suspensions_of(*, actor: Actor, row: Line) -> Iterator[tuple[object, ...]]:
    for reason in row.suspensions.order_by("-id"):
        yield (
            badge(reason.kind),
            reason.get_cause_display(),
            f"{reason.placed_by_label} ({reason.owner.lower()})",
            moment(reason.placed_at),
            moment(reason.lifted_at) if reason.lifted_at else "in force",
            reason.note or "-",
        )


def users_of(*, actor: Actor, row: Line) -> Iterator[tuple[object, ...]]:
    for used in row.user_assignments.select_related("user").order_by("-id"):
        page = link(model="subscribers_subscriber", key=used.user_id, text=used.user.name_masked)
        yield page, moment(used.assigned_at), moment(used.released_at) if used.released_at else "now"


def uses_of_subscriber(*, actor: Actor, row: Subscriber) -> Iterator[tuple[object, ...]]:
    for used in selectors.list_uses(actor=actor, subscriber_uid=row.uid):
        holder = used.line.subscriber
        yield (
            link(model="lines_line", key=used.line_id, text=used.line.uid),
            link(model="subscribers_subscriber", key=holder.pk, text=holder.name_masked),
            moment(used.assigned_at),
            moment(used.released_at) if used.released_at else "now",
        )


class UserForm(ServiceForm):
    POINTERS: ClassVar[Mapping[str, str]] = {"/actual_user": "actual_user"}

    actual_user = forms.CharField(
        max_length=64, help_text="The whole id of a verified person, who will use this line from now on."
    )


def change_user(*, actor: Actor, row: Line, reason: str, now: datetime, actual_user: str) -> str:
    services.change_actual_user(actor=actor, line=row.uid, actual_user=actual_user, now=now)
    return "The line has this user now."


def _lines(lines: QuerySet[Line]) -> Iterator[tuple[object, ...]]:
    for line in lines.with_fittings().order_by("-id"):  # type: ignore[attr-defined]
        yield (
            link(model="lines_line", key=line.pk, text=to_e164(line.number) if line.number else line.uid),
            badge(line.status),
            line.host_carrier.code,
            line.plan.name,
            moment(line.activated_at),
            moment(line.terminated_at),
        )


def lines_of_subscriber(*, actor: Actor, row: Subscriber) -> Iterator[tuple[object, ...]]:
    return _lines(selectors.list_lines(actor=actor, subscriber_uid=row.uid))


def holders_of_number(*, actor: Actor, row: PhoneNumber) -> Iterator[tuple[object, ...]]:
    for held in selectors.list_number_history(actor=actor, number=row.number):
        person = held.holder
        yield (
            link(model="subscribers_subscriber", key=person.pk, text=person.name_masked),
            link(model="lines_line", key=held.line.pk, text=held.line.uid),
            badge(held.line.status),
            moment(held.since),
            moment(held.until) if held.until else "now",
        )


def lines_of_card(*, actor: Actor, row: SimCard) -> Iterator[tuple[object, ...]]:
    return _lines(selectors.list_lines(actor=actor).search(row.iccid))  # type: ignore[attr-defined]


def _as_stored(term: str) -> str | None:
    """A number or ICCID as it is kept, however it was typed; None when it is neither."""
    try:
        return to_e164(parse_e164(term.replace(" ", "")))
    except MalformedNumber:
        pass
    try:
        return normalise(term)
    except MalformedIccid:
        return None


_COLUMNS = ("Line", "Status", "Carrier", "Plan", "Activated", "Terminated")


def _export(*, actor: Actor, row: Subscriber, reason: str, now: datetime) -> Shown:
    person = services.export_person(actor=actor, subscriber_uid=row.uid, reason=reason, now=now)
    return Shown("Everything about one person", json.dumps(person, ensure_ascii=False, indent=2))


add_panel(
    Subscriber,
    Panel(
        "Lines of organizations that they use",
        ("Line", "Holder", "From", "Until"),
        uses_of_subscriber,
        "They use no line of an organization.",
    ),
)
add_panel(Subscriber, Panel("Lines", _COLUMNS, lines_of_subscriber, "This subscriber has no line."))
add_buttons(
    Subscriber,
    Button(
        "export",
        "Export everything",
        right="identity.export",
        call=_export,
        shown=lambda row: row.erased_at is None,
        asks_reason=True,
        dangerous=True,
        hint="All we hold about this person, in clear, as JSON; for that person only.",
    ),
)
add_panel(
    PhoneNumber,
    Panel(
        "Who had it when",
        ("Holder", "Line", "Status", "From", "Until"),
        holders_of_number,
        "No line has had this number.",
    ),
)
add_panel(SimCard, Panel("Lines", _COLUMNS, lines_of_card, "No line has had this SIM card."))


@admin.register(Line)
class LineAdmin(TenantAdmin):
    list_display = ("phone", "state", "holder", "carrier", "plan_name", "created", "activated", "operator")
    list_filter = (("status", StateFilter), "host_carrier", "operator")
    list_select_related = ("plan", "host_carrier", "operator", "subscriber")
    search_fields = ("uid",)
    search_help_text = "A whole number, ICCID or line id"
    shortcuts = (
        ("All", ""),
        ("Active", "status__exact=ACTIVE"),
        ("Pending", "status__exact=PENDING"),
        ("Suspended", "status__exact=SUSPENDED"),
        ("Terminated", "status__exact=TERMINATED"),
    )
    empty_sentence = "A line appears here as soon as its activation is ordered."
    ordering = ("-uid",)
    fields = (
        ("phone", "state"),
        ("holder", "plan"),
        ("card", "carrier"),
        ("created", "activated"),
        ("dealer_code", "terminated"),
        ("public_id", "operator"),
    )
    panels = (
        Panel(
            "Suspensions",
            ("Kind", "Why", "Placed by", "From", "Until", "Note"),
            suspensions_of,
            "It has never been suspended.",
        ),
        Panel(
            "Actual users over time",
            ("Person", "From", "Until"),
            users_of,
            "Its holder uses it, or nobody has said who does.",
        ),
        Panel("Numbers over time", ("Number", "From", "Until"), numbers_of, "It never had a number."),
        Panel("SIM cards over time", ("ICCID", "From", "Until"), cards_of, "It never had a SIM card."),
    )
    buttons = (
        Button(
            "actual-user",
            "Change actual user",
            right="orders.place",
            call=change_user,
            shown=lambda line: line.subscriber.is_organization and line.status != LineStatus.TERMINATED,
            form=UserForm,
        ),
    )
    trail = "line"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Line]:
        return super().get_queryset(request).with_fittings()  # type: ignore[attr-defined, no-any-return]

    def search(self, queryset: Any, term: str) -> Any:
        return queryset.search(_as_stored(term) or term)

    def recognises(self, term: str) -> bool:
        return _as_stored(term) is not None or super().recognises(term)

    @admin.display(description="Number")
    def phone(self, line: Any) -> str:
        return to_e164(line.number) if line.number else "-"

    @admin.display(description="SIM card")
    def card(self, line: Any) -> str:
        return list_link(model="sims_simcard", text=line.iccid, q=line.iccid) if line.iccid else "-"

    @admin.display(description="Holder")
    def holder(self, line: Line) -> str:
        return link(model="subscribers_subscriber", key=line.subscriber_id, text=line.subscriber.name_masked)

    @admin.display(description="Plan")
    def plan_name(self, line: Line) -> str:
        return line.plan.name

    @admin.display(description="Dealer")
    def dealer_code(self, line: Line) -> str:
        return str(line.dealer) if line.dealer else "-"

    @admin.display(description="Status")
    def state(self, line: Line) -> str:
        beside = (line.suspension_kind or "").replace("_", "-").lower()
        return badge(line.status, beside=f"{beside} detached".strip() if line.detached_at else beside)

    @admin.display(description="Activated")
    def activated(self, line: Line) -> str:
        return moment(line.activated_at)

    @admin.display(description="Terminated")
    def terminated(self, line: Line) -> str:
        return moment(line.terminated_at)


@admin.register(Plan)
class PlanAdmin(TenantAdmin):
    list_display = ("code", "name", "carrier", "fee", "is_orderable", "operator")
    list_filter = ("host_carrier", "is_orderable", "operator")
    list_select_related = ("host_carrier", "operator")
    search_fields = ("code", "name")
    search_help_text = "A plan's code, name or id"
    empty_sentence = "Plans are offered by the platform, per operator and host carrier."
    ordering = ("operator", "code")
    fields = (("name", "code"), ("carrier", "fee"), ("is_orderable", "operator"), "public_id")
    trail = "plan"

    @admin.display(description="Monthly fee")
    def fee(self, plan: Plan) -> str:
        return f"¥{plan.monthly_fee}"


class HolderCheckForm(ServiceForm):
    """Read once: nothing of what is typed here is kept."""

    operator = forms.ModelChoiceField(queryset=operators.no_operators())
    document_type = forms.ChoiceField(
        choices=[(member.value, member.value.replace("_", " ")) for member in DocumentType]
    )
    document_number = forms.CharField(
        max_length=40, widget=forms.TextInput(attrs={"autocomplete": "off"}), help_text="As printed."
    )
    issuing_country = forms.RegexField(
        r"^[A-Z]{3}$", required=False, help_text="Of a passport: three letters, such as DEU."
    )
    name = forms.CharField(
        max_length=100,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="As printed; when it is given it has to be theirs.",
    )
    reason = forms.CharField(
        max_length=500,
        help_text="Who asks, and how you know that it is them. It goes into the audit trail.",
    )


def _ask(
    *,
    actor: Actor,
    now: datetime,
    operator: VirtualOperator,
    document_type: str,
    document_number: str,
    issuing_country: str,
    name: str,
    reason: str,
) -> tuple[HolderCheck, str]:
    asked = Question(
        document_type=DocumentType(document_type),
        document_number=document_number,
        issuing_country=issuing_country,
        name=name,
    )
    services.require_allowance(actor=actor, operator_id=operator.pk, question=asked, now=now)
    check = services.ask_for_holdings(
        actor=actor, operator_id=operator.pk, question=asked, reason=reason, now=now
    )
    return check, "Written down. Tell the person the count and the last four digits, and nothing else."


def told_of(*, actor: Actor, row: HolderCheck) -> Iterator[tuple[object, ...]]:
    held = {line.pk: line for line in selectors.list_lines(actor=actor).filter(pk__in=row.line_ids)}
    told = zip(row.line_ids, selectors.list_told_numbers(check=row), strict=True)
    for item, (line_id, number) in enumerate(told, start=1):
        line = held[line_id]
        yield (
            item,
            link(model="lines_line", key=line_id, text=number),
            badge(line.status),
            line.host_carrier.code,
            moment(line.activated_at),
        )


@admin.register(HolderCheck)
class HolderCheckAdmin(TenantAdmin):
    """Which numbers are in somebody's name, and who has asked that."""

    list_display = ("row_id", "state", "count", "person", "asked_by_label", "why", "created", "operator")
    list_filter = (("status", StateFilter), "operator")
    list_select_related = ("operator", "subscriber")
    search_fields = ("uid",)
    search_help_text = "A whole id of a question"
    shortcuts = (("All", ""), ("Not verified", "status__exact=NOT_VERIFIED"))
    empty_sentence = "Asked when a person wants to know which numbers are in their name."
    ordering = ("-id",)
    fields = (
        ("person", "state"),
        ("count", "created"),
        ("asked_by_label", "why"),
        ("public_id", "operator"),
    )
    panels = (
        Panel(
            "Numbers in this name, when it was asked",
            ("Item", "Number", "Status now", "Carrier", "Activated"),
            told_of,
            "None at this operator.",
        ),
    )
    trail = "holder_check"
    create = Create(right=CHECK, form=HolderCheckForm, call=_ask)

    @admin.display(description="Subscriber")
    def person(self, row: HolderCheck) -> str:
        if row.subscriber is None:
            return "-"
        return link(model="subscribers_subscriber", key=row.subscriber_id, text=row.subscriber.name_masked)

    @admin.display(description="Numbers")
    def count(self, row: HolderCheck) -> str:
        return str(len(row.line_ids)) if row.status == HolderCheckStatus.ANSWERED else "-"

    @admin.display(description="Why")
    def why(self, row: HolderCheck) -> str:
        return row.reason or "-"
