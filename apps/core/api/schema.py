"""What drf-spectacular cannot see by itself: problem answers and the idempotency header."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.apps import apps as django_apps
from django.conf import settings
from django.utils.module_loading import module_has_submodule
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from apps.core.api.problems import FRAMEWORK_CODES, SURFACE_CODES, status_of
from apps.core.errors import DomainError
from apps.core.states import StateMachine


class FieldErrorSerializer(serializers.Serializer[Any]):
    pointer = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457 problem details with our members."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField()
    code = serializers.CharField()
    request_id = serializers.CharField()
    errors = FieldErrorSerializer(many=True)  # type: ignore[assignment]  # a member named like a method of DRF
    retryable = serializers.BooleanField()


class KaihuSchema(AutoSchema):
    """Adds what every operation shares."""

    def get_override_parameters(self) -> list[Any]:
        if self.method not in ("POST", "DELETE", "PATCH"):
            return []
        return [
            OpenApiParameter(
                "Idempotency-Key",
                str,
                OpenApiParameter.HEADER,
                required=self.method == "POST",
                description="1 to 255 characters; the same key and body answer the same, once.",
            )
        ]

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        operation = super().get_operation(*args, **kwargs)
        if operation:
            problem = self._map_basic_problem()
            for status in ("400", "401", "403", "404", "409", "422", "429"):
                operation["responses"].setdefault(status, problem)
        return operation

    def _map_basic_problem(self) -> dict[str, Any]:
        component = self.resolve_serializer(ProblemSerializer(), "response")
        return {
            "description": "A problem, told apart by `code`.",
            "content": {"application/problem+json": {"schema": component.ref}},
        }


def describe(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Hook of drf-spectacular: the description lists every error code, every state machine, and the magic values."""
    codes = {cls.code: cls for cls in _descendants(DomainError)}
    listed = {code: (status, HTTPStatus(status).phrase) for status, (code, _) in FRAMEWORK_CODES.items()}
    listed |= {code: (status_of(cls), cls.detail) for code, cls in codes.items()}
    listed |= SURFACE_CODES
    rows = [f"| `{code}` | {status} | {detail} |" for code, (status, detail) in sorted(listed.items())]
    machines = sorted(_machines(), key=lambda machine: machine.name)
    steps = [
        f"| {machine.name} | {source.name} | {', '.join(sorted(target.name for target in targets)) or 'final'} |"
        for machine in machines
        for source, targets in machine.table.items()
    ]
    result["info"]["description"] = "\n".join(
        [
            "Every POST that creates or changes needs an `Idempotency-Key`. Errors are problem+json (RFC 9457): tell "
            "them apart by `code`. Lists are cursors: `limit`, `after`, and `count=exact` when you need it.",
            "\n## Error codes\n\n| code | status | what it says |\n|---|---|---|",
            *rows,
            "\n## States\n\n| of | state | can become |\n|---|---|---|",
            *steps,
            "\n"
            + (settings.BASE_DIR / "docs" / "magic-values.md")
            .read_text(encoding="utf-8")
            .replace("# ", "## ", 1),
        ]
    )
    return result


def _descendants(cls: type[DomainError]) -> Iterator[type[DomainError]]:
    """Ours, without what tests define; the specific ones first, so that the general sentence of a code wins."""
    for child in cls.__subclasses__():
        yield from _descendants(child)
        if child.__module__.startswith("apps."):
            yield child


def _machines() -> Iterator[StateMachine[Any]]:
    for config in django_apps.get_app_configs():
        if config.name.startswith("apps.") and module_has_submodule(config.module, "states"):
            states = importlib.import_module(f"{config.name}.states")
            yield from (value for value in vars(states).values() if isinstance(value, StateMachine))
