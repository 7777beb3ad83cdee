"""The holder limit: counted per person over all their documents, companies by policy, transfers and ends included."""

from __future__ import annotations

import os
from datetime import datetime

import pytest

from apps.carriers.base import Rejected
from apps.lines import services as lines
from apps.lines.errors import HolderLimitReached
from apps.lines.models import HolderSlot
from apps.operators.models import Policy, VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers.models import IdentityDocument, Subscriber
from tests.factories.operators import given_policy
from tests.factories.provisioning import Seller, given_seller
from tests.refusals import refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    given_policy(key=PolicyKey.HOLDER_LIMIT, value=2, now=now, operator=operator)
    return given_seller(operator=operator, now=now)


def _take(person: Subscriber, now: datetime) -> int | None:
    places = lines.take_places(operator_id=person.operator_id, holder=person, user=None, now=now)
    return places.holder


def _another_document(person: Subscriber, now: datetime) -> IdentityDocument:
    """The person shows another document: the latest is another one from now on."""
    document = IdentityDocument(
        operator_id=person.operator_id,
        subscriber=person,
        type="passport",
        number_masked="***",
        fingerprint=os.urandom(32),
        issuing_country="DEU",
        created_at=now,
    )
    document.seal_number("C01X00T47")
    document.save()
    return document


def test_a_new_document_gives_no_new_places(seller: Seller, now: datetime) -> None:
    person = seller.subscriber()
    seller.active_line(subscriber=person)
    _another_document(person, now)
    seller.active_line(subscriber=person)
    with refused(HolderLimitReached):
        seller.order(subscriber=person)
    assert HolderSlot.objects.values_list("fingerprint", flat=True).distinct().count() == 1


def test_places_taken_under_a_later_document_count_too(seller: Seller, now: datetime) -> None:
    person = seller.subscriber()
    later = _another_document(person, now)
    HolderSlot.objects.create(operator_id=person.operator_id, fingerprint=later.fingerprint, slot=1)
    _take(person, now)
    with refused(HolderLimitReached):
        _take(person, now)


def test_a_lowered_limit_gives_no_place_that_fell_free(seller: Seller, now: datetime) -> None:
    person = seller.subscriber()
    first, second = seller.active_line(subscriber=person), seller.active_line(subscriber=person)
    Policy.objects.filter(key=PolicyKey.HOLDER_LIMIT, operator=seller.operator).update(value=1)
    seller.done(seller.ask("terminate", first))
    assert HolderSlot.objects.get().slot == 2
    with refused(HolderLimitReached):
        seller.order(subscriber=person)
    seller.done(seller.ask("terminate", second))
    seller.order(subscriber=person)


def test_companies_are_exempt_unless_policy_says_otherwise(seller: Seller, now: datetime) -> None:
    given_policy(key=PolicyKey.ACTUAL_USER_REQUIRED, value=False, now=now, operator=seller.operator)
    company = seller.subscriber()
    # How a company is registered is another test's.
    Subscriber.objects.filter(pk=company.pk).update(kind="ORGANIZATION")
    for _ in range(3):
        seller.active_line(subscriber=company)
    assert HolderSlot.objects.count() == 0
    own = seller.subscriber()
    line = seller.active_line(subscriber=own)
    seller.done(seller.ask("transfer", line, subscriber=company.uid))
    assert HolderSlot.objects.count() == 0, "the person's place is free, the company needs none"

    given_policy(key=PolicyKey.ORGANIZATIONS_EXEMPT, value=False, now=now, operator=seller.operator)
    company.refresh_from_db()
    assert _take(company, now) is not None
    _take(company, now)
    with refused(HolderLimitReached):
        _take(company, now)


def test_a_transfer_counts_from_its_order_on_and_only_for_one(seller: Seller, now: datetime) -> None:
    giver, taker = seller.subscriber(), seller.subscriber()
    line = seller.active_line(subscriber=giver)
    seller.active_line(subscriber=taker)
    moving = seller.ask("transfer", line, subscriber=taker.uid)
    with refused(HolderLimitReached):
        seller.order(subscriber=taker)
    seller.answer(moving, Rejected("carrier_rejected", "no"))
    again = seller.ask("transfer", line, subscriber=taker.uid)
    seller.done(again)
    with refused(HolderLimitReached):
        seller.order(subscriber=taker)
    assert [_take(giver, now) is not None for _ in range(2)] == [True, True], "the giver's places are free"


def test_other_operators_count_for_themselves(
    seller: Seller, other_operator: VirtualOperator, now: datetime
) -> None:
    person = seller.subscriber()
    document = IdentityDocument.objects.get(subscriber=person)
    fingerprints = [bytes(document.fingerprint)]
    for operator in (seller.operator, other_operator):
        for _ in range(2):
            lines.take_holder_slot(operator_id=operator.pk, fingerprints=fingerprints, limit=2)
        with refused(HolderLimitReached):
            lines.take_holder_slot(operator_id=operator.pk, fingerprints=fingerprints, limit=2)
