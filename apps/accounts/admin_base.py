"""What every page of the admin shares: one's own operator's rows, to look at; changes only through services.

class JobAdmin(TenantAdmin):
    buttons = (Button("retry", "Retry", right="jobs.retry", call=retry, shown=is_dead_letter, asks_reason=True),)

def retry(*, actor, row, reason, now):
    provisioning.retry_job(actor=actor, job=row.uid, reason=reason, now=now)
    return "The job is queued again."
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import ModelAdmin

from apps.accounts.actors import staff_actor
from apps.accounts.admin_forms import ServiceForm
from apps.core import clock
from apps.core.actor import Actor
from apps.core.errors import DomainError
from apps.operators.models import VirtualOperator


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that is shown in this one answer and kept nowhere: a new secret, an identity in clear."""

    title: str
    text: str


# Called as call(actor=, row=, reason=, now=); a text becomes a message, `Shown` a page, None nothing.
ButtonCall = Callable[..., "str | Shown | None"]
# Called as call(actor=, now=, **the form's fields); answers the new row and what to say about it.
CreateCall = Callable[..., "tuple[Model, str | Shown]"]


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


@dataclass(frozen=True, slots=True)
class Create:
    """How a row is added: a form, whose values go to a service."""

    right: str
    form: type[ServiceForm]
    call: CreateCall


class TenantAdmin(ModelAdmin):
    """Lists and pages of the rows visible to the logged-in person; nothing is edited in place.

    The model needs a queryset with `visible_to(actor)` as its default manager.
    """

    buttons: ClassVar[tuple[Button, ...]] = ()
    create: ClassVar[Create | None] = None
    change_form_outer_before_template = "accounts/admin/buttons.html"
    list_per_page = 50
    show_full_result_count = False
    actions = None

    def actor_of(self, request: HttpRequest) -> Actor:
        return staff_actor(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: Any = super().get_queryset(request)
        return queryset.visible_to(self.actor_of(request))  # type: ignore[no-any-return]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.create is not None and self.actor_of(request).can(self.create.right)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Who has one operator needs no column for it."""
        columns = list(super().get_list_display(request))
        return (
            columns if self.actor_of(request).operator_id is None else [c for c in columns if c != "operator"]
        )

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
        if row is not None:
            actor = self.actor_of(request)
            context["buttons"] = [
                {
                    "button": button,
                    "url": reverse(f"admin:{self._url_name('press')}", args=(row.pk, button.name)),
                }
                for button in self.buttons
                if actor.can(button.right) and button.shown(row)
            ]
        return super().changeform_view(request, object_id, form_url, context)

    def press(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Calls the service behind a button; a refusal is shown as a message on the row's page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.get_object(request, unquote(object_id))
        button = next((each for each in self.buttons if each.name == name), None)
        if row is None or button is None:
            raise Http404
        if not self.has_view_permission(request, row) or not self.actor_of(request).can(button.right):
            raise PermissionDenied
        reason = request.POST.get("reason", "").strip()
        if button.asks_reason and not reason:
            messages.error(request, "Say why.")
            return self._to_page_of(row)
        try:
            outcome = button.call(actor=self.actor_of(request), row=row, reason=reason, now=clock.now())
        except DomainError as error:
            messages.error(request, _sentence(error))
            return self._to_page_of(row)
        return self._answer(request, row, outcome)

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
                form.add_error(None, _sentence(error))
            else:
                return self._answer(request, row, outcome)
        return self._page(
            request, "service_form.html", title=f"Add {self.model._meta.verbose_name}", form=form
        )

    def _answer(self, request: HttpRequest, row: Model, outcome: str | Shown | None) -> HttpResponse:
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

    def _to_page_of(self, row: Model) -> HttpResponse:
        return redirect(self._url_of(row))

    def _url_of(self, row: Model) -> str:
        return reverse(f"admin:{self._url_name('change')}", args=(row.pk,))

    def _url_name(self, page: str) -> str:
        return f"{self.model._meta.app_label}_{self.model._meta.model_name}_{page}"


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows of something that belongs to the row of the page, or "" for none; moments are shown to the second."""
    shown = [[_cell(value) for value in row] for row in rows]
    return render_to_string("accounts/admin/table.html", {"headers": headers, "rows": shown}) if shown else ""


def link(*, model: str, key: object, text: str) -> str:
    """A link to another row's page; `model` is "app_model"."""
    return format_html(
        '<a href="{}" class="underline">{}</a>', reverse(f"admin:{model}_change", args=[key]), text
    )


def _cell(value: object) -> object:
    return f"{timezone.localtime(value):%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value


def _sentence(error: DomainError) -> str:
    details = "; ".join(f"{each.pointer.strip('/')}: {each.detail}" for each in error.errors)
    return f"{error.detail} ({details})" if details else error.detail
