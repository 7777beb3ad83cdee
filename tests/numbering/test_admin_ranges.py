"""What staff do with leases in the admin: plan, begin, renew, split, merge, give back, import files."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from apps.accounts.states import Role
from apps.numbering import services as numbering
from apps.numbering.models import BulkRun, NumberRange, PhoneNumber
from apps.numbering.states import BulkStatus, NumberStatus, RangeStatus
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator, WholesaleAgreement
from tests.factories.accounts import given_user
from tests.factories.numbering import SYSTEM, given_import, given_range, given_reservation

# A refusal ends the transaction that it is in, and the page is drawn after that.
pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)


def url(model: type, page: str, *args: Any) -> str:
    return reverse(f"admin:numbering_{model.__name__.lower()}_{page}", args=args)


@pytest.fixture
def boss(client: Client, operator: VirtualOperator, now: datetime) -> Client:
    client.force_login(given_user(role=Role.OPERATOR_ADMIN, operator=operator, now=now))
    return client


def press(client: Client, row: Any, button: str, **fields: Any) -> str:
    """What the page says afterwards."""
    page = url(type(row), "press", row.pk, button)
    response = client.post(page, fields, follow=True)
    assert response.status_code == 200
    row.refresh_from_db()
    return said(response)


def shown_on(client: Client, row: Any) -> list[str]:
    """Names of the buttons on its page."""
    page = client.get(url(type(row), "change", row.pk))
    return [item["button"].name for item in page.context["buttons"]]


def said(response: HttpResponse | Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def offer(operator: VirtualOperator, now: datetime, **changes: Any) -> dict[str, Any]:
    agreement = WholesaleAgreement.objects.get(operator=operator, host_carrier__code="unicom")
    return {
        "agreement": agreement.pk,
        "leading_digits": "1719000",
        "home_province": "广东",
        "home_city": "深圳",
        "leased_from": china_date(now),
        "leased_until": agreement.valid_until,
        "contract_reference": "HT-1",
        "monthly_fee": "0.50",
        "minimum_use": "60",
        **changes,
    }


def test_lease_now_or_plan_for_later(boss: Client, operator: VirtualOperator, now: datetime) -> None:
    page = url(NumberRange, "add")
    form = boss.get(page).content.decode()
    assert 'type="date"' in form
    assert "Save" in form
    assert "10000 numbers are free" in said(boss.post(page, offer(operator, now), follow=True))
    later = offer(operator, now, leading_digits="17190010", leased_from=china_date(now) + DAY)
    assert "it begins on" in said(boss.post(page, later, follow=True))
    states = NumberRange.objects.order_by("first").values_list("prefix", "status", "minimum_use")
    assert list(states) == [("1719000", "ACTIVE", 60), ("17190010", "PLANNED", 60)]
    refused = boss.post(page, offer(operator, now))
    assert "Some of these numbers are leased already." in refused.content.decode()


def test_agreements_of_others_are_not_offered(
    boss: Client, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    foreign = WholesaleAgreement.objects.get(operator=other_operator, host_carrier__code="unicom")
    page = url(NumberRange, "add")
    assert foreign.contract_no not in boss.get(page).content.decode()
    assert boss.post(page, offer(operator, now, agreement=foreign.pk)).status_code == 200
    assert NumberRange.objects.count() == 0


def test_the_life_of_a_range_button_by_button(boss: Client, operator: VirtualOperator, now: datetime) -> None:
    boss.post(url(NumberRange, "add"), offer(operator, now, leased_until=china_date(now) + 10 * DAY))
    leased = NumberRange.objects.get()
    listed = boss.get(f"{url(NumberRange, 'changelist')}?ending=soon")
    assert [row.pk for row in listed.context["cl"].result_list] == [leased.pk]

    until = china_date(now) + 300 * DAY
    assert boss.get(url(NumberRange, "press", leased.pk, "renew")).status_code == 200
    assert "Renewed until" in press(boss, leased, "renew", leased_until=until, agreement="")
    assert leased.leased_until == until
    assert boss.get(f"{url(NumberRange, 'changelist')}?ending=soon").context["cl"].result_count == 0

    assert "+8617190005000" in boss.get(url(NumberRange, "press", leased.pk, "split")).content.decode()
    assert "is a range of its own" in press(boss, leased, "split", at="+8617190005000")
    assert leased.last == 17190004999
    assert shown_on(boss, leased) == ["renew", "begin-return", "split", "merge"]
    assert "10000 numbers" in press(boss, leased, "merge")
    assert "No range of this operator" in press(boss, leased, "merge")
    assert "merge" not in shown_on(boss, leased)

    given_reservation(operator=operator, now=now, number=17190000123)
    assert "Say why" in press(boss, leased, "begin-return")
    assert "Nothing of it is sold" in press(boss, leased, "begin-return", reason="too few sold")
    page = boss.get(url(NumberRange, "change", leased.pk)).content.decode()
    assert "What still lives here" in page
    assert "+8617190000123" in page
    assert "1 RESERVED" in press(boss, leased, "finish-return")
    assert "It stays ours" in press(boss, leased, "keep")
    press(boss, leased, "begin-return", reason="really")
    PhoneNumber.objects.filter(number=17190000123).update(status=NumberStatus.AVAILABLE, reservation=None)
    assert "Returned to the host" in press(boss, leased, "finish-return")
    assert leased.status == RangeStatus.RETURNED


def test_a_form_that_is_refused_keeps_what_was_typed(
    boss: Client, operator: VirtualOperator, now: datetime
) -> None:
    leased = given_range(operator=operator, now=now)
    page = url(NumberRange, "press", leased.pk, "renew")
    answer = boss.post(page, {"leased_until": leased.leased_until, "agreement": ""}).content.decode()
    assert "The new end is not after the present one" in answer
    assert str(leased.leased_until) in answer
    for typed, sentence in (("x", "Expected a mobile number"), ("17190000001", "thousand block")):
        answer = boss.post(url(NumberRange, "press", leased.pk, "split"), {"at": typed}).content.decode()
        assert sentence in answer


def test_plans_are_begun_or_withdrawn(boss: Client, operator: VirtualOperator, now: datetime) -> None:
    later = offer(operator, now, leased_from=china_date(now) + DAY)
    boss.post(url(NumberRange, "add"), later)
    planned = NumberRange.objects.get()
    assert "The lease has not begun" in press(boss, planned, "activate")
    assert "withdrawn" in press(boss, planned, "withdraw", reason="too dear")
    assert planned.status == RangeStatus.RETURNED


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.ENGINEER, Role.COMPLIANCE])
def test_who_may_not_sees_no_button_and_presses_none(
    client: Client, operator: VirtualOperator, now: datetime, role: Role
) -> None:
    client.force_login(given_user(role=role, operator=operator, now=now))
    leased, run = given_range(operator=operator, now=now), given_import(operator=operator, now=now)
    for row, buttons in (
        (
            leased,
            ("activate", "renew", "split", "merge", "begin-return", "keep", "finish-return", "withdraw"),
        ),
        (run, ("apply", "apply-valid", "discard")),
    ):
        assert client.get(url(type(row), "change", row.pk)).context["buttons"] == []
        assert client.get(url(type(row), "add")).status_code == 403
        for button in buttons:
            assert client.post(url(type(row), "press", row.pk, button)).status_code == 403


def test_a_button_without_a_form_is_not_opened_by_a_link(
    boss: Client, operator: VirtualOperator, now: datetime
) -> None:
    leased = given_range(operator=operator, now=now)
    assert boss.get(url(NumberRange, "press", leased.pk, "begin-return")).status_code == 405
    assert boss.get(url(NumberRange, "press", leased.pk, "no-such")).status_code == 404


def test_import_look_apply_and_watch(boss: Client, operator: VirtualOperator, now: datetime) -> None:
    days = f"{china_date(now)},{china_date(now) + 100 * DAY}"
    content = "\n".join(
        (
            "carrier,prefix,home_province,home_city,leased_from,leased_until",
            f"unicom,17190000,广东,深圳,{days}",
            f"unicom,1703000,广东,深圳,{days}",
            f"unicom,17190010,广东,深圳,{days}",
        )
    )
    add = url(BulkRun, "add")
    assert boss.get(add).status_code == 200
    form = {"operator": operator.pk, "kind": "LEASES"}
    answer = boss.post(add, {**form, "file": SimpleUploadedFile("a.csv", b"x\n1")})
    assert "The header is not as it should be." in answer.content.decode()
    file = SimpleUploadedFile("leases.csv", content.encode("gb18030"))
    page = boss.post(add, {**form, "file": file}, follow=True)
    run = BulkRun.objects.get()
    assert "nothing has happened yet" in said(page)
    text = page.content.decode()
    assert f"unicom, 17190000, 广东, 深圳, {days.replace(',', ', ')}" in text
    assert "1 invalid, 2 valid" in text
    assert "These leading digits do not belong" in text
    assert shown_on(boss, run) == ["apply-valid", "discard"]
    assert "1 of 3 rows are not valid." in press(boss, run, "apply")
    assert NumberRange.objects.count() == 0
    assert "2 ranges are planned" in press(boss, run, "apply-valid")
    running = boss.get(url(BulkRun, "change", run.pk))
    assert running["Refresh"] == "2"
    assert "0 of 2" in running.content.decode()
    while numbering.continue_runs(actor=SYSTEM, now=now, limit=1):
        pass
    done = boss.get(url(BulkRun, "change", run.pk))
    assert "Refresh" not in done
    assert "2 of 2" in done.content.decode()


def test_discard(boss: Client, operator: VirtualOperator, now: datetime) -> None:
    run = given_import(operator=operator, now=now)
    assert "Discarded" in press(boss, run, "discard")
    assert run.status == BulkStatus.DISCARDED


def test_runs_of_others_are_not_seen(boss: Client, other_operator: VirtualOperator, now: datetime) -> None:
    foreign = given_import(operator=other_operator, now=now)
    assert boss.get(url(BulkRun, "change", foreign.pk)).status_code == 302
    assert boss.post(url(BulkRun, "press", foreign.pk, "discard")).status_code == 404
    assert boss.get(url(BulkRun, "changelist")).context["cl"].result_count == 0


def test_the_first_page_tells_of_leases_that_end(
    boss: Client, operator: VirtualOperator, now: datetime
) -> None:
    given_range(operator=operator, now=now, leased_until=china_date(now) + 5 * DAY)
    papers = next(group for group in boss.get("/admin/").context["dashboard"] if group["title"] == "Papers")
    card = next(card for card in papers["cards"] if card["title"] == "Leases ending")
    assert (card["value"], card["word"]) == (1, "renew")
