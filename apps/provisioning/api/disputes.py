"""POST /holder-checks/{id}/disputes, GET /holder-disputes, GET /holder-disputes/{id}."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.api.partner import PartnerView
from apps.core.api import etag, params
from apps.core.api.formats import timestamp
from apps.core.api.pagination import page
from apps.core.api.serializers import StrictSerializer
from apps.core.masking import last_four
from apps.lines import selectors as line_selectors
from apps.lines.selectors import Fittings
from apps.provisioning import selectors, services
from apps.provisioning.models import HolderDispute
from apps.provisioning.states import DisputeOutcome, DisputeStatus

OUTCOMES = [outcome.lower() for outcome in DisputeOutcome.values]
TAGS = ["holder-checks"]


class DisputeRequestSerializer(StrictSerializer):
    item = serializers.IntegerField(min_value=1, help_text="Of `numbers` in the answer of the holder check.")
    statement = serializers.CharField(
        min_length=5,
        max_length=500,
        help_text="What the person says, without names and numbers of people; staff read it.",
    )


class DisputeSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.ChoiceField(choices=DisputeStatus.choices)
    outcome = serializers.ChoiceField(choices=OUTCOMES, allow_null=True, help_text="When it is RESOLVED.")
    number = serializers.CharField(help_text="Its last four digits.")
    holder_check = serializers.CharField(allow_null=True, help_text="null when staff opened it.")
    opened_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField(help_text="By then it has to be decided.")
    decided_at = serializers.DateTimeField(allow_null=True)


class DisputeListSerializer(serializers.Serializer[Any]):
    items = DisputeSerializer(many=True)
    next = serializers.CharField(allow_null=True)


def show_dispute(row: HolderDispute, fittings: Fittings) -> dict[str, Any]:
    return {
        "id": row.uid,
        "status": row.status,
        "outcome": row.outcome.lower() or None,
        "number": last_four(str(fittings.number)),
        "holder_check": row.holder_check.uid if row.holder_check else None,
        "opened_at": timestamp(row.opened_at),
        "due_at": timestamp(row.due_at),
        "decided_at": timestamp(row.decided_at),
    }


class DisputeTheNumberView(PartnerView):
    scopes = {"POST": "subscribers:write"}

    @extend_schema(
        operation_id="holder_disputes_open",
        request=DisputeRequestSerializer,
        responses={201: DisputeSerializer},
        tags=TAGS,
    )
    def post(self, request: Request, uid: str) -> HttpResponse:
        """A person who was just told their numbers says that one of them is not theirs; the operator's staff decide.

        The holder check has to be one of your app's own, and recent (`holder_check_expired`).
        """
        # Whose it would be, before the body is looked at.
        line_selectors.get_holder_check(actor=self.actor, uid=uid)
        given = DisputeRequestSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return self.once(request, lambda: self._open(uid, given.validated_data))

    def _open(self, uid: str, data: dict[str, Any]) -> Response:
        row = services.dispute_told_number(
            actor=self.actor,
            holder_check=uid,
            item=data["item"],
            statement=data["statement"],
            now=self.now,
        )
        location = f"/api/v1/holder-disputes/{row.uid}"
        return Response(_shown([row])[0], status=201, headers={"Location": location})


class DisputeListView(PartnerView):
    scopes = {"GET": "subscribers:read"}

    @extend_schema(
        operation_id="holder_disputes_list",
        responses=DisputeListSerializer,
        parameters=[OpenApiParameter("status", str, enum=DisputeStatus.values)],
        tags=TAGS,
    )
    def get(self, request: Request) -> Response:
        """Your operator's disputes about whose a line is, newest first."""
        filters = params.read(request, {"status"})
        status = filters.get("status")
        if status is not None and status not in DisputeStatus.values:
            raise params.bad("status", f"One of {', '.join(DisputeStatus.values)}.")
        disputes = selectors.list_disputes(actor=self.actor, status=status)
        return page(request, disputes, serialize=lambda shown: shown, filters=filters, prepare=_shown)


class DisputeView(PartnerView):
    scopes = {"GET": "subscribers:read"}

    @extend_schema(operation_id="holder_disputes_get", responses=DisputeSerializer, tags=TAGS)
    def get(self, request: Request, uid: str) -> Response:
        """One dispute, with an ETag."""
        params.read(request, ())
        return etag.respond(request, _shown([selectors.get_dispute(actor=self.actor, uid=uid)])[0])


def _shown(rows: list[HolderDispute]) -> list[dict[str, Any]]:
    fittings = line_selectors.get_fittings(line_ids=[row.line_id for row in rows])
    return [show_dispute(row, fittings[row.line_id]) for row in rows]
