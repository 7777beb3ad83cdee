"""GET /plans, /lines, /lines/{id}; POST /lines/{id}/actual-user, /holder-checks."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.api.partner import PartnerView
from apps.core.api import etag, params
from apps.core.api.pagination import page
from apps.lines import selectors, services
from apps.lines.api.serializers import (
    ActualUserInputSerializer,
    HolderCheckRequestSerializer,
    HolderCheckSerializer,
    LineListSerializer,
    LineSerializer,
    PlanListSerializer,
    question,
    show_holder_check,
    show_line,
    show_plan,
)
from apps.lines.models import Line
from apps.lines.services.holder_checks import Question
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


class HolderChecksView(PartnerView):
    scopes = {"POST": "subscribers:read"}

    @extend_schema(
        operation_id="holder_checks_ask",
        request=HolderCheckRequestSerializer,
        responses={201: HolderCheckSerializer},
        tags=["holder-checks"],
    )
    def post(self, request: Request) -> HttpResponse:
        """Which numbers of your operator are in a person's name: how many, and their last four digits.

        Ask when the person stands before you: your app has had them verified (`POST /subscribers/{id}/verifications`),
        not longer ago than the operator's policy says (a day, when it says nothing). Otherwise the status is
        `NOT_VERIFIED`, for people whom the operator knows and for others alike. Each question counts against a limit of
        your app and one of the document (`rate_limited`), a repeated one too, and is written down.
        """
        given = HolderCheckRequestSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        asked = question(given.validated_data)
        # Not in the transaction that `once` opens: it is counted whatever comes of it.
        services.require_allowance(
            actor=self.actor, operator_id=self.partner_app.operator_id, question=asked, now=self.now
        )
        return self.once(request, lambda: self._ask(asked))

    def _ask(self, asked: Question) -> Response:
        check = services.ask_for_holdings(
            actor=self.actor, operator_id=self.partner_app.operator_id, question=asked, now=self.now
        )
        return Response(show_holder_check(check, selectors.list_told_numbers(check=check)), status=201)


class LineActualUserView(PartnerView):
    scopes = {"POST": "orders:write"}

    @extend_schema(
        operation_id="lines_change_actual_user",
        request=ActualUserInputSerializer,
        responses=LineSerializer,
        tags=["lines"],
    )
    def post(self, request: Request, uid: str) -> HttpResponse:
        """Somebody else uses this line of an organization; the host carrier is not asked, so it is done at once."""
        given = ActualUserInputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return self.once(request, lambda: self._change(uid, given.validated_data))

    def _change(self, uid: str, data: dict[str, Any]) -> Response:
        line = services.change_actual_user(actor=self.actor, line=uid, now=self.now, **data)
        return Response(show_line(line, selectors.get_fittings(line_ids=[line.pk])[line.pk]))
