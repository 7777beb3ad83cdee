"""The shape of orders, in and out."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import Any

from django.db.models import TextChoices
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.audit.models import AuditEvent
from apps.core.api.formats import timestamp
from apps.core.api.serializers import StrictSerializer
from apps.core.personal import looks_like_resident_id
from apps.lines.states import GRAVE, SuspensionCause, SuspensionKind
from apps.numbering.numbers import parse_e164
from apps.numbering.states import NumberGrade
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.provisioning.services import Effective
from apps.provisioning.states import JobStatus, OrderStatus, OrderType

ICCID = r"^89[0-9A-Za-z]{17,18}$"
PARTNER_CAUSES = [cause for cause in SuspensionCause if cause not in GRAVE]
SUSPEND_REASONS = [cause.lower() for cause in PARTNER_CAUSES]
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


class OwnWordsField(serializers.CharField):
    """The partner's own id or note: kept and shown in clear, so it must not be somebody's identity number."""

    def to_internal_value(self, data: Any) -> str:
        text = str(super().to_internal_value(data))
        if any(unicodedata.category(character) in _INVISIBLE for character in text.replace("\0", "")):
            raise serializers.ValidationError("No control or direction characters.", code="invalid")
        if looks_like_resident_id(text):
            raise serializers.ValidationError("This looks like an identity number.", code="personal_data")
        return text


@extend_schema_field(OpenApiTypes.STR)
class NumberField(serializers.Field[int, str, str, Any]):
    """E.164 in, the eleven digits out."""

    def to_internal_value(self, data: Any) -> int:
        try:
            return parse_e164(data if isinstance(data, str) else "")
        except ValueError:
            raise serializers.ValidationError("Not a mainland mobile number.", code="invalid") from None


class LowerChoiceField(serializers.ChoiceField):
    """Words of ours, in lower case outside."""

    def __init__(self, words: type[TextChoices], among: Collection[TextChoices] = (), **options: Any) -> None:
        self.words = words
        super().__init__([word.lower() for word in among or words], **options)

    def to_internal_value(self, data: Any) -> TextChoices:
        return self.words[super().to_internal_value(data).upper()]


def only_one_of(attrs: dict[str, Any], *names: str) -> None:
    """Several of these contradict each other."""
    given = [name for name in names if name in attrs]
    if len(given) > 1:
        raise serializers.ValidationError(
            {
                name: serializers.ErrorDetail(f"Give only one of {', '.join(given)}.", "exclusive")
                for name in given
            }
        )


class ActualUserField(serializers.CharField):
    """A verified person; needed, by policy, when the holder is an organization."""

    def __init__(self, **options: Any) -> None:
        help_text = "Who is going to use a line of an organization: the id of a verified person."
        super().__init__(max_length=64, help_text=help_text, **options)


class LineOrderSerializer(StrictSerializer):
    """What orders for a line that is there have in common."""

    line = serializers.CharField(max_length=64)
    external_id = OwnWordsField(max_length=64, required=False)


class ActivateSerializer(StrictSerializer):
    """An order of type activate."""

    type = serializers.ChoiceField(["activate"])
    subscriber = serializers.CharField(max_length=64)
    plan = serializers.CharField(max_length=64)
    reservation = serializers.CharField(max_length=64, required=False)
    number = NumberField(required=False)
    number_criteria = NumberCriteriaSerializer(required=False)
    iccid = serializers.RegexField(ICCID, required=False)
    actual_user = ActualUserField(required=False)
    dealer = serializers.CharField(max_length=64, required=False)
    external_id = OwnWordsField(max_length=64, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        only_one_of(attrs, "reservation", "number", "number_criteria")
        return attrs


class SuspendSerializer(LineOrderSerializer):
    """An order of type suspend."""

    type = serializers.ChoiceField(["suspend"])
    kind = LowerChoiceField(SuspensionKind)
    reason = LowerChoiceField(SuspensionCause, PARTNER_CAUSES)
    note = OwnWordsField(max_length=200, required=False)


class ResumeSerializer(LineOrderSerializer):
    """An order of type resume: `reason` is the one to lift. Those of the operator can be named, and not lifted."""

    type = serializers.ChoiceField(["resume"])
    reason = LowerChoiceField(SuspensionCause)


class ChangeSimSerializer(LineOrderSerializer):
    """An order of type change_sim."""

    type = serializers.ChoiceField(["change_sim"])
    iccid = serializers.RegexField(ICCID)
    verification = serializers.CharField(max_length=64)


class ChangeNumberSerializer(LineOrderSerializer):
    """An order of type change_number: to that number, or to one of that reservation."""

    type = serializers.ChoiceField(["change_number"])
    reservation = serializers.CharField(max_length=64, required=False)
    number = NumberField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        only_one_of(attrs, "reservation", "number")
        if not {"reservation", "number"} & attrs.keys():
            raise serializers.ValidationError(
                {"number": serializers.ErrorDetail("Give a number or a reservation.", "required")}
            )
        return attrs


class ChangePlanSerializer(LineOrderSerializer):
    """An order of type change_plan; next_month is its first day in China."""

    type = serializers.ChoiceField(["change_plan"])
    plan = serializers.CharField(max_length=64)
    effective = serializers.ChoiceField([moment.value for moment in Effective], required=False)

    def validate_effective(self, value: str) -> Effective:
        return Effective(value)


class TransferSerializer(LineOrderSerializer):
    """An order of type transfer."""

    type = serializers.ChoiceField(["transfer"])
    subscriber = serializers.CharField(max_length=64)
    holder_verification = serializers.CharField(
        max_length=64,
        required=False,
        help_text="The present holder's real-name check for this order; without it their latest one counts.",
    )
    actual_user = ActualUserField(required=False)


class TerminateSerializer(LineOrderSerializer):
    """An order of type terminate."""

    type = serializers.ChoiceField(["terminate"])
    reason = serializers.ChoiceField(TERMINATE_REASONS)


class OrderTypeSerializer(serializers.Serializer[Any]):
    """Reads only what kind of order it is; the kind's own serializer then reads everything."""

    type = serializers.ChoiceField([value.lower() for value in OrderType.values])


ORDER_SERIALIZERS: dict[str, type[StrictSerializer]] = {
    "activate": ActivateSerializer,
    "suspend": SuspendSerializer,
    "resume": ResumeSerializer,
    "change_sim": ChangeSimSerializer,
    "change_number": ChangeNumberSerializer,
    "change_plan": ChangePlanSerializer,
    "transfer": TransferSerializer,
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
    due_at = serializers.DateTimeField(allow_null=True)
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
        "due_at": timestamp(order.due_at),
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
