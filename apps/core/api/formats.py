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


class StrictJSONParser(JSONParser):
    """Refuses NaN, lone surrogates, bad UTF-8 and deep nesting with a 400."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            return orjson.loads(stream.read() or b"null")
        except (orjson.JSONDecodeError, RecursionError):
            raise ParseError("The body is not valid JSON.") from None


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
