"""How things look in the admin, the same on every page: states, ids, moments, links, tables under a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

# One colour for one word, whatever the thing.
_TONES = {
    # As it should be.
    "success": (
        "ACTIVE ANSWERED APPLIED APPROVED AVAILABLE CLOSED COMPLETED IN_STOCK LIVE PASS PASSED"
        " PASSED_FRESH REPAIRED RESOLVED SUCCEEDED VALID"
    ),
    # On its way, or taken: nobody has to do anything.
    "info": (
        "ACCEPTED ACKNOWLEDGED BOUND COMPARING FETCHING IN_PROGRESS IN_USE NOT_YET_VALID PENDING PLANNED QUEUED"
        " RESERVED RUNNING SENDING TEST"
    ),
    # Waits for time or for somebody.
    "warning": (
        "EXPIRED HELD IN_DOUBT NOT_COVERED NOT_FOUND NOT_SENT ONE_WAY OPEN PREVIEWED QUARANTINED REQUESTED"
        " RETURNING REVIEW STOPPED SUSPENDED UNAVAILABLE UNKNOWN VERIFYING WARNED"
    ),
    # Refused, broken, forbidden.
    "danger": (
        "CONFLICT FAIL FAILED INVALID LISTED LOCKED_OUT LOST MISCONFIGURED NONE NOT_VERIFIED REFUSED REJECTED"
        " REVOKED TWO_WAY UNMATCHED WITHHELD"
    ),
    # Over, and nothing is wrong with it.
    "default": (
        "CANCELLED CONSUMED DISCARDED DISCONNECTED DROPPED ENDED FENCED GONE IGNORED LIFTED NOT_RUN OVERTAKEN"
        " RELEASED REPEATED RETIRED RETURNED SKIPPED TERMINATED WITHDRAWN"
    ),
}
TONES = {word: tone for tone, words in _TONES.items() for word in words.split()}

# Where the things are that the audit trail speaks of, as "app_model"; their lists find them by whole ids.
TARGETS = {
    "access_code": "operators_accesscode",
    "agreement": "operators_wholesaleagreement",
    "bulk_run": "numbering_bulkrun",
    "carrier_connection": "carriers_carrierconnection",
    "dealer": "operators_dealer",
    "discrepancy": "provisioning_discrepancy",
    "document_type": "operators_documenttype",
    "grade_policy": "numbering_gradepolicy",
    "grade_rule": "numbering_graderule",
    "early_release": "numbering_earlyrelease",
    "holder_check": "lines_holdercheck",
    "holder_dispute": "provisioning_holderdispute",
    "host_carrier": "operators_hostcarrier",
    "identity_document": "subscribers_identitydocument",
    "representative": "subscribers_representative",
    "job": "provisioning_activationjob",
    "licence": "operators_licence",
    "line": "lines_line",
    "notice_template": "subscribers_noticetemplate",
    "number_range": "numbering_numberrange",
    "operator": "operators_virtualoperator",
    "order": "provisioning_serviceorder",
    "partner_app": "accounts_partnerapp",
    "phone_number": "numbering_phonenumber",
    "plan": "lines_plan",
    "policy": "operators_policy",
    "reconciliation": "provisioning_reconciliationrun",
    "reservation": "numbering_reservation",
    "reverification_demand": "subscribers_reverificationdemand",
    "sim_batch": "sims_simbatch",
    "sim_card": "sims_simcard",
    "stock": "numbering_rangestock",
    "subscriber": "subscribers_subscriber",
    "user": "accounts_user",
    "verification": "subscribers_verification",
    "watch_list_entry": "subscribers_watchlistentry",
    "watch_list_file": "subscribers_watchlistfile",
}

_PUBLIC_ID = re.compile(r"[a-z]+_[0-9a-z]{26}")


def badge(word: str, *, beside: str = "") -> str:
    """A state as the API writes it, in its colour; `beside` is said with it ("SUSPENDED one-way")."""
    return render_to_string(
        "unfold/helpers/label.html",
        {"text": f"{word} {beside}".strip(), "type": TONES.get(word, "default"), "size": "md"},
    )


def whole_id(text: str) -> str:
    """An id to copy: one click marks all of it, and it is never broken over two lines."""
    return format_html('<span class="kaihu-id">{}</span>', text)


def short_id(text: str) -> str:
    """A public id for a column: its kind and its random end; the whole of it under the pointer."""
    prefix, _, rest = text.rpartition("_")
    return format_html('<span class="kaihu-id" title="{}">{}_…{}</span>', text, prefix, rest[-8:])


def code(text: str) -> str:
    """A stable code; a narrow column breaks it between its words."""
    return format_html_join(mark_safe("_<wbr>"), "{}", ((word,) for word in text.split("_"))) if text else "-"


def moment(value: datetime | None) -> str:
    """To the second, in the zone of the admin, on one line."""
    return whole_id(f"{timezone.localtime(value):%Y-%m-%d %H:%M:%S}") if value else "-"


def link(*, model: str, key: object, text: str) -> str:
    """A link to another row's page; `model` is "app_model"."""
    return format_html(
        '<a href="{}" class="kaihu-link">{}</a>', reverse(f"admin:{model}_change", args=[key]), text
    )


def list_link(*, model: str, text: str, **query: str) -> str:
    """A link to a list, filtered or searched (`q`)."""
    address = f"{reverse(f'admin:{model}_changelist')}?{urlencode(query)}"
    return format_html('<a href="{}" class="kaihu-link">{}</a>', address, text)


def target_link(*, target_type: str, target_id: str) -> str:
    """A link to what an audit row speaks of, by a short id when it has a public one; plain text when it has no page."""
    model = TARGETS.get(target_type)
    shown = short_id(target_id) if _PUBLIC_ID.fullmatch(target_id) else target_id
    return list_link(model=model, text=shown, q=target_id) if model else shown


def change(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """What an audit row changed, as "status: HELD → IN_PROGRESS"."""
    old, new = ({name: _plain(value) for name, value in (each or {}).items()} for each in (before, after))
    return "; ".join(
        f"{name}: {old[name]} → {new.get(name, '-')}" if name in old else f"{name}: {new[name]}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    )


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass(frozen=True, slots=True)
class Panel:
    """A table under the fields of a row: what belongs to it.

    `rows` is called as rows(actor=, row=); each row of the table has one cell per header. `empty` is shown without any.
    """

    title: str
    headers: tuple[str, ...]
    rows: Callable[..., Iterable[Sequence[object]]]
    empty: str


class StateFilter(admin.ChoicesFieldListFilter):
    """By a field with choices, in the words of the API rather than in their labels."""

    def choices(self, changelist: Any) -> Any:
        everything, *each = super().choices(changelist)
        yield everything
        for choice, (value, _) in zip(each, self.field.flatchoices, strict=True):
            yield {**choice, "display": value} if isinstance(value, str) else choice


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # cannot be subscripted at run time
    """Counts to a thousand and no further: a list is looked through by search and filters, and the tables are large."""

    MOST = 1000
    template_name = "accounts/admin/pagination.html"

    @cached_property
    def count(self) -> int:
        """How many rows there are; MOST + 1 says that there are more than MOST."""
        rows = self.object_list
        return rows.order_by()[: self.MOST + 1].count() if isinstance(rows, QuerySet) else len(rows)

    @property
    def has_more(self) -> bool:
        return self.count > self.MOST

    @cached_property
    def num_pages(self) -> int:
        return max(1, -(-min(self.count, self.MOST) // self.per_page))
