"""Django's own 400, 403, 404 and 500: problem+json under the API's paths, plain pages elsewhere."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from apps.core.api.problems import plain_problem
from apps.core.middleware import is_api


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api(request):
        return plain_problem(request, status=400, detail="The request is malformed.")
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api(request):
        return plain_problem(request, status=403, detail="You may not do this.")
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api(request):
        return plain_problem(request, status=404, detail="There is no such resource.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest, *args: Any) -> HttpResponse:
    if is_api(request):
        return plain_problem(
            request, status=500, detail="Something went wrong on our side; it has been recorded."
        )
    return defaults.server_error(request)
