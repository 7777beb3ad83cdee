"""Shapes of the account resources, for answers and for the published schema."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.accounts.models import PartnerApp
from apps.operators.selectors import PaperState
from apps.operators.states import OperatorMode, Validity


class PartnerAppSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()


class OperatorSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    code = serializers.CharField()
    name = serializers.CharField()
    name_zh = serializers.CharField()


class LicenceStateSerializer(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=Validity.choices)
    number = serializers.CharField(allow_null=True)
    valid_until = serializers.DateField(
        allow_null=True, help_text="The first day on which it is no longer valid."
    )


class AgreementStateSerializer(serializers.Serializer[Any]):
    carrier = serializers.CharField()
    state = serializers.ChoiceField(choices=Validity.choices)
    contract_no = serializers.CharField()
    valid_until = serializers.DateField(help_text="The first day on which it is no longer valid.")


class MeSerializer(serializers.Serializer[Any]):
    app = PartnerAppSerializer()
    operator = OperatorSerializer()
    mode = serializers.ChoiceField(choices=OperatorMode.choices)
    scopes = serializers.ListField(child=serializers.CharField())
    licence = LicenceStateSerializer()
    agreements = AgreementStateSerializer(many=True)


def me(
    app: PartnerApp, *, scopes: frozenset[str], licence: PaperState, agreements: list[PaperState]
) -> dict[str, Any]:
    operator = app.operator
    return {
        "app": {"id": app.uid, "name": app.name},
        "operator": {
            "id": operator.uid,
            "code": operator.code,
            "name": operator.name,
            "name_zh": operator.name_zh,
        },
        "mode": operator.mode,
        "scopes": sorted(scopes),
        "licence": {
            "state": licence.state,
            "number": licence.number or None,
            "valid_until": licence.valid_until,
        },
        "agreements": [
            {
                "carrier": agreement.carrier,
                "state": agreement.state,
                "contract_no": agreement.number,
                "valid_until": agreement.valid_until,
            }
            for agreement in agreements
        ],
    }
