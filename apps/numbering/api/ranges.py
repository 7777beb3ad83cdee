"""Leased ranges and their stock."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.api.partner import PartnerView
from apps.core.api import etag, pagination, params
from apps.numbering import selectors
from apps.numbering.api.serializers import GRADES
from apps.numbering.models import NumberRange
from apps.numbering.selectors import Counts, Stock
from apps.numbering.states import RangeStatus

_FILTERS = {
    "status": (re.compile("|".join(RangeStatus)), "One of: " + ", ".join(RangeStatus) + "."),
    "carrier": (re.compile(r"[a-z][a-z0-9_]{0,15}"), "A host carrier's code."),
}
_STATES = ("available", "reserved", "in_use", "quarantined", "withheld")


class CountsSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField(help_text="All of the others together.")
    available = serializers.IntegerField()
    reserved = serializers.IntegerField()
    in_use = serializers.IntegerField()
    quarantined = serializers.IntegerField()
    withheld = serializers.IntegerField()


class GradeCountsSerializer(CountsSerializer):
    grade = serializers.ChoiceField(choices=tuple(GRADES))


class RangeSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    prefix = serializers.CharField(help_text="The leading digits that all its numbers share.")
    digits = serializers.IntegerField(help_text="Of each number: 11, or 13 for machines.")
    carrier = serializers.CharField()
    home_province = serializers.CharField()
    home_city = serializers.CharField()
    status = serializers.ChoiceField(choices=RangeStatus.choices)
    leased_from = serializers.DateField()
    leased_until = serializers.DateField(help_text="The first day on which it is no longer leased.")
    numbers = CountsSerializer()
    grades = GradeCountsSerializer(many=True, help_text="Of each grade that the range has.")
    fill_rate = serializers.FloatField(help_text="The share of its numbers that is in use, from 0 to 1.")
    exhausted_on = serializers.DateField(
        allow_null=True,
        help_text="When its last available number will be gone, at the mean pace of the last 28 days; null when the"
        " available ones do not become fewer, or too little is known.",
    )


class RangePageSerializer(serializers.Serializer[Any]):
    items = RangeSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    count = serializers.IntegerField(required=False, help_text="Only with count=exact.")


class RangesView(PartnerView):
    scopes: ClassVar = {"GET": "numbers:read"}

    @extend_schema(
        operation_id="ranges_list",
        summary="Your leased number ranges and their stock, the last leased first",
        tags=["numbers"],
        parameters=[
            *(OpenApiParameter(name, str, description=detail) for name, (_, detail) in _FILTERS.items()),
            OpenApiParameter("limit", int, description="1 to 200, 50 when left out."),
            OpenApiParameter("after", str, description="The `next` of the page before."),
            OpenApiParameter("count", str, description="`exact` adds the number of all matches."),
        ],
        responses=RangePageSerializer,
    )
    def get(self, request: Request) -> Response:
        filters = params.read(request, allowed=_FILTERS)
        for name, value in filters.items():
            pattern, detail = _FILTERS[name]
            if not pattern.fullmatch(value):
                raise params.bad(name, detail)
        found = selectors.list_ranges(actor=self.actor)
        if "status" in filters:
            found = found.filter(status=filters["status"])
        if "carrier" in filters:
            found = found.filter(host_carrier__code=filters["carrier"])
        return pagination.page(
            request, found, serialize=lambda pair: shown(*pair), filters=filters, prepare=self._with_stock
        )

    def _with_stock(self, rows: list[NumberRange]) -> Iterable[tuple[NumberRange, Stock]]:
        stock = selectors.get_stock(range_ids=[row.pk for row in rows], now=self.now)
        return [(row, stock[row.pk]) for row in rows]


class RangeView(PartnerView):
    scopes: ClassVar = {"GET": "numbers:read"}

    @extend_schema(
        operation_id="ranges_get",
        summary="One leased number range and its stock",
        tags=["numbers"],
        responses=RangeSerializer,
    )
    def get(self, request: Request, uid: str) -> Response:
        params.read(request, allowed=())
        leased = selectors.get_range(actor=self.actor, uid=uid)
        stock = selectors.get_stock(range_ids=[leased.pk], now=self.now)
        return etag.respond(request, shown(leased, stock[leased.pk]))


def shown(leased: NumberRange, stock: Stock) -> dict[str, Any]:
    everything = stock.all
    return {
        "id": leased.uid,
        "prefix": leased.prefix,
        "digits": leased.digits,
        "carrier": leased.host_carrier.code,
        "home_province": leased.home_province,
        "home_city": leased.home_city,
        "status": leased.status,
        "leased_from": leased.leased_from.isoformat(),
        "leased_until": leased.leased_until.isoformat(),
        "numbers": _counts(everything),
        "grades": [{"grade": grade.label, **_counts(counts)} for grade, counts in stock.grades.items()],
        "fill_rate": round(everything.fill, 4),
        "exhausted_on": None if stock.exhausted_on is None else stock.exhausted_on.isoformat(),
    }


def _counts(counts: Counts) -> dict[str, int]:
    return {"total": counts.total, **{name: getattr(counts, name) for name in _STATES}}
