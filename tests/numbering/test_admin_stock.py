"""Staff see the stock, withhold numbers, and decide on early releases, through the pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.states import Role
from apps.numbering import services as numbering
from apps.numbering.models import EarlyRelease, NumberRange, PhoneNumber, StockDay
from apps.numbering.states import NumberStatus
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator
from tests.factories.accounts import given_user
from tests.factories.numbering import SYSTEM, given_early_release, given_quarantined, given_range

pytestmark = pytest.mark.django_db

STOCK = "admin:numbering_rangestock_changelist"


@pytest.fixture
def admin(operator: VirtualOperator, now: datetime) -> User:
    return given_user(role=Role.OPERATOR_ADMIN, operator=operator, now=now)


@pytest.fixture
def leased(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now, prefix="17188000")


def press(client: Client, model: str, key: object, name: str, **form: str) -> str:
    """What the page says after a button was pressed."""
    # A refusal rolls back to here, not the test's own transaction.
    with transaction.atomic():
        response = client.post(reverse(f"admin:numbering_{model}_press", args=[key, name]), form)
    assert response.status_code == 302, response.content.decode()[:2000]
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def test_the_stock_page(
    client: Client, admin: User, leased: NumberRange, other_operator: VirtualOperator, now: datetime
) -> None:
    given_range(operator=other_operator, now=now, prefix="17177000")
    today = china_date(now)
    NumberRange.objects.filter(pk=leased.pk).update(
        minimum_use=40, leased_until=today + timedelta(days=10), leased_from=today - timedelta(days=400)
    )
    PhoneNumber.objects.filter(number__lt=leased.first + 250, range_id=leased.pk).update(status=2)
    for ago, available in ((11, 850), (1, 800)):
        StockDay.objects.create(
            range=leased,
            operator_id=leased.operator_id,
            grade=0,
            counted_on=today - timedelta(days=ago),
            available=available,
            in_use=0,
        )
    client.force_login(admin)
    page = client.get(reverse(STOCK))
    tables = {table["title"]: table["rows"] for table in page.context["tables"]}
    assert [len(rows) for rows in tables.values()] == [2, 1, 1, 1]
    shown = page.content.decode()
    assert "25.0%" in shown
    assert "40 %" in shown
    assert f"{today + timedelta(days=150)}" in shown
    assert "17188000" in shown
    assert "17177000" not in shown
    # A filtered list is looked through; the overview is not in its way.
    assert client.get(reverse(STOCK), {"grade__exact": "0"}).context["tables"] == []
    on_page = client.get(reverse("admin:numbering_numberrange_change", args=[leased.pk]))
    assert "Stock" in [panel["title"] for panel in on_page.context["panels"]]


def test_the_stock_page_without_anything(client: Client, admin: User) -> None:
    client.force_login(admin)
    assert "No range is leased." in client.get(reverse(STOCK)).content.decode()


def test_a_number_is_withheld_and_released(client: Client, admin: User, leased: NumberRange) -> None:
    client.force_login(admin)
    assert (
        "Who wants it"
        in client.get(
            reverse("admin:numbering_phonenumber_press", args=[leased.first, "withhold"])
        ).content.decode()
    )
    said = press(client, "phonenumber", leased.first, "withhold", by="2", reason="case 7")
    assert "is withheld" in said
    row = PhoneNumber.objects.get(number=leased.first)
    assert (row.status, row.withheld_by) == (NumberStatus.WITHHELD, 2)
    assert (
        "police"
        in client.get(reverse("admin:numbering_phonenumber_change", args=[leased.first])).content.decode()
    )
    assert "available" in press(client, "phonenumber", leased.first, "release", reason="closed")
    assert "not withheld" in press(client, "phonenumber", leased.first, "release", reason="again")
    assert PhoneNumber.objects.get(number=leased.first).status == NumberStatus.AVAILABLE


def test_two_people_end_a_quarantine(
    client: Client, admin: User, leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    number = given_quarantined(leased=leased, now=now)
    client.force_login(admin)
    press(client, "phonenumber", number, "request-early-release", reason="porting back")
    wish = EarlyRelease.objects.get()
    queue = reverse("admin:numbering_earlyrelease_changelist")
    assert "porting back" in client.get(queue, {"status__exact": "REQUESTED"}).content.decode()
    assert "Somebody else has to decide" in press(client, "earlyrelease", wish.pk, "approve")
    assert PhoneNumber.objects.get(number=number).status == NumberStatus.QUARANTINED
    client.force_login(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
    assert "available" in press(client, "earlyrelease", wish.pk, "approve")
    assert PhoneNumber.objects.get(number=number).status == NumberStatus.AVAILABLE


def test_an_old_wish_says_nothing_of_the_next_holder_of_the_block(
    client: Client,
    leased: NumberRange,
    other_operator: VirtualOperator,
    operator: VirtualOperator,
    now: datetime,
) -> None:
    wish = given_early_release(leased=leased, now=now)
    page = reverse("admin:numbering_earlyrelease_change", args=[wish.pk])
    client.force_login(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
    numbering.withhold_number(actor=SYSTEM, number=wish.number_id, reason="x", now=now)
    numbering.begin_return(actor=SYSTEM, range_uid=leased.uid, now=now)
    numbering.finish_return(actor=SYSTEM, range_uid=leased.uid, now=now + timedelta(days=91))
    theirs = given_range(operator=other_operator, now=now, prefix=leased.prefix)
    later = now + timedelta(days=3)
    given_quarantined(leased=theirs, now=later, offset=wish.number_id - theirs.first)
    until = PhoneNumber.objects.get(pk=wish.number_id).quarantined_until
    assert until is not None
    assert f"{timezone.localtime(until):%Y-%m-%d}" not in client.get(page).content.decode()


@pytest.mark.parametrize(
    "query", ["number__regex=(1%2B)%2B%24", "number__contains=888", "number__startswith=171"]
)
def test_patterns_are_not_held_against_every_number(
    client: Client, leased: NumberRange, operator: VirtualOperator, now: datetime, query: str
) -> None:
    client.force_login(given_user(role=Role.SUPPORT, operator=operator, now=now))
    page = reverse("admin:numbering_phonenumber_changelist")
    assert client.get(f"{page}?{query}").status_code == 400
    assert client.get(f"{page}?status__exact=4").status_code == 200


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.ENGINEER])
def test_who_has_no_right_sees_no_buttons(
    client: Client, leased: NumberRange, operator: VirtualOperator, now: datetime, role: Any
) -> None:
    wish = given_early_release(leased=leased, now=now)
    client.force_login(given_user(role=role, operator=operator, now=now))
    for model, key, name in (
        ("phonenumber", leased.first + 1, "withhold"),
        ("phonenumber", wish.number_id, "request-early-release"),
        ("earlyrelease", wish.pk, "approve"),
    ):
        page = client.get(reverse(f"admin:numbering_{model}_change", args=[key]))
        assert page.status_code == 200
        assert page.context["buttons"] == []
        pressed = client.post(reverse(f"admin:numbering_{model}_press", args=[key, name]), {"reason": "x"})
        assert pressed.status_code == 403
