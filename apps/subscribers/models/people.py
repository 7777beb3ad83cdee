"""Subscribers, their documents, and the verifications that a lawful line rests on.

Names, numbers, addresses and phones are sealed: each ciphertext is bound to its table, column, operator and row.
What is in clear beside them is masked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date, datetime
from typing import Self

from django.db import models
from django.db.models import F, Q

from apps.core import sealing
from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.operators.models import Dealer, VirtualOperator
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.states import (
    VERIFICATION,
    Channel,
    CheckOutcome,
    ImageKind,
    RepresentativeRole,
    SubscriberKind,
    VerificationStatus,
)

# In the place of what was masked.
TOMBSTONE = "***"


class Subscriber(models.Model):
    """A person or company that holds lines at one operator."""

    uid = PublicIdField(prefix="sub")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT)
    kind = models.CharField(max_length=12, choices=SubscriberKind)
    # The partner's own key for this person; empty when it has none.
    external_id = models.CharField(max_length=64, blank=True)
    name_sealed = models.BinaryField()
    name_masked = models.CharField(max_length=8)
    address_sealed = models.BinaryField(null=True)
    contact_phone_sealed = models.BinaryField(null=True)
    # "KIND:id" of whoever entered the person: the same may not decide a review.
    entered_by = models.CharField(max_length=80)
    created_at = models.DateTimeField()
    # When a line of theirs last went to somebody else; what ended otherwise is known to lines.
    handed_on_at = models.DateTimeField(null=True, blank=True)
    # Since then a tombstone: who it was is known to nobody.
    erased_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["Subscriber"].as_manager()

    class Meta:
        indexes = [models.Index(fields=["operator", "-uid"], name="subscriber_operator")]
        constraints = [
            models.UniqueConstraint(
                fields=["operator", "external_id"],
                condition=~Q(external_id=""),
                name="subscriber_external_id",
            ),
            models.CheckConstraint(condition=Q(kind__in=SubscriberKind.values), name="subscriber_kind"),
            models.CheckConstraint(condition=Q(name_masked__contains="*"), name="subscriber_name_is_masked"),
            models.CheckConstraint(
                condition=Q(erased_at__isnull=True)
                | Q(
                    name_sealed=b"",
                    name_masked=TOMBSTONE,
                    address_sealed__isnull=True,
                    contact_phone_sealed__isnull=True,
                    external_id="",
                ),
                name="subscriber_erased_is_empty",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.uid} {self.name_masked}"

    def seal_name(self, name: str) -> None:
        self.name_sealed = sealing.seal(name, context=self.context("name"))

    def open_name(self) -> str:
        """The name in clear. :raises SealBroken: when the ciphertext is not this row's."""
        return sealing.unseal(self.name_sealed, context=self.context("name"))

    def seal_contact(self, *, address: str, contact_phone: str) -> None:
        """Empty texts are stored as nothing at all."""
        self.address_sealed = sealing.seal(address, context=self.context("address")) if address else None
        self.contact_phone_sealed = (
            sealing.seal(contact_phone, context=self.context("contact_phone")) if contact_phone else None
        )

    def open_address(self) -> str:
        """Empty when there is none. :raises SealBroken: when the ciphertext is not this row's."""
        return (
            sealing.unseal(self.address_sealed, context=self.context("address"))
            if self.address_sealed
            else ""
        )

    def open_contact_phone(self) -> str:
        """Empty when there is none. :raises SealBroken: when the ciphertext is not this row's."""
        if not self.contact_phone_sealed:
            return ""
        return sealing.unseal(self.contact_phone_sealed, context=self.context("contact_phone"))

    @property
    def is_organization(self) -> bool:
        return self.kind == SubscriberKind.ORGANIZATION

    @property
    def letters(self) -> TenantQuerySet[IdentityImage]:
        """The authorisation letters that an organization has brought, and that can still be opened."""
        return IdentityImage.objects.filter(
            subscriber=self, kind=ImageKind.AUTHORISATION_LETTER, key_sealed__isnull=False
        )

    def note_handed_on(self, *, now: datetime) -> None:
        self.handed_on_at = now
        self.save(update_fields=["handed_on_at"])

    def erase(self, *, now: datetime) -> None:
        """Leaves a tombstone: ids and dates, nothing of the person."""
        self.name_sealed = b""
        self.name_masked = TOMBSTONE
        self.address_sealed = self.contact_phone_sealed = None
        self.external_id = ""
        self.erased_at = now
        self.save(
            update_fields=[
                "name_sealed",
                "name_masked",
                "address_sealed",
                "contact_phone_sealed",
                "external_id",
                "erased_at",
            ]
        )

    def context(self, column: str) -> str:
        return f"subscribers.subscriber.{column}:{self.operator_id}:{self.uid}"


class IdentityDocument(models.Model):
    """One document of a subscriber. Its fingerprint stands for the person: one person, one subscriber per operator."""

    uid = PublicIdField(prefix="doc")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT)
    subscriber = models.ForeignKey(Subscriber, on_delete=models.PROTECT, related_name="documents")
    type = models.CharField(max_length=32)
    number_sealed = models.BinaryField()
    number_masked = models.CharField(max_length=32)
    # Keyed HMAC over document family and number (PIPL art. 51): equal for the 15- and 18-digit forms of one number.
    # Behind the name of the key it was made with, when that lies in the table.
    fingerprint = models.BinaryField(max_length=36)
    valid_from = models.DateField(null=True)
    # The last day printed on the document; NULL is long-term.
    valid_until = models.DateField(null=True)
    issuing_country = models.CharField(max_length=3, blank=True)
    created_at = models.DateTimeField()

    objects = TenantQuerySet["IdentityDocument"].as_manager()

    class Meta:
        verbose_name = "document"
        indexes = [
            models.Index(
                fields=["operator", "valid_until", "id"],
                condition=Q(valid_until__isnull=False),
                name="identity_document_ends",
            )
        ]
        constraints = [
            models.UniqueConstraint(fields=["operator", "fingerprint"], name="identity_document_person"),
            models.CheckConstraint(
                condition=Q(type__in=[member.value for member in DocumentType]), name="identity_document_type"
            ),
            models.CheckConstraint(
                condition=Q(number_masked__contains="*"), name="identity_document_number_is_masked"
            ),
            models.CheckConstraint(
                condition=Q(valid_from__isnull=True)
                | Q(valid_until__isnull=True)
                | Q(valid_until__gte=F("valid_from")),
                name="identity_document_term",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.number_masked}"

    def seal_number(self, number: str) -> None:
        self.number_sealed = sealing.seal(number, context=self.number_context)

    def open_number(self) -> str:
        """The number in clear. :raises SealBroken: when the ciphertext is not this row's."""
        return sealing.unseal(self.number_sealed, context=self.number_context)

    def renew(self, *, valid_from: date | None, valid_until: date | None) -> None:
        """The same number on a newer card."""
        self.valid_from, self.valid_until = valid_from, valid_until
        self.save(update_fields=["valid_from", "valid_until"])

    def erase(self) -> None:
        """The fingerprint becomes a random one: it finds nobody, and the person may register again."""
        self.number_sealed = b""
        self.number_masked = TOMBSTONE
        self.fingerprint = os.urandom(32)
        self.valid_from = self.valid_until = None
        self.issuing_country = ""
        self.save(
            update_fields=[
                "number_sealed",
                "number_masked",
                "fingerprint",
                "valid_from",
                "valid_until",
                "issuing_country",
            ]
        )

    @property
    def number_context(self) -> str:
        return f"subscribers.identitydocument.number:{self.operator_id}:{self.uid}"


class VerificationQuerySet(TenantQuerySet["Verification"]):
    def open(self) -> Self:
        """Not yet decided: the checks or a person still have to."""
        return self.filter(status__in=(VerificationStatus.PENDING, VerificationStatus.REVIEW))

    def bringing_evidence(self) -> Self:
        """Those that have brought their own, since it is recorded when."""
        return self.filter(evidence_at__isnull=False, again_of__isnull=True)

    def proving_after(self, moment: datetime) -> Self:
        """Those whose evidence was brought after that."""
        return self.filter(Q(evidence_at__gt=moment) | Q(evidence_at__isnull=True), created_at__gt=moment)

    def due(self, *, now: datetime) -> Self:
        """Waiting for a worker: due, and not (or no longer) held by one."""
        unclaimed = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
        return self.filter(unclaimed, status=VerificationStatus.PENDING, next_attempt_at__lte=now)

    def claim(self, rows: Sequence[Verification], *, lease_until: datetime) -> None:
        """Gives these rows, locked by the caller, a new token and lease.

        The attempt is counted now, so that a run that kills its worker is counted too.
        """
        self.filter(pk__in=[row.pk for row in rows]).update(
            attempts=F("attempts") + 1, token=F("token") + 1, lease_until=lease_until
        )
        for row in rows:
            row.attempts += 1
            row.token += 1
            row.lease_until = lease_until


class Verification(models.Model):
    """One run of the real-name checks over one subscriber and one document."""

    uid = PublicIdField(prefix="ver")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT)
    subscriber = models.ForeignKey(Subscriber, on_delete=models.PROTECT, related_name="verifications")
    document = models.ForeignKey(IdentityDocument, on_delete=models.PROTECT)
    channel = models.CharField(max_length=12, choices=Channel)
    dealer = models.ForeignKey(Dealer, null=True, blank=True, on_delete=models.PROTECT)
    # Who is checked beside the holder, and stands before us for them: one at most.
    representative = models.ForeignKey(
        "subscribers.Representative", null=True, blank=True, on_delete=models.PROTECT
    )
    # The face provider's handle of the live session; empty where policy does without one.
    face_session = models.CharField(max_length=128, blank=True)
    # What a store has instead: the serial of its card reader, and the photo taken at the counter.
    reader = models.CharField(max_length=64, blank=True)
    photo = models.ForeignKey("IdentityImage", null=True, blank=True, on_delete=models.PROTECT)
    requested_by = models.CharField(max_length=80)
    status = models.CharField(max_length=8, choices=VerificationStatus, default=VerificationStatus.PENDING)
    attempts = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)
    # A claim: who holds the highest token may record, until the lease ends and somebody else claims.
    lease_until = models.DateTimeField(null=True)
    token = models.IntegerField(default=0)
    created_at = models.DateTimeField()
    # When the evidence was brought; NULL in rows older than this column. Whoever is checked again because two people
    # have overruled a failure (`again_of`) is not seen another time.
    evidence_at = models.DateTimeField(null=True)
    again_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True)
    fresh_until = models.DateTimeField(null=True)

    objects = VerificationQuerySet.as_manager()

    class Meta:
        verbose_name = "real-name check"
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(status="PENDING"), name="verification_due"),
            models.Index(fields=["fresh_until"], condition=Q(status="PASSED"), name="verification_fresh"),
            models.Index(fields=["subscriber", "-id"], name="verification_latest"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["subscriber"],
                condition=Q(status__in=["PENDING", "REVIEW"]),
                name="verification_one_open",
            ),
            # Evidence is brought once; the condition is that of `bringing_evidence`.
            models.UniqueConstraint(
                fields=["operator", "face_session"],
                condition=Q(evidence_at__isnull=False, again_of__isnull=True) & ~Q(face_session=""),
                name="verification_face_session",
            ),
            models.UniqueConstraint(
                fields=["photo"],
                condition=Q(evidence_at__isnull=False, again_of__isnull=True, photo__isnull=False),
                name="verification_photo",
            ),
            models.CheckConstraint(condition=Q(channel__in=Channel.values), name="verification_channel"),
            models.CheckConstraint(
                condition=Q(status="PENDING", next_attempt_at__isnull=False)
                | (~Q(status="PENDING") & Q(next_attempt_at__isnull=True, lease_until__isnull=True)),
                name="verification_pending_is_due",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["PASSED", "FAILED", "EXPIRED"], decided_at__isnull=False)
                | Q(status__in=["PENDING", "REVIEW"], decided_at__isnull=True),
                name="verification_decided",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["PASSED", "EXPIRED"], fresh_until__isnull=False)
                | Q(status__in=["PENDING", "REVIEW", "FAILED"], fresh_until__isnull=True),
                name="verification_fresh_when_passed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.uid} {self.status}"

    @property
    def proved_at(self) -> datetime:
        """When the person was there."""
        return self.evidence_at or self.created_at

    @property
    def is_by_proxy(self) -> bool:
        """Whether somebody else came in the holder's place, for this once."""
        party = self.representative
        return party is not None and party.role == RepresentativeRole.PROXY

    def put_off(self, *, next_attempt_at: datetime) -> None:
        """No answer this time: stays PENDING, the lease is given back."""
        self.next_attempt_at = next_attempt_at
        self.lease_until = None
        self.save(update_fields=["next_attempt_at", "lease_until"])

    def start_over(self, *, now: datetime) -> None:
        """What a worker is finding out just now counts no more: it is to be found out again, at once."""
        self.token += 1
        self.next_attempt_at = now
        self.lease_until = None
        self.save(update_fields=["token", "next_attempt_at", "lease_until"])

    def pass_(self, *, now: datetime, fresh_until: datetime) -> None:
        """:raises InvalidTransition: unless PENDING or REVIEW."""
        self._leave(VerificationStatus.PASSED, decided_at=now, fresh_until=fresh_until)

    def fail(self, *, now: datetime) -> None:
        """:raises InvalidTransition: unless PENDING or REVIEW."""
        self._leave(VerificationStatus.FAILED, decided_at=now)

    def to_review(self) -> None:
        """:raises InvalidTransition: unless PENDING."""
        self._leave(VerificationStatus.REVIEW)

    def forget_evidence(self) -> None:
        self.face_session = self.reader = ""
        self.save(update_fields=["face_session", "reader"])

    def expire(self) -> None:
        """:raises InvalidTransition: unless PASSED."""
        VERIFICATION.check(self.status, VerificationStatus.EXPIRED)
        self.status = VerificationStatus.EXPIRED
        self.save(update_fields=["status"])

    def _leave(
        self,
        status: VerificationStatus,
        *,
        decided_at: datetime | None = None,
        fresh_until: datetime | None = None,
    ) -> None:
        VERIFICATION.check(self.status, status)
        self.status = status
        self.decided_at = decided_at
        self.fresh_until = fresh_until
        self.next_attempt_at = None
        self.lease_until = None
        self.save(update_fields=["status", "decided_at", "fresh_until", "next_attempt_at", "lease_until"])


class VerificationCheck(models.Model):
    """What one check of the list found in the latest run, in the order of the list."""

    verification = models.ForeignKey(Verification, on_delete=models.PROTECT, related_name="checks")
    position = models.SmallIntegerField()
    name = models.CharField(max_length=32)
    outcome = models.CharField(max_length=12, choices=CheckOutcome)
    code = models.CharField(max_length=40)
    # Who answered, when it was not ourselves.
    provider = models.CharField(max_length=32, blank=True)
    checked_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["verification", "position"], name="verification_check_position"),
            models.CheckConstraint(
                condition=Q(outcome__in=CheckOutcome.values), name="verification_check_outcome"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.outcome}"


class IdentityImage(models.Model):
    """A picture of a document or of the person. The file lies encrypted in the storage, its own key sealed here.

    Without the key the file is noise, wherever copies of it are: taking the key away is what erases it.
    """

    uid = PublicIdField(prefix="img")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT)
    subscriber = models.ForeignKey(Subscriber, on_delete=models.PROTECT, related_name="images")
    kind = models.CharField(max_length=20, choices=ImageKind)
    storage_name = models.CharField(max_length=64, unique=True)
    key_sealed = models.BinaryField(null=True)
    # Of the encrypted file, as proof of what was kept and destroyed.
    sha256 = models.BinaryField(max_length=32)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    uploaded_by = models.CharField(max_length=80)
    created_at = models.DateTimeField()
    # The file is removed after the key.
    file_removed_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["IdentityImage"].as_manager()

    class Meta:
        verbose_name = "image"
        indexes = [
            models.Index(
                fields=["id"],
                condition=Q(key_sealed__isnull=True, file_removed_at__isnull=True),
                name="identity_image_to_remove",
            )
        ]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=ImageKind.values), name="identity_image_kind"),
            models.CheckConstraint(
                condition=Q(file_removed_at__isnull=True) | Q(key_sealed__isnull=True),
                name="identity_image_removed_has_no_key",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.uid} {self.kind}"

    def give_to(self, subscriber: Subscriber) -> None:
        """The file and its key stay what they are: they are bound to the operator and the name in the storage."""
        self.subscriber = subscriber
        self.save(update_fields=["subscriber"])

    def erase(self) -> None:
        self.key_sealed = None
        self.save(update_fields=["key_sealed"])

    def note_file_removed(self, *, now: datetime) -> None:
        self.file_removed_at = now
        self.save(update_fields=["file_removed_at"])

    @property
    def key_context(self) -> str:
        return f"subscribers.identityimage.key:{self.operator_id}:{self.storage_name}"
