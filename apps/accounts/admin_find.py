"""The search over all pages (Ctrl+K): somebody pastes a number, an ICCID or any id and is led to its page."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from unfold.dataclasses import SearchResult

from apps.accounts.admin_base import TenantAdmin

# Of one kind: a number may have had many lines.
MOST = 5


def find(request: HttpRequest, term: str) -> list[SearchResult]:
    """Hook of the admin's theme: rows that are meant by `term`, as far as the person may open their pages."""
    found = []
    for model, page in admin.site._registry.items():
        if not (
            isinstance(page, TenantAdmin) and page.recognises(term) and page.has_view_permission(request)
        ):
            continue
        rows = page.search(page.get_queryset(request), term)
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        found += [
            SearchResult(
                title=str(row),
                description=str(capfirst(model._meta.verbose_name)),
                link=reverse(f"admin:{name}_change", args=[row.pk]),
                icon="arrow_outward",
            )
            for row in rows.order_by()[:MOST]
        ]
    return found
