"""The end of personal data: when its time is up, never before, never while a line lives or somebody holds it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.db import in_transaction
from apps.core.errors import Forbidden, InvalidTransition, NotFound
from apps.lines import services as lines
from apps.lines.models import Line
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, services
from apps.subscribers.models import (
    IdentityDocument,
    IdentityImage,
    LegalHold,
    Representative,
    Subscriber,
    Verification,
)
from apps.subscribers.states import RepresentativeRole
from tests.factories.accounts import given_user
from tests.factories.operators import given_policy
from tests.factories.provisioning import Seller, given_seller
from tests.factories.subscribers import (
    SYSTEM,
    given_minor,
    given_subscriber,
    given_verification,
    minor_number,
    somebody,
)
from tests.races.threads import at_once
from tests.subscribers import pictures

pytestmark = pytest.mark.django_db

YEARS = timedelta(days=2 * 366)
REASON = "court order 2026/4"


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    storage = {**settings.STORAGES["images"], "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "images": storage}
    return tmp_path


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    return given_seller(operator=operator, now=now)


def _erase(now: datetime) -> int:
    return lines.erase_former_holders(actor=SYSTEM, now=now)


def _picture(subscriber: Subscriber, now: datetime) -> IdentityImage:
    stored = services.store_image_file(content=pictures.jpeg())
    return services.add_image(
        actor=SYSTEM, subscriber_uid=subscriber.uid, kind="PERSON", stored=stored, now=now
    )


def test_what_is_left_is_a_tombstone_with_proof(
    operator: VirtualOperator, now: datetime, folder: Path
) -> None:
    number = minor_number(now)
    subscriber = given_minor(operator=operator, now=now, number=number, external_id="c-1")
    first = subscriber.representatives.get()
    guardian, _ = services.replace_representative(
        actor=SYSTEM,
        subscriber_uid=subscriber.uid,
        role=RepresentativeRole.GUARDIAN,
        person=somebody(valid_until=date(2090, 1, 1)),
        now=now,
    )
    image = _picture(subscriber, now)
    fingerprint = bytes(IdentityDocument.objects.get().fingerprint)
    later = now + YEARS

    assert _erase(later) == 1
    assert _erase(later) == 0

    row, document, erased = (
        Subscriber.objects.get(),
        IdentityDocument.objects.get(),
        IdentityImage.objects.get(),
    )
    assert (bytes(row.name_sealed), row.name_masked, row.external_id, row.erased_at) == (
        b"",
        "***",
        "",
        later,
    )
    assert (row.address_sealed, row.contact_phone_sealed) == (None, None)
    assert (bytes(document.number_sealed), document.number_masked) == (b"", "***")
    assert bytes(document.fingerprint) != fingerprint
    assert erased.key_sealed is None
    for known in (first, guardian):
        nobody = Representative.objects.get(pk=known.pk)
        sealed = (bytes(nobody.name_sealed), bytes(nobody.number_sealed), nobody.valid_until)
        assert sealed == (b"", b"", None)
        assert (nobody.name_masked, nobody.number_masked) == ("***", "***")
        assert bytes(nobody.fingerprint) != bytes(known.fingerprint)
    proof = AuditEvent.objects.get(action="subscriber.erase")
    assert proof.target_id == row.uid
    assert proof.after["images"] == [image.uid]
    assert proof.after["representatives"] == [first.uid, guardian.uid]
    assert len(proof.after["sha256"]) == 64
    # The file is noise already; then it goes, once.
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1
    assert services.remove_erased_files(actor=SYSTEM, now=later) == 1
    assert services.remove_erased_files(actor=SYSTEM, now=later) == 0
    assert not [path for path in folder.rglob("*") if path.is_file()]
    # The person is a stranger now.
    again = given_minor(operator=operator, now=later, number=number)
    assert again.pk != subscriber.pk


def test_the_clock_is_policy_and_runs_to_the_day(operator: VirtualOperator, now: datetime) -> None:
    given_policy(key=PolicyKey.RETENTION_YEARS, value=3, now=now, operator=operator)
    given_subscriber(operator=operator, now=now)
    assert _erase(now + YEARS) == 0
    assert _erase(now + timedelta(days=3 * 365 - 1)) == 0
    assert _erase(now + timedelta(days=3 * 366)) == 1


def test_never_while_a_line_lives_and_from_its_end_on(seller: Seller, now: datetime) -> None:
    line = seller.active_line()
    ended = now + YEARS
    assert _erase(ended) == 0
    assert not Subscriber.objects.filter(erased_at__isnull=False).exists()

    lines.terminate_line(actor=SYSTEM, line_id=line.pk, reason="test", now=ended)
    assert _erase(ended + timedelta(days=729)) == 0
    assert _erase(ended + YEARS) == 1
    assert Line.objects.get(pk=line.pk).subscriber.erased_at is not None


def test_a_line_that_went_to_somebody_else_starts_the_clock(
    seller: Seller, operator: VirtualOperator, now: datetime
) -> None:
    line = seller.active_line()
    giver = line.subscriber
    handed_on = now + YEARS
    taker = given_subscriber(operator=operator, now=handed_on)
    with transaction.atomic():
        lines.transfer_line(actor=SYSTEM, line_id=line.pk, subscriber_id=taker.pk, now=handed_on)
    assert _erase(handed_on + timedelta(days=729)) == 0
    assert _erase(handed_on + YEARS) == 1
    giver.refresh_from_db()
    assert giver.erased_at is not None


def test_whoever_was_verified_since_is_not_erased(operator: VirtualOperator, now: datetime) -> None:
    subscriber = given_subscriber(operator=operator, now=now)
    given_verification(subscriber=subscriber, now=now + timedelta(days=700))
    assert _erase(now + YEARS) == 0


def test_nothing_rests_on_what_was_verified(operator: VirtualOperator, now: datetime) -> None:
    subscriber = given_subscriber(operator=operator, now=now)
    given_verification(subscriber=subscriber, now=now, face_session="fs-1")
    assert _erase(now + YEARS) == 1
    verification = Verification.objects.get()
    assert (verification.status, verification.face_session) == ("FAILED", "")
    with pytest.raises(errors.SubscriberErased):
        given_verification(subscriber=subscriber, now=now + YEARS)


@pytest.mark.django_db(transaction=True)
def test_nobody_opens_a_line_for_a_tombstone(seller: Seller, now: datetime) -> None:
    """The order looked at the person before, waits for the eraser, and then finds nobody."""
    subscriber = seller.subscriber()
    later = now + YEARS
    Verification.objects.update(created_at=now, fresh_until=later + YEARS)
    results = at_once(lambda: _erase(later), lambda: seller.order(subscriber=subscriber))

    refused = [result for result in results if isinstance(result, Exception)]
    erased = Subscriber.objects.get(pk=subscriber.pk).erased_at is not None
    assert erased == bool(refused), results
    assert erased != Line.objects.filter(subscriber=subscriber).exists()


def test_a_line_opened_behind_the_erasers_back_is_undone(seller: Seller, now: datetime) -> None:
    line = seller.active_line()
    ghost = given_subscriber(operator=seller.operator, now=now)
    with transaction.atomic():
        services.erase_subscriber(actor=SYSTEM, subscriber_id=ghost.pk, now=now)
    assert not in_transaction()
    with pytest.raises(errors.SubscriberErased), transaction.atomic():
        lines.transfer_line(actor=SYSTEM, line_id=line.pk, subscriber_id=ghost.pk, now=now)


class TestLegalHold:
    def test_a_hold_keeps_and_lifting_it_lets_go(
        self, operator: VirtualOperator, operator_admin: Any, now: datetime
    ) -> None:
        subscriber = given_subscriber(operator=operator, now=now)
        for _ in range(2):
            services.place_legal_hold(
                actor=operator_admin, subscriber_uid=subscriber.uid, reason=REASON, now=now
            )
        assert _erase(now + YEARS) == 0
        assert not services.erase_subscriber(actor=SYSTEM, subscriber_id=subscriber.pk, now=now + YEARS)

        lifted = services.lift_legal_holds(
            actor=operator_admin, subscriber_uid=subscriber.uid, reason=REASON, now=now + YEARS
        )
        assert lifted == 2
        assert _erase(now + YEARS) == 1
        assert AuditEvent.objects.filter(action__startswith="legal_hold.", reason=REASON).count() == 4

    def test_refusals(
        self, operator: VirtualOperator, other_operator: VirtualOperator, operator_admin: Any, now: datetime
    ) -> None:
        uid = given_subscriber(operator=operator, now=now).uid
        foreign = given_subscriber(operator=other_operator, now=now).uid
        support = actor_of_user(given_user(role=Role.SUPPORT, operator=operator, now=now))
        for refusal, actor, target, reason in (
            (Forbidden, support, uid, REASON),
            (errors.ReasonMissing, operator_admin, uid, " "),
            (NotFound, operator_admin, foreign, REASON),
        ):
            with pytest.raises(refusal), transaction.atomic():
                services.place_legal_hold(actor=actor, subscriber_uid=target, reason=reason, now=now)
        with pytest.raises(InvalidTransition), transaction.atomic():
            services.lift_legal_holds(actor=operator_admin, subscriber_uid=uid, reason=REASON, now=now)
        assert not LegalHold.objects.exists()

    def test_in_the_admin(self, operator: VirtualOperator, now: datetime) -> None:
        subscriber = given_subscriber(operator=operator, now=now)
        client = Client()
        client.force_login(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
        for button, standing in (("hold", 1), ("lift", 0)):
            path = reverse("admin:subscribers_subscriber_press", args=(subscriber.pk, button))
            assert client.post(path, {"reason": REASON}).status_code == 302
            assert LegalHold.objects.filter(lifted_at=None).count() == standing
        page = client.get(reverse("admin:subscribers_subscriber_change", args=(subscriber.pk,)))
        assert REASON in page.content.decode()
