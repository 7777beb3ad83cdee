"""`GET /me`: what a partner's token is worth."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.api import serializers
from apps.accounts.api.partner import PartnerView
from apps.core.api import etag, params
from apps.operators import selectors as operators


class MeView(PartnerView):
    scopes: ClassVar = {"GET": None}

    @extend_schema(
        operation_id="me", summary="App, operator, mode, scopes, licence and agreements", tags=["accounts"]
    )
    @extend_schema(responses=serializers.MeSerializer)
    def get(self, request: Request) -> Response:
        params.read(request, allowed=())
        operator_id = self.partner_app.operator_id
        data = serializers.me(
            self.partner_app,
            scopes=self.actor.capabilities,
            licence=operators.get_licence_state(operator_id=operator_id, now=self.now),
            agreements=operators.list_agreement_states(operator_id=operator_id, now=self.now),
        )
        return etag.respond(request, data)
