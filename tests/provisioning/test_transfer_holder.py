"""A line changes hands only when the present holder has proved lately who they are, too."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.accounts.states import Role
from apps.core.errors import NotFound
from apps.lines.models import HolderSlot, Line
from apps.operators.models import VirtualOperator
from apps.provisioning.errors import HolderNotVerified, VerificationNotHolders
from apps.provisioning.models import ServiceOrder
from apps.subscribers.realname.providers.base import AuthorityAnswer
from tests.factories.accounts import ApiClient
from tests.factories.provisioning import Seller, decide
from tests.factories.reviews import given_staff
from tests.factories.subscribers import given_verified_subscriber
from tests.refusals import refused

pytestmark = pytest.mark.django_db

LATER = timedelta(hours=25)


@pytest.fixture
def line(seller: Seller) -> Line:
    return seller.active_line()


def check_of(line: Line) -> str:
    return str(line.subscriber.verifications.order_by("-id")[0].uid)


@pytest.mark.parametrize("is_named", [True, False])
def test_not_by_a_check_of_some_other_day(seller: Seller, line: Line, is_named: bool) -> None:
    buyer, later = seller.subscriber(), seller.now + LATER
    named = {"holder_verification": check_of(line)} if is_named else {}
    with refused(HolderNotVerified):
        seller.ask("transfer", line, subscriber=buyer.uid, now=later, **named)
    assert not ServiceOrder.objects.filter(type="TRANSFER").exists()
    assert HolderSlot.objects.count() == 1
    decide(line.subscriber, later)
    named = {"holder_verification": check_of(line)} if is_named else {}
    assert seller.ask("transfer", line, subscriber=buyer.uid, now=later, **named).status == "IN_PROGRESS"


@pytest.mark.parametrize("is_named", [True, False])
def test_not_when_the_holder_has_failed_since(seller: Seller, line: Line, is_named: bool) -> None:
    named = {"holder_verification": check_of(line)} if is_named else {}
    buyer, later = seller.subscriber(), seller.now + timedelta(hours=1)
    decide(line.subscriber, later, AuthorityAnswer.DOCUMENT_VOID)
    with refused(HolderNotVerified):
        seller.ask("transfer", line, subscriber=buyer.uid, now=later, **named)


def test_not_by_somebody_elses_check(seller: Seller, line: Line, other_operator: VirtualOperator) -> None:
    buyer = seller.subscriber()
    foreign = given_verified_subscriber(operator=other_operator, now=seller.now).verifications.get()
    staff = given_staff(role=Role.OPERATOR_ADMIN, operator=seller.operator, now=seller.now)
    for check, error in ((buyer.verifications.get(), VerificationNotHolders), (foreign, NotFound)):
        with refused(error):
            seller.ask("transfer", line, subscriber=buyer.uid, holder_verification=check.uid, actor=staff)


def test_through_rest(seller: Seller, line: Line, api: ApiClient) -> None:
    buyer = seller.subscriber()
    body = {"type": "transfer", "line": line.uid, "subscriber": buyer.uid}
    wrong = api.post("/api/v1/orders", {**body, "holder_verification": str(buyer.verifications.get().uid)})
    assert (wrong.status_code, wrong.json()["code"]) == (422, VerificationNotHolders.code)
    assert api.post("/api/v1/orders", {**body, "holder_verification": check_of(line)}).status_code == 202
