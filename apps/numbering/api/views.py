"""Sellable numbers, and reservations of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.api.partner import PartnerView
from apps.core.api import etag, pagination, params
from apps.numbering import selectors, services
from apps.numbering.api import serializers
from apps.numbering.models import Reservation
from apps.numbering.selectors import NumberFilter

_FILTERS = {
    "carrier": (re.compile(r"[a-z][a-z0-9_]{0,15}"), "A host carrier's code."),
    "grade": (re.compile("|".join(serializers.GRADES)), "One of: " + ", ".join(serializers.GRADES) + "."),
    "city": (re.compile(r".{1,32}"), "The home city, at most 32 characters."),
    "prefix": (re.compile(r"[0-9]{1,13}"), "1 to 13 digits, counted from the leading 1."),
    "suffix": (re.compile(r"[0-9]{1,13}"), "1 to 13 digits, counted from the end."),
    "contains": (re.compile(r"[0-9]{1,13}"), "1 to 13 digits anywhere in the number."),
    "exclude_digit": (re.compile(r"[0-9]"), "One digit that the number must not have."),
}


class NumbersView(PartnerView):
    scopes: ClassVar = {"GET": "numbers:read"}

    @extend_schema(
        operation_id="numbers_list",
        summary="Numbers that can be sold now, lowest first",
        description="One request looks at so many numbers and no more. When those that match are far apart, a page has"
        " fewer items than `limit`, or none, and still a `next`: go on with it until `next` is null.\n\n"
        "`count=exact` counts all that match. With `suffix`, `contains` or `exclude_digit` it is refused with 400"
        " `count_too_large` when too many numbers would have to be looked at.",
        tags=["numbers"],
        parameters=[
            *(OpenApiParameter(name, str, description=detail) for name, (_, detail) in _FILTERS.items()),
            OpenApiParameter("limit", int, description="1 to 200, 50 when left out."),
            OpenApiParameter("after", str, description="The `next` of the page before."),
            OpenApiParameter("count", str, description="`exact` adds the number of all matches."),
        ],
        responses=serializers.NumberPageSerializer,
    )
    def get(self, request: Request) -> Response:
        filters = params.read(request, allowed=_FILTERS)
        operator_id = self.partner_app.operator_id
        found: Any = selectors.list_sellable_numbers(
            actor=self.actor, operator_id=operator_id, wanted=_wanted(filters), now=self.now
        )
        terms = selectors.get_terms(operator_id=operator_id, now=self.now)
        return pagination.page(
            request,
            found,
            serialize=functools.partial(serializers.number, terms=terms),
            filters=filters,
            key="number",
            descending=False,
        )


class ReservationsView(PartnerView):
    scopes: ClassVar = {"POST": "numbers:write"}

    @extend_schema(
        operation_id="reservations_create",
        summary="Reserve one number, or some of a kind: all of them or none",
        tags=["numbers"],
        request=serializers.ReserveSerializer,
        responses={201: serializers.ReservationSerializer},
    )
    def post(self, request: Request) -> HttpResponse:
        return self.once(request, lambda: self._reserve(request))

    def _reserve(self, request: Request) -> Response:
        shape = serializers.ReserveSerializer(data=request.data)
        shape.is_valid(raise_exception=True)
        made = services.reserve(
            actor=self.actor, operator_id=self.partner_app.operator_id, now=self.now, **shape.validated_data
        )
        headers = {"Location": f"/api/v1/reservations/{made.uid}"}
        return Response(serializers.reservation(made), status=201, headers=headers)


class ReservationView(PartnerView):
    scopes: ClassVar = {"GET": "numbers:read", "DELETE": "numbers:write"}

    @extend_schema(
        operation_id="reservations_get",
        summary="One reservation",
        tags=["numbers"],
        responses=serializers.ReservationSerializer,
    )
    def get(self, request: Request, uid: str) -> Response:
        params.read(request, allowed=())
        return etag.respond(
            request, serializers.reservation(selectors.get_reservation(actor=self.actor, uid=uid))
        )

    @extend_schema(
        operation_id="reservations_release",
        summary="Release it; its numbers are free",
        tags=["numbers"],
        responses={204: None},
    )
    def delete(self, request: Request, uid: str) -> HttpResponse:
        return self.once(request, lambda: self._release(request, uid))

    def _release(self, request: Request, uid: str) -> Response:
        services.release_reservation(
            actor=self.actor, reservation_uid=uid, now=self.now, precondition=_unchanged(request)
        )
        return Response(status=204)


class ReservationExtendView(PartnerView):
    scopes: ClassVar = {"POST": "numbers:write"}

    @extend_schema(
        operation_id="reservations_extend",
        summary="Prolong it, once",
        tags=["numbers"],
        request=serializers.ExtendSerializer,
        responses=serializers.ReservationSerializer,
    )
    def post(self, request: Request, uid: str) -> HttpResponse:
        return self.once(request, lambda: self._extend(request, uid))

    def _extend(self, request: Request, uid: str) -> Response:
        shape = serializers.ExtendSerializer(data=request.data or {})
        shape.is_valid(raise_exception=True)
        extended = services.extend_reservation(
            actor=self.actor,
            reservation_uid=uid,
            now=self.now,
            precondition=_unchanged(request),
            **shape.validated_data,
        )
        return Response(serializers.reservation(extended))


def _wanted(filters: Mapping[str, str]) -> NumberFilter:
    for name, value in filters.items():
        pattern, detail = _FILTERS[name]
        if not pattern.fullmatch(value):
            raise params.bad(name, detail)
    chosen: dict[str, Any] = dict(filters)
    if "grade" in chosen:
        chosen["grade"] = serializers.GRADES[chosen["grade"]]
    return NumberFilter(**chosen)


def _unchanged(request: Request) -> Any:
    """If-Match, asked of the locked row."""

    def check(reservation: Reservation) -> None:
        etag.require_match(request, serializers.reservation(reservation))

    return check
