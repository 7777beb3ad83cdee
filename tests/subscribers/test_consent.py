"""Consents: by purpose and version, asked for by policy, taken back at any time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError, transaction

from apps.audit.models import AuditEvent
from apps.core.errors import NotFound
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, services
from apps.subscribers.models import Consent, Subscriber
from apps.subscribers.services import ConsentInput
from apps.subscribers.states import Channel, ConsentPurpose
from tests.factories.accounts import ApiClient
from tests.factories.operators import given_policy
from tests.factories.subscribers import SYSTEM, given_subscriber, registration

pytestmark = pytest.mark.django_db

REAL_NAME, MARKETING = ConsentPurpose.REAL_NAME, ConsentPurpose.MARKETING
GIVEN = {"purpose": "real_name", "text_version": "2026-01", "channel": "in_store"}
PATH = "/api/v1/subscribers"


@pytest.fixture
def subscriber(operator: VirtualOperator, now: datetime) -> Subscriber:
    return given_subscriber(operator=operator, now=now)


def _give(
    subscriber: Subscriber, now: datetime, version: str = "v1", purpose: ConsentPurpose = REAL_NAME
) -> Consent:
    row, _ = services.record_consent(
        actor=SYSTEM,
        subscriber_uid=subscriber.uid,
        consent=ConsentInput(purpose, version, Channel.IN_STORE),
        now=now,
    )
    return row


def test_the_same_text_again_is_the_same_consent_and_a_new_text_ends_the_old(
    subscriber: Subscriber, now: datetime
) -> None:
    first = _give(subscriber, now)
    assert _give(subscriber, now + timedelta(days=1)).pk == first.pk
    second = _give(subscriber, now + timedelta(days=2), "v2")

    first.refresh_from_db()
    assert first.withdrawn_at == second.given_at
    assert list(Consent.objects.filter(withdrawn_at=None)) == [second]
    assert AuditEvent.objects.filter(action="consent.give").count() == 2


def test_taken_back_once_and_given_again(subscriber: Subscriber, now: datetime) -> None:
    _give(subscriber, now, purpose=MARKETING)
    services.withdraw_consent(actor=SYSTEM, subscriber_uid=subscriber.uid, purpose=MARKETING, now=now)
    with pytest.raises(NotFound), transaction.atomic():
        services.withdraw_consent(actor=SYSTEM, subscriber_uid=subscriber.uid, purpose=MARKETING, now=now)
    _give(subscriber, now, purpose=MARKETING)
    assert Consent.objects.count() == 2


def test_the_database_refuses_two_standing_consents_to_one_purpose(
    subscriber: Subscriber, now: datetime
) -> None:
    row = _give(subscriber, now)
    row.pk, row.uid = None, Consent().uid
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save(force_insert=True)


def test_an_erased_person_cannot_agree(subscriber: Subscriber, now: datetime) -> None:
    services.erase_subscriber(actor=SYSTEM, subscriber_id=subscriber.pk, now=now)
    with pytest.raises(errors.SubscriberErased), transaction.atomic():
        _give(subscriber, now)


def test_policy_asks_for_it_at_registration(api: ApiClient, operator: VirtualOperator, now: datetime) -> None:
    assert api.post(PATH, registration()).status_code == 201, "off by default"
    given_policy(key=PolicyKey.CONSENT_REQUIRED, value=True, now=now, operator=operator)
    refusals: list[dict[str, list[dict[str, str]]]] = [
        {},
        {"consents": []},
        {"consents": [{**GIVEN, "purpose": "marketing"}]},
    ]
    for consents in refusals:
        refused = api.post(PATH, registration(**consents))
        assert (refused.status_code, refused.json()["code"]) == (422, "consent_missing")

    assert api.post(PATH, registration(consents=[GIVEN])).status_code == 201
    row = Consent.objects.get()
    assert (row.purpose, row.text_version, row.channel) == ("REAL_NAME", "2026-01", "IN_STORE")


@pytest.mark.parametrize(
    "consents",
    [
        [GIVEN, GIVEN],
        [{**GIVEN, "purpose": "anything"}],
        [{**GIVEN, "text_version": "v 1"}],
        [{**GIVEN, "channel": "by_post"}],
        [{**GIVEN, "name": "x"}],
        "yes",
    ],
)
def test_the_shape_is_strict(api: ApiClient, consents: object) -> None:
    assert api.post(PATH, registration(consents=consents)).status_code == 400
    assert not Consent.objects.exists()
