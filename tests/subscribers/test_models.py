"""What the database refuses whatever the code says, and ciphertexts that open in their own row only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.apps import apps as django_apps
from django.db import IntegrityError, transaction
from django.db.models import F

from apps.core.db import violated_constraint
from apps.core.errors import InvalidTransition
from apps.core.sealing import SealBroken
from apps.operators.models import VirtualOperator
from apps.subscribers import services
from apps.subscribers.models import IdentityDocument, Subscriber, Verification, VerificationCheck
from apps.subscribers.states import VERIFICATION, VerificationStatus
from tests.factories.subscribers import given_subscriber, given_verification

pytestmark = pytest.mark.django_db


def _violated(change: Callable[[], object]) -> str | None:
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        change()
    return violated_constraint(refused.value)


class TestSeals:
    @pytest.fixture
    def two(self, operator: VirtualOperator, now: datetime) -> tuple[Subscriber, Subscriber]:
        return given_subscriber(operator=operator, now=now), given_subscriber(
            operator=operator, now=now, name="李四"
        )

    def test_a_swapped_name_does_not_open(self, two: tuple[Subscriber, Subscriber]) -> None:
        first, second = two
        Subscriber.objects.filter(pk=first.pk).update(name_sealed=second.name_sealed)
        Subscriber.objects.filter(pk=second.pk).update(name_sealed=first.name_sealed)

        for subscriber in Subscriber.objects.all():
            with pytest.raises(SealBroken):
                subscriber.open_name()

    def test_a_swapped_number_does_not_open(self, two: tuple[Subscriber, Subscriber]) -> None:
        first, second = IdentityDocument.objects.order_by("id")
        IdentityDocument.objects.filter(pk=first.pk).update(number_sealed=second.number_sealed)
        IdentityDocument.objects.filter(pk=second.pk).update(number_sealed=first.number_sealed)

        for document in IdentityDocument.objects.all():
            with pytest.raises(SealBroken):
                document.open_number()

    def test_a_column_does_not_open_in_another(self, operator: VirtualOperator, now: datetime) -> None:
        subscriber = given_subscriber(operator=operator, now=now)
        subscriber.seal_contact(address="北京市某街1号", contact_phone="")
        subscriber.save()
        Subscriber.objects.update(name_sealed=F("address_sealed"))

        with pytest.raises(SealBroken):
            Subscriber.objects.get().open_name()

    def test_a_row_does_not_open_at_another_operator(
        self, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
    ) -> None:
        given_subscriber(operator=operator, now=now)
        Subscriber.objects.update(operator=other_operator)
        IdentityDocument.objects.update(operator=other_operator)

        with pytest.raises(SealBroken):
            Subscriber.objects.get().open_name()
        with pytest.raises(SealBroken):
            IdentityDocument.objects.get().open_number()

    def test_one_flipped_bit_does_not_open(self, operator: VirtualOperator, now: datetime) -> None:
        given_subscriber(operator=operator, now=now)
        document = IdentityDocument.objects.get()
        blob = bytearray(document.number_sealed)
        blob[-1] ^= 1
        document.number_sealed = bytes(blob)

        with pytest.raises(SealBroken):
            document.open_number()

    def test_equal_texts_have_different_ciphertexts(self, operator: VirtualOperator, now: datetime) -> None:
        names = [bytes(given_subscriber(operator=operator, now=now).name_sealed) for _ in range(2)]

        assert names[0] != names[1]

    def test_printing_shows_masks(self, operator: VirtualOperator, now: datetime) -> None:
        subscriber = given_subscriber(operator=operator, now=now)
        document = IdentityDocument.objects.get()

        assert str(subscriber) == f"{subscriber.uid} 张**"
        assert str(document) == f"resident_id {document.number_masked}"
        assert document.open_number() not in f"{document!r}{subscriber!r}"


class TestConstraints:
    def test_one_person_once_per_operator(self, operator: VirtualOperator, now: datetime) -> None:
        given_subscriber(operator=operator, now=now)
        document = IdentityDocument.objects.get()

        def twice() -> None:
            copy = IdentityDocument.objects.get(pk=document.pk)
            copy.pk, copy.uid = None, IdentityDocument._meta.get_field("uid").new()
            copy.save(force_insert=True)

        assert _violated(twice) == "identity_document_person"

    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"name_masked": "张三丰"}, "subscriber_name_is_masked"),
            ({"kind": "ROBOT"}, "subscriber_kind"),
        ],
    )
    def test_subscribers(
        self, operator: VirtualOperator, now: datetime, change: dict[str, Any], constraint: str
    ) -> None:
        given_subscriber(operator=operator, now=now)

        assert _violated(lambda: Subscriber.objects.update(**change)) == constraint

    def test_external_ids(
        self, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
    ) -> None:
        given_subscriber(operator=operator, now=now, external_id="c-1")
        given_subscriber(operator=other_operator, now=now, external_id="c-1")
        given_subscriber(operator=operator, now=now, external_id="c-2")

        assert _violated(lambda: Subscriber.objects.update(external_id="c-1")) == "subscriber_external_id"

    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"type": "library_card"}, "identity_document_type"),
            ({"number_masked": "11010519491231002X"}, "identity_document_number_is_masked"),
            ({"valid_from": "2030-01-02", "valid_until": "2030-01-01"}, "identity_document_term"),
        ],
    )
    def test_documents(
        self, operator: VirtualOperator, now: datetime, change: dict[str, Any], constraint: str
    ) -> None:
        given_subscriber(operator=operator, now=now)

        assert _violated(lambda: IdentityDocument.objects.update(**change)) == constraint

    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"status": "DONE"}, "verification_decided"),
            ({"channel": "BY_POST"}, "verification_channel"),
            ({"next_attempt_at": None}, "verification_pending_is_due"),
            ({"status": "REVIEW"}, "verification_pending_is_due"),
            (
                {"status": "REVIEW", "next_attempt_at": None, "lease_until": "2030-01-01T00:00Z"},
                "verification_pending_is_due",
            ),
            ({"decided_at": "2030-01-01T00:00Z"}, "verification_decided"),
            ({"status": "FAILED", "next_attempt_at": None}, "verification_decided"),
            ({"fresh_until": "2030-01-01T00:00Z"}, "verification_fresh_when_passed"),
            (
                {"status": "PASSED", "next_attempt_at": None, "decided_at": "2030-01-01T00:00Z"},
                "verification_fresh_when_passed",
            ),
            (
                {
                    "status": "FAILED",
                    "next_attempt_at": None,
                    "decided_at": "2030-01-01T00:00Z",
                    "fresh_until": "2030-01-01T00:00Z",
                },
                "verification_fresh_when_passed",
            ),
        ],
    )
    def test_a_verifications_status_is_tied_to_its_times(
        self, operator: VirtualOperator, now: datetime, change: dict[str, Any], constraint: str
    ) -> None:
        given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)

        assert _violated(lambda: Verification.objects.update(**change)) == constraint

    @pytest.mark.parametrize("status", ["PENDING", "REVIEW"])
    def test_one_open_verification_per_subscriber(
        self, operator: VirtualOperator, now: datetime, status: str
    ) -> None:
        verification = given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
        if status == "REVIEW":
            verification.to_review()

        def second() -> None:
            Verification.objects.create(
                operator=operator,
                subscriber=verification.subscriber,
                document=verification.document,
                channel="IN_STORE",
                requested_by="SYSTEM:tests",
                next_attempt_at=now,
                created_at=now,
            )

        assert _violated(second) == "verification_one_open"

    def test_checks(self, operator: VirtualOperator, now: datetime) -> None:
        verification = given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)

        def check(position: int, outcome: str) -> VerificationCheck:
            return VerificationCheck.objects.create(
                verification=verification,
                position=position,
                name="x",
                outcome=outcome,
                code="ok",
                checked_at=now,
            )

        check(1, "PASS")
        assert _violated(lambda: check(1, "PASS")) == "verification_check_position"
        assert _violated(lambda: check(2, "MAYBE")) == "verification_check_outcome"


STEPS: dict[VerificationStatus, Callable[[Verification, datetime], None]] = {
    VerificationStatus.PASSED: lambda row, now: row.pass_(now=now, fresh_until=now + timedelta(days=1)),
    VerificationStatus.FAILED: lambda row, now: row.fail(now=now),
    VerificationStatus.REVIEW: lambda row, now: row.to_review(),
    VerificationStatus.EXPIRED: lambda row, now: row.expire(),
}


def _in_status(status: VerificationStatus, operator: VirtualOperator, now: datetime) -> Verification:
    verification = given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
    path = {
        VerificationStatus.PENDING: [],
        VerificationStatus.EXPIRED: [VerificationStatus.PASSED, VerificationStatus.EXPIRED],
    }.get(status, [status])
    for step in path:
        STEPS[step](verification, now)
    return verification


@pytest.mark.parametrize("target", list(STEPS))
@pytest.mark.parametrize("source", list(VerificationStatus))
def test_every_pair_of_states(
    operator: VirtualOperator, now: datetime, source: VerificationStatus, target: VerificationStatus
) -> None:
    verification = _in_status(source, operator, now)

    if VERIFICATION.can(source, target):
        STEPS[target](verification, now)
        assert Verification.objects.get().status == target
    else:
        with pytest.raises(InvalidTransition):
            STEPS[target](verification, now)
        assert Verification.objects.get().status == source


def test_the_table_of_steps() -> None:
    assert {(source.value, target.value) for source, target in VERIFICATION.edges()} == {
        ("PENDING", "PASSED"),
        ("PENDING", "FAILED"),
        ("PENDING", "REVIEW"),
        ("REVIEW", "PASSED"),
        ("REVIEW", "FAILED"),
        ("PASSED", "EXPIRED"),
    }


def test_a_rotation_moves_every_sealed_column() -> None:
    there_are = {
        (model, field.name)
        for model in django_apps.get_app_config("subscribers").get_models()
        for field in model._meta.concrete_fields
        if field.name.endswith("_sealed")
    }
    assert {(model, column) for model, columns in services.SEALED.values() for column in columns} == there_are
