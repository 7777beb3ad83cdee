"""Query parameters: only the documented ones, so that a misspelt filter is not silently no filter."""

from __future__ import annotations

from collections.abc import Collection

from rest_framework.request import Request

from apps.core.api.problems import ApiError
from apps.core.errors import FieldError

LIST_PARAMETERS = frozenset({"limit", "after", "count"})


def read(request: Request, allowed: Collection[str]) -> dict[str, str]:
    """The given filters by name, without the list parameters. Every list has filters: without any, nothing is known.

    :raises ApiError: 400 unknown_parameter for names not in `allowed`, 400 validation_error for a NUL, a repetition or
        a filter without a value, which must not be taken for no filter.
    """
    known = LIST_PARAMETERS | set(allowed) if allowed else frozenset()
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        found = tuple(
            FieldError(f"?{name[:64]}", "unknown_parameter", "This parameter is not known.")
            for name in unknown
        )
        raise ApiError(400, "unknown_parameter", "Some query parameters are not known here.", errors=found)
    for name, values in request.query_params.lists():
        if len(values) > 1 or any("\0" in value for value in values):
            raise bad(name, "Give it once, as plain text.")
        if name not in LIST_PARAMETERS and not values[0]:
            raise bad(name, "Give it a value, or leave it out.")
    return {name: value for name, value in request.query_params.dict().items() if name not in LIST_PARAMETERS}


def bad(name: str, detail: str) -> ApiError:
    """A parameter that is known but not as it should be."""
    return ApiError(
        400,
        "validation_error",
        "Some query parameters are not as they should be.",
        errors=(FieldError(f"?{name}", "invalid", detail),),
    )
