"""One JSON object per log line, without local variables, and with anything that looks personal blotted out."""

from __future__ import annotations

import re
from typing import Any

import structlog

# Identity numbers (15, 17 digits and a check character), then mainland mobile numbers: a net, not the only wall. They
# stand by themselves or behind an escape such as the %3A of a query string; digits inside ids and hashes stay.
_PERSONAL = re.compile(
    r"(?:(?<![0-9A-Za-z_])|(?<=%[0-9A-Fa-f]{2}))(?:\d{17}[\dXx]|\d{15}|(?:\+?86)?1\d{10})(?![0-9A-Za-z])"
)


def scrub(value: Any) -> Any:
    """The value as JSON can hold it, with identity and phone numbers replaced, at any depth."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        text = str(value)
        scrubbed = _PERSONAL.sub("[personal]", text)
        return value if scrubbed == text else scrubbed
    if isinstance(value, dict):
        return {_scrub_text(key): scrub(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [scrub(item) for item in value]
    return _scrub_text(value)


def _scrub_text(value: Any) -> str:
    """Also of what is no text: the repr of a request or an exception quotes what it holds."""
    return _PERSONAL.sub("[personal]", value if isinstance(value, str) else repr(value))


def _scrub_event(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    return {_scrub_text(key): scrub(value) for key, value in event.items()}


# JSON may hold these as they are, but terminals and log readers take them for line ends and commands.
_CONTROLS = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


def _on_one_line(logger: Any, method: str, text: str) -> str:
    return text.translate(_CONTROLS)


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configuration() -> dict[str, Any]:
    """Django's LOGGING: everything to stderr through one formatter."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    _scrub_event,
                    structlog.processors.JSONRenderer(ensure_ascii=False),
                    _on_one_line,
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            "django.request": {"level": "ERROR"},
            "django.server": {"level": "WARNING"},
            "httpx2": {"level": "WARNING"},
            # At DEBUG it tells what stands in the metadata of pictures.
            "PIL": {"level": "WARNING"},
            "celery": {"level": "WARNING"},
            "oauth2_provider": {"level": "ERROR"},
            "oauthlib": {"level": "ERROR"},
        },
    }
