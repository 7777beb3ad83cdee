"""One person as holder and as user of an organization's lines, all at once: five places, whoever takes them."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from functools import partial

import pytest

from apps.lines import services as lines
from apps.lines.errors import HolderLimitReached
from apps.lines.models import HolderSlot, Line, UserAssignment
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import services as subscribers
from apps.subscribers.models import Representative, Subscriber
from apps.subscribers.realname.documents import DocumentInput, DocumentType
from apps.subscribers.states import RepresentativeRole
from tests.factories.operators import given_policy
from tests.factories.provisioning import SYSTEM, Seller, given_seller
from tests.factories.subscribers import (
    given_minor,
    given_verified_organization,
    somebody,
    uscc,
)
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    given_policy(key=PolicyKey.AUTHORISATION_LETTER_REQUIRED, value=False, now=now, operator=operator)
    return given_seller(operator=operator, now=now)


def _kinds(results: object) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)  # type: ignore[attr-defined]


def test_holder_and_user_share_five_places(seller: Seller) -> None:
    organization = given_verified_organization(operator=seller.operator, now=seller.now)
    person = seller.subscriber()
    results = at_once(
        *[partial(seller.order, subscriber=person)] * 5,
        *[partial(seller.order, subscriber=organization, actual_user=person.uid)] * 5,
    )
    assert _kinds(results) == {"ServiceOrder": 5, HolderLimitReached.__name__: 5}
    assert sorted(HolderSlot.objects.values_list("slot", flat=True)) == [1, 2, 3, 4, 5]
    assert UserAssignment.objects.count() == Line.objects.filter(subscriber=organization).count()


def test_changes_of_one_line_follow_each_other(seller: Seller) -> None:
    organization = given_verified_organization(operator=seller.operator, now=seller.now)
    line = seller.done(seller.order(subscriber=organization, actual_user=seller.subscriber().uid)).line
    people = [seller.subscriber() for _ in range(4)]
    results = at_once(
        *[
            partial(
                lines.change_actual_user, actor=SYSTEM, line=line.uid, actual_user=each.uid, now=seller.now
            )
            for each in people
        ]
    )
    assert _kinds(results) == {"Line": 4}
    user = UserAssignment.objects.get(released_at=None).user
    assert HolderSlot.objects.get().fingerprint == user.documents.get().fingerprint
    assert UserAssignment.objects.count() == 5


def test_one_organization_comes_of_any_number_of_registrations(
    operator: VirtualOperator, now: datetime
) -> None:
    code = uscc()
    register = partial(
        subscribers.register_organization,
        actor=SYSTEM,
        operator_id=operator.pk,
        name="某某有限公司",
        document=DocumentInput(type=DocumentType.USCC, number=code),
        responsible_person=somebody(),
        now=now,
    )
    results = at_once(*[register] * 6)
    assert sorted(created for _, created in results) == [False] * 5 + [True]  # type: ignore[misc]
    assert Subscriber.objects.count() == Representative.objects.count() == 1


def test_one_guardian_comes_of_any_number_of_replacements(operator: VirtualOperator, now: datetime) -> None:
    person = given_minor(operator=operator, now=now)
    replace = [
        partial(
            subscribers.replace_representative,
            actor=SYSTEM,
            subscriber_uid=person.uid,
            role=RepresentativeRole.GUARDIAN,
            person=somebody(),
            now=now,
        )
        for _ in range(4)
    ]
    assert _kinds(at_once(*replace)) == {"tuple": 4}
    assert Representative.objects.filter(ended_at=None).count() == 1
