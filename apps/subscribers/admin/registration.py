"""Staff at a counter: registering people and organizations, who stands for them, what they agree to, their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin

from apps.accounts.admin_base import Button, Create, Shown, TenantAdmin
from apps.accounts.admin_display import Panel, badge, link, moment
from apps.accounts.admin_forms import DayField, ServiceForm
from apps.core.actor import Actor
from apps.operators import selectors as operators
from apps.operators.models import VirtualOperator
from apps.subscribers import services
from apps.subscribers.models import Representative, Subscriber
from apps.subscribers.realname.documents import PERSONAL_DOCUMENTS, DocumentInput, DocumentType
from apps.subscribers.services import ConsentInput, PersonInput
from apps.subscribers.services.representatives import REGISTER
from apps.subscribers.services.reveal import REVEAL
from apps.subscribers.states import Channel, ConsentPurpose, ImageKind, RepresentativeRole, SubscriberKind

_PERSONAL = [(type.value, type.value.replace("_", " ")) for type in PERSONAL_DOCUMENTS]
_TYPES = [*_PERSONAL, (DocumentType.USCC.value, "unified social credit code (organization)")]
_NAME: dict[str, Any] = {"max_length": 100, "help_text": "As the document prints it."}
_COUNTRY: dict[str, Any] = {
    "max_length": 3,
    "required": False,
    "label": "Issuing country",
    "help_text": "Of a passport only, three letters: USA.",
}
_UNTIL = "The last day printed on it; empty: long-term."


class PersonForm(ServiceForm):
    """Somebody who stands for a subscriber."""

    POINTERS: ClassVar[Mapping[str, str]] = {
        "/name": "name",
        "/document/type": "document_type",
        "/document/number": "number",
        "/document/issuing_country": "issuing_country",
        "/document/valid_from": "valid_from",
        "/document/valid_until": "valid_until",
    }

    name = forms.CharField(**_NAME)
    document_type = forms.ChoiceField(choices=_PERSONAL)
    number = forms.CharField(max_length=40)
    issuing_country = forms.CharField(**_COUNTRY)
    valid_from = DayField(required=False)
    valid_until = DayField(required=False, help_text=_UNTIL)


class RegistrationForm(ServiceForm):
    """A person, alone or with somebody who stands for them, or an organization."""

    SECTIONS: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = (
        (
            "Document",
            ("document_type", "number", "issuing_country", "valid_from", "valid_until"),
        ),
        ("Contact", ("address", "contact_phone", "external_id")),
        (
            "Who stands for them",
            (
                "role",
                "other_name",
                "other_document_type",
                "other_number",
                "other_issuing_country",
                "other_valid_from",
                "other_valid_until",
                "authorisation_letter",
            ),
        ),
        ("What the person agrees to", ("consents", "text_version", "channel")),
    )
    POINTERS: ClassVar[Mapping[str, str]] = {
        **PersonForm.POINTERS,
        "/address": "address",
        "/contact_phone": "contact_phone",
        "/external_id": "external_id",
        "/guardian": "role",
        "/proxy": "role",
        "/authorisation_letter": "authorisation_letter",
        **{
            f"/{at}{pointer}": f"other_{name}"
            for at in ("guardian", "proxy", "responsible_person")
            for pointer, name in PersonForm.POINTERS.items()
        },
    }

    operator = forms.ModelChoiceField(queryset=operators.no_operators())
    kind = forms.ChoiceField(
        choices=[
            (SubscriberKind.INDIVIDUAL.value, "A person"),
            (SubscriberKind.ORGANIZATION.value, "An organization"),
        ]
    )
    name = forms.CharField(**_NAME)
    document_type = forms.ChoiceField(choices=_TYPES)
    number = forms.CharField(max_length=40)
    issuing_country = forms.CharField(**_COUNTRY)
    valid_from = DayField(required=False)
    valid_until = DayField(required=False, help_text=_UNTIL)
    address = forms.CharField(max_length=200, required=False)
    contact_phone = forms.CharField(max_length=32, required=False)
    external_id = forms.CharField(
        max_length=64, required=False, label="External id", help_text="Never a name or a number of a person."
    )
    role = forms.ChoiceField(
        required=False,
        label="Role",
        choices=[
            ("", "Nobody: the person comes alone"),
            (RepresentativeRole.GUARDIAN.value, "Guardian of a minor"),
            (RepresentativeRole.PROXY.value, "Proxy, with both documents"),
            (RepresentativeRole.RESPONSIBLE.value, "Responsible person of an organization"),
        ],
    )
    other_name = forms.CharField(max_length=100, required=False, label="Their name")
    other_document_type = forms.ChoiceField(choices=_PERSONAL, required=False, label="Their document type")
    other_number = forms.CharField(max_length=40, required=False, label="Their number")
    other_issuing_country = forms.CharField(**_COUNTRY)
    other_valid_from = DayField(required=False, label="Valid from")
    other_valid_until = DayField(required=False, label="Valid until", help_text=_UNTIL)
    authorisation_letter = forms.CharField(
        max_length=64,
        required=False,
        help_text="Of an organization: the id of its picture. It can be added afterwards as well.",
    )
    consents = forms.MultipleChoiceField(
        choices=ConsentPurpose.choices, required=False, widget=forms.CheckboxSelectMultiple
    )
    text_version = forms.RegexField(
        r"^[A-Za-z0-9._-]{1,32}$", required=False, help_text="Of the text that was signed."
    )
    channel = forms.ChoiceField(choices=Channel.choices)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        is_organization = data.get("kind") == SubscriberKind.ORGANIZATION
        answers = data.get("role") == RepresentativeRole.RESPONSIBLE
        if is_organization != answers:
            self.add_error(
                "role",
                "An organization has a responsible person."
                if is_organization
                else "Only an organization has one.",
            )
        if is_organization and data.get("consents"):
            self.add_error("consents", "People agree, organizations do not.")
        if data.get("consents") and not data.get("text_version"):
            self.add_error("text_version", "Say which text they agreed to.")
        if data.get("role"):
            for name in ("other_name", "other_document_type", "other_number"):
                if not data.get(name):
                    self.add_error(name, "Needed for whoever stands for them.")
        return data


def register(
    *, actor: Actor, now: datetime, operator: VirtualOperator, **fields: Any
) -> tuple[Subscriber, str]:
    common = {
        "actor": actor,
        "operator_id": operator.pk,
        "name": fields["name"],
        "document": _document(fields),
        "address": fields["address"],
        "contact_phone": fields["contact_phone"],
        "external_id": fields["external_id"],
        "now": now,
    }
    role = fields["role"]
    other = (
        PersonInput(name=fields["other_name"], document=_document(fields, prefix="other_")) if role else None
    )
    if fields["kind"] == SubscriberKind.ORGANIZATION and other is not None:
        subscriber, created = services.register_organization(
            **common, responsible_person=other, authorisation_letter=fields["authorisation_letter"]
        )
    else:
        subscriber, created = services.register_individual(
            **common,
            guardian=other if role == RepresentativeRole.GUARDIAN else None,
            proxy=other if role == RepresentativeRole.PROXY else None,
            consents=[
                ConsentInput(ConsentPurpose(purpose), fields["text_version"], Channel(fields["channel"]))
                for purpose in fields["consents"]
            ],
        )
    if created:
        return subscriber, "Registered. No line can be opened before the real-name check has passed."
    return subscriber, "This document was registered before; nothing of it has changed."


def _document(fields: Mapping[str, Any], *, prefix: str = "") -> DocumentInput:
    return DocumentInput(
        type=DocumentType(fields[f"{prefix}document_type"]),
        number=fields[f"{prefix}number"],
        valid_from=fields[f"{prefix}valid_from"],
        valid_until=fields[f"{prefix}valid_until"],
        issuing_country=fields[f"{prefix}issuing_country"],
    )


CREATE = Create(right=REGISTER, form=RegistrationForm, call=register)


def standing_for(*, actor: Actor, row: Subscriber) -> Iterator[tuple[object, ...]]:
    for each in row.representatives.order_by("-id"):
        yield (
            link(model="subscribers_representative", key=each.pk, text=each.name_masked),
            badge(each.role),
            f"{each.document_type} {each.number_masked}",
            each.valid_until or "long-term",
            moment(each.created_at),
            "once" if each.role == RepresentativeRole.PROXY else moment(each.ended_at),
        )


STANDING_FOR = Panel(
    "Who stands for them",
    ("Name", "Role", "Document", "Valid until", "From", "Until"),
    standing_for,
    "Nobody: they act for themselves.",
)


class ConsentForm(ServiceForm):
    purpose = forms.ChoiceField(choices=ConsentPurpose.choices)
    text_version = forms.RegexField(r"^[A-Za-z0-9._-]{1,32}$", help_text="Of the text that was signed.")
    channel = forms.ChoiceField(choices=Channel.choices)


class WithdrawForm(ServiceForm):
    purpose = forms.ChoiceField(choices=[])

    def prepare(self) -> None:
        field = self.fields["purpose"]
        if isinstance(field, forms.ChoiceField):
            field.choices = [
                (consent.purpose, f"{consent.get_purpose_display()}, text {consent.text_version}")
                for consent in self.row.consents.filter(withdrawn_at=None).order_by("purpose")
            ]


class PictureForm(ServiceForm):
    kind = forms.ChoiceField(choices=ImageKind.choices)
    file = forms.FileField(help_text="JPEG or PNG, at most 5 MB; kept encrypted, without metadata.")


def _replace(*, actor: Actor, row: Subscriber, reason: str, now: datetime, **fields: Any) -> str:
    role = RepresentativeRole.RESPONSIBLE if row.is_organization else RepresentativeRole.GUARDIAN
    _, is_new = services.replace_representative(
        actor=actor,
        subscriber_uid=row.uid,
        role=role,
        person=PersonInput(name=fields["name"], document=_document(fields)),
        now=now,
    )
    return "The next real-name check looks at this person." if is_new else "It is this person already."


def _end_guardian(*, actor: Actor, row: Subscriber, reason: str, now: datetime) -> str:
    services.end_guardian(actor=actor, subscriber_uid=row.uid, now=now)
    return "From now on the person acts alone."


def _consent(*, actor: Actor, row: Subscriber, reason: str, now: datetime, **fields: Any) -> str:
    consent = ConsentInput(
        ConsentPurpose(fields["purpose"]), fields["text_version"], Channel(fields["channel"])
    )
    services.record_consent(actor=actor, subscriber_uid=row.uid, consent=consent, now=now)
    return "Recorded."


def _withdraw(*, actor: Actor, row: Subscriber, reason: str, now: datetime, purpose: str) -> str:
    services.withdraw_consent(actor=actor, subscriber_uid=row.uid, purpose=ConsentPurpose(purpose), now=now)
    return "Withdrawn; the record of it stays."


def _add_picture(*, actor: Actor, row: Subscriber, reason: str, now: datetime, kind: str, file: Any) -> str:
    stored = services.store_image_file(content=file.read())
    try:
        services.add_image(actor=actor, subscriber_uid=row.uid, kind=ImageKind(kind), stored=stored, now=now)
    except Exception:
        services.discard_image_file(stored=stored)
        raise
    return "The picture is kept; it can be looked at with a reason only."


def _is_kept(row: Subscriber) -> bool:
    return row.erased_at is None


def _is_person(row: Subscriber) -> bool:
    return _is_kept(row) and not row.is_organization


def _has_guardian(row: Subscriber) -> bool:
    return row.representatives.filter(role=RepresentativeRole.GUARDIAN, ended_at=None).exists()


BUTTONS = (
    Button(
        "guardian",
        "Set guardian",
        right=REGISTER,
        call=_replace,
        shown=_is_person,
        form=PersonForm,
        hint="Who stands for a minor, from now on; the real-name check looks at both.",
    ),
    Button(
        "responsible",
        "Change responsible person",
        right=REGISTER,
        call=_replace,
        shown=lambda row: _is_kept(row) and row.is_organization,
        form=PersonForm,
        hint="Who answers for the organization, from now on; the real-name check looks at them.",
    ),
    Button("end-guardian", "End guardianship", right=REGISTER, call=_end_guardian, shown=_has_guardian),
    Button("picture", "Add a picture", right=REGISTER, call=_add_picture, shown=_is_kept, form=PictureForm),
    Button("consent", "Record a consent", right=REGISTER, call=_consent, shown=_is_person, form=ConsentForm),
    Button(
        "withdraw",
        "Withdraw a consent",
        right=REGISTER,
        call=_withdraw,
        shown=lambda row: row.consents.filter(withdrawn_at=None).exists(),
        form=WithdrawForm,
    ),
)


def _reveal(*, actor: Actor, row: Representative, reason: str, now: datetime) -> Shown:
    identity = services.reveal_representative(actor=actor, representative_uid=row.uid, reason=reason, now=now)
    return Shown("Identity in clear", f"{identity.name}\n{identity.document_type} {identity.document_number}")


@admin.register(Representative)
class RepresentativeAdmin(TenantAdmin):
    list_display = ("row_id", "name", "acts_as", "person", "number", "created", "operator")
    list_filter = ("role", "operator")
    list_select_related = ("operator", "subscriber")
    search_fields = ("uid",)
    search_help_text = "A whole id of a representative"
    empty_sentence = "Guardians, proxies and responsible persons are recorded with whom they stand for."
    ordering = ("-id",)
    fields = (
        ("name", "acts_as"),
        ("person", "number"),
        ("valid_from", "runs_out"),
        ("created", "ended"),
        ("public_id", "operator"),
    )
    trail = "representative"
    buttons = (
        Button(
            "reveal",
            "Show in clear",
            right=REVEAL,
            call=_reveal,
            shown=lambda row: row.subscriber.erased_at is None,
            asks_reason=True,
            dangerous=True,
            hint="Name and number are shown once. Who looked, and why, stays in the audit trail.",
        ),
    )

    @admin.display(description="Name")
    def name(self, row: Representative) -> str:
        return row.name_masked

    @admin.display(description="Role")
    def acts_as(self, row: Representative) -> str:
        return badge(row.role)

    @admin.display(description="Stands for")
    def person(self, row: Representative) -> str:
        return link(model="subscribers_subscriber", key=row.subscriber_id, text=row.subscriber.name_masked)

    @admin.display(description="Document")
    def number(self, row: Representative) -> str:
        return f"{row.document_type} {row.number_masked}"

    @admin.display(description="Valid until")
    def runs_out(self, row: Representative) -> str:
        return str(row.valid_until or "long-term")

    @admin.display(description="Until")
    def ended(self, row: Representative) -> str:
        return "once" if row.role == RepresentativeRole.PROXY else moment(row.ended_at)
