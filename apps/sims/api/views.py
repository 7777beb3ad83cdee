"""The operator's SIM stock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.api.partner import PartnerView
from apps.core.api import etag, pagination, params
from apps.sims import selectors
from apps.sims.api import serializers
from apps.sims.selectors import SimFilter
from apps.sims.states import FormFactor, SimStatus

_FILTERS = {
    "carrier": (re.compile(r"[a-z][a-z0-9_]{0,15}"), "A host carrier's code."),
    "status": (re.compile("|".join(SimStatus)), "One of: " + ", ".join(SimStatus) + "."),
    "form_factor": (re.compile("|".join(FormFactor)), "One of: " + ", ".join(FormFactor) + "."),
}


class SimsView(PartnerView):
    scopes: ClassVar = {"GET": "sims:read"}

    @extend_schema(
        operation_id="sims_list",
        summary="SIM cards, by ICCID",
        tags=["sims"],
        parameters=[
            *(OpenApiParameter(name, str, description=detail) for name, (_, detail) in _FILTERS.items()),
            OpenApiParameter("limit", int, description="1 to 200, 50 when left out."),
            OpenApiParameter("after", str, description="The `next` of the page before."),
            OpenApiParameter("count", str, description="`exact` adds the number of all matches."),
        ],
        responses=serializers.SimPageSerializer,
    )
    def get(self, request: Request) -> Response:
        filters = params.read(request, allowed=_FILTERS)
        found = selectors.list_sims(actor=self.actor, wanted=_wanted(filters))
        return pagination.page(
            request, found, serialize=serializers.sim, filters=filters, key="iccid", descending=False
        )


class SimView(PartnerView):
    scopes: ClassVar = {"GET": "sims:read"}

    @extend_schema(
        operation_id="sims_get",
        summary="One SIM card, by 19 or 20 characters of its ICCID",
        tags=["sims"],
        responses=serializers.SimSerializer,
    )
    def get(self, request: Request, iccid: str) -> Response:
        params.read(request, allowed=())
        return etag.respond(request, serializers.sim(selectors.get_sim(actor=self.actor, iccid=iccid)))


def _wanted(filters: Mapping[str, str]) -> SimFilter:
    for name, value in filters.items():
        pattern, detail = _FILTERS[name]
        if not pattern.fullmatch(value):
            raise params.bad(name, detail)
    return SimFilter(
        carrier=filters.get("carrier"),
        status=SimStatus(filters["status"]) if "status" in filters else None,
        form_factor=FormFactor(filters["form_factor"]) if "form_factor" in filters else None,
    )
