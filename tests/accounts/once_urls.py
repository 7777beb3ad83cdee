"""Our own addresses plus one resource made for tests: each call has one effect, `once`."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from django.urls import path
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.api.partner import PartnerView
from apps.accounts.models import User
from apps.accounts.states import Role
from apps.core.api.serializers import StrictSerializer
from apps.core.errors import Busy, Conflict, RuleViolation
from config import urls as real

handler400, handler403, handler404, handler500 = (
    real.handler400,
    real.handler403,
    real.handler404,
    real.handler500,
)


class Body(StrictSerializer):
    name = serializers.CharField(max_length=20)
    then = serializers.ChoiceField(
        choices=["raise", "conflict", "busy", "return_422", "nothing"], default="nothing"
    )
    size = serializers.IntegerField(required=False)


class Refused(RuleViolation):
    code = "refused_for_tests"


class EffectView(PartnerView):
    """Each run of the action adds one user row, which tests count."""

    scopes: ClassVar = {"POST": "numbers:write", "GET": "numbers:read", "DELETE": "numbers:write"}
    # Set by the test of concurrent requests: the action waits inside its transaction until the test lets it go on.
    entered: ClassVar[threading.Event | None] = None
    leave: ClassVar[threading.Event | None] = None

    def get(self, request: Any) -> Response:
        return Response({"ok": True})

    def post(self, request: Any) -> Any:
        serializer = Body(data=request.data)
        serializer.is_valid(raise_exception=True)
        return self.once(request, lambda: self._act(serializer.validated_data))

    def delete(self, request: Any) -> Any:
        return self.once(request, lambda: Response(status=204))

    def _act(self, data: dict[str, Any]) -> Response:
        count = User.objects.count()
        User.objects.create(
            username=f"effect-{count}",
            role=Role.SUPPORT,
            operator_id=self.partner_app.operator_id,
            date_joined=self.now,
        )
        if self.entered is not None and self.leave is not None:
            self.entered.set()
            assert self.leave.wait(timeout=20)
        match data["then"]:
            case "raise":
                raise ZeroDivisionError("a crash in the middle")
            case "conflict":
                raise Conflict("Not now.")
            case "busy":
                raise Busy
            case "return_422":
                return Response({"code": "returned"}, status=422)
        return Response(
            {"effect": count, "name": data["name"], "中": "文"}, status=201, headers={"Location": "/x/1"}
        )


urlpatterns = [
    path("api/v1/effects", EffectView.as_view()),
    path("api/v1/other-effects", EffectView.as_view()),
    *real.urlpatterns,
]
