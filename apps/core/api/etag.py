"""Entity tags of single resources: a hash of what is shown, so that no version column is needed."""

from __future__ import annotations

import hashlib
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.api.formats import dumps
from apps.core.api.problems import ApiError


def of(data: Any) -> str:
    return f'"{hashlib.sha256(dumps(data)).hexdigest()[:24]}"'


def respond(request: Request, data: Any) -> Response:
    """200 with an ETag, or 304 when the client has it already."""
    tag = of(data)
    if tag in _tags(request.headers.get("If-None-Match", "")):
        return Response(status=304, headers={"ETag": tag})
    return Response(data, headers={"ETag": tag})


def require_match(request: Request, data: Any) -> None:
    """Honours If-Match; call it inside the transaction, with what the locked row shows.

    :raises ApiError: 412 precondition_failed.
    """
    wanted = request.headers.get("If-Match")
    if wanted and wanted != "*" and of(data) not in _tags(wanted):
        raise ApiError(412, "precondition_failed", "The resource has changed since you read it.")


def _tags(header: str) -> set[str]:
    return {part.strip().removeprefix("W/") for part in header.split(",")}
