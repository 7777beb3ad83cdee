"""How lines and plans are shown."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.core.api.formats import money, timestamp
from apps.core.api.serializers import MoneySerializer
from apps.lines.models import Line, Plan, SuspensionReason
from apps.lines.selectors import Fittings
from apps.lines.states import LineStatus, SuspensionCause, SuspensionKind
from apps.numbering.numbers import to_e164

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
    created_at = serializers.DateTimeField()
    activated_at = serializers.DateTimeField(allow_null=True)
    terminated_at = serializers.DateTimeField(allow_null=True)


class LineListSerializer(serializers.Serializer[Any]):
    items = LineSerializer(many=True)
    next = serializers.CharField(allow_null=True)


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
    return {
        "id": line.uid,
        "number": to_e164(fittings.number),
        "iccid": fittings.iccid,
        "carrier": line.host_carrier.code,
        "plan": line.plan.uid,
        "status": line.status,
        "suspension": _show_suspension(line),
        "subscriber": line.subscriber.uid,
        "created_at": timestamp(line.created_at),
        "activated_at": timestamp(line.activated_at),
        "terminated_at": timestamp(line.terminated_at),
    }
