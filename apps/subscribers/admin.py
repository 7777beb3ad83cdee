"""What staff see of people: masked. Doubtful verifications are decided here, and identities opened with a reason."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import TabularInline

from apps.accounts.admin_base import Button, Shown, TenantAdmin
from apps.core.actor import Actor
from apps.subscribers import services
from apps.subscribers.models import IdentityDocument, Subscriber, Verification, VerificationCheck
from apps.subscribers.services.reveal import REVEAL
from apps.subscribers.services.review import REVIEW
from apps.subscribers.states import VerificationStatus


class ReadOnlyInline(TabularInline):
    """Rows of a row that the person may see, to look at."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class DocumentInline(ReadOnlyInline):
    model = IdentityDocument
    fields: ClassVar = ("page", "type", "number_masked", "valid_from", "valid_until", "issuing_country")
    readonly_fields: ClassVar = ("page",)
    ordering: ClassVar = ("id",)

    @admin.display(description="document")
    def page(self, row: IdentityDocument) -> str:
        return format_html(
            '<a href="{}">{}</a>',
            reverse("admin:subscribers_identitydocument_change", args=(row.pk,)),
            row.uid,
        )


class CheckInline(ReadOnlyInline):
    model = VerificationCheck
    fields: ClassVar = ("position", "name", "outcome", "code", "provider", "checked_at")
    ordering: ClassVar = ("position",)


@admin.register(Subscriber)
class SubscriberAdmin(TenantAdmin):
    list_display: ClassVar = ("uid", "name_masked", "kind", "external_id", "operator", "created_at")
    list_filter: ClassVar = ("kind", "operator")
    list_select_related: ClassVar = ("operator",)
    # Names and numbers cannot be searched: they are sealed, and a search would end up in logs and histories.
    search_fields: ClassVar = ("external_id__exact",)
    fields: ClassVar = ("uid", "operator", "kind", "name_masked", "external_id", "created_at")
    inlines: ClassVar = (DocumentInline,)
    ordering: ClassVar = ("-id",)


def _reveal(*, actor: Actor, row: IdentityDocument, reason: str, now: datetime) -> Shown:
    identity = services.reveal_document(actor=actor, document_uid=row.uid, reason=reason, now=now)
    return Shown("Identity in clear", f"{identity.name}\n{identity.document_type} {identity.document_number}")


@admin.register(IdentityDocument)
class IdentityDocumentAdmin(TenantAdmin):
    list_display: ClassVar = ("uid", "subscriber", "type", "number_masked", "valid_until", "operator")
    list_filter: ClassVar = ("type", "operator")
    list_select_related: ClassVar = ("operator", "subscriber")
    fields: ClassVar = (
        "uid",
        "operator",
        "subscriber",
        "type",
        "number_masked",
        "valid_from",
        "valid_until",
        "issuing_country",
        "created_at",
    )
    buttons: ClassVar = (
        Button("reveal", "Show in clear", right=REVEAL, call=_reveal, asks_reason=True, dangerous=True),
    )
    ordering: ClassVar = ("-id",)


def _in_review(row: Verification) -> bool:
    return row.status == VerificationStatus.REVIEW


def _pass(*, actor: Actor, row: Verification, reason: str, now: datetime) -> str:
    services.decide_review(actor=actor, verification_uid=row.uid, passed=True, reason=reason, now=now)
    return "The verification has passed."


def _fail(*, actor: Actor, row: Verification, reason: str, now: datetime) -> str:
    services.decide_review(actor=actor, verification_uid=row.uid, passed=False, reason=reason, now=now)
    return "The verification has failed."


@admin.register(Verification)
class VerificationAdmin(TenantAdmin):
    list_display: ClassVar = (
        "uid",
        "status",
        "subscriber",
        "channel",
        "attempts",
        "next_attempt_at",
        "operator",
        "created_at",
    )
    list_filter: ClassVar = ("status", "channel", "operator")
    list_select_related: ClassVar = ("operator", "subscriber")
    fields: ClassVar = (
        "uid",
        "operator",
        "status",
        "subscriber",
        "document",
        "channel",
        "dealer",
        "attempts",
        "next_attempt_at",
        "created_at",
        "decided_at",
        "fresh_until",
    )
    inlines: ClassVar = (CheckInline,)
    buttons: ClassVar = (
        Button("pass", "Let it pass", right=REVIEW, call=_pass, shown=_in_review, asks_reason=True),
        Button(
            "fail",
            "Let it fail",
            right=REVIEW,
            call=_fail,
            shown=_in_review,
            asks_reason=True,
            dangerous=True,
        ),
    )
    ordering: ClassVar = ("-id",)
