"""How lines and plans are shown."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.core.api.formats import money, timestamp
from apps.core.api.serializers import MoneySerializer, StrictSerializer
from apps.lines.models import HolderCheck, Line, Plan, SuspensionReason, UserAssignment
from apps.lines.selectors import Fittings
from apps.lines.services.holder_checks import Question
from apps.lines.states import HolderCheckStatus, LineStatus, SuspensionCause, SuspensionKind
from apps.numbering.numbers import to_e164
from apps.subscribers.realname import names
from apps.subscribers.realname.documents import DocumentType

KINDS = [kind.lower() for kind in SuspensionKind.values]
CAUSES = [cause.lower() for cause in SuspensionCause.values]


class PlanSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    code = serializers.CharField()
    name = serializers.CharField()
    carrier = serializers.CharField()
    monthly_fee = MoneySerializer()


class PlanListSerializer(serializers.Serializer[Any]):
    items = PlanSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class SuspensionReasonSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(KINDS)
    reason = serializers.ChoiceField(CAUSES)
    placed_at = serializers.DateTimeField()
    notice = serializers.CharField()
    remedy = serializers.CharField()


class SuspensionSerializer(serializers.Serializer[Any]):
    """How still the line stands, and everything that has to be lifted before it runs again."""

    kind = serializers.ChoiceField(KINDS)
    reasons = SuspensionReasonSerializer(many=True)


class LineSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    number = serializers.CharField()
    iccid = serializers.CharField()
    carrier = serializers.CharField()
    plan = serializers.CharField()
    status = serializers.ChoiceField(LineStatus.choices)
    suspension = SuspensionSerializer(allow_null=True)
    subscriber = serializers.CharField()
    actual_user = serializers.CharField(
        allow_null=True, help_text="The subscriber who uses this line of an organization."
    )
    created_at = serializers.DateTimeField()
    activated_at = serializers.DateTimeField(allow_null=True)
    terminated_at = serializers.DateTimeField(allow_null=True)


class ActualUserInputSerializer(StrictSerializer):
    actual_user = serializers.CharField(max_length=64, help_text="Id of a verified person.")


class LineListSerializer(serializers.Serializer[Any]):
    items = LineSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class HeldDocumentSerializer(StrictSerializer):
    type = serializers.ChoiceField(choices=[member.value for member in DocumentType])
    number = serializers.CharField(max_length=40, help_text="As printed.")
    issuing_country = serializers.RegexField(
        r"^[A-Z]{3}$", required=False, help_text="ISO 3166 alpha-3; a passport must name it."
    )


class HolderCheckRequestSerializer(StrictSerializer):
    document = HeldDocumentSerializer()
    name = serializers.CharField(
        max_length=names.MAX_CHARACTERS, required=False, help_text="When it is given it has to be theirs."
    )


class ToldNumberSerializer(serializers.Serializer[Any]):
    item = serializers.IntegerField(help_text="What a dispute names it by.")
    number = serializers.CharField(help_text="Its last four digits.")


class HolderCheckSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.ChoiceField(
        choices=HolderCheckStatus.choices,
        help_text="NOT_VERIFIED: your app has not just had such a person verified, whether we know them or not.",
    )
    count = serializers.IntegerField(allow_null=True, help_text="null unless ANSWERED.")
    numbers = ToldNumberSerializer(many=True)
    created_at = serializers.DateTimeField()


def question(data: dict[str, Any]) -> Question:
    paper = data["document"]
    return Question(
        document_type=DocumentType(paper["type"]),
        document_number=paper["number"],
        issuing_country=paper.get("issuing_country", ""),
        name=data.get("name", ""),
    )


def show_holder_check(check: HolderCheck, told: list[str]) -> dict[str, Any]:
    return {
        "id": check.uid,
        "status": check.status,
        "count": len(told) if check.status == HolderCheckStatus.ANSWERED else None,
        "numbers": [{"item": item, "number": number} for item, number in enumerate(told, start=1)],
        "created_at": timestamp(check.created_at),
    }


def show_plan(plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.uid,
        "code": plan.code,
        "name": plan.name,
        "carrier": plan.host_carrier.code,
        "monthly_fee": money(plan.monthly_fee),
    }


def _show_reason(reason: SuspensionReason) -> dict[str, Any]:
    return {
        "kind": reason.kind.lower(),
        "reason": reason.cause.lower(),
        "placed_at": timestamp(reason.placed_at),
        "notice": reason.notice,
        "remedy": reason.remedy,
    }


def _show_suspension(line: Line) -> dict[str, Any] | None:
    if line.suspension_kind is None:
        return None
    reasons: list[SuspensionReason] = line.in_force  # type: ignore[attr-defined]
    return {"kind": line.suspension_kind.lower(), "reasons": [_show_reason(reason) for reason in reasons]}


def show_line(line: Line, fittings: Fittings) -> dict[str, Any]:
    used_by: list[UserAssignment] = line.used_by  # type: ignore[attr-defined]
    return {
        "id": line.uid,
        "number": to_e164(fittings.number),
        "iccid": fittings.iccid,
        "carrier": line.host_carrier.code,
        "plan": line.plan.uid,
        "status": line.status,
        "suspension": _show_suspension(line),
        "subscriber": line.subscriber.uid,
        "actual_user": used_by[0].user.uid if used_by else None,
        "created_at": timestamp(line.created_at),
        "activated_at": timestamp(line.activated_at),
        "terminated_at": timestamp(line.terminated_at),
    }
