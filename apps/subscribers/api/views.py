"""Partner resources: subscribers and their verifications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.api.partner import PartnerView
from apps.core.api import etag, pagination, params
from apps.core.errors import NotFound
from apps.subscribers import selectors, services
from apps.subscribers.api import serializers
from apps.subscribers.models import IdentityImage
from apps.subscribers.realname import documents
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.services import PersonInput, StoredFile
from apps.subscribers.states import Channel, ConsentPurpose, ImageKind, RepresentativeRole, SubscriberKind

TAGS = ["subscribers"]
_REGISTRATION = PolymorphicProxySerializer(
    "SubscriberRequest", {**serializers.REGISTRATIONS}, resource_type_field_name="kind"
)


class SubscribersView(PartnerView):
    scopes: ClassVar = {"GET": "subscribers:read", "POST": "subscribers:write"}

    @extend_schema(
        operation_id="subscribers_list",
        summary="Subscribers, masked, newest first",
        tags=TAGS,
        parameters=[
            OpenApiParameter(
                "document",
                str,
                description="Exact: `type:number`, e.g. `resident_id:<18 characters>`; of a passport"
                " `passport:country:number`.",
            ),
            OpenApiParameter("external_id", str, description="Exact: your own key."),
            OpenApiParameter("limit", int, description="1 to 200, 50 when left out."),
            OpenApiParameter("after", str, description="The `next` of the page before."),
            OpenApiParameter("count", str, description="`exact` adds the number of all matches."),
        ],
        responses=serializers.SubscriberPageSerializer,
    )
    def get(self, request: Request) -> Response:
        given = params.read(request, allowed=("document", "external_id"))
        fingerprints = _fingerprints(given["document"]) if "document" in given else None
        if fingerprints is not None:
            # The cursor carries a digest of the filters: of the blind index, not of the number.
            given["document"] = b"".join(fingerprints[:1]).hex()
        return pagination.page(
            request,
            selectors.list_subscribers(
                actor=self.actor, fingerprints=fingerprints, external_id=given.get("external_id")
            ),
            serialize=serializers.subscriber,
            filters=given,
        )

    @extend_schema(
        operation_id="subscribers_register",
        summary="Register a person or an organization; the same again: 200 and the existing subscriber, unchanged",
        description="Who is too young to register alone does so with a `guardian`: 422 `subscriber_under_age`, with"
        " `guardian_missing` at `/guardian` when one would do. Documents of guardian, proxy and responsible person are"
        " read like the holder's, each fault with its own pointer; nobody looks up whether they are known.",
        tags=TAGS,
        request=_REGISTRATION,
        responses={201: serializers.SubscriberSerializer, 200: serializers.SubscriberSerializer},
    )
    def post(self, request: Request) -> HttpResponse:
        kind = request.data.get("kind") if isinstance(request.data, Mapping) else None
        reader = serializers.REGISTRATIONS.get(str(kind), serializers.IndividualSerializer)
        given = reader(data=request.data)
        given.is_valid(raise_exception=True)
        return self.once(request, lambda: self._register(given.validated_data))

    def _register(self, data: dict[str, Any]) -> Response:
        common = {
            "actor": self.actor,
            "operator_id": self.partner_app.operator_id,
            "name": data["name"],
            "document": serializers.document_input(data["document"]),
            "address": data.get("address", ""),
            "contact_phone": data.get("contact_phone", ""),
            "external_id": data.get("external_id", ""),
            "now": self.now,
        }
        if data["kind"] == SubscriberKind.ORGANIZATION.lower():
            subscriber, created = services.register_organization(
                **common,
                responsible_person=serializers.person_input(data["responsible_person"]),
                authorisation_letter=data.get("authorisation_letter", ""),
            )
        else:
            subscriber, created = services.register_individual(
                **common,
                guardian=_maybe(data, "guardian"),
                proxy=_maybe(data, "proxy"),
                consents=serializers.consent_inputs(data.get("consents", ())),
            )
        body = serializers.subscriber(selectors.get_subscriber(actor=self.actor, uid=subscriber.uid))
        location = f"/api/v1/subscribers/{subscriber.uid}"
        return Response(body, status=201 if created else 200, headers={"Location": location})


class SubscriberView(PartnerView):
    scopes: ClassVar = {"GET": "subscribers:read"}

    @extend_schema(
        operation_id="subscribers_get",
        summary="One subscriber, masked",
        tags=TAGS,
        responses=serializers.SubscriberSerializer,
    )
    def get(self, request: Request, subscriber_id: str) -> Response:
        params.read(request, allowed=())
        row = selectors.get_subscriber(actor=self.actor, uid=subscriber_id)
        return etag.respond(request, serializers.subscriber(row))


class SubscriberDocumentsView(PartnerView):
    scopes: ClassVar = {"POST": "subscribers:write"}
    parser_classes = [MultiPartParser]

    @extend_schema(
        operation_id="subscribers_add_image",
        summary="A picture of a document or of the person: JPEG or PNG, at most 5 MB and 30 million pixels",
        description="The picture is written anew: only its pixels are kept, encrypted, and nobody gets it back here."
        " `image_too_large`, `image_type_not_accepted` and `image_unreadable` say what is wrong with a file; a body of"
        " more than 5 MB and 64 KB is not read at all: `body_too_large`.",
        tags=TAGS,
        request={"multipart/form-data": serializers.ImageUploadSerializer},
        responses={201: serializers.ImageSerializer},
    )
    def post(self, request: Request, subscriber_id: str) -> HttpResponse:
        # Before the file is looked at: whose it would be.
        selectors.get_subscriber(actor=self.actor, uid=subscriber_id)
        given = serializers.ImageUploadSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        kind = ImageKind(given.validated_data["kind"].upper())
        # Not in the transaction that `once` opens: a storage may be somewhere in the network.
        stored = services.store_image_file(content=given.validated_data["file"].read())
        kept: list[IdentityImage] = []
        try:
            return self.once(request, lambda: self._add(subscriber_id, kind, stored, kept))
        finally:
            if not kept:
                services.discard_image_file(stored=stored)

    def _add(
        self, subscriber_id: str, kind: ImageKind, stored: StoredFile, kept: list[IdentityImage]
    ) -> Response:
        image = services.add_image(
            actor=self.actor, subscriber_uid=subscriber_id, kind=kind, stored=stored, now=self.now
        )
        kept.append(image)
        return Response(serializers.image(image), status=201)


class SubscriberRepresentativesView(PartnerView):
    scopes: ClassVar = {"POST": "subscribers:write"}

    @extend_schema(
        operation_id="subscribers_replace_representative",
        summary="Another guardian of a person, or another responsible person of an organization",
        description="The next verification looks at the new one. The same one again answers 200 and changes nothing.",
        tags=TAGS,
        request=serializers.RepresentativeInputSerializer,
        responses={201: serializers.RepresentativeSerializer, 200: serializers.RepresentativeSerializer},
    )
    def post(self, request: Request, subscriber_id: str) -> HttpResponse:
        given = serializers.RepresentativeInputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return self.once(request, lambda: self._replace(subscriber_id, given.validated_data))

    def _replace(self, subscriber_id: str, data: dict[str, Any]) -> Response:
        row, is_new = services.replace_representative(
            actor=self.actor,
            subscriber_uid=subscriber_id,
            role=RepresentativeRole(data["role"].upper()),
            person=serializers.person_input(data),
            now=self.now,
        )
        return Response(serializers.representative(row), status=201 if is_new else 200)


class SubscriberGuardianView(PartnerView):
    scopes: ClassVar = {"DELETE": "subscribers:write"}

    @extend_schema(
        operation_id="subscribers_end_guardian",
        summary="The person is old enough to be without a guardian",
        tags=TAGS,
        request=None,
        responses={204: None},
    )
    def delete(self, request: Request, subscriber_id: str) -> HttpResponse:
        return self.once(request, lambda: self._end(subscriber_id))

    def _end(self, subscriber_id: str) -> Response:
        services.end_guardian(actor=self.actor, subscriber_uid=subscriber_id, now=self.now)
        return Response(status=204)


class SubscriberConsentsView(PartnerView):
    scopes: ClassVar = {"GET": "subscribers:read", "POST": "subscribers:write"}

    @extend_schema(
        operation_id="consents_list",
        summary="What the person has agreed to, newest first, withdrawn consents among them",
        tags=TAGS,
        parameters=[
            OpenApiParameter("purpose", str, enum=serializers.CONSENT_PURPOSES),
            OpenApiParameter("limit", int, description="1 to 200, 50 when left out."),
            OpenApiParameter("after", str, description="The `next` of the page before."),
            OpenApiParameter("count", str, description="`exact` adds the number of all matches."),
        ],
        responses=serializers.ConsentPageSerializer,
    )
    def get(self, request: Request, subscriber_id: str) -> Response:
        given = params.read(request, allowed=("purpose",))
        purpose = given.get("purpose")
        if purpose is not None and purpose not in serializers.CONSENT_PURPOSES:
            raise params.bad("purpose", f"One of {', '.join(serializers.CONSENT_PURPOSES)}.")
        rows = selectors.list_consents(
            actor=self.actor,
            subscriber_uid=subscriber_id,
            purpose=ConsentPurpose(purpose.upper()) if purpose else None,
        )
        return pagination.page(
            request, rows, serialize=serializers.consent, filters={**given, "of": subscriber_id}
        )

    @extend_schema(
        operation_id="consents_record",
        summary="The person agrees; an older consent to the same purpose ends, one to the same text stands (200)",
        tags=TAGS,
        request=serializers.ConsentInputSerializer,
        responses={201: serializers.ConsentSerializer, 200: serializers.ConsentSerializer},
    )
    def post(self, request: Request, subscriber_id: str) -> HttpResponse:
        given = serializers.ConsentInputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return self.once(request, lambda: self._record(subscriber_id, given.validated_data))

    def _record(self, subscriber_id: str, data: dict[str, Any]) -> Response:
        [consent] = serializers.consent_inputs([data])
        row, is_new = services.record_consent(
            actor=self.actor, subscriber_uid=subscriber_id, consent=consent, now=self.now
        )
        return Response(serializers.consent(row), status=201 if is_new else 200)


class SubscriberConsentView(PartnerView):
    scopes: ClassVar = {"DELETE": "subscribers:write"}

    @extend_schema(
        operation_id="consents_withdraw",
        summary="The person takes a consent back, which stays on record",
        tags=TAGS,
        request=None,
        parameters=[
            OpenApiParameter("purpose", str, OpenApiParameter.PATH, enum=serializers.CONSENT_PURPOSES)
        ],
        responses={204: None},
    )
    def delete(self, request: Request, subscriber_id: str, purpose: str) -> HttpResponse:
        return self.once(request, lambda: self._withdraw(subscriber_id, purpose))

    def _withdraw(self, subscriber_id: str, purpose: str) -> Response:
        if purpose not in serializers.CONSENT_PURPOSES:
            raise NotFound
        services.withdraw_consent(
            actor=self.actor,
            subscriber_uid=subscriber_id,
            purpose=ConsentPurpose(purpose.upper()),
            now=self.now,
        )
        return Response(status=204)


class SubscriberVerificationsView(PartnerView):
    scopes: ClassVar = {"POST": "subscribers:write"}

    @extend_schema(
        operation_id="verifications_request",
        summary="Start the real-name checks; one verification of a subscriber at a time",
        tags=TAGS,
        request=serializers.VerificationRequestSerializer,
        responses={202: serializers.VerificationSerializer},
    )
    def post(self, request: Request, subscriber_id: str) -> HttpResponse:
        given = serializers.VerificationRequestSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return self.once(request, lambda: self._request(subscriber_id, given.validated_data))

    def _request(self, subscriber_id: str, data: dict[str, Any]) -> Response:
        verification = services.request_verification(
            actor=self.actor,
            subscriber_uid=subscriber_id,
            channel=Channel(data["channel"].upper()),
            dealer=data.get("dealer"),
            proxy=_maybe(data, "proxy"),
            **data.get("evidence", {}),
            now=self.now,
        )
        location = f"/api/v1/verifications/{verification.uid}"
        return Response(serializers.verification(verification), status=202, headers={"Location": location})


class VerificationView(PartnerView):
    scopes: ClassVar = {"GET": "subscribers:read"}

    @extend_schema(
        operation_id="verifications_get",
        summary="One verification with its checks, in order",
        tags=TAGS,
        responses=serializers.VerificationSerializer,
    )
    def get(self, request: Request, verification_id: str) -> Response:
        params.read(request, allowed=())
        row = selectors.get_verification(actor=self.actor, uid=verification_id)
        return etag.respond(request, serializers.verification(row))


def _maybe(data: Mapping[str, Any], name: str) -> PersonInput | None:
    return serializers.person_input(data[name]) if name in data else None


def _fingerprints(value: str) -> tuple[bytes, ...]:
    """The blind indexes of `type:number`; none when no such document could be registered."""
    word, separator, number = value.partition(":")
    country = ""
    if word == DocumentType.PASSPORT and ":" in number:
        country, _, number = number.partition(":")
    if not separator or word not in list(DocumentType) or not number:
        raise params.bad("document", "Written type:number, the type one of the document types.")
    return documents.search_fingerprints(type=DocumentType(word), number=number, issuing_country=country)
