"""Re-verification in the admin and in the partner API: demanded, listed, looked at, withdrawn."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from apps.accounts.states import Role
from apps.lines.models import Line
from apps.operators.models import VirtualOperator
from apps.subscribers import services as subscribers
from apps.subscribers.models import ReverificationDemand
from apps.subscribers.states import DemandReason
from tests.factories.accounts import ApiClient, given_user
from tests.factories.provisioning import SYSTEM, Seller
from tests.factories.subscribers import given_notices
from tests.provisioning.reverifying import run

# A refusal ends the transaction that it is in, and the page is drawn after that.
pytestmark = pytest.mark.django_db(transaction=True)

LIST = "admin:subscribers_reverificationdemand_changelist"
ADD = "admin:subscribers_reverificationdemand_add"


@pytest.fixture
def line(seller: Seller, now: datetime) -> Line:
    given_notices(now=now)
    return seller.active_line()


@pytest.fixture
def officer(client: Client, operator: VirtualOperator, now: datetime) -> Client:
    client.force_login(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
    return client


def said(response: Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def press(client: Client, model: str, key: int, button: str, **fields: str) -> Any:
    return client.post(reverse(f"admin:{model}_press", args=(key, button)), fields, follow=True)


def text(client: Client, name: str, *args: object) -> str:
    response = client.get(reverse(name, args=args))
    assert response.status_code == 200
    return response.content.decode()


def buttons(client: Client, model: str, key: int) -> list[str]:
    page = client.get(reverse(f"admin:{model}_change", args=(key,)))
    return [item["button"].name for item in page.context["buttons"]]


def test_from_the_button_to_the_withdrawal(
    officer: Client, seller: Seller, line: Line, now: datetime
) -> None:
    fields = {"because": "ABNORMAL_USE", "note": "calls at night to many numbers"}
    assert "warned" in said(press(officer, "lines_line", line.pk, "demand", **fields))
    demand = ReverificationDemand.objects.get()
    assert (demand.line_uid, demand.subscriber) == (line.uid, line.subscriber)
    # A second time is refused on the form.
    assert "already" in press(officer, "lines_line", line.pk, "demand", **fields).content.decode()
    press(officer, "subscribers_subscriber", line.subscriber_id, "demand", **fields | {"because": "DISPUTE"})
    assert ReverificationDemand.objects.count() == 2

    run(seller, demand.next_step_at)
    demand.refresh_from_db()
    step = demand.steps.get(status="ONE_WAY")
    for page in (
        text(officer, LIST),
        text(officer, "admin:lines_line_change", line.pk),
        text(officer, "admin:subscribers_subscriber_change", line.subscriber_id),
    ):
        assert demand.uid[-8:] in page
    page = text(officer, "admin:subscribers_reverificationdemand_change", demand.pk)
    for words in (step.notice_zh, step.remedy_zh, step.papers_zh, step.papers_en):
        assert escape(words) in page
    assert "withdraw" in buttons(officer, "subscribers_reverificationdemand", demand.pk)
    # Its suspension goes with the demand, and not by a button of the line.
    assert "lift-reverification" not in buttons(officer, "lines_line", line.pk)

    model = "subscribers_reverificationdemand"
    assert "Withdrawn" in said(press(officer, model, demand.pk, "withdraw", reason="a mistake of ours"))
    assert buttons(officer, model, demand.pk) == []


def test_whole_ids_find_demands(officer: Client, line: Line, now: datetime) -> None:
    demand = subscribers.demand_reverification(
        actor=SYSTEM,
        subscriber_uid=line.subscriber.uid,
        line_uid=line.uid,
        reason=DemandReason.DISPUTE,
        note="a letter came",
        now=now,
    )
    for term in (line.uid, line.subscriber.uid):
        assert demand.uid[-8:] in officer.get(reverse(LIST), {"q": term}).content.decode()
    for term in ("lin_" + "0" * 26, "sub_nonsense", "nonsense"):
        assert demand.uid[-8:] not in officer.get(reverse(LIST), {"q": term}).content.decode()


@pytest.mark.parametrize(
    ("rows", "skip", "demanded", "says"),
    [
        ("{number}", False, 1, "Demanded of 1 lines"),
        ("{number}\n12", False, 0, "1 of 2 rows are wrong"),
        ("{number}\n12", True, 1, "line 3: Not a mainland mobile number."),
        ("12", True, 0, "1 of 1 rows are wrong"),
    ],
)
def test_a_list(
    officer: Client, operator: VirtualOperator, line: Line, rows: str, skip: bool, demanded: int, says: str
) -> None:
    number = line.number_assignments.get().number_id
    file = SimpleUploadedFile("list.csv", f"number\n{rows.format(number=number)}\n".encode())
    fields = {
        "because": "REGULATOR_LIST",
        "note": "list 12 of the administration",
        "operator": operator.pk,
        "file": file,
        **({"skip_invalid": "on"} if skip else {}),
    }
    response = officer.post(reverse(ADD), fields, follow=True)
    assert says in response.content.decode()
    assert ReverificationDemand.objects.count() == demanded


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.ENGINEER])
def test_without_the_right_there_is_no_button(
    client: Client, operator: VirtualOperator, line: Line, now: datetime, role: Role
) -> None:
    client.force_login(given_user(role=role, operator=operator, now=now))
    assert "Demand re-verification" not in text(client, "admin:lines_line_change", line.pk)
    fields = {"because": "DISPUTE", "note": "calls at night"}
    assert press(client, "lines_line", line.pk, "demand", **fields).status_code == 403
    assert client.get(reverse(ADD)).status_code == 403


def test_another_operators_demands_do_not_exist(
    client: Client, other_operator: VirtualOperator, line: Line, now: datetime
) -> None:
    demand = subscribers.demand_reverification(
        actor=SYSTEM,
        subscriber_uid=line.subscriber.uid,
        reason=DemandReason.DISPUTE,
        note="a letter came",
        now=now,
    )
    client.force_login(given_user(role=Role.COMPLIANCE, operator=other_operator, now=now))
    assert demand.uid[-8:] not in text(client, LIST)
    assert (
        press(client, "subscribers_reverificationdemand", demand.pk, "withdraw", reason="x" * 9).status_code
        == 404
    )


def test_what_a_partner_sees(api: ApiClient, seller: Seller, line: Line, now: datetime) -> None:
    person = f"/api/v1/subscribers/{line.subscriber.uid}"
    assert api.get(person).json()["reverifications"] == []
    demand = subscribers.demand_reverification(
        actor=SYSTEM,
        subscriber_uid=line.subscriber.uid,
        reason=DemandReason.REGULATOR_LIST,
        note="list 12, of which no partner hears",
        now=now,
    )
    [shown] = api.get(person).json()["reverifications"]
    step = demand.steps.get()
    assert shown == {
        "id": demand.uid,
        "reason": "regulator_list",
        "step": "warned",
        "line": None,
        "demanded_at": shown["demanded_at"],
        "next_step": "one_way",
        "next_step_at": shown["next_step_at"],
        "notice": {"zh": step.notice_zh, "en": step.notice_en},
        "remedy": {"zh": step.remedy_zh, "en": step.remedy_en},
        "papers": {"zh": step.papers_zh, "en": step.papers_en},
    }
    assert "list 12" not in str(shown)
    at = now + timedelta(hours=24)
    run(seller, at)
    suspension = api.get(f"/api/v1/lines/{line.uid}").json()["suspension"]
    told = demand.steps.get(status="ONE_WAY")
    [reason] = suspension["reasons"]
    assert (suspension["kind"], reason["kind"], reason["reason"]) == ("one_way", "one_way", "reverification")
    assert reason["notice"] == f"{told.notice_zh}\n{told.notice_en}"
    assert reason["remedy"] == f"{told.remedy_zh}\n{told.remedy_en}"
