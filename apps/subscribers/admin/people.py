"""What staff see of people: masked. Doubtful verifications are decided here, and identities opened with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.contrib import admin

from apps.accounts.admin_base import Button, Shown, TenantAdmin
from apps.accounts.admin_display import Panel, StateFilter, badge, code, link, moment, whole_id
from apps.core.actor import Actor
from apps.subscribers import services
from apps.subscribers.admin import registration
from apps.subscribers.admin.watch_list import LISTINGS
from apps.subscribers.models import IdentityDocument, Subscriber, Verification
from apps.subscribers.realname import words
from apps.subscribers.services.cases import REVIEW
from apps.subscribers.services.retention import HOLD
from apps.subscribers.services.reveal import REVEAL
from apps.subscribers.states import OVERRULABLE, CheckOutcome, VerificationStatus


def checks_of_subscriber(*, actor: Actor, row: Subscriber) -> Iterator[tuple[object, ...]]:
    for check in row.verifications.order_by("-id"):
        yield (
            link(model="subscribers_verification", key=check.pk, text=check.uid),
            badge(check.status),
            check.get_channel_display(),
            moment(check.created_at),
            moment(check.decided_at),
            moment(check.fresh_until),
        )


def documents_of(*, actor: Actor, row: Subscriber) -> Iterator[tuple[object, ...]]:
    for document in row.documents.order_by("-id"):
        yield (
            link(model="subscribers_identitydocument", key=document.pk, text=document.number_masked),
            document.type,
            document.valid_from or "-",
            document.valid_until or "long-term",
            document.issuing_country or "-",
        )


def steps_of(*, actor: Actor, row: Verification) -> Iterator[tuple[object, ...]]:
    for step in row.checks.order_by("position"):
        yield (
            step.position,
            step.name,
            badge(step.outcome),
            code(step.code),
            words.of(step.code),
            step.provider or "-",
            moment(step.checked_at),
        )


def holds_of(*, actor: Actor, row: Subscriber) -> Iterator[tuple[object, ...]]:
    for hold in row.legal_holds.order_by("-id"):
        yield hold.reason, moment(hold.placed_at), moment(hold.lifted_at)


def consents_of(*, actor: Actor, row: Subscriber) -> Iterator[tuple[object, ...]]:
    for consent in row.consents.order_by("-id"):
        yield (
            code(consent.purpose),
            consent.text_version,
            consent.get_channel_display(),
            moment(consent.given_at),
            moment(consent.withdrawn_at),
        )


def _show_images(*, actor: Actor, row: Subscriber, reason: str, now: datetime) -> Shown:
    shown = services.reveal_images(actor=actor, subscriber_uid=row.uid, reason=reason, now=now)
    kinds = "\n".join(image.kind for image in shown) or "There is no picture."
    return Shown("Pictures", kinds, tuple(image.jpeg for image in shown))


def _hold(*, actor: Actor, row: Subscriber, reason: str, now: datetime) -> str:
    services.place_legal_hold(actor=actor, subscriber_uid=row.uid, reason=reason, now=now)
    return "Nothing of this person is erased until the hold is lifted."


def _lift(*, actor: Actor, row: Subscriber, reason: str, now: datetime) -> str:
    services.lift_legal_holds(actor=actor, subscriber_uid=row.uid, reason=reason, now=now)
    return "There is no legal hold on this person any more."


def _is_kept(row: Subscriber) -> bool:
    return row.erased_at is None


def _is_held(row: Subscriber) -> bool:
    return row.legal_holds.filter(lifted_at=None).exists()


class PersonAdmin(TenantAdmin):
    """Names and numbers cannot be searched: they are sealed, and a search would end up in logs and histories."""

    @admin.display(description="Subscriber")
    def person(self, row: Any) -> str:
        return link(model="subscribers_subscriber", key=row.subscriber_id, text=row.subscriber.name_masked)


@admin.register(Subscriber)
class SubscriberAdmin(PersonAdmin):
    list_display = ("row_id", "name", "kind", "external_id", "created", "operator")
    list_filter = ("kind", "operator")
    list_select_related = ("operator",)
    search_fields = ("external_id",)
    search_help_text = "A whole subscriber id or external id"
    empty_sentence = (
        "Subscribers are registered by partner apps or by staff; names and document numbers are shown masked."
    )
    create = registration.CREATE
    ordering = ("-uid",)
    fields = (("name", "kind"), ("external_id", "created"), ("public_id", "operator"))
    panels = (
        Panel(
            "Real-name checks",
            ("Check", "Status", "Channel", "Asked", "Decided", "Fresh until"),
            checks_of_subscriber,
            "Nobody has asked for a real-name check yet; no line can be opened.",
        ),
        registration.STANDING_FOR,
        Panel("Documents", ("Number", "Type", "Valid from", "Valid until", "Country"), documents_of, "None."),
        Panel(
            "Consents", ("Purpose", "Text", "Channel", "Given", "Withdrawn"), consents_of, "None recorded."
        ),
        Panel("Legal holds", ("Why", "Placed", "Lifted"), holds_of, "None: erased when its time is up."),
    )
    trail = "subscriber"
    buttons = (
        Button(
            "images",
            "Show pictures",
            right=REVEAL,
            call=_show_images,
            shown=_is_kept,
            asks_reason=True,
            dangerous=True,
            hint="Marked with your name, your reason and the date. Who looked, and why, stays in the audit trail.",
        ),
        *registration.BUTTONS,
        Button("hold", "Place a legal hold", right=HOLD, call=_hold, shown=_is_kept, asks_reason=True),
        Button("lift", "Lift all legal holds", right=HOLD, call=_lift, shown=_is_held, asks_reason=True),
    )

    @admin.display(description="Name")
    def name(self, row: Subscriber) -> str:
        return row.name_masked


def _reveal(*, actor: Actor, row: IdentityDocument, reason: str, now: datetime) -> Shown:
    identity = services.reveal_document(actor=actor, document_uid=row.uid, reason=reason, now=now)
    return Shown("Identity in clear", f"{identity.name}\n{identity.document_type} {identity.document_number}")


@admin.register(IdentityDocument)
class IdentityDocumentAdmin(PersonAdmin):
    list_display = ("row_id", "person", "type", "number", "runs_out", "created", "operator")
    list_filter = ("operator",)
    list_select_related = ("operator", "subscriber")
    search_fields = ("uid",)
    search_help_text = "A whole document id"
    empty_sentence = "A document is kept with the subscriber who showed it."
    ordering = ("-id",)
    fields = (
        ("person", "number"),
        ("type", "issuing_country"),
        ("valid_from", "runs_out"),
        ("public_id", "created"),
        "operator",
    )
    trail = "identity_document"
    buttons = (
        Button(
            "reveal",
            "Show in clear",
            right=REVEAL,
            call=_reveal,
            asks_reason=True,
            dangerous=True,
            hint="Name and number are shown once. Who looked, and why, stays in the audit trail.",
        ),
    )

    @admin.display(description="Number")
    def number(self, row: IdentityDocument) -> str:
        return row.number_masked

    @admin.display(description="Valid until")
    def runs_out(self, row: IdentityDocument) -> str:
        return str(row.valid_until or "long-term")


def cases_of(*, actor: Actor, row: Verification) -> Iterator[tuple[object, ...]]:
    for case in row.cases.order_by("-id"):
        yield (
            link(model="subscribers_reviewcase", key=case.pk, text=case.uid),
            case.get_kind_display(),
            badge(case.status),
            moment(case.opened_at),
            case.decided_by_label or case.claimed_by_label or "-",
            moment(case.decided_at),
        )


def _can_be_overruled(row: Verification) -> bool:
    return row.status == VerificationStatus.FAILED and any(
        step.code in OVERRULABLE for step in row.checks.all()
    )


def _propose(*, actor: Actor, row: Verification, reason: str, now: datetime) -> str:
    services.propose_override(actor=actor, verification_uid=row.uid, reason=reason, now=now)
    return "Proposed: a second person finds it in the review queue."


@admin.register(Verification)
class VerificationAdmin(PersonAdmin):
    list_display = ("row_id", "state", "person", "channel", "attempts", "created", "decided", "operator")
    list_filter = (("status", StateFilter), "channel", "operator")
    list_select_related = ("operator", "subscriber", "document", "representative")
    search_fields = ("uid",)
    search_help_text = "A whole id of a check"
    shortcuts = (
        ("All", ""),
        ("In review", "status__exact=REVIEW"),
        ("Pending", "status__exact=PENDING"),
        ("Passed", "status__exact=PASSED"),
        ("Failed", "status__exact=FAILED"),
        ("Expired", "status__exact=EXPIRED"),
    )
    empty_sentence = "A real-name check is asked for by a partner app, per subscriber."
    ordering = ("-id",)
    fields = (
        ("person", "state"),
        ("number", "channel"),
        ("created", "decided"),
        "meaning",
        ("attempts", "next_try"),
        ("asked_by", "fresh_until"),
        ("representative_link", "dealer_code"),
        ("public_id", "operator"),
    )
    panels = (
        Panel(
            "Steps of the check",
            ("", "Step", "Outcome", "Code", "In words", "Asked of", "At"),
            steps_of,
            "The check has not run yet.",
        ),
        Panel(
            "Reviews",
            ("Case", "Why", "Status", "Opened", "By", "Decided"),
            cases_of,
            "No person was asked about it.",
        ),
        LISTINGS,
    )
    trail = "verification"
    buttons = (
        Button(
            "override",
            "Propose to overrule",
            right=REVIEW,
            call=_propose,
            shown=_can_be_overruled,
            asks_reason=True,
            hint="A check has failed. A second person confirms or refuses; all other checks still have to pass.",
        ),
    )

    @admin.display(description="Document")
    def number(self, row: Verification) -> str:
        document = row.document
        text = f"{document.type} {document.number_masked}"
        return link(model="subscribers_identitydocument", key=document.pk, text=text)

    @admin.display(description="In words")
    def meaning(self, row: Verification) -> str:
        found = row.checks.order_by("position").values_list("outcome", "code")
        return words.summary(
            status=VerificationStatus(row.status),
            attempts=row.attempts,
            findings=((CheckOutcome(outcome), code) for outcome, code in found),
        )

    @admin.display(description="Next try")
    def next_try(self, row: Verification) -> str:
        return moment(row.next_attempt_at)

    @admin.display(description="Dealer")
    def dealer_code(self, row: Verification) -> str:
        return str(row.dealer) if row.dealer else "-"

    @admin.display(description="Comes for the holder")
    def representative_link(self, row: Verification) -> str:
        person = row.representative
        if person is None:
            return "-"
        text = f"{person.name_masked} ({person.get_role_display().lower()})"
        return link(model="subscribers_representative", key=person.pk, text=text)

    @admin.display(description="Asked for by")
    def asked_by(self, row: Verification) -> str:
        return whole_id(row.requested_by.partition(":")[2])

    @admin.display(description="Decided")
    def decided(self, row: Verification) -> str:
        return moment(row.decided_at)
