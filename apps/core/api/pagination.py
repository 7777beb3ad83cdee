"""Cursor lists: `{items, next}`, in a stable order by one unique key; a cursor belongs to its filters."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from django.db.models import QuerySet
from django.utils.crypto import constant_time_compare, salted_hmac
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.api import params
from apps.core.api.problems import ApiError

DEFAULT_LIMIT = 50
MAX_LIMIT = 200


def page(
    request: Request,
    queryset: QuerySet[Any],
    *,
    serialize: Callable[[Any], Any],
    filters: Mapping[str, str],
    key: str = "uid",
    descending: bool = True,
    prepare: Callable[[list[Any]], Iterable[Any]] | None = None,
) -> Response:
    """One page of the queryset; `key` is the unique column of the order, `prepare` may enrich a whole page at once.

    What stands in for a queryset may count None (too many to count), and its rows may say `reached`: that they are
    fewer than asked for because that was as far as one request looks, and the next page begins after it.

    :raises ApiError: 400 for a bad limit, count or cursor, or when there are too many to count.
    """
    limit = _limit(request)
    belongs_to = orjson.dumps([queryset.model._meta.label, key, descending, sorted(filters.items())])
    body: dict[str, Any] = {}
    if (count := request.query_params.get("count")) is not None:
        if count != "exact":
            raise params.bad("count", "The only value is 'exact'.")
        counted: int | None = queryset.count()
        if counted is None:
            raise ApiError(400, "count_too_large", "So many cannot be counted exactly; narrow it down.")
        body["count"] = counted
    if after := request.query_params.get("after"):
        position = _decode(after, belongs_to)
        queryset = queryset.filter(**{f"{key}__{'lt' if descending else 'gt'}": position})
    found: Any = queryset.order_by(f"-{key}" if descending else key)[: limit + 1]
    rows = list(found)
    more = len(rows) > limit
    rows = rows[:limit]
    body["items"] = [serialize(row) for row in (prepare(rows) if prepare else rows)]
    position = _value(rows[-1], key) if more else getattr(found, "reached", None)
    body["next"] = None if position is None else _encode(position, belongs_to)
    return Response(body)


def _value(row: Any, key: str) -> Any:
    return row[key] if isinstance(row, dict) else getattr(row, key)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MAX_LIMIT):
        raise params.bad("limit", f"A whole number from 1 to {MAX_LIMIT}.")
    return int(text)


def _encode(position: Any, belongs_to: bytes) -> str:
    return (
        base64.urlsafe_b64encode(orjson.dumps([position, _sign(position, belongs_to)])).decode().rstrip("=")
    )


def _decode(cursor: str, belongs_to: bytes) -> Any:
    """The position; signed, so that what reaches the query is only ever what we put there."""
    try:
        position, signature = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if constant_time_compare(signature, _sign(position, belongs_to)):
            return position
    except (ValueError, TypeError):
        pass
    raise ApiError(400, "cursor_invalid", "This is not a cursor of this list with these filters.")


def _sign(position: Any, belongs_to: bytes) -> str:
    return salted_hmac("kaihu.cursor", belongs_to + orjson.dumps(position), algorithm="sha256").hexdigest()[
        :32
    ]
