"""Disputes: "this number is not mine". A queue by deadline, and what can come of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince, timeuntil

from apps.accounts.admin_base import Button, add_buttons, add_panel
from apps.accounts.admin_display import Panel, StateFilter, badge, code, link, moment
from apps.accounts.admin_forms import ServiceForm
from apps.core import clock
from apps.core.actor import Actor
from apps.lines import selectors as line_selectors
from apps.lines.models import HolderCheck, Line
from apps.lines.states import LIVE_LINE, HolderCheckStatus
from apps.provisioning import selectors, services
from apps.provisioning.admin.pages import OrderedLineAdmin
from apps.provisioning.models import HolderDispute
from apps.provisioning.services.disputes import DECIDE, OPEN
from apps.provisioning.states import UNDECIDED, DisputeStatus

# Days before the deadline from which it stands out.
SOON_DAYS = 3


class ToldNumberForm(ServiceForm):
    item = forms.TypedChoiceField(label="Which number is not theirs", coerce=int)
    statement = forms.CharField(
        max_length=500,
        help_text="What the person says, without names and numbers of people. It goes into the audit trail.",
    )

    def prepare(self) -> None:
        told = line_selectors.list_told_numbers(check=self.row)
        self.fields["item"].choices = list(enumerate(told, start=1))  # type: ignore[attr-defined]


def _dispute_told(
    *, actor: Actor, row: HolderCheck, item: int, statement: str, reason: str, now: datetime
) -> str:
    services.dispute_told_number(actor=actor, holder_check=row.uid, item=item, statement=statement, now=now)
    return "Written down: it is in the queue of disputes."


def _dispute(*, actor: Actor, row: Line, reason: str, now: datetime) -> str:
    services.open_dispute(actor=actor, line=row.uid, statement=reason, now=now)
    return "Written down: it is in the queue of disputes."


def disputes_of(*, actor: Actor, row: Line) -> Iterator[tuple[object, ...]]:
    for dispute in row.disputes.order_by("-id"):
        yield (
            link(model="provisioning_holderdispute", key=dispute.pk, text=dispute.uid),
            badge(dispute.status),
            dispute.get_outcome_display() or "-",
            moment(dispute.opened_at),
            moment(dispute.decided_at),
        )


add_buttons(
    Line,
    Button(
        "dispute",
        "The holder says: not mine",
        right=OPEN,
        call=_dispute,
        shown=lambda line: line.status in LIVE_LINE and line.detached_at is None,
        asks_reason=True,
    ),
)
add_panel(
    Line,
    Panel(
        "Disputes",
        ("Dispute", "Status", "Outcome", "Opened", "Decided"),
        disputes_of,
        "Nobody has said that it is not theirs.",
    ),
)
add_buttons(
    HolderCheck,
    Button(
        "dispute",
        "One of them is not theirs",
        right=OPEN,
        call=_dispute_told,
        shown=lambda check: check.status == HolderCheckStatus.ANSWERED and bool(check.line_ids),
        form=ToldNumberForm,
        hint="The person says that they have not opened one of these lines.",
    ),
)


def orders_of(*, actor: Actor, row: HolderDispute) -> Iterator[tuple[object, ...]]:
    """What was ordered for the line since the dispute was opened."""
    since = selectors.list_orders(actor=actor, line_uid=row.line.uid).filter(created_at__gte=row.opened_at)
    for order in since.order_by("-id"):
        yield (
            link(model="provisioning_serviceorder", key=order.pk, text=order.uid),
            order.get_type_display(),
            badge(order.status),
            order.request_reason.replace("_", " ") or "-",
            code(order.reason),
            moment(order.created_at),
        )


def checks_of(*, actor: Actor, row: HolderDispute) -> Iterator[tuple[object, ...]]:
    for check in row.line.subscriber.verifications.order_by("-id")[:10]:
        yield (
            link(model="subscribers_verification", key=check.pk, text=check.uid),
            badge(check.status),
            check.get_channel_display(),
            moment(check.created_at),
            moment(check.decided_at),
        )


def _by(service: Callable[..., HolderDispute], said: str) -> Callable[..., str]:
    def call(*, actor: Actor, row: HolderDispute, reason: str, now: datetime) -> str:
        service(actor=actor, dispute=row.uid, reason=reason, now=now)
        return said

    return call


def _is_open(row: HolderDispute) -> bool:
    return row.status == DisputeStatus.OPEN


def _is_verifying(row: HolderDispute) -> bool:
    return row.status == DisputeStatus.VERIFYING


def _is_undecided(row: HolderDispute) -> bool:
    return row.status in UNDECIDED


@admin.register(HolderDispute)
class HolderDisputeAdmin(OrderedLineAdmin):
    list_display = ("row_id", "state", "due", "line_link", "holder", "opener", "why", "operator")
    list_filter = (("status", StateFilter), "outcome", "operator")
    list_select_related = ("line__subscriber", "operator", "holder_check")
    search_help_text = "A whole id of a dispute"
    shortcuts = (
        ("To decide", "status__in=OPEN,VERIFYING"),
        ("Being verified", "status__exact=VERIFYING"),
        ("Resolved", "status__exact=RESOLVED"),
        ("Withdrawn", "status__exact=WITHDRAWN"),
    )
    empty_sentence = "Opened when somebody says that a number in their name is not theirs."
    ordering = ("-id",)
    opens_with = "status__in=OPEN,VERIFYING"
    fields = (
        ("line_link", "state"),
        ("holder", "line_state"),
        ("statement", "due"),
        ("opened", "opener"),
        ("verifying", "question"),
        ("what_came", "decided"),
        ("decision", "public_id"),
        "operator",
    )
    panels = (
        Panel(
            "Ordered since",
            ("Order", "Type", "Status", "For", "Reason", "Created"),
            orders_of,
            "Nothing has been ordered for the line since it was disputed.",
        ),
        Panel(
            "Real-name checks of the holder",
            ("Check", "Status", "Channel", "Asked", "Decided"),
            checks_of,
            "The holder has never been checked.",
        ),
    )
    trail = "holder_dispute"
    buttons = (
        Button(
            "verify",
            "Verify the holder again",
            right=DECIDE,
            call=_by(
                services.demand_proof, "The line is suspended one-way until its holder has passed again."
            ),
            shown=_is_open,
            asks_reason=True,
            hint="When it is not clear whose it is: its user has to prove who they are, or the line stays still.",
        ),
        Button(
            "settle",
            "It is theirs: the holder has passed",
            right=DECIDE,
            call=_by(services.settle_verified, "Resolved: the line is its holder's, and runs again."),
            shown=_is_verifying,
            asks_reason=True,
        ),
        Button(
            "detach",
            "Detach from this person",
            right=DECIDE,
            call=_by(
                services.detach_disputed_line,
                "Resolved: it counts for this person no longer, and stands still until its user has registered.",
            ),
            shown=_is_undecided,
            asks_reason=True,
            dangerous=True,
            hint="The person is free of it at once. Its user may come and register: order another holder for the line.",
        ),
        Button(
            "suspend",
            "Suspend two-way",
            right=DECIDE,
            call=_by(services.suspend_disputed_line, "Resolved: the line is suspended for suspected fraud."),
            shown=_is_undecided,
            asks_reason=True,
            dangerous=True,
            hint="It still counts for this person.",
        ),
        Button(
            "terminate",
            "Close the line",
            right=DECIDE,
            call=_by(
                services.terminate_disputed_line, "Resolved: the host carrier is asked to close the line."
            ),
            shown=_is_undecided,
            asks_reason=True,
            dangerous=True,
            hint="For good: the number goes into quarantine, and the person's place is free.",
        ),
        Button(
            "withdraw",
            "The person knows it after all",
            right=DECIDE,
            call=_by(services.withdraw_dispute, "Withdrawn."),
            shown=_is_undecided,
            asks_reason=True,
        ),
    )

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """In the queue the oldest comes first, which is due first."""
        decided = (DisputeStatus.RESOLVED, DisputeStatus.WITHDRAWN)
        return ("-id",) if request.GET.get("status__exact") in decided else ("id",)

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(uid=term) if self._is_public_id(term) else queryset.none()

    @admin.display(description="Due")
    def due(self, row: HolderDispute) -> str:
        if row.status not in UNDECIDED:
            return moment(row.due_at)
        now = clock.now()
        left = row.due_at - now
        late = left.total_seconds() < 0
        said = (
            f"{timesince(row.due_at, now, depth=1)} late"
            if late
            else f"in {timeuntil(row.due_at, now, depth=1)}"
        )
        return format_html(
            '<span class="{}" title="{}">{}</span>',
            "kaihu-soon" if left.days < SOON_DAYS else "kaihu-id",
            f"{timezone.localtime(row.due_at):%Y-%m-%d %H:%M}",
            said,
        )

    @admin.display(description="They say")
    def why(self, row: HolderDispute) -> str:
        return row.statement if len(row.statement) <= 60 else f"{row.statement[:59]}…"

    @admin.display(description="Opened by")
    def opener(self, row: HolderDispute) -> str:
        return row.opened_by_label

    @admin.display(description="Opened")
    def opened(self, row: HolderDispute) -> str:
        return moment(row.opened_at)

    @admin.display(description="Line's status")
    def line_state(self, row: HolderDispute) -> str:
        return badge(row.line.status, beside="detached" if row.line.detached_at else "")

    @admin.display(description="Proof demanded")
    def verifying(self, row: HolderDispute) -> str:
        return moment(row.verifying_at)

    @admin.display(description="After the question")
    def question(self, row: HolderDispute) -> str:
        if row.holder_check is None:
            return "-"
        return link(model="lines_holdercheck", key=row.holder_check_id, text=row.holder_check.uid)

    @admin.display(description="Outcome")
    def what_came(self, row: HolderDispute) -> str:
        return row.get_outcome_display() or "-"

    @admin.display(description="Decided")
    def decided(self, row: HolderDispute) -> str:
        if row.decided_at is None:
            return "-"
        return format_html("{} by {}", moment(row.decided_at), row.decided_by_label)
