"""GET /plans, /lines, /lines/{id}."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.api.partner import PartnerView
from apps.core.api import etag, params
from apps.core.api.pagination import page
from apps.lines import selectors
from apps.lines.api.serializers import (
    LineListSerializer,
    LineSerializer,
    PlanListSerializer,
    show_line,
    show_plan,
)
from apps.lines.models import Line
from apps.lines.states import LineStatus


class PlanListView(PartnerView):
    scopes = {"GET": "orders:read"}

    @extend_schema(
        operation_id="plans_list",
        responses=PlanListSerializer,
        parameters=[OpenApiParameter("carrier", str)],
        tags=["plans"],
    )
    def get(self, request: Request) -> Response:
        """What can be ordered now."""
        filters = params.read(request, {"carrier"})
        plans = selectors.list_plans(actor=self.actor, carrier=filters.get("carrier"))
        return page(request, plans, serialize=show_plan, filters=filters, descending=False)


class LineListView(PartnerView):
    scopes = {"GET": "lines:read"}

    @extend_schema(
        operation_id="lines_list",
        responses=LineListSerializer,
        parameters=[
            OpenApiParameter("status", str, enum=LineStatus.values),
            OpenApiParameter("subscriber", str),
        ],
        tags=["lines"],
    )
    def get(self, request: Request) -> Response:
        """Your operator's lines, newest first."""
        filters = params.read(request, {"status", "subscriber"})
        status = filters.get("status")
        if status is not None and status not in LineStatus.values:
            raise params.bad("status", f"One of {', '.join(LineStatus.values)}.")
        lines = selectors.list_lines(
            actor=self.actor, status=status, subscriber_uid=filters.get("subscriber")
        )

        def with_fittings(rows: list[Line]) -> list[tuple[Line, selectors.Fittings]]:
            fittings = selectors.get_fittings(line_ids=[line.pk for line in rows])
            return [(line, fittings[line.pk]) for line in rows]

        return page(
            request, lines, serialize=lambda pair: show_line(*pair), filters=filters, prepare=with_fittings
        )


class LineView(PartnerView):
    scopes = {"GET": "lines:read"}

    @extend_schema(operation_id="lines_get", responses=LineSerializer, tags=["lines"])
    def get(self, request: Request, uid: str) -> Response:
        """One line, with an ETag."""
        params.read(request, ())
        line = selectors.get_line(actor=self.actor, uid=uid)
        return etag.respond(request, show_line(line, selectors.get_fittings(line_ids=[line.pk])[line.pk]))
