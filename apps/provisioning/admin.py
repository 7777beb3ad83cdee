"""Orders, jobs and callbacks in the admin: the on-call engineer's pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from apps.accounts.admin_base import Button, TenantAdmin, link, table
from apps.core.actor import Actor
from apps.provisioning import selectors, services
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.provisioning.states import JobStatus, OrderStatus

ORDER_COLOURS = {
    OrderStatus.ACKNOWLEDGED.value: "info",
    OrderStatus.HELD.value: "warning",
    OrderStatus.IN_PROGRESS.value: "info",
    OrderStatus.COMPLETED.value: "success",
    OrderStatus.FAILED.value: "danger",
    OrderStatus.CANCELLED.value: "danger",
}
JOB_COLOURS = {
    JobStatus.QUEUED.value: "info",
    JobStatus.SENDING.value: "info",
    JobStatus.ACCEPTED.value: "info",
    JobStatus.IN_DOUBT.value: "warning",
    JobStatus.SUCCEEDED.value: "success",
    JobStatus.FAILED.value: "danger",
}


def cancel(*, actor: Actor, row: ServiceOrder, reason: str, now: datetime) -> str:
    services.cancel_order(actor=actor, order=row.uid, now=now)
    return "The order is cancelled, and what it took is free again."


def retry(*, actor: Actor, row: ActivationJob, reason: str, now: datetime) -> str:
    services.retry_job(actor=actor, job=row.uid, reason=reason, now=now)
    return "The job is queued again with the same reference."


class WholeIdSearch(TenantAdmin):
    """Finds rows by whole ids only: they are what people paste, and each has an index."""

    search_fields = ("uid",)

    @display(description="Id")
    def public_id(self, row: Any) -> str:
        return str(row.uid)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return (queryset.search(search_term.strip()) if search_term.strip() else queryset), False


@admin.register(ServiceOrder)
class ServiceOrderAdmin(WholeIdSearch):
    list_display = (
        "public_id",
        "type",
        "state",
        "reason",
        "line_link",
        "external_id",
        "created_at",
        "operator",
    )
    list_filter = ("status", "type", "operator")
    list_select_related = ("line", "operator")
    search_help_text = "A whole order id, line id or external id"
    ordering = ("-id",)
    fields = (
        "public_id",
        "type",
        "state",
        "reason",
        "line_link",
        "operator",
        "external_id",
        "placed_by",
        "created_at",
        "held_until",
        "finished_at",
        "jobs_of_order",
        "timeline",
    )
    readonly_fields = fields
    buttons = (
        Button(
            "cancel",
            "Cancel order",
            right="orders.place",
            call=cancel,
            shown=lambda order: order.status in (OrderStatus.HELD, OrderStatus.IN_PROGRESS),
            dangerous=True,
        ),
    )

    @display(description="Status", label=ORDER_COLOURS, ordering="status")
    def state(self, order: ServiceOrder) -> str:
        return order.status

    @display(description="Line")
    def line_link(self, order: ServiceOrder) -> str:
        return link(model="lines_line", key=order.line_id, text=order.line.uid)

    @display(description="Jobs")
    def jobs_of_order(self, order: ServiceOrder) -> str:
        return table(
            ("Job", "Operation", "Status", "Attempts", "Error"),
            (
                (
                    link(model="provisioning_activationjob", key=job.pk, text=job.uid),
                    job.operation,
                    job.status,
                    job.attempts,
                    job.error_code,
                )
                for job in order.jobs.order_by("id")
            ),
        )

    @display(description="Timeline")
    def timeline(self, order: ServiceOrder) -> str:
        # Whoever may see the order may see its steps.
        reader = Actor.system("admin", operator_id=order.operator_id)
        steps = selectors.get_timelines(actor=reader, order_uids=[order.uid])[order.uid]
        return table(
            ("At", "Status", "By", "Reason", "Request"),
            (
                (
                    step.at,
                    (step.after or {}).get("status", ""),
                    f"{step.actor_label} ({step.actor_kind.lower()})",
                    (step.after or {}).get("reason", ""),
                    step.request_id,
                )
                for step in steps
            ),
        )


class DeadLetterFilter(admin.SimpleListFilter):
    """The engineer's first look: what waits for a person."""

    title = "waits for staff"
    parameter_name = "dead"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "Dead letters")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.dead_letters() if self.value() == "1" else queryset


@admin.register(ActivationJob)
class ActivationJobAdmin(WholeIdSearch):
    list_display = (
        "public_id",
        "operation",
        "state",
        "attempts",
        "error_code",
        "carrier",
        "next_attempt_at",
        "created_at",
        "operator",
    )
    list_filter = (DeadLetterFilter, "status", "operation", "operator")
    list_select_related = ("connection__host_carrier", "operator", "line", "order")
    search_help_text = "A whole job, order or line id, or the carrier's reference"
    ordering = ("-id",)
    fields = (
        "public_id",
        "operation",
        "state",
        "failure_kind",
        "error_code",
        "error_detail",
        "order_link",
        "line_link",
        "carrier",
        "carrier_reference",
        "attempts",
        "queries",
        "next_attempt_at",
        "last_sent_at",
        "created_at",
        "finished_at",
        "operator",
        "attempts_made",
    )
    readonly_fields = fields
    buttons = (
        Button(
            "retry",
            "Retry",
            right="jobs.retry",
            call=retry,
            shown=lambda job: job.is_dead_letter,
            asks_reason=True,
        ),
    )

    @display(description="Status", label=JOB_COLOURS, ordering="status")
    def state(self, job: ActivationJob) -> str:
        return job.status

    @display(description="Carrier")
    def carrier(self, job: ActivationJob) -> str:
        return job.connection.host_carrier.code

    @display(description="Order")
    def order_link(self, job: ActivationJob) -> str:
        return link(model="provisioning_serviceorder", key=job.order_id, text=job.order.uid)

    @display(description="Line")
    def line_link(self, job: ActivationJob) -> str:
        return link(model="lines_line", key=job.line_id, text=job.line.uid)

    @display(description="Calls to the carrier")
    def attempts_made(self, job: ActivationJob) -> str:
        return table(
            ("Call", "Started", "Finished", "Outcome", "Code", "Detail"),
            (
                (
                    attempt.kind,
                    attempt.started_at,
                    attempt.finished_at or "",
                    attempt.outcome or "in flight",
                    attempt.code,
                    attempt.detail,
                )
                for attempt in job.attempt_log.order_by("id")
            ),
        )
