"""Staff look at ranges, numbers, reservations, SIM batches and cards: their own operator's, and change nothing."""

from __future__ import annotations

import html
import re
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.states import Role
from apps.numbering import services as numbering
from apps.numbering.models import NumberRange, PhoneNumber, Reservation
from apps.operators import services as operators
from apps.operators.models import HostCarrier, VirtualOperator
from apps.sims.models import SimBatch, SimCard
from tests.factories.accounts import PASSWORD, given_user
from tests.factories.numbering import SYSTEM, given_range, given_reservation
from tests.factories.sims import given_card

MODELS = (NumberRange, PhoneNumber, Reservation, SimBatch, SimCard)


def page(name: str, model: Any, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


@pytest.fixture
def mine(operator: VirtualOperator, carriers: dict[str, HostCarrier], now: datetime) -> None:
    leased = given_range(operator=operator, now=now, prefix="17166000", city="深圳")
    given_reservation(operator=operator, now=now, number=leased.first)
    given_card(operator=operator, host_carrier=carriers["unicom"], now=now)


@pytest.fixture
def theirs(
    other_operator: VirtualOperator, carriers: dict[str, HostCarrier], now: datetime
) -> dict[type, Any]:
    leased = given_range(operator=other_operator, now=now, prefix="17155000")
    reservation = given_reservation(operator=other_operator, now=now, number=leased.first)
    card = given_card(operator=other_operator, host_carrier=carriers["unicom"], now=now)
    return {
        NumberRange: leased.pk,
        PhoneNumber: leased.first,
        Reservation: reservation.pk,
        SimBatch: card.batch_id,
        SimCard: card.pk,
    }


def login(client: Client, **user: Any) -> None:
    staff = given_user(**user)
    assert client.login(username=staff.username, password=PASSWORD)


@pytest.mark.parametrize("model", MODELS)
def test_own_rows_only_and_nothing_to_change(
    client: Client, mine: None, theirs: dict[type, Any], operator: VirtualOperator, now: datetime, model: Any
) -> None:
    login(client, role=Role.SUPPORT, operator=operator, now=now)
    listed = client.get(page("changelist", model))
    assert listed.status_code == 200
    assert {row.operator_id for row in listed.context["cl"].result_list} == {operator.pk}
    own = model.objects.filter(operator=operator).first()
    assert client.get(page("change", model, own.pk)).status_code == 200
    assert client.get(page("change", model, theirs[model])).status_code == 302
    assert client.post(page("change", model, own.pk), {}).status_code == 403
    assert client.get(page("add", model)).status_code == 403
    assert client.post(page("delete", model, own.pk), {"post": "yes"}).status_code == 403
    assert model.objects.filter(pk=own.pk).exists()


@pytest.mark.parametrize("model", MODELS)
def test_platform_staff_see_all(
    client: Client, mine: None, theirs: dict[type, Any], operator: VirtualOperator, now: datetime, model: Any
) -> None:
    login(client, role=Role.PLATFORM, now=now)
    assert client.get(page("change", model, theirs[model])).status_code == 200
    response = client.get(page("changelist", model))
    assert response.status_code == 200
    assert len({row.operator_id for row in model.objects.all()}) == 2


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("17166000123", 1),
        ("+8617166000123", 1),
        ("1716600012", 10),
        ("17166000120-17166000124", 5),
        ("17166000120-", 1),
        ("17166000124-x", 0),
        ("171660001234", 0),
        ("17155000", 0),
        ("17", 0),
        ("深圳", 0),
        ("", 1000),
    ],
)
def test_numbers_are_found_by_their_beginning(
    client: Client,
    mine: None,
    theirs: dict[type, Any],
    operator: VirtualOperator,
    now: datetime,
    term: str,
    expected: int,
) -> None:
    login(client, role=Role.SUPPORT, operator=operator, now=now)
    response = client.get(page("changelist", PhoneNumber), {"q": term})
    assert response.context["cl"].result_count == expected


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("14401234567", 100),
        ("1440123456", 1_000),
        ("144012345678", 10),
        ("1440123456789", 1),
        ("144012346", 0),
    ],
)
def test_numbers_of_machines_are_found_by_their_beginning(
    client: Client,
    mine: None,
    operator: VirtualOperator,
    carriers: dict[str, HostCarrier],
    now: datetime,
    term: str,
    expected: int,
) -> None:
    operators.register_access_code(
        actor=SYSTEM,
        prefix="1440",
        digits=13,
        host_carrier=carriers["mobile"],
        resale_only=False,
        source_note="for tests",
        now=now,
    )
    given_range(operator=operator, now=now, prefix="144012345", carrier="mobile")
    login(client, role=Role.SUPPORT, operator=operator, now=now)
    response = client.get(page("changelist", PhoneNumber), {"q": term})
    assert response.context["cl"].result_count == expected


def test_all_numbers_of_a_split_range(
    client: Client, mine: None, operator: VirtualOperator, now: datetime
) -> None:
    """Its lower part has the same leading digits as the upper one."""
    leased = given_range(operator=operator, now=now, prefix="1657700", carrier="mobile")
    lower, upper = numbering.split_range(actor=SYSTEM, range_uid=leased.uid, at=leased.first + 1_000, now=now)
    login(client, role=Role.SUPPORT, operator=operator, now=now)
    for part in (lower, upper):
        shown = client.get(page("change", NumberRange, part.pk)).content.decode()
        (address,) = re.findall(r'href="([^"]+)"[^>]*>All \d+<', shown)
        listed = client.get(html.unescape(address)).context["cl"]
        # It counts up to a thousand.
        assert listed.result_count == min(part.size, 1_001)
        assert listed.result_list[0].number == part.first


@pytest.mark.parametrize(
    ("model", "query"),
    [
        (NumberRange, "q=17166000"),
        (NumberRange, "q=%E6%B7%B1%E5%9C%B3"),
        (SimCard, "q=898601"),
        (SimCard, "status__exact=IN_STOCK"),
        (PhoneNumber, "status__exact=1"),
        (Reservation, "status__exact=ACTIVE"),
    ],
)
def test_searches_and_filters(
    client: Client, mine: None, operator: VirtualOperator, now: datetime, model: Any, query: str
) -> None:
    login(client, role=Role.SUPPORT, operator=operator, now=now)
    response = client.get(f"{page('changelist', model)}?{query}")
    assert response.status_code == 200
    assert response.context["cl"].result_count == 1


def test_lists_cost_a_fixed_number_of_queries(
    client: Client, mine: None, operator: VirtualOperator, now: datetime, django_assert_max_num_queries: Any
) -> None:
    login(client, role=Role.SUPPORT, operator=operator, now=now)
    for model in MODELS:
        with django_assert_max_num_queries(10):
            client.get(page("changelist", model))
