"""What every page of the admin shares: one's own operator's rows, to look at; changes only through services.

class JobAdmin(TenantAdmin):
    buttons = (Button("retry", "Retry", right="jobs.retry", call=retry, shown=is_dead_letter, asks_reason=True),)

def retry(*, actor, row, reason, now):
    provisioning.retry_job(actor=actor, job=row.uid, reason=reason, now=now)
    return "The job is queued again."
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ORDER_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from apps.accounts.actors import staff_actor
from apps.accounts.admin_display import BoundedPaginator, Panel, badge, change, moment, short_id, whole_id
from apps.accounts.admin_forms import ServiceForm, sentence
from apps.accounts.roles import may_see
from apps.audit import selectors as audit
from apps.core import clock
from apps.core.actor import Actor
from apps.core.errors import DomainError
from apps.core.public_ids import MalformedId, PublicIdField
from apps.operators.models import VirtualOperator

# Newest rows of the audit trail under a row's own page.
TRAIL_ROWS = 20


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that is shown in this one answer and kept nowhere: a new secret, an identity in clear."""

    title: str
    text: str
    # JPEG files.
    images: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def image_addresses(self) -> list[str]:
        """The pictures inside the page itself: there is no address that anybody could ask for again."""
        return [f"data:image/jpeg;base64,{base64.b64encode(image).decode()}" for image in self.images]


# Called as call(actor=, row=, reason=, now=); a text becomes a message, `Shown` a page, None nothing.
ButtonCall = Callable[..., "str | Shown | None"]
# Called as call(actor=, now=, **the form's fields); answers the new row (None: many) and what to say about it.
CreateCall = Callable[..., "tuple[Model | None, str | Shown]"]


def _always(row: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Button:
    """An action on one row: drawn for those who have the right, for rows that `shown` accepts; pressed by POST only.

    Both only spare people a refusal: the service checks right and state itself.
    """

    name: str
    label: str
    right: str
    call: ButtonCall
    shown: Callable[[Any], bool] = _always
    asks_reason: bool = False
    dangerous: bool = False
    # What happens when it is pressed, in a sentence.
    hint: str = ""
    # Asked for on a page of its own before anything happens; its values go to `call` too.
    form: type[ServiceForm] | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """How a row is added: a form, whose values go to a service."""

    right: str
    form: type[ServiceForm]
    call: CreateCall


_PATTERNS = frozenset(
    f"{cased}{name}" for name in ("contains", "startswith", "endswith", "regex") for cased in ("", "i")
)


class _List(ChangeList):
    """Says how many rows it has as exactly as the paginator counted; has one order, which an index gives."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        self.params.pop(ORDER_VAR, None)
        return super().get_ordering(request, queryset)  # type: ignore[no-any-return]

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.full_result_count = self.result_count


class TenantAdmin(ModelAdmin):
    """Lists and pages of the rows visible to the logged-in person; nothing is edited in place.

    The model needs a queryset with `visible_to(actor)` as its default manager. Lists never count or sort a whole table:
    their order is one that an index gives, and a search is for whole ids and what else has an index.
    """

    buttons: ClassVar[tuple[Button, ...]] = ()
    create: ClassVar[Create | None] = None
    # Tables under the fields, and how the audit trail calls this kind of thing ("" when it does not speak of it).
    panels: ClassVar[tuple[Panel, ...]] = ()
    trail: ClassVar[str] = ""
    # Often wanted selections above the list: title and query string.
    shortcuts: ClassVar[tuple[tuple[str, str], ...]] = ()
    # Which rows the list shows as long as nobody selects others: a query string, of a shortcut.
    opens_with: ClassVar[str] = ""
    # What an empty list means.
    empty_sentence: ClassVar[str] = "Nothing here yet."

    change_form_outer_before_template = "accounts/admin/buttons.html"
    change_form_outer_after_template = "accounts/admin/panels.html"
    list_before_template = "accounts/admin/shortcuts.html"
    list_fullwidth = True
    list_per_page = 50
    list_max_show_all = 0
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by: Sequence[str] = ()
    actions = None

    # --- Who sees what ------------------------------------------------------------------------------------------------
    def actor_of(self, request: HttpRequest) -> Actor:
        return staff_actor(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: Any = super().get_queryset(request)
        return queryset.visible_to(self.actor_of(request))  # type: ignore[no-any-return]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """What lists link to; a pattern would be held against every row of tables that have tens of millions."""
        how = lookup.rpartition("__")[2]
        return how not in _PATTERNS and super().lookup_allowed(lookup, value, request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.create is not None and self.actor_of(request).can(self.create.right)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _List

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return self._but_operator(request, super().get_list_display(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return self._but_operator(request, super().get_fields(request, obj))

    def _but_operator(self, request: HttpRequest, names: Iterable[Any]) -> list[Any]:
        """Who has one operator needs not be told which."""
        if self.actor_of(request).operator_id is None:
            return list(names)
        rows = [
            tuple(n for n in name if n != "operator") if isinstance(name, tuple) else name for name in names
        ]
        return [name for name in rows if name not in ("operator", ())]

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """A filter over another tenant-owned table would list other operators' rows by name."""
        filters = list(super().get_list_filter(request))
        return (
            filters
            if self.actor_of(request).operator_id is None
            else [f for f in filters if not self._is_owned(f)]
        )

    def _is_owned(self, entry: Any) -> bool:
        name = entry[0] if isinstance(entry, (list, tuple)) else entry
        if not isinstance(name, str):
            return False
        related = self.model._meta.get_field(name.partition("__")[0]).related_model
        return related is not None and (
            related is VirtualOperator
            or any(field.name == "operator" for field in related._meta.get_fields())
        )

    # --- Columns and fields that many pages have ----------------------------------------------------------------------
    @admin.display(description="Id")
    def row_id(self, row: Any) -> str:
        return short_id(row.uid)

    @admin.display(description="Id")
    def public_id(self, row: Any) -> str:
        return whole_id(row.uid)

    @admin.display(description="Status")
    def state(self, row: Any) -> str:
        return badge(row.status)

    @admin.display(description="Carrier")
    def carrier(self, row: Any) -> str:
        return str(row.host_carrier.code)

    @admin.display(description="Created")
    def created(self, row: Any) -> str:
        return moment(row.created_at)

    # --- Finding ------------------------------------------------------------------------------------------------------
    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (self.search(queryset, term) if term else queryset), False

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """Rows that are meant by this text; here: by their whole public id, else equal in one of `search_fields`."""
        if self._is_public_id(term):
            return queryset.filter(uid=term)
        names = [name for name in self.search_fields if name != "uid"]
        condition = Q(*((name, term) for name in names), _connector=Q.OR)
        return queryset.filter(condition) if names else queryset.none()

    def recognises(self, term: str) -> bool:
        """Whether the text has the form of what rows of this page are called by, so that looking for it is cheap."""
        return self._is_public_id(term)

    def _is_public_id(self, term: str) -> bool:
        field = next((f for f in self.model._meta.concrete_fields if isinstance(f, PublicIdField)), None)
        try:
            return field is not None and field.get_prep_value(term) is not None
        except MalformedId:
            return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The list; a whole public id in the search leads straight to its row."""
        if self.opens_with and not request.GET:
            request.GET = QueryDict(self.opens_with)
        term = request.GET.get("q", "").strip()
        if term and self.has_view_permission(request) and self._is_public_id(term):
            row = self.get_queryset(request).filter(uid=term).first()
            if row is not None:
                return self._to_page_of(row)
        title = capfirst(str(self.model._meta.verbose_name_plural))
        context = {"title": title, "shortcuts": self._shortcuts(request), **(extra_context or {})}
        return super().changelist_view(request, context)

    def _shortcuts(self, request: HttpRequest) -> list[dict[str, Any]]:
        now = {name: value for name, value in request.GET.items() if name not in ("p", "q", "o")}
        return [
            {"title": title, "href": f"?{query}", "active": QueryDict(query).dict() == now}
            for title, query in self.shortcuts
        ]

    # --- A row's own page ---------------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        press = self.admin_site.admin_view(self.press)
        return [
            path("<path:object_id>/do/<slug:name>/", press, name=self._url_name("press")),
            *super().get_urls(),
        ]

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
            actor = self.actor_of(request)
            context["title"] = capfirst(str(self.model._meta.verbose_name))
            context["panels"] = self._filled_panels(request, row)
            context["buttons"] = [
                {
                    "button": button,
                    "url": reverse(f"admin:{self._url_name('press')}", args=(row.pk, button.name)),
                }
                for button in self.buttons
                if actor.can(button.right) and button.shown(row)
            ]
        return super().changeform_view(request, object_id, form_url, context)

    def trail_id(self, row: Any) -> str:
        """What the audit trail calls this row."""
        return str(row.uid)

    def _filled_panels(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        actor = self.actor_of(request)
        filled = [
            {
                "title": panel.title,
                "headers": panel.headers,
                "rows": [tuple(cells) for cells in panel.rows(actor=actor, row=row)],
                "empty": panel.empty,
            }
            for panel in self.panels
        ]
        if self.trail and may_see(request.user.role, "audit"):  # type: ignore[union-attr]
            filled.append(self._trail_panel(actor, row))
        return filled

    def _trail_panel(self, actor: Actor, row: Any) -> dict[str, Any]:
        target = self.trail_id(row)
        events = audit.list_for_target(actor=actor, target_type=self.trail, target_ids=[target])
        return {
            "title": "Audit trail",
            "headers": ("At", "Action", "Change", "By", "Reason"),
            "rows": [
                (
                    moment(event.at),
                    event.action,
                    change(event.before, event.after) or "-",
                    f"{event.actor_label} ({event.actor_kind.lower()})",
                    event.reason or "-",
                )
                for event in events.order_by("-id")[:TRAIL_ROWS]
            ],
            "empty": "Nobody has done anything to it yet.",
            "more": f"{reverse('admin:audit_auditevent_changelist')}?{urlencode({'q': target})}",
        }

    def press(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Calls the service behind a button; a refusal is shown as a message on the row's page."""
        row = self.get_object(request, unquote(object_id))
        button = next((each for each in self.buttons if each.name == name), None)
        if button is not None and request.method not in ("POST", "GET" if button.form else "POST"):
            return HttpResponseNotAllowed(["POST"])
        if row is None or button is None:
            raise Http404
        if not self.has_view_permission(request, row) or not self.actor_of(request).can(button.right):
            raise PermissionDenied
        if button.form is not None:
            return self._ask(request, row, button, button.form)
        reason = request.POST.get("reason", "").strip()
        if button.asks_reason and not reason:
            messages.error(request, "Say why.")
            return self._to_page_of(row)
        try:
            outcome = button.call(actor=self.actor_of(request), row=row, reason=reason, now=clock.now())
        except DomainError as error:
            messages.error(request, sentence(error))
            return self._to_page_of(row)
        return self._answer(request, row, outcome)

    def _ask(self, request: HttpRequest, row: Model, button: Button, ask: type[ServiceForm]) -> HttpResponse:
        form = ask(request.POST or None, request.FILES or None, actor=self.actor_of(request), row=row)
        if request.method == "POST" and form.is_valid():
            fields = {"reason": "", **form.cleaned_data}
            try:
                outcome = button.call(actor=self.actor_of(request), row=row, now=clock.now(), **fields)
            except DomainError as error:
                form.refuse(error)
            else:
                return self._answer(request, row, outcome)
        return self._page(
            request,
            "service_form.html",
            title=f"{button.label}: {row}",
            form=form,
            hint=button.hint,
            verb=button.label,
            back=self._url_of(row),
        )

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if self.create is None or not self.has_add_permission(request):
            raise PermissionDenied
        form = self.create.form(request.POST or None, request.FILES or None, actor=self.actor_of(request))
        if request.method == "POST" and form.is_valid():
            try:
                row, outcome = self.create.call(
                    actor=self.actor_of(request), now=clock.now(), **form.cleaned_data
                )
            except DomainError as error:
                form.refuse(error)
            else:
                return self._answer(request, row, outcome)
        return self._page(
            request, "service_form.html", title=f"Add {self.model._meta.verbose_name}", form=form
        )

    def _answer(self, request: HttpRequest, row: Model | None, outcome: str | Shown | None) -> HttpResponse:
        if isinstance(outcome, Shown):
            response = self._page(
                request, "shown.html", title=outcome.title, shown=outcome, back=self._url_of(row)
            )
            response["Cache-Control"] = "no-store"
            return response
        if outcome:
            messages.success(request, outcome)
        return self._to_page_of(row)

    def _page(self, request: HttpRequest, template: str, *, title: str, **context: Any) -> TemplateResponse:
        everywhere = self.admin_site.each_context(request)
        return TemplateResponse(
            request,
            f"accounts/admin/{template}",
            {**everywhere, "opts": self.model._meta, "title": title, "media": self.media, **context},
        )

    def _to_page_of(self, row: Model | None) -> HttpResponse:
        return redirect(self._url_of(row))

    def _url_of(self, row: Model | None) -> str:
        """Its page, or the list."""
        if row is None:
            return reverse(f"admin:{self._url_name('changelist')}")
        return reverse(f"admin:{self._url_name('change')}", args=(row.pk,))

    def _url_name(self, page: str) -> str:
        return f"{self.model._meta.app_label}_{self.model._meta.model_name}_{page}"


def add_panel(model: type[Model], panel: Panel) -> None:
    """Puts a table of a higher app first on the page of a lower one, which does not know it."""
    page = _page_of(model)
    page.panels = (panel, *page.panels)  # type: ignore[misc]


def add_buttons(model: type[Model], *buttons: Button) -> None:
    """Puts what a higher app can do with a row of a lower one on that one's page."""
    page = _page_of(model)
    page.buttons = (*page.buttons, *buttons)  # type: ignore[misc]


def _page_of(model: type[Model]) -> TenantAdmin:
    page = admin.site.get_model_admin(model)
    if not isinstance(page, TenantAdmin):
        raise TypeError(f"{page} has neither panels nor buttons")
    return page
