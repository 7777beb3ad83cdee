"""What drf-spectacular cannot see by itself: problem answers and the idempotency header."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers


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
