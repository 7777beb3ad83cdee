"""JSON in and out: strict UTF-8 JSON objects, UTC timestamps with Z."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer

from apps.core.api.problems import MEDIA_TYPE

# Nothing of ours nests deeper than a handful; what is read must also be written again, and orjson writes 254 levels.
MAX_NESTING = 64


class StrictJSONParser(JSONParser):
    """Refuses NaN, lone surrogates, bad UTF-8 and nesting deeper than MAX_NESTING with a 400."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        body = stream.read() or b"null"
        try:
            data = orjson.loads(body)
        except (orjson.JSONDecodeError, RecursionError):
            raise ParseError("The body is not valid JSON.") from None
        # Without that many brackets there is nothing to walk through.
        if body.count(b"[") + body.count(b"{") > MAX_NESTING and _is_deeper_than(MAX_NESTING, data):
            raise ParseError(f"The body nests deeper than {MAX_NESTING} levels.")
        return data


def _is_deeper_than(levels: int, data: Any) -> bool:
    """Level by level, without recursion."""
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(levels):
        members = (member for node in level for member in (node.values() if isinstance(node, dict) else node))
        level = [member for member in members if isinstance(member, dict | list)]
    return bool(level)


class OrjsonRenderer(JSONRenderer):
    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else dumps(data)


class ProblemRenderer(OrjsonRenderer):
    media_type = MEDIA_TYPE
    format = "problem"


def dumps(data: Any) -> bytes:
    return orjson.dumps(data, default=_other, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def _other(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list):
        return list(value)
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


def timestamp(value: datetime | None) -> str | None:
    """RFC 3339 in UTC with Z and milliseconds, or None."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def money(amount: Decimal, currency: str = "CNY") -> dict[str, str]:
    return {"amount": str(amount), "currency": currency}
