"""Shape of a SIM card in answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from apps.sims.states import FormFactor, SimStatus


class SimSerializer(serializers.Serializer[Any]):
    iccid = serializers.CharField()
    carrier = serializers.CharField()
    form_factor = serializers.ChoiceField(choices=FormFactor.choices)
    status = serializers.ChoiceField(choices=SimStatus.choices)


class SimPageSerializer(serializers.Serializer[Any]):
    items = SimSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    count = serializers.IntegerField(required=False, help_text="Only with count=exact.")


def sim(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("iccid", "carrier", "form_factor", "status")}
