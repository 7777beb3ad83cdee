"""Request ids, body limits, and problem+json for what fails before or outside DRF."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from apps.core.api.problems import plain_problem

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")
# A number that could be somebody's document is not echoed as a request id.
_COULD_BE_IDENTITY = re.compile(r"\d{15}|\d{17}[\dXx]")
# W3C Trace Context: version ff and ids of nothing but zeros are invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")

_API = ("/api/", "/oauth/", "/carrier/", "/.well-known/")
# Where files are sent rather than JSON.
_UPLOADS = re.compile(r"/api/v1/subscribers/[^/]+/documents\Z")

GetResponse = Callable[[HttpRequest], HttpResponse]


def is_api(request: HttpRequest) -> bool:
    return request.path.startswith(_API)


def limit_of(path: str) -> int:
    """How many bytes of a body are read there."""
    if not path.startswith(_API):
        return settings.KAIHU_MAX_PAGE_BYTES
    return settings.KAIHU_MAX_UPLOAD_BYTES if _UPLOADS.match(path) else settings.KAIHU_MAX_BODY_BYTES


class RequestIdMiddleware:
    """Takes or makes `X-Request-ID`, binds it to the log context, echoes it; accepts `traceparent`."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        usable = _ACCEPTED_ID.match(given) and not _COULD_BE_IDENTITY.search(given)
        request_id = given if usable else uuid.uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        traceparent = _TRACEPARENT.match(request.headers.get("traceparent", ""))
        trace_id = traceparent[1] if traceparent else ""
        request.trace_id = trace_id  # type: ignore[attr-defined]
        if trace_id:
            structlog.contextvars.bind_contextvars(trace_id=trace_id)
        response = self.get_response(request)
        response["X-Request-ID"] = request_id
        return response


class BodyLimitMiddleware:
    """413 before a byte of an oversized body is read."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            length = int(request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            length = 0
        most = limit_of(request.path)
        if length > most:
            return plain_problem(request, status=413, detail=f"At most {most} bytes.")
        response = self.get_response(request)
        if is_api(request):
            response.setdefault("Cache-Control", "no-store")
        return response
