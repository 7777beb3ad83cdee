"""How lines and plans are shown."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.core.api.formats import money, timestamp
from apps.lines.models import Line, Plan
from apps.lines.selectors import Fittings
from apps.lines.states import LineStatus
from apps.numbering.numbers import to_e164


class MoneySerializer(serializers.Serializer[Any]):
    amount = serializers.CharField()
    currency = serializers.CharField()


class PlanSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    code = serializers.CharField()
    name = serializers.CharField()
    carrier = serializers.CharField()
    monthly_fee = MoneySerializer()


class PlanListSerializer(serializers.Serializer[Any]):
    items = PlanSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class LineSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    number = serializers.CharField()
    iccid = serializers.CharField()
    carrier = serializers.CharField()
    plan = serializers.CharField()
    status = serializers.ChoiceField(LineStatus.choices)
    suspension = serializers.DictField(allow_null=True)
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


def show_line(line: Line, fittings: Fittings) -> dict[str, Any]:
    return {
        "id": line.uid,
        "number": to_e164(fittings.number),
        "iccid": fittings.iccid,
        "carrier": line.host_carrier.code,
        "plan": line.plan.uid,
        "status": line.status,
        "suspension": {"kind": line.suspension_kind.lower(), "reasons": []} if line.suspension_kind else None,
        "subscriber": line.subscriber.uid,
        "created_at": timestamp(line.created_at),
        "activated_at": timestamp(line.activated_at),
        "terminated_at": timestamp(line.terminated_at),
    }
