"""Addresses made for tests: the manners of core without any app above it. Nobody has to log in here."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core import errors
from apps.core.api import etag, health, params
from apps.core.api.pagination import page
from apps.core.api.problems import ApiError
from apps.core.api.serializers import StrictSerializer
from apps.core.errors import FieldError
from apps.events.models import OutboxEvent
from config import urls as real

handler400, handler403, handler404, handler500 = (
    real.handler400,
    real.handler403,
    real.handler404,
    real.handler500,
)

SECRET = "a local variable of the crash"


class DoorClosed(errors.RuleViolation):
    code = "door_closed"
    detail = "The door is closed."


class Nameless(errors.DomainError):
    """Of no class that has a status: a mistake of ours."""

    code = "nameless"


def _wait(seconds: float) -> ApiError:
    error = ApiError(429, "rate_limited", "Too many requests.", retryable=True)
    error.wait = seconds
    return error


def _challenge() -> ApiError:
    error = ApiError(401, "not_authenticated", "Who are you?")
    error.auth_header = 'Bearer realm="kaihu"'
    return error


RAISED: dict[str, Exception] = {
    "not_found": errors.NotFound(),
    "conflict": errors.Conflict("Taken."),
    "invalid_transition": errors.InvalidTransition(machine="line", current="ACTIVE", target="PENDING"),
    "rule": DoorClosed(errors=[FieldError("/door", "closed", "It is closed.")], door=7),
    "forbidden": errors.Forbidden(),
    "busy": errors.Busy(),
    "upstream": errors.UpstreamFailure("The carrier does not answer."),
    "nameless": Nameless(),
    "api": ApiError(412, "precondition_failed", "It has changed.", errors=(FieldError("/a", "b", "c"),)),
    "challenge": _challenge(),
    "django_404": Http404("no such page"),
    "django_403": PermissionDenied("not you"),
    "django_400": SuspiciousOperation("odd"),
    "drf_404": exceptions.NotFound(),
    "drf_403": exceptions.PermissionDenied(),
    "drf_401": exceptions.NotAuthenticated(),
    "drf_parse": exceptions.ParseError(),
    "wait": _wait(0.2),
    "drf_throttled": exceptions.Throttled(wait=7),
    "identity": errors.Conflict(
        "110101190001010008 is taken",
        errors=[FieldError("/11010119000101000X", "taken", "110101190001010008")],
    ),
}


class RaiseView(APIView):
    http_method_names = ["get", "post"]

    def get(self, request: Request, name: str) -> Response:
        if name == "crash":
            local_variable = SECRET
            raise RuntimeError(f"crashed with {len(local_variable)}")
        raise RAISED[name]

    def post(self, request: Request, name: str) -> Response:
        return Response({"got": request.data})


class Lock(StrictSerializer):
    kind = serializers.ChoiceField(choices=["yale", "chubb"])
    pins = serializers.IntegerField(min_value=1, required=False)


class Door(StrictSerializer):
    name = serializers.CharField(max_length=5)
    lock = Lock(required=False)
    locks = Lock(many=True, required=False)
    colours = serializers.ListField(child=serializers.CharField(max_length=5), required=False)


class DoorView(APIView):
    def post(self, request: Request) -> Response:
        door = Door(data=request.data)
        door.is_valid(raise_exception=True)
        return Response(door.validated_data, status=201)


class EventListView(APIView):
    def get(self, request: Request) -> Response:
        filters = params.read(request, {"type", "ascending"})
        events = OutboxEvent.objects.all()
        if "type" in filters:
            events = events.filter(type=filters["type"])
        return page(
            request,
            events,
            serialize=lambda event: {"id": event.uid, "subject": event.subject},
            filters=filters,
            descending="ascending" not in filters,
        )


class NumberListView(APIView):
    """By an integer key, rows as dicts, a whole page prepared at once."""

    def get(self, request: Request) -> Response:
        filters = params.read(request, {"type"})
        return page(
            request,
            OutboxEvent.objects.values("id", "subject"),
            serialize=lambda row: row,
            filters=filters,
            key="id",
            prepare=lambda rows: [{"number": row["id"], "of": len(rows)} for row in rows],
        )


class ThingView(APIView):
    thing: ClassVar[dict[str, Any]] = {"id": "thi_1", "status": "ACTIVE"}

    def get(self, request: Request) -> Response:
        params.read(request, ())
        return etag.respond(request, self.thing)

    def post(self, request: Request) -> Response:
        etag.require_match(request, self.thing)
        return Response(self.thing)


@csrf_exempt
def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{len(request.body)} bytes")


urlpatterns = [
    path("api/v1/raise/<str:name>", RaiseView.as_view()),
    path("api/v1/doors", DoorView.as_view()),
    path("api/v1/events", EventListView.as_view()),
    path("api/v1/numbers", NumberListView.as_view()),
    path("api/v1/thing", ThingView.as_view()),
    path("api/v1/plain", plain),
    path("elsewhere/raise/<str:name>", RaiseView.as_view()),
    path("elsewhere", plain),
    path("healthz", health.alive),
    path("readyz", health.ready),
]
