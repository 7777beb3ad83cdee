"""Orders and jobs in the admin: the on-call engineer's pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from apps.accounts.admin_base import Button, Create, TenantAdmin, add_buttons, add_panel
from apps.accounts.admin_display import Panel, StateFilter, badge, code, link, moment, target_link, whole_id
from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor
from apps.lines.models import Line
from apps.numbering.numbers import to_e164
from apps.provisioning import selectors, services
from apps.provisioning.admin.changes import LINE_BUTTONS, ChangeForm, change
from apps.provisioning.models import ActivationJob, CarrierCallback, ServiceOrder
from apps.provisioning.states import OPEN_ORDER
from apps.subscribers.models import ReviewCase, Verification


def cancel(*, actor: Actor, row: ServiceOrder, reason: str, now: datetime) -> str:
    services.cancel_order(actor=actor, order=row.uid, reason=reason, now=now)
    return "The order is cancelled, and what it took is free again."


def retry(*, actor: Actor, row: ActivationJob, reason: str, now: datetime) -> str:
    services.retry_job(actor=actor, job=row.uid, reason=reason, now=now)
    return "The job is on its way again, with the same reference."


def done(*, actor: Actor, row: ActivationJob, reason: str, now: datetime) -> str:
    services.resolve_job(actor=actor, job=row.uid, is_done=True, reason=reason, now=now)
    return "The job counts as done, and its order is completed."


def not_done(*, actor: Actor, row: ActivationJob, reason: str, now: datetime) -> str:
    services.resolve_job(actor=actor, job=row.uid, is_done=False, reason=reason, now=now)
    return "The job counts as not done: its order has failed, and what it took is free again."


def is_resolvable(job: ActivationJob) -> bool:
    return job.is_dead_letter and job.told_at is not None


def jobs_of(*, actor: Actor, row: ServiceOrder) -> Iterator[tuple[object, ...]]:
    for job in row.jobs.visible_to(actor).order_by("id"):
        yield (
            link(model="provisioning_activationjob", key=job.pk, text=job.uid),
            job.get_operation_display(),
            badge(job.status),
            job.attempts,
            code(job.error_code),
            moment(job.finished_at),
        )


def steps_of(*, actor: Actor, row: ServiceOrder) -> Iterator[tuple[object, ...]]:
    for step in selectors.get_timelines(actor=actor, order_uids=[row.uid])[row.uid]:
        after = step.after or {}
        yield (
            moment(step.at),
            badge(after["status"]) if "status" in after else step.action,
            ": ".join(filter(None, (after.get("reason"), step.reason))) or "-",
            f"{step.actor_label} ({step.actor_kind.lower()})",
            whole_id(step.request_id) if step.request_id else "-",
        )


def calls_of(*, actor: Actor, row: ActivationJob) -> Iterator[tuple[object, ...]]:
    for attempt in row.attempt_log.order_by("id"):
        yield (
            attempt.get_kind_display(),
            moment(attempt.started_at),
            moment(attempt.finished_at),
            badge(attempt.outcome or "IN_PROGRESS"),
            code(attempt.code),
            attempt.detail or "-",
        )


def _orders(orders: QuerySet[ServiceOrder]) -> Iterator[tuple[object, ...]]:
    for order in orders.order_by("-id"):
        yield (
            link(model="provisioning_serviceorder", key=order.pk, text=order.uid),
            order.get_type_display(),
            badge(order.status),
            code(order.reason),
            moment(order.created_at),
            moment(order.finished_at),
        )


def orders_of_line(*, actor: Actor, row: Line) -> Iterator[tuple[object, ...]]:
    return _orders(selectors.list_orders(actor=actor, line_uid=row.uid))


def orders_of_case(*, actor: Actor, row: ReviewCase) -> Iterator[tuple[object, ...]]:
    return orders_of_check(actor=actor, row=row.verification)


def orders_of_check(*, actor: Actor, row: Verification) -> Iterator[tuple[object, ...]]:
    return _orders(selectors.list_orders(actor=actor).with_person().filter(person=row.subscriber_id))  # type: ignore[attr-defined]


_COLUMNS = ("Order", "Type", "Status", "Reason", "Created", "Finished")
add_buttons(Line, *LINE_BUTTONS)
add_panel(Line, Panel("Orders", _COLUMNS, orders_of_line, "Nothing has been ordered for this line."))
add_panel(
    Verification,
    Panel("Orders of the subscriber", _COLUMNS, orders_of_check, "Nobody has ordered anything."),
)
add_panel(
    ReviewCase,
    Panel("Orders of the subscriber", _COLUMNS, orders_of_case, "Nobody has ordered anything."),
)


def traffic_of(*, actor: Actor, row: CarrierConnection) -> Iterator[tuple[object, ...]]:
    traffic = selectors.get_traffic(connection_id=row.pk)
    yield (
        badge("OPEN" if traffic.is_open else "CLOSED"),
        moment(traffic.changed_at) if traffic.is_open else "-",
        traffic.failures,
        code(traffic.why),
        traffic.in_flight,
        traffic.waiting,
    )


add_panel(
    CarrierConnection,
    Panel(
        "Circuit and calls",
        ("Circuit", "Open since", "Failures in a row", "Last failure", "In flight", "Jobs due"),
        traffic_of,
        "No call has been made over it.",
    ),
)


class OrderedLineAdmin(TenantAdmin):
    """Rows that are about one line: shown with its number and holder, found by whole ids."""

    search_fields = ("uid",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("line__number_assignments")

    def search(self, queryset: Any, term: str) -> Any:
        return queryset.search(term)

    @admin.display(description="Line")
    def line_link(self, row: Any) -> str:
        held = max(row.line.number_assignments.all(), key=lambda each: each.pk, default=None)
        text = to_e164(held.number_id) if held else row.line.uid
        return link(model="lines_line", key=row.line_id, text=text)

    @admin.display(description="Holder")
    def holder(self, row: Any) -> str:
        person = row.line.subscriber
        return link(model="subscribers_subscriber", key=person.pk, text=person.name_masked)

    @admin.display(description="Finished")
    def finished(self, row: Any) -> str:
        return moment(row.finished_at)


@admin.register(ServiceOrder)
class ServiceOrderAdmin(OrderedLineAdmin):
    list_display = (
        "row_id",
        "type",
        "state",
        "why",
        "line_link",
        "holder",
        "external_id",
        "created",
        "operator",
    )
    list_filter = (("status", StateFilter), "type", "operator")
    list_select_related = ("line__subscriber", "operator")
    search_help_text = "A whole order id, line id or external id"
    shortcuts = (
        ("All", ""),
        ("Held", "status__exact=HELD"),
        ("In progress", "status__exact=IN_PROGRESS"),
        ("Failed", "status__exact=FAILED"),
        ("Cancelled", "status__exact=CANCELLED"),
    )
    empty_sentence = "Orders come from partner apps through the REST API, or from staff."
    ordering = ("-uid",)
    fields = (
        ("type", "state"),
        ("line_link", "holder"),
        ("why", "request_reason"),
        ("brings", "note"),
        ("check_link", "held_until"),
        ("created", "due_at"),
        ("finished", "external_id"),
        ("placed_by_label", "placed_by"),
        ("public_id", "operator"),
    )
    panels = (
        Panel(
            "Carrier jobs",
            ("Job", "Operation", "Status", "Attempts", "Error", "Finished"),
            jobs_of,
            "Nothing has been asked of the host carrier yet.",
        ),
        Panel("Timeline", ("At", "Status", "Reason", "By", "Request"), steps_of, "No steps."),
    )
    buttons = (
        Button(
            "cancel",
            "Cancel order",
            right="orders.place",
            call=cancel,
            shown=lambda order: order.status in OPEN_ORDER or order.is_scheduled,
            asks_reason=True,
            dangerous=True,
            hint="Gives back what it took. Not possible once the host carrier was asked.",
        ),
    )
    create = Create(right="orders.place", form=ChangeForm, call=change)

    @admin.display(description="Reason")
    def why(self, order: ServiceOrder) -> str:
        return code(order.reason)

    @admin.display(description="Brings")
    def brings(self, order: ServiceOrder) -> str:
        if order.new_sim is not None:
            return link(model="sims_simcard", key=order.new_sim_id, text=order.new_sim.iccid)
        if order.new_number_id is not None:
            number = to_e164(order.new_number_id)
            return link(model="numbering_phonenumber", key=order.new_number_id, text=number)
        if order.new_holder is not None:
            masked = order.new_holder.name_masked
            return link(model="subscribers_subscriber", key=order.new_holder_id, text=masked)
        if order.new_plan is not None:
            return order.new_plan.name
        return badge(order.suspension_kind) if order.suspension_kind else "-"

    @admin.display(description="Real-name check")
    def check_link(self, order: ServiceOrder) -> str:
        # While it is held it stands on none: then the one it waits for.
        person = order.new_holder or order.line.subscriber
        found = order.verification or person.verifications.order_by("-id").first()
        return link(model="subscribers_verification", key=found.pk, text=found.uid) if found else "-"


class DeadLetterFilter(admin.SimpleListFilter):
    """The engineer's first look: what waits for a person."""

    title = "waits for staff"
    parameter_name = "dead"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "Dead letters")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.dead_letters() if self.value() == "1" else queryset


@admin.register(ActivationJob)
class ActivationJobAdmin(OrderedLineAdmin):
    list_display = (
        "row_id",
        "operation",
        "state",
        "error",
        "attempts",
        "line_link",
        "carrier",
        "created",
        "operator",
    )
    list_filter = (DeadLetterFilter, ("status", StateFilter), "operation", "operator")
    list_select_related = ("connection__host_carrier", "operator", "line__subscriber", "order")
    search_help_text = "A whole job, order or line id, or the carrier's reference"
    shortcuts = (
        ("All", ""),
        ("Dead letters", "dead=1"),
        ("In doubt", "status__exact=IN_DOUBT"),
        ("Queued", "status__exact=QUEUED"),
        ("Accepted", "status__exact=ACCEPTED"),
        ("Failed", "status__exact=FAILED"),
    )
    empty_sentence = "A job appears when an order asks something of a host carrier."
    ordering = ("-uid",)
    fields = (
        ("operation", "state"),
        ("error", "error_detail"),
        ("line_link", "order_link"),
        ("carrier", "next_look"),
        ("attempts", "queries"),
        ("created", "finished"),
        ("our_reference", "carrier_reference"),
        ("public_id", "operator"),
    )
    panels = (
        Panel(
            "Calls to the host carrier",
            ("Call", "Started", "Finished", "Outcome", "Code", "Detail"),
            calls_of,
            "The host carrier has not been called yet.",
        ),
    )
    trail = "job"
    buttons = (
        Button(
            "retry",
            "Retry",
            right="jobs.retry",
            call=retry,
            shown=lambda job: job.is_dead_letter,
            asks_reason=True,
            hint="This job waits for a person. If the host carrier may have got it, it is asked before a new call.",
        ),
        Button(
            "done",
            "Carrier says done",
            right="jobs.retry",
            call=done,
            shown=is_resolvable,
            asks_reason=True,
            hint="Completes the order as if the host carrier had answered yes. Say who there has seen it.",
        ),
        Button(
            "not-done",
            "Carrier says not done",
            right="jobs.retry",
            call=not_done,
            shown=is_resolvable,
            asks_reason=True,
            dangerous=True,
            hint="Fails the order and gives back what it took. Say who at the host carrier has looked.",
        ),
    )

    @admin.display(description="Carrier")
    def carrier(self, job: ActivationJob) -> str:
        return job.connection.host_carrier.code

    @admin.display(description="Error")
    def error(self, job: ActivationJob) -> str:
        kind = f" ({job.failure_kind.lower()})" if job.failure_kind else ""
        return format_html("{}{}", code(job.error_code), kind)

    @admin.display(description="Next look")
    def next_look(self, job: ActivationJob) -> str:
        return moment(None if job.finished_at else job.next_attempt_at)

    @admin.display(description="Order")
    def order_link(self, job: ActivationJob) -> str:
        return link(model="provisioning_serviceorder", key=job.order_id, text=job.order.uid)

    @admin.display(description="Our reference")
    def our_reference(self, job: ActivationJob) -> str:
        return whole_id(job.reference)


@admin.register(CarrierCallback)
class CarrierCallbackAdmin(TenantAdmin):
    """What carriers told us; the odd ones are for people to look at."""

    list_display = ("received", "result", "state", "job_reference", "number", "refusal", "operator")
    list_filter = (("outcome", StateFilter), "operator")
    list_select_related = ("operator",)
    shortcuts = (
        ("All", ""),
        ("Odd", "outcome__in=CONFLICT,UNMATCHED"),
        ("Conflict", "outcome__exact=CONFLICT"),
        ("Unmatched", "outcome__exact=UNMATCHED"),
    )
    empty_sentence = "A callback appears when a host carrier says how an order of ours has ended."
    ordering = ("-id",)
    fields = (
        ("received", "state"),
        ("result", "refusal"),
        ("job_reference", "carrier_reference"),
        ("number", "event_id"),
        ("tries", "operator"),
    )

    @admin.display(description="Received")
    def received(self, callback: CarrierCallback) -> str:
        return moment(callback.received_at)

    @admin.display(description="The carrier says")
    def result(self, callback: CarrierCallback) -> str:
        return badge("SUCCEEDED" if callback.succeeded else "REJECTED")

    @admin.display(description="What we made of it", ordering="outcome")
    def state(self, callback: CarrierCallback) -> str:
        return badge(callback.outcome or "PENDING")

    @admin.display(description="Our reference")
    def job_reference(self, callback: CarrierCallback) -> str:
        return target_link(target_type="job", target_id=callback.reference)

    @admin.display(description="Refusal")
    def refusal(self, callback: CarrierCallback) -> str:
        return code(callback.code)
