"""Shapes of the subscriber resources: what comes in (types, lengths, alphabets only) and what goes out (masked)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework import serializers

from apps.core.api.formats import timestamp
from apps.core.api.serializers import StrictSerializer
from apps.subscribers.models import (
    Consent,
    IdentityDocument,
    IdentityImage,
    Representative,
    ReverificationDemand,
    Subscriber,
    Verification,
)
from apps.subscribers.realname import documents, names, words
from apps.subscribers.realname.documents import DocumentInput, DocumentType
from apps.subscribers.services import ConsentInput, PersonInput
from apps.subscribers.services.examining import ADDRESS_CHARACTERS, EXTERNAL_ID_CHARACTERS
from apps.subscribers.services.verify import FACE_SESSION_CHARACTERS, READER_CHARACTERS
from apps.subscribers.states import (
    OPEN_DEMAND,
    Channel,
    CheckOutcome,
    ConsentPurpose,
    DemandReason,
    ImageKind,
    RepresentativeRole,
    SubscriberKind,
    VerificationStatus,
)

KINDS = [kind.lower() for kind in SubscriberKind.values]
DOCUMENT_TYPES = [member.value for member in DocumentType]
CONSENT_PURPOSES = [purpose.lower() for purpose in ConsentPurpose.values]
IMAGE_KINDS = [kind.lower() for kind in ImageKind.values]
ROLES = [role.lower() for role in RepresentativeRole.values]
# A proxy comes once, with a registration or a verification.
LASTING_ROLES = [role for role in ROLES if role != RepresentativeRole.PROXY.lower()]
DEMAND_REASONS = [reason.lower() for reason in DemandReason.values]
DEMAND_STEPS = [status.lower() for status in OPEN_DEMAND]
CHANNELS = [channel.lower() for channel in Channel.values]
# The longest number of any type, with room for the blanks that people type.
NUMBER_CHARACTERS = 40


class DocumentInputSerializer(StrictSerializer):
    type = serializers.ChoiceField(choices=DOCUMENT_TYPES)
    number = serializers.CharField(
        max_length=NUMBER_CHARACTERS,
        help_text="As printed. What cannot be right is told in `errors[]`: "
        + "; ".join(f"`{code}`: {meaning}" for code, meaning in documents.FAULTS.items())
        + ".",
    )
    valid_from = serializers.DateField(required=False, allow_null=True)
    valid_until = serializers.DateField(
        required=False,
        allow_null=True,
        help_text="The last day printed on the document; null or left out: long-term.",
    )
    issuing_country = serializers.RegexField(
        r"^[A-Z]{3}$",
        required=False,
        help_text="ISO 3166 alpha-3; a passport must name it, every other document is CHN's.",
    )
    former_number = serializers.CharField(
        max_length=NUMBER_CHARACTERS,
        required=False,
        allow_blank=True,
        help_text="Of a foreign_permanent_resident only: the number of the 2017 card, as the new card prints it.",
    )


class ConsentInputSerializer(StrictSerializer):
    purpose = serializers.ChoiceField(choices=CONSENT_PURPOSES)
    text_version = serializers.RegexField(
        r"^[A-Za-z0-9._-]{1,32}$", help_text="Which version of your text the person agreed to."
    )
    channel = serializers.ChoiceField(choices=CHANNELS)


class PersonInputSerializer(StrictSerializer):
    name = serializers.CharField(max_length=names.MAX_CHARACTERS)
    document = DocumentInputSerializer()


class SubscriberInputSerializer(StrictSerializer):
    """What people and organizations have in common."""

    name = serializers.CharField(max_length=names.MAX_CHARACTERS)
    document = DocumentInputSerializer()
    address = serializers.CharField(max_length=ADDRESS_CHARACTERS, required=False, allow_blank=True)
    contact_phone = serializers.CharField(max_length=32, required=False, allow_blank=True)
    external_id = serializers.CharField(
        max_length=EXTERNAL_ID_CHARACTERS,
        required=False,
        allow_blank=True,
        help_text="Your own key for this subscriber; shown in clear, so never a name or number of a person.",
    )

    def get_fields(self) -> dict[str, Any]:
        """What it is comes first, also when faults are listed."""
        fields = super().get_fields()
        return {"kind": fields.pop("kind"), **fields}


class IndividualSerializer(SubscriberInputSerializer):
    """A person: alone, with a guardian when too young for that, or through a proxy who shows both documents."""

    kind = serializers.ChoiceField(choices=["individual"])
    guardian = PersonInputSerializer(required=False)
    proxy = PersonInputSerializer(required=False)
    consents = ConsentInputSerializer(
        many=True,
        required=False,
        help_text="What the person agreed to, each purpose once; not read again for a person who is known.",
    )

    def validate_consents(self, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len({consent["purpose"] for consent in value}) != len(value):
            raise serializers.ValidationError("A purpose is there twice.", code="repeated")
        return value


class OrganizationSerializer(SubscriberInputSerializer):
    """An organization; its document is of type uscc."""

    kind = serializers.ChoiceField(choices=["organization"])
    responsible_person = PersonInputSerializer()
    authorisation_letter = serializers.CharField(
        max_length=64,
        required=False,
        help_text="Id of a picture of kind authorisation_letter that you have uploaded; it may follow later, uploaded"
        " for the organization itself.",
    )


REGISTRATIONS: dict[str, type[SubscriberInputSerializer]] = {
    "individual": IndividualSerializer,
    "organization": OrganizationSerializer,
}


class RepresentativeInputSerializer(PersonInputSerializer):
    role = serializers.ChoiceField(choices=LASTING_ROLES)


class ImageUploadSerializer(StrictSerializer):
    file = serializers.FileField(use_url=False, allow_empty_file=True)
    kind = serializers.ChoiceField(choices=IMAGE_KINDS, help_text="What the picture shows.")


class ImageSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    kind = serializers.ChoiceField(choices=IMAGE_KINDS)
    width = serializers.IntegerField(help_text="As it is kept.")
    height = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class EvidenceSerializer(StrictSerializer):
    face_session = serializers.CharField(
        max_length=FACE_SESSION_CHARACTERS,
        required=False,
        allow_blank=True,
        help_text="The face provider's handle.",
    )
    reader = serializers.CharField(
        max_length=READER_CHARACTERS,
        required=False,
        allow_blank=True,
        help_text="In a store: the serial of the card reader that read the document.",
    )
    photo = serializers.CharField(
        max_length=40,
        required=False,
        allow_blank=True,
        help_text="In a store: id of the uploaded picture of the person (kind person), taken at the counter.",
    )


class VerificationRequestSerializer(StrictSerializer):
    channel = serializers.ChoiceField(choices=CHANNELS)
    dealer = serializers.CharField(
        max_length=40,
        required=False,
        allow_blank=True,
        help_text="Code or id of the dealer the person stands at.",
    )
    evidence = EvidenceSerializer(required=False)
    proxy = PersonInputSerializer(
        required=False, help_text="Somebody who comes in the person's place, where policy takes one."
    )


class DocumentSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    type = serializers.ChoiceField(choices=DOCUMENT_TYPES)
    number = serializers.CharField(help_text="Masked.")
    valid_from = serializers.DateField(allow_null=True)
    valid_until = serializers.DateField(allow_null=True)
    issuing_country = serializers.CharField()


class RepresentativeDocumentSerializer(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=DOCUMENT_TYPES)
    number = serializers.CharField(help_text="Masked.")
    valid_from = serializers.DateField(allow_null=True)
    valid_until = serializers.DateField(allow_null=True)
    issuing_country = serializers.CharField()


class RepresentativeSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    role = serializers.ChoiceField(choices=ROLES)
    name = serializers.CharField(help_text="Masked.")
    document = RepresentativeDocumentSerializer()
    created_at = serializers.DateTimeField()


class ConsentSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    purpose = serializers.ChoiceField(choices=CONSENT_PURPOSES)
    text_version = serializers.CharField()
    channel = serializers.ChoiceField(choices=CHANNELS)
    given_by = serializers.CharField(allow_null=True, help_text="Id of the guardian who agreed for a minor.")
    given_at = serializers.DateTimeField()
    withdrawn_at = serializers.DateTimeField(allow_null=True)


class ConsentPageSerializer(serializers.Serializer[Any]):
    items = ConsentSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    count = serializers.IntegerField(required=False)


class LatestVerificationSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.ChoiceField(choices=VerificationStatus.choices)
    fresh_until = serializers.DateTimeField(allow_null=True)


class WordsSerializer(serializers.Serializer[Any]):
    zh = serializers.CharField()
    en = serializers.CharField()


class ReverificationSerializer(serializers.Serializer[Any]):
    """That the subscriber has to be verified again, and what they are to be told at this step."""

    id = serializers.CharField()
    reason = serializers.ChoiceField(choices=DEMAND_REASONS)
    step = serializers.ChoiceField(choices=DEMAND_STEPS)
    line = serializers.CharField(allow_null=True, help_text="The one line that it is about; null: all lines.")
    demanded_at = serializers.DateTimeField()
    next_step = serializers.ChoiceField(choices=DEMAND_STEPS, allow_null=True)
    next_step_at = serializers.DateTimeField(allow_null=True)
    notice = WordsSerializer(help_text="Why.")
    remedy = WordsSerializer(help_text="What to do, and how to object.")
    papers = WordsSerializer(help_text="What to bring.")


class SubscriberSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    kind = serializers.ChoiceField(choices=KINDS)
    external_id = serializers.CharField(allow_null=True)
    name = serializers.CharField(help_text="Masked.")
    document = DocumentSerializer()
    guardian = RepresentativeSerializer(allow_null=True, help_text="Of a person.")
    responsible_person = RepresentativeSerializer(allow_null=True, help_text="Of an organization.")
    authorisation_letter = serializers.CharField(
        allow_null=True, help_text="Id of the latest picture of it, of an organization."
    )
    verification = LatestVerificationSerializer(allow_null=True, help_text="The latest one.")
    reverifications = ReverificationSerializer(
        many=True,
        help_text="Open demands to be verified again; a verification asked for since then meets them.",
    )
    created_at = serializers.DateTimeField()


class SubscriberPageSerializer(serializers.Serializer[Any]):
    items = SubscriberSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    count = serializers.IntegerField(required=False)


class CheckSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    outcome = serializers.ChoiceField(choices=CheckOutcome.choices)
    code = serializers.CharField(help_text="'ok', or why not.")
    detail = serializers.CharField(help_text="The code in plain words.")
    provider = serializers.CharField(allow_null=True, help_text="Who answered, or did not; null: ourselves.")
    checked_at = serializers.DateTimeField()


class VerificationSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.ChoiceField(choices=VerificationStatus.choices)
    detail = serializers.CharField(help_text="Where it stands, in plain words.")
    checks = CheckSerializer(many=True, help_text="Those of the latest run, in order.")
    subscriber = serializers.CharField()
    channel = serializers.ChoiceField(choices=CHANNELS)
    dealer = serializers.CharField(allow_null=True)
    representative = RepresentativeSerializer(
        allow_null=True, help_text="Who was checked with the holder and stood before you for them."
    )
    attempts = serializers.IntegerField()
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    decided_at = serializers.DateTimeField(allow_null=True)
    fresh_until = serializers.DateTimeField(allow_null=True)


def document_input(data: dict[str, Any]) -> DocumentInput:
    return DocumentInput(
        type=DocumentType(data["type"]),
        number=data["number"],
        valid_from=data.get("valid_from"),
        valid_until=data.get("valid_until"),
        issuing_country=data.get("issuing_country", ""),
        former_number=data.get("former_number", ""),
    )


def person_input(data: dict[str, Any]) -> PersonInput:
    return PersonInput(name=data["name"], document=document_input(data["document"]))


def consent_inputs(given: Iterable[dict[str, Any]]) -> list[ConsentInput]:
    return [
        ConsentInput(
            purpose=ConsentPurpose(each["purpose"].upper()),
            text_version=each["text_version"],
            channel=Channel(each["channel"].upper()),
        )
        for each in given
    ]


def image(row: IdentityImage) -> dict[str, Any]:
    return {
        "id": row.uid,
        "kind": row.kind.lower(),
        "width": row.width,
        "height": row.height,
        "created_at": timestamp(row.created_at),
    }


def subscriber(row: Subscriber) -> dict[str, Any]:
    """`row` as the selectors load it."""
    standing: list[Representative] = row.standing_for_it  # type: ignore[attr-defined]  # prefetched
    letters: list[IdentityImage] = row.known_letters if row.is_organization else []  # type: ignore[attr-defined]
    by_role = {each.role: representative(each) for each in standing}
    latest: list[Verification] = row.latest_verification  # type: ignore[attr-defined]  # prefetched under this name
    demands: list[ReverificationDemand] = row.open_demands  # type: ignore[attr-defined]
    return {
        "id": row.uid,
        "kind": row.kind.lower(),
        "external_id": row.external_id or None,
        "name": row.name_masked,
        "document": _document(list(row.documents.all())[-1]),
        "guardian": by_role.get(RepresentativeRole.GUARDIAN),
        "responsible_person": by_role.get(RepresentativeRole.RESPONSIBLE),
        "authorisation_letter": letters[0].uid if letters else None,
        "verification": _latest(latest[0]) if latest else None,
        "reverifications": [_demand(demand) for demand in demands],
        "created_at": timestamp(row.created_at),
    }


def verification(row: Verification) -> dict[str, Any]:
    """`row` as the selectors load it, with its checks."""
    checks = list(row.checks.all())
    return {
        "id": row.uid,
        "status": row.status,
        "detail": words.summary(
            status=VerificationStatus(row.status),
            attempts=row.attempts,
            findings=((CheckOutcome(check.outcome), check.code) for check in checks),
        ),
        "checks": [
            {
                "name": check.name,
                "outcome": check.outcome,
                "code": check.code,
                "detail": words.of(check.code),
                "provider": check.provider or None,
                "checked_at": timestamp(check.checked_at),
            }
            for check in checks
        ],
        "subscriber": row.subscriber.uid,
        "channel": row.channel.lower(),
        "dealer": row.dealer.uid if row.dealer else None,
        "representative": representative(row.representative) if row.representative else None,
        "attempts": row.attempts,
        "next_attempt_at": timestamp(row.next_attempt_at),
        "created_at": timestamp(row.created_at),
        "decided_at": timestamp(row.decided_at),
        "fresh_until": timestamp(row.fresh_until),
    }


def representative(row: Representative) -> dict[str, Any]:
    return {
        "id": row.uid,
        "role": row.role.lower(),
        "name": row.name_masked,
        "document": {
            "type": row.document_type,
            "number": row.number_masked,
            "valid_from": row.valid_from,
            "valid_until": row.valid_until,
            "issuing_country": row.issuing_country,
        },
        "created_at": timestamp(row.created_at),
    }


def consent(row: Consent) -> dict[str, Any]:
    return {
        "id": row.uid,
        "purpose": row.purpose.lower(),
        "text_version": row.text_version,
        "channel": row.channel.lower(),
        "given_by": row.given_by.uid if row.given_by else None,
        "given_at": timestamp(row.given_at),
        "withdrawn_at": timestamp(row.withdrawn_at),
    }


def _document(row: IdentityDocument) -> dict[str, Any]:
    return {
        "id": row.uid,
        "type": row.type,
        "number": row.number_masked,
        "valid_from": row.valid_from,
        "valid_until": row.valid_until,
        "issuing_country": row.issuing_country,
    }


def _demand(row: ReverificationDemand) -> dict[str, Any]:
    step = list(row.steps.all())[-1]
    following = row.next_status
    return {
        "id": row.uid,
        "reason": row.reason.lower(),
        "step": row.status.lower(),
        "line": row.line_uid or None,
        "demanded_at": timestamp(row.created_at),
        "next_step": following.lower() if following else None,
        "next_step_at": timestamp(row.next_step_at),
        **{
            name: {"zh": getattr(step, f"{name}_zh"), "en": getattr(step, f"{name}_en")}
            for name in ("notice", "remedy", "papers")
        },
    }


def _latest(row: Verification) -> dict[str, Any]:
    return {"id": row.uid, "status": row.status, "fresh_until": timestamp(row.fresh_until)}
