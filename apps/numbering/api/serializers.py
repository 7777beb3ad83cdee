"""Shapes of numbers and reservations. What may be reserved is decided by the service."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from apps.core.api.formats import money, timestamp
from apps.core.api.serializers import MoneySerializer, StrictSerializer
from apps.numbering.models import GradePolicy, Reservation
from apps.numbering.numbers import MalformedNumber, parse_e164, to_e164
from apps.numbering.states import NumberGrade, ReservationStatus

GRADES = {grade.label: grade for grade in NumberGrade}


class PhoneNumberField(serializers.CharField):
    """A number as text, "+8617000000000" or without +86; its value is the integer without the country code."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            return parse_e164(super().to_internal_value(data))
        except MalformedNumber as error:
            raise serializers.ValidationError(str(error), code="invalid") from None


class GradeField(serializers.ChoiceField):
    """The name of a grade; its value is the NumberGrade."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=tuple(GRADES), **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return GRADES[super().to_internal_value(data)]


class NumberCriteriaSerializer(StrictSerializer):
    """What the next free number must be like; all members may be left out."""

    carrier = serializers.RegexField(
        r"^[a-z][a-z0-9_]{0,15}\Z", required=False, help_text="A host carrier's code."
    )
    grade = GradeField(required=False, help_text="Without it: ordinary.")
    city = serializers.CharField(required=False, max_length=32, help_text="The home city.")
    suffix = serializers.RegexField(
        r"^[0-9]{1,10}\Z", required=False, help_text="Digits, counted from the end."
    )


class ReserveSerializer(NumberCriteriaSerializer):
    """Either one `number`, or what the numbers must be like and how many."""

    number = PhoneNumberField(required=False)
    quantity = serializers.IntegerField(required=False, min_value=1, max_value=1_000_000)
    ttl_seconds = serializers.IntegerField(required=False, min_value=1, max_value=1_000_000_000)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        criteria = sorted({"carrier", "grade", "city", "suffix", "quantity"} & set(attrs))
        if "number" in attrs and criteria:
            raise serializers.ValidationError(
                {
                    name: serializers.ErrorDetail("Not together with number.", code="excluded")
                    for name in criteria
                }
            )
        return attrs


class ExtendSerializer(StrictSerializer):
    ttl_seconds = serializers.IntegerField(
        required=False, min_value=1, max_value=1_000_000_000, help_text="Added to the present end."
    )


class NumberSerializer(serializers.Serializer[Any]):
    number = serializers.CharField(help_text="E.164")
    grade = serializers.ChoiceField(choices=tuple(GRADES))
    carrier = serializers.CharField()
    home_city = serializers.CharField()
    deposit = MoneySerializer(allow_null=True)
    min_monthly_spend = MoneySerializer(allow_null=True)


class NumberPageSerializer(serializers.Serializer[Any]):
    items = NumberSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    count = serializers.IntegerField(required=False, help_text="Only with count=exact.")


class TermsSerializer(serializers.Serializer[Any]):
    number = serializers.CharField(help_text="E.164")
    grade = serializers.ChoiceField(choices=tuple(GRADES))
    deposit = MoneySerializer()
    min_monthly_spend = MoneySerializer()
    months = serializers.IntegerField(help_text="For how long the holder is bound to that spend.")


class ReservationSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.ChoiceField(choices=ReservationStatus.choices)
    numbers = serializers.ListField(child=serializers.CharField(help_text="E.164"))
    expires_at = serializers.DateTimeField()
    terms = TermsSerializer(
        many=True,
        help_text="What the grades of the numbers cost, as it was when they were reserved; ordinary ones are left out.",
    )


def number(row: Mapping[str, Any], terms: Mapping[NumberGrade, GradePolicy]) -> dict[str, Any]:
    offered = terms.get(NumberGrade(row["grade"]))
    return {
        "number": to_e164(row["number"]),
        "grade": NumberGrade(row["grade"]).label,
        "carrier": row["carrier"],
        "home_city": row["home_city"],
        "deposit": money(offered.deposit) if offered else None,
        "min_monthly_spend": money(offered.min_monthly_spend) if offered else None,
    }


def reservation(row: Reservation) -> dict[str, Any]:
    return {
        "id": row.uid,
        "status": row.status,
        "numbers": [to_e164(value) for value in row.numbers],
        "expires_at": timestamp(row.expires_at),
        "terms": [_frozen(key, row.terms[str(key)]) for key in sorted(map(int, row.terms))],
    }


def _frozen(value: int, terms: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": to_e164(value),
        "grade": terms["grade"],
        "deposit": money(Decimal(terms["deposit"])),
        "min_monthly_spend": money(Decimal(terms["min_monthly_spend"])),
        "months": terms["months"],
    }
