"""What staff order from a line's page, and through the form."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.states import Role
from apps.lines.models import Line
from apps.numbering.numbers import to_e164
from apps.operators.models import VirtualOperator
from apps.provisioning.models import ServiceOrder
from tests.factories.accounts import given_user
from tests.factories.provisioning import Seller

pytestmark = pytest.mark.django_db

FORM = reverse("admin:provisioning_serviceorder_add")


def client_of(role: Role, operator: VirtualOperator, now: datetime) -> Client:
    client = Client()
    client.force_login(given_user(role=role, operator=operator, now=now))
    return client


@pytest.fixture
def staff(operator: VirtualOperator, now: datetime) -> Client:
    return client_of(Role.OPERATOR_ADMIN, operator, now)


@pytest.fixture
def line(seller: Seller) -> Line:
    return seller.active_line()


def page_of(line: Line) -> str:
    return reverse("admin:lines_line_change", args=(line.pk,))


def press(client: Client, line: Line, name: str) -> Any:
    url = reverse("admin:lines_line_press", args=(line.pk, name))
    return client.post(url, {"reason": "ticket 7"}, follow=True)


def shown_buttons(client: Client, line: Line) -> set[str]:
    return {item["button"].name for item in client.get(page_of(line)).context["buttons"]}


@pytest.mark.parametrize(
    ("name", "kind", "cause", "owner"),
    [
        ("suspend-one-way", "ONE_WAY", "USER_REQUEST", "OPERATOR"),
        ("suspend-two-way", "TWO_WAY", "USER_REQUEST", "OPERATOR"),
        ("suspend-lost", "TWO_WAY", "LOST", "OPERATOR"),
        ("suspend-arrears", "ONE_WAY", "ARREARS", "OPERATOR"),
        ("suspend-fraud", "TWO_WAY", "FRAUD", "OPERATOR"),
        ("suspend-regulator", "TWO_WAY", "REGULATOR", "REGULATOR"),
        ("suspend-reverification", "ONE_WAY", "REVERIFICATION", "OPERATOR"),
    ],
)
def test_suspend_and_lift(
    staff: Client, seller: Seller, line: Line, name: str, kind: str, cause: str, owner: str
) -> None:
    lift = f"lift-{cause.lower()}"
    assert lift not in shown_buttons(staff, line)
    answer = press(staff, line, name)
    assert "The order is placed" in answer.content.decode()
    seller.done(ServiceOrder.objects.get(type="SUSPEND"))
    reason = line.suspensions.get()
    assert (reason.kind, reason.cause, reason.owner, reason.note) == (kind, cause, owner, "ticket 7")
    assert {button for button in shown_buttons(staff, line) if button.startswith("lift-")} == {lift}
    press(staff, line, lift)
    seller.done(ServiceOrder.objects.get(type="RESUME"))
    line.refresh_from_db()
    assert line.status == "ACTIVE"


def test_terminate(staff: Client, seller: Seller, line: Line) -> None:
    press(staff, line, "terminate")
    order = seller.done(ServiceOrder.objects.get(type="TERMINATE"))
    assert (order.status, order.note, order.placed_by_kind) == ("COMPLETED", "ticket 7", "STAFF")
    assert shown_buttons(staff, line) == set()


@pytest.mark.parametrize(
    ("role", "ordinary", "grave"), [(Role.SUPPORT, True, False), (Role.COMPLIANCE, False, True)]
)
def test_buttons_are_for_those_who_may(
    operator: VirtualOperator, line: Line, now: datetime, role: Role, ordinary: bool, grave: bool
) -> None:
    client = client_of(role, operator, now)
    assert (
        "suspend-lost" in shown_buttons(client, line),
        "suspend-fraud" in shown_buttons(client, line),
    ) == (
        ordinary,
        grave,
    )
    for name, allowed in (("suspend-lost", ordinary), ("suspend-fraud", grave)):
        if not allowed:
            assert press(client, line, name).status_code == 403
    assert not ServiceOrder.objects.filter(type="SUSPEND").exists()


@pytest.mark.parametrize("type", ["change_sim", "change_number", "change_plan", "transfer"])
def test_the_form_places_each_change(staff: Client, seller: Seller, line: Line, type: str) -> None:
    brings: dict[str, str] = {
        "change_sim": {
            "iccid": seller.another_card(),
            "verification": line.subscriber.verifications.get().uid,
        },
        "change_number": {"number": to_e164(seller.range.first + 500)},
        "change_plan": {"plan": seller.another_plan().code, "effective": "next_month"},
        "transfer": {"subscriber": seller.subscriber().uid},
    }[type]
    answer = staff.post(FORM, {"type": type, "line": line.uid, **brings}, follow=True)
    order = ServiceOrder.objects.get(type=type.upper())
    assert answer.redirect_chain[-1][0] == reverse("admin:provisioning_serviceorder_change", args=(order.pk,))
    waits = type == "change_plan"
    assert (order.status, "waits for its day" in answer.content.decode()) == (
        "ACKNOWLEDGED" if waits else "IN_PROGRESS",
        waits,
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"type": "change_sim"}, "Needed for this order."),
        ({"type": "change_number", "number": "12"}, "Not a mainland mobile number."),
    ],
)
def test_the_form_tells_what_is_missing(
    staff: Client, line: Line, body: dict[str, str], message: str
) -> None:
    answer = staff.post(FORM, {"line": line.uid, **body})
    assert answer.status_code == 200
    assert message in answer.content.decode()
    assert ServiceOrder.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_refusals_are_told_where_they_happen(staff: Client, line: Line) -> None:
    for body, message in (
        ({"type": "change_plan", "plan": "NO-SUCH", "effective": "now"}, "There is no such plan to order."),
        ({"type": "transfer", "subscriber": "nobody"}, "There is no such resource."),
    ):
        answer = staff.post(FORM, {"line": line.uid, **body})
        assert (answer.status_code, message in answer.content.decode()) == (200, True), body
    press(staff, line, "suspend-lost")
    answer = press(staff, line, "suspend-fraud")
    assert "Another order for this line is still open." in answer.content.decode()
    assert ServiceOrder.objects.filter(type="SUSPEND").count() == 1


def test_the_form_is_for_those_who_may_order(operator: VirtualOperator, now: datetime) -> None:
    assert client_of(Role.COMPLIANCE, operator, now).get(FORM).status_code == 403
    assert client_of(Role.SUPPORT, operator, now).get(FORM).status_code == 200
