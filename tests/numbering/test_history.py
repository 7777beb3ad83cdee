"""Who had a number when, across its lives."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.states import Role
from apps.core.actor import Actor
from apps.lines import selectors as lines
from apps.lines.models import Line, NumberAssignment
from apps.operators.models import VirtualOperator
from tests.factories.accounts import given_user
from tests.factories.numbering import SYSTEM, given_partner
from tests.factories.provisioning import Seller, given_seller

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    return given_seller(operator=operator, now=now, cards=4)


def hold(line: Line, number: int, since: datetime, until: datetime | None) -> None:
    """The line had that number then, whatever it had before."""
    NumberAssignment.objects.filter(line=line).delete()
    NumberAssignment.objects.create(line=line, number_id=number, assigned_at=since, released_at=until)


@pytest.fixture
def handed_on(seller: Seller, now: datetime) -> tuple[int, Line, Line]:
    """A number that one person had until 100 days ago, and another one has since 5 days ago."""
    first, second = seller.active_line(), seller.active_line()
    number = NumberAssignment.objects.get(line=first).number_id
    hold(first, number, now - 400 * DAY, now - 100 * DAY)
    hold(second, number, now - 5 * DAY, None)
    return number, first, second


def test_its_holders_the_last_first(
    handed_on: tuple[int, Line, Line], operator_admin: Actor, now: datetime
) -> None:
    number, first, second = handed_on
    found = lines.list_number_history(actor=operator_admin, number=number)
    assert [(each.line, each.since, each.until) for each in found] == [
        (second, now - 5 * DAY, None),
        (first, now - 400 * DAY, now - 100 * DAY),
    ]
    assert [each.line.subscriber_id for each in found] == [second.subscriber_id, first.subscriber_id]


def test_each_operator_sees_its_own_part(
    handed_on: tuple[int, Line, Line], other_operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    """The block went back to the host carrier, which gave it to somebody else."""
    number, first, second = handed_on
    Line.objects.filter(pk=second.pk).update(operator=other_operator)
    theirs = given_partner(operator=other_operator)
    assert [each.line for each in lines.list_number_history(actor=operator_admin, number=number)] == [first]
    assert [each.line for each in lines.list_number_history(actor=theirs, number=number)] == [second]
    assert len(lines.list_number_history(actor=SYSTEM, number=number)) == 2
    assert lines.has_changed_hands(number=number, since=now - 200 * DAY)


@pytest.mark.parametrize(
    ("days_ago", "changed"),
    [
        # The first holder had it then.
        (399, True),
        (101, True),
        # Nobody did.
        (500, True),
        (50, True),
        # The present one did.
        (5, False),
        (1, False),
    ],
)
def test_whether_it_has_changed_hands(
    handed_on: tuple[int, Line, Line], now: datetime, days_ago: int, changed: bool
) -> None:
    number, *_ = handed_on
    assert lines.has_changed_hands(number=number, since=now - days_ago * DAY) is changed


def test_the_same_person_again_is_no_change(handed_on: tuple[int, Line, Line], now: datetime) -> None:
    number, first, second = handed_on
    Line.objects.filter(pk=second.pk).update(subscriber=first.subscriber)
    assert not lines.has_changed_hands(number=number, since=now - 200 * DAY)
    assert lines.has_changed_hands(number=number, since=now - 50 * DAY), "nobody had it then"


def test_nobody_new_is_no_change(handed_on: tuple[int, Line, Line], now: datetime) -> None:
    number, _, second = handed_on
    NumberAssignment.objects.filter(line=second).delete()
    assert not lines.has_changed_hands(number=number, since=now - 200 * DAY)
    assert not lines.has_changed_hands(number=number, since=now)
    assert not lines.has_changed_hands(number=number + 1, since=now)


def test_on_the_number_s_page(
    client: Client, handed_on: tuple[int, Line, Line], operator: VirtualOperator, now: datetime
) -> None:
    number, first, second = handed_on
    client.force_login(given_user(role=Role.OPERATOR_ADMIN, operator=operator, now=now))
    page = client.get(reverse("admin:numbering_phonenumber_change", args=[number]))
    titles = [panel["title"] for panel in page.context["panels"]]
    assert titles == ["Who had it when", "Audit trail"]
    shown = page.content.decode()
    assert first.uid in shown
    assert second.uid in shown
    assert "张三丰" not in shown
