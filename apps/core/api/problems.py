"""Every error as `application/problem+json` (RFC 9457): one table from error class to HTTP status, one shape."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response

from apps.core import errors
from apps.core.errors import DomainError, FieldError
from apps.core.logging import scrub
from apps.core.masking import hide_identity_numbers

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS_OF: tuple[tuple[type[DomainError], int], ...] = (
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.RuleViolation, 422),
    (errors.Forbidden, 403),
    (errors.RateLimited, 429),
    (errors.Busy, 503),
    (errors.UpstreamFailure, 502),
)

# DRF's own refusals, by status: our code and whether the same request may succeed later.
FRAMEWORK_CODES: dict[int, tuple[str, bool]] = {
    400: ("malformed_request", False),
    401: ("not_authenticated", False),
    403: ("forbidden", False),
    404: ("not_found", False),
    405: ("method_not_allowed", False),
    406: ("not_acceptable", False),
    409: ("conflict", False),
    412: ("precondition_failed", False),
    413: ("body_too_large", False),
    415: ("unsupported_media_type", False),
    422: ("rule_violation", False),
    429: ("rate_limited", True),
    500: ("internal_error", True),
    503: ("busy", True),
}


# What only the HTTP surface says, beside FRAMEWORK_CODES: code, status and what it means; listed in the schema.
SURFACE_CODES: dict[str, tuple[int, str]] = {
    "validation_error": (400, "Some fields or parameters are not as they should be; `errors` names each."),
    "unknown_field": (400, "A field is not known here."),
    "unknown_parameter": (400, "A query parameter is not known here."),
    "cursor_invalid": (400, "Not a cursor of ours, or made with other filters."),
    "count_too_large": (400, "There are too many to be counted exactly; narrow the list down."),
    "idempotency_key_missing": (400, "The request needs the header Idempotency-Key."),
    "idempotency_key_invalid": (400, "An Idempotency-Key has 1 to 255 characters."),
    "invalid_token": (401, "The token is unknown, expired or revoked."),
    "insufficient_scope": (403, "The token lacks the scope that this call needs."),
}


class ApiError(exceptions.APIException):
    """A refusal that only exists at the HTTP surface (a missing header, a bad cursor).

    `auth_header` becomes `WWW-Authenticate`, `wait` (seconds) becomes `Retry-After`.
    """

    auth_header: str | None = None
    wait: float | None = None

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        retryable: bool = False,
    ) -> None:
        super().__init__(detail, code)
        self.status_code = status
        self.problem_code = code
        self.field_errors = errors
        self.retryable = retryable


def problem_body(
    *,
    status: int,
    code: str,
    detail: str,
    request_id: str,
    field_errors: tuple[FieldError, ...] = (),
    retryable: bool = False,
) -> dict[str, Any]:
    """The one shape; `instance` names the request, never its path, which could hold an identity number.

    Pointers and details may repeat what the caller sent (a name of a field, a media type), so they are cleaned.
    """
    body: dict[str, Any] = {
        "type": f"urn:kaihu:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": hide_identity_numbers(detail),
        "instance": f"urn:kaihu:request:{request_id}",
        "code": code,
        "request_id": request_id,
        "errors": [
            {
                "pointer": hide_identity_numbers(error.pointer),
                "code": error.code,
                "detail": hide_identity_numbers(error.detail),
            }
            for error in field_errors
        ],
        "retryable": retryable,
    }
    return body


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's hook: an answer for every anticipated error; None lets the rest become a 500."""
    request = context["request"]
    request_id = getattr(request, "request_id", "")
    headers: dict[str, str] = {}
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()

    if isinstance(exc, DomainError):
        body = _from_domain_error(exc, request_id)
        if exc.retryable:
            headers["Retry-After"] = str(exc.fields.get("retry_after", 1))
    elif isinstance(exc, exceptions.ValidationError):
        body = _from_validation_error(exc, request_id)
    elif isinstance(exc, exceptions.APIException):
        body = _from_api_exception(exc, request_id)
        if auth_header := getattr(exc, "auth_header", None):
            headers["WWW-Authenticate"] = auth_header
        if (wait := getattr(exc, "wait", None)) is not None:
            headers["Retry-After"] = str(math.ceil(wait))
    else:
        return None
    return Response(body, status=body["status"], headers=headers, content_type=MEDIA_TYPE)


def status_of(error: type[DomainError]) -> int:
    """The HTTP status of an error class; 500 for one that the table forgot."""
    return next((status for cls, status in STATUS_OF if issubclass(error, cls)), 500)


def _from_domain_error(exc: DomainError, request_id: str) -> dict[str, Any]:
    status = status_of(type(exc))
    if status == 500:
        logger.error("domain error without a status", extra={"code": exc.code})
    return problem_body(
        status=status,
        code=exc.code,
        detail=exc.detail,
        request_id=request_id,
        field_errors=exc.errors,
        retryable=exc.retryable,
    )


def _from_validation_error(exc: exceptions.ValidationError, request_id: str) -> dict[str, Any]:
    found = tuple(_flatten(exc.detail, ""))
    only_unknown = bool(found) and all(error.code == "unknown_field" for error in found)
    return problem_body(
        status=400,
        code="unknown_field" if only_unknown else "validation_error",
        detail="These fields are not known here."
        if only_unknown
        else "Some fields are not as they should be.",
        request_id=request_id,
        field_errors=found,
    )


def _from_api_exception(exc: exceptions.APIException, request_id: str) -> dict[str, Any]:
    code, retryable = FRAMEWORK_CODES.get(exc.status_code, ("error", False))
    if isinstance(exc, ApiError):
        code, retryable = exc.problem_code, exc.retryable
    return problem_body(
        status=exc.status_code,
        code=code,
        detail=str(exc.detail),
        request_id=request_id,
        field_errors=getattr(exc, "field_errors", ()),
        retryable=retryable,
    )


def _flatten(detail: Any, pointer: str) -> Iterator[FieldError]:
    """DRF's nested error structure as a flat list with JSON pointers; messages never quote the value."""
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            # The name of an unknown field is the caller's, and could be an identity number.
            name = scrub(str(key))[:64].replace("~", "~0").replace("/", "~1")
            yield from _flatten(value, pointer if key == "non_field_errors" else f"{pointer}/{name}")
    elif isinstance(detail, list):
        for index, value in enumerate(detail):
            nested = isinstance(value, (Mapping, list))
            yield from _flatten(value, f"{pointer}/{index}" if nested else pointer)
    else:
        code = getattr(detail, "code", "invalid")
        yield FieldError(pointer, code, _QUOTING.get(code, str(detail)))


# DRF repeats the value in these messages; ours do not, since it may be an identity number.
_QUOTING = {"invalid_choice": "Not one of the allowed values."}


def plain_problem(request: HttpRequest, *, status: int, detail: str, code: str | None = None) -> HttpResponse:
    """The same shape outside DRF: unknown paths, crashes, middleware."""
    known, retryable = FRAMEWORK_CODES[status]
    body = problem_body(
        status=status,
        code=code or known,
        detail=detail,
        request_id=getattr(request, "request_id", ""),
        retryable=retryable,
    )
    return HttpResponse(orjson.dumps(body), status=status, content_type=MEDIA_TYPE)
