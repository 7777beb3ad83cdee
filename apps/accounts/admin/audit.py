"""The audit trail, to look at."""

from __future__ import annotations

import re
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from apps.accounts.admin_base import TenantAdmin
from apps.accounts.admin_display import TARGETS, change, moment, target_link, whole_id
from apps.audit import selectors
from apps.audit.models import AuditEvent
from apps.core.actor import ActorKind

_ACTION = re.compile(r"[a-z_]+\.[a-z_]+")


class _ListedFilter(admin.SimpleListFilter):
    """By a text column, from a list we know: the theme's own filter would read every value in the table."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter((str(self.parameter_name), self.value())) if self.value() else queryset


class ByWhom(_ListedFilter):
    title = "whom"
    parameter_name = "actor_kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.value, kind.value.capitalize()) for kind in ActorKind]


class OfWhat(_ListedFilter):
    title = "kind of thing"
    parameter_name = "target_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name.replace("_", " ")) for name in sorted(TARGETS)]


@admin.register(AuditEvent)
class AuditEventAdmin(TenantAdmin):
    list_display = ("when", "action", "target", "changed", "who", "reason")
    list_filter = (ByWhom, OfWhat)
    search_fields = ("target_id",)
    search_help_text = "A whole id, number, ICCID, or an action like line.activate"
    shortcuts = (
        ("All", ""),
        ("By staff", "actor_kind=STAFF"),
        ("By partner apps", "actor_kind=PARTNER"),
        ("By carriers", "actor_kind=CARRIER"),
        ("By the system", "actor_kind=SYSTEM"),
        ("Identities shown in clear", "actor_kind=STAFF&target_type=identity_document"),
    )
    empty_sentence = "Whatever anybody changes, or looks at in clear, is written here and cannot be removed."
    ordering = ("-id",)
    fields = (
        ("when", "action"),
        ("target", "target_type"),
        ("actor_label", "actor_kind"),
        ("by", "ip"),
        ("reason", "request_of"),
        "sealed",
        "before",
        "after",
    )

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """What happened to a thing; what a person or app did; where an action ("identity.reveal") was done."""
        condition = Q(target_type__in=TARGETS, target_id=term)
        if term.startswith(("usr_", "app_")):
            condition |= Q(actor_id=term)
        elif _ACTION.fullmatch(term):
            condition |= Q(action=term)
        return queryset.filter(condition)

    @admin.display(description="At")
    def when(self, event: AuditEvent) -> str:
        return moment(event.at)

    @admin.display(description="What")
    def target(self, event: AuditEvent) -> str:
        return target_link(target_type=event.target_type, target_id=event.target_id)

    @admin.display(description="Change")
    def changed(self, event: AuditEvent) -> str:
        return change(event.before, event.after) or "-"

    @admin.display(description="By")
    def who(self, event: AuditEvent) -> str:
        return f"{event.actor_label} ({event.actor_kind.lower()})"

    @admin.display(description="Account")
    def by(self, event: AuditEvent) -> str:
        return whole_id(event.actor_id)

    @admin.display(description="Seal")
    def sealed(self, event: AuditEvent) -> str:
        seal = selectors.get_seal(event=event)
        return f"{seal.sequence} · {bytes(seal.hash).hex()[:12]}…" if seal else "not yet"

    @admin.display(description="Request")
    def request_of(self, event: AuditEvent) -> str:
        return whole_id(event.request_id) if event.request_id else "-"
