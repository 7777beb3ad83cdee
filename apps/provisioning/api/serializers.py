"""The shape of orders, in and out."""

from __future__ import annotations

import unicodedata
from typing import Any

from rest_framework import serializers

from apps.audit.models import AuditEvent
from apps.core.api.formats import timestamp
from apps.core.api.serializers import StrictSerializer
from apps.core.personal import looks_like_resident_id
from apps.numbering.numbers import parse_e164
from apps.numbering.states import NumberGrade
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.provisioning.states import JobStatus, OrderStatus, OrderType

TERMINATE_REASONS = ("user_request", "arrears", "fraud", "regulator")


class NumberCriteriaSerializer(StrictSerializer):
    """Which free number will do; the carrier is the plan's."""

    grade = serializers.ChoiceField([grade.name.lower() for grade in NumberGrade], required=False)
    city = serializers.CharField(max_length=32, required=False)
    suffix = serializers.RegexField(r"^[0-9]{1,8}$", required=False)

    def validate_grade(self, value: str) -> NumberGrade:
        return NumberGrade[value.upper()]


# Control, format (bidirectional, zero-width), surrogate and private characters.
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn"}


class ExternalIdField(serializers.CharField):
    """The partner's own id of an order: kept and shown in clear, so it must not be somebody's identity number."""

    def to_internal_value(self, data: Any) -> str:
        text = str(super().to_internal_value(data))
        if any(unicodedata.category(character) in _INVISIBLE for character in text.replace("\0", "")):
            raise serializers.ValidationError("No control or direction characters.", code="invalid")
        if looks_like_resident_id(text):
            raise serializers.ValidationError("This looks like an identity number.", code="personal_data")
        return text


class ActivateSerializer(StrictSerializer):
    """An order of type activate."""

    type = serializers.ChoiceField(["activate"])
    subscriber = serializers.CharField(max_length=64)
    plan = serializers.CharField(max_length=64)
    reservation = serializers.CharField(max_length=64, required=False)
    number = serializers.CharField(max_length=20, required=False)
    number_criteria = NumberCriteriaSerializer(required=False)
    iccid = serializers.RegexField(r"^89[0-9A-Za-z]{17,18}$", required=False)
    dealer = serializers.CharField(max_length=64, required=False)
    external_id = ExternalIdField(max_length=64, required=False)

    def validate_number(self, value: str) -> int:
        try:
            return parse_e164(value)
        except ValueError:
            raise serializers.ValidationError("Not a mainland mobile number.", code="invalid") from None

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("reservation", "number", "number_criteria") if name in attrs]
        if len(given) > 1:
            raise serializers.ValidationError(
                {
                    name: serializers.ErrorDetail(f"Give only one of {', '.join(given)}.", "exclusive")
                    for name in given
                }
            )
        return attrs


class TerminateSerializer(StrictSerializer):
    """An order of type terminate."""

    type = serializers.ChoiceField(["terminate"])
    line = serializers.CharField(max_length=64)
    reason = serializers.ChoiceField(TERMINATE_REASONS)
    external_id = ExternalIdField(max_length=64, required=False)


class OrderTypeSerializer(serializers.Serializer[Any]):
    """Reads only what kind of order it is; the kind's own serializer then reads everything."""

    type = serializers.ChoiceField([value.lower() for value in OrderType.values])


ORDER_SERIALIZERS: dict[str, type[StrictSerializer]] = {
    "activate": ActivateSerializer,
    "terminate": TerminateSerializer,
}


class JobErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    detail = serializers.CharField()


class JobSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    operation = serializers.CharField()
    status = serializers.ChoiceField(JobStatus.choices)
    attempts = serializers.IntegerField()
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    carrier_reference = serializers.CharField(allow_null=True)
    error = JobErrorSerializer(allow_null=True)


class TimelineSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    status = serializers.CharField()
    actor = serializers.CharField()
    detail = serializers.CharField(allow_null=True)


class OrderSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    type = serializers.CharField()
    status = serializers.ChoiceField(OrderStatus.choices)
    line = serializers.CharField()
    reason = serializers.CharField(allow_null=True)
    external_id = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    jobs = JobSerializer(many=True)
    timeline = TimelineSerializer(many=True)


class OrderListSerializer(serializers.Serializer[Any]):
    items = OrderSerializer(many=True)
    next = serializers.CharField(allow_null=True)


def show_job(job: ActivationJob) -> dict[str, Any]:
    waiting = job.status in (JobStatus.QUEUED, JobStatus.ACCEPTED, JobStatus.IN_DOUBT)
    return {
        "id": job.uid,
        "operation": job.operation.lower(),
        "status": job.status,
        "attempts": job.attempts,
        "next_attempt_at": timestamp(job.next_attempt_at) if waiting else None,
        "carrier_reference": job.carrier_reference or None,
        "error": {"code": job.error_code, "detail": job.error_detail} if job.error_code else None,
    }


def show_order(order: ServiceOrder, steps: list[AuditEvent]) -> dict[str, Any]:
    return {
        "id": order.uid,
        "type": order.type.lower(),
        "status": order.status,
        "line": order.line.uid,
        "reason": order.reason or None,
        "external_id": order.external_id or None,
        "created_at": timestamp(order.created_at),
        "finished_at": timestamp(order.finished_at),
        "jobs": [show_job(job) for job in order.jobs.all()],
        "timeline": [
            {
                "at": timestamp(step.at),
                "status": (step.after or {}).get("status"),
                # Partners see which kind of actor it was, not which of the operator's staff.
                "actor": step.actor_kind.lower(),
                "detail": (step.after or {}).get("reason"),
            }
            for step in steps
        ],
    }
