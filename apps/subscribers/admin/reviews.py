"""The review queue, and one page for each case: what is in doubt, the pictures, the decision."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince

from apps.accounts.admin_base import Button
from apps.accounts.admin_display import Panel, StateFilter, badge, code, link, moment
from apps.core import clock
from apps.core.actor import Actor
from apps.core.errors import DomainError
from apps.subscribers import services
from apps.subscribers.admin import words
from apps.subscribers.admin.people import PersonAdmin
from apps.subscribers.models import ReviewCase
from apps.subscribers.realname import checks
from apps.subscribers.services.cases import REVIEW
from apps.subscribers.states import CaseKind, CaseStatus

# Hours after which a case that nobody has decided stands out.
OLD_HOURS = 4


def steps_of(*, actor: Actor, row: ReviewCase) -> Iterator[tuple[object, ...]]:
    """Every check of the list in its order, those that have not run too."""
    found = list(row.verification.checks.order_by("position"))
    for step in found:
        yield (
            step.position,
            words.question(step.name),
            badge(step.outcome),
            words.answer(step.code),
            code(step.code),
            step.provider or "us",
            moment(step.checked_at),
        )
    ran = {step.name for step in found}
    for name in checks.names_in_order():
        if name not in ran:
            yield "", words.question(name), badge("NOT_RUN"), "An earlier check ended the run.", "-", "-", "-"


def earlier_of(*, actor: Actor, row: ReviewCase) -> Iterator[tuple[object, ...]]:
    others = row.verification.subscriber.verifications.exclude(pk=row.verification_id)
    for check in others.order_by("-id")[:10]:
        yield (
            link(model="subscribers_verification", key=check.pk, text=check.uid),
            badge(check.status),
            check.get_channel_display(),
            moment(check.created_at),
            moment(check.decided_at),
        )


def _claim(*, actor: Actor, row: ReviewCase, reason: str, now: datetime) -> None:
    services.claim_case(actor=actor, case_uid=row.uid, now=now)


def _release(*, actor: Actor, row: ReviewCase, reason: str, now: datetime) -> str:
    services.release_case(actor=actor, case_uid=row.uid, now=now)
    return "The case is anybody's again."


def _decide(*, accepted: bool) -> Any:
    def call(*, actor: Actor, row: ReviewCase, reason: str, now: datetime) -> str:
        if row.kind == CaseKind.OVERRIDE:
            case = services.decide_override(
                actor=actor, case_uid=row.uid, accepted=accepted, reason=reason, now=now
            )
            return f"Confirmed: {case.rerun} has begun." if accepted else "Refused: the check has failed."
        services.decide_review(
            actor=actor, verification_uid=row.verification.uid, passed=accepted, reason=reason, now=now
        )
        if accepted:
            return "The check has passed; orders that waited for it go on."
        return "The check has failed; orders that waited for it end."

    return call


def _is_open(row: ReviewCase) -> bool:
    return row.status == CaseStatus.OPEN


def _is_free(row: ReviewCase) -> bool:
    return _is_open(row) and (row.claimed_until is None or row.claimed_until <= clock.now())


def _is_taken(row: ReviewCase) -> bool:
    return _is_open(row) and not _is_free(row)


def _in_doubt(row: ReviewCase) -> bool:
    return _is_taken(row) and row.kind == CaseKind.DOUBT


def _proposed(row: ReviewCase) -> bool:
    return _is_taken(row) and row.kind == CaseKind.OVERRIDE


@admin.register(ReviewCase)
class ReviewCaseAdmin(PersonAdmin):
    """Whoever has taken a case sees the pictures on its page; everybody else sees who has it."""

    list_display = ("row_id", "state", "waits", "why", "person", "channel", "taken_by", "operator")
    list_filter = (("status", StateFilter), "kind", "operator")
    list_select_related = ("operator", "verification__subscriber")
    search_fields = ("uid",)
    search_help_text = "A whole id of a case"
    shortcuts = (
        ("To decide", "status__exact=OPEN"),
        ("Overrulings", "status__exact=OPEN&kind__exact=OVERRIDE"),
        ("Accepted", "status__exact=ACCEPTED"),
        ("Refused", "status__exact=REFUSED"),
        ("Dropped", "status__exact=DROPPED"),
    )
    empty_sentence = "A case is opened when a check is in doubt, or when somebody proposes to overrule one."
    ordering = ("-id",)
    opens_with = "status__exact=OPEN"
    fields = (
        ("person", "state"),
        ("document", "valid"),
        ("verification_link", "channel"),
        ("asked_by", "entered_by"),
        ("dealer", "decided"),
        ("public_id", "operator"),
    )
    change_form_outer_before_template = "subscribers/admin/case.html"
    panels = (
        Panel(
            "Checks, in their order",
            ("", "Question", "Outcome", "What it means", "Code", "Asked of", "At"),
            steps_of,
            "They have not run.",
        ),
        Panel(
            "Other checks of this person",
            ("Check", "Status", "Channel", "Asked", "Decided"),
            earlier_of,
            "This is the only one.",
        ),
    )
    trail = "verification"
    buttons = (
        Button("claim", "Take the case", right=REVIEW, call=_claim, shown=_is_free),
        Button(
            "pass",
            "Let it pass",
            right=REVIEW,
            call=_decide(accepted=True),
            shown=_in_doubt,
            asks_reason=True,
        ),
        Button(
            "fail",
            "Let it fail",
            right=REVIEW,
            call=_decide(accepted=False),
            shown=_in_doubt,
            asks_reason=True,
            dangerous=True,
        ),
        Button(
            "confirm",
            "Confirm: overrule it",
            right=REVIEW,
            call=_decide(accepted=True),
            shown=_proposed,
            asks_reason=True,
        ),
        Button(
            "refuse",
            "Refuse",
            right=REVIEW,
            call=_decide(accepted=False),
            shown=_proposed,
            asks_reason=True,
            dangerous=True,
        ),
        Button("release", "Give it back", right=REVIEW, call=_release, shown=_is_taken),
    )

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """In the queue the oldest comes first, which is the next to decide."""
        decided = (CaseStatus.ACCEPTED, CaseStatus.REFUSED, CaseStatus.DROPPED)
        return ("-id",) if request.GET.get("status__exact") in decided else ("id",)

    def trail_id(self, row: ReviewCase) -> str:
        return str(row.verification.uid)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = dict(extra_context or {})
        row = self.get_object(request, unquote(object_id)) if object_id else None
        if row is not None and self.has_view_permission(request, row):
            context["case"] = self._sheet(request, row)
        response = super().changeform_view(request, object_id, form_url, context)
        response["Cache-Control"] = "no-store"
        return response

    def _sheet(self, request: HttpRequest, row: ReviewCase) -> dict[str, Any]:
        """What stands above the facts: the question, who works on it, the pictures."""
        actor, now = self.actor_of(request), clock.now()
        mine = _is_open(row) and row.is_claimed_by(actor.id, now)
        return {
            "row": row,
            "question": words.question(row.check_name),
            "answer": words.answer(row.check_code),
            "is_override": row.kind == CaseKind.OVERRIDE,
            "is_open": _is_open(row),
            "age": timesince(row.opened_at, now, depth=1),
            "old": (now - row.opened_at).total_seconds() > OLD_HOURS * 3600,
            "mine": mine,
            "anothers": _is_open(row) and row.is_claimed_by_other(actor.id, now),
            "until": f"{timezone.localtime(row.claimed_until):%H:%M}" if row.claimed_until else "",
            "not_run": [
                words.question(name)
                for name in checks.names_in_order()
                if name not in {step.name for step in row.verification.checks.all()}
            ],
            "pictures": self._pictures(request, actor, row, now) if mine else None,
        }

    def _pictures(
        self, request: HttpRequest, actor: Actor, row: ReviewCase, now: datetime
    ) -> list[dict[str, str]]:
        """Inside the page itself: there is no address that anybody could ask for again."""
        try:
            shown = services.look_at_case(actor=actor, case_uid=row.uid, now=now)
        except DomainError as error:
            messages.error(request, error.detail)
            return []
        return [
            {
                "title": image.kind.replace("_", " ").capitalize(),
                "taken": f"{timezone.localtime(image.created_at):%Y-%m-%d %H:%M}",
                "address": f"data:image/jpeg;base64,{base64.b64encode(image.jpeg).decode()}",
            }
            for image in shown
        ]

    @admin.display(description="Subscriber")
    def person(self, row: ReviewCase) -> str:
        person = row.verification.subscriber
        return link(model="subscribers_subscriber", key=person.pk, text=person.name_masked)

    @admin.display(description="Waits")
    def waits(self, row: ReviewCase) -> str:
        if not _is_open(row):
            return moment(row.opened_at)
        now = clock.now()
        old = (now - row.opened_at).total_seconds() > OLD_HOURS * 3600
        age = timesince(row.opened_at, now, depth=1)
        return format_html(
            '<span class="{}" title="{}">{}</span>',
            "kaihu-soon" if old else "kaihu-id",
            f"{timezone.localtime(row.opened_at):%Y-%m-%d %H:%M}",
            age,
        )

    @admin.display(description="Why")
    def why(self, row: ReviewCase) -> str:
        if row.kind == CaseKind.OVERRIDE:
            return format_html("Overrule? {}", code(row.check_code))
        return code(row.check_code)

    @admin.display(description="Channel")
    def channel(self, row: ReviewCase) -> str:
        return str(row.verification.get_channel_display())

    @admin.display(description="Taken by")
    def taken_by(self, row: ReviewCase) -> str:
        if not _is_open(row):
            return row.decided_by_label
        return row.claimed_by_label if _is_taken(row) else "-"

    @admin.display(description="Document")
    def document(self, row: ReviewCase) -> str:
        paper = row.verification.document
        text = f"{paper.type} {paper.number_masked}"
        return link(model="subscribers_identitydocument", key=paper.pk, text=text)

    @admin.display(description="Valid")
    def valid(self, row: ReviewCase) -> str:
        paper = row.verification.document
        return f"{paper.valid_from or '…'} to {paper.valid_until or 'long-term'}, {paper.issuing_country}"

    @admin.display(description="Real-name check")
    def verification_link(self, row: ReviewCase) -> str:
        check = row.verification
        return format_html(
            "{} {}",
            link(model="subscribers_verification", key=check.pk, text=check.uid),
            badge(check.status),
        )

    @admin.display(description="Checked for")
    def asked_by(self, row: ReviewCase) -> str:
        return _someone(row.verification.requested_by)

    @admin.display(description="Entered by")
    def entered_by(self, row: ReviewCase) -> str:
        return _someone(row.verification.subscriber.entered_by)

    @admin.display(description="Dealer")
    def dealer(self, row: ReviewCase) -> str:
        return str(row.verification.dealer) if row.verification.dealer else "-"

    @admin.display(description="Decided")
    def decided(self, row: ReviewCase) -> str:
        if row.decided_at is None:
            return "-"
        return format_html("{} by {}", moment(row.decided_at), row.decided_by_label)


def _someone(who: str) -> str:
    """ "STAFF:usr_..." as people read it; one click marks the id."""
    kind, _, name = who.partition(":")
    return format_html('{} <span class="kaihu-id">{}</span>', kind.lower(), name)
