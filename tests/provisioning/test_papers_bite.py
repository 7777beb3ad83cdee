"""When a licence or agreement ends: nothing new begins, at the door and at the first send; what runs keeps running."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core import clock
from apps.core.actor import Actor
from apps.events.models import OutboxEvent
from apps.lines.models import HolderSlot, Line
from apps.numbering.models import PhoneNumber
from apps.numbering.states import NumberStatus
from apps.operators import selectors as operator_selectors
from apps.operators import services as operators
from apps.operators.calendar import china_date
from apps.operators.errors import AgreementNotValid, LicenceNotValid
from apps.operators.models import Licence, VirtualOperator, WholesaleAgreement
from apps.operators.policies import PolicyKey
from apps.provisioning import services
from apps.provisioning.models import ActivationJob, PaperWarning, ServiceOrder
from apps.provisioning.services.jobs import Unknown
from tests.factories.accounts import ApiClient, given_user
from tests.factories.operators import given_agreement, given_licence, given_policy
from tests.factories.provisioning import SYSTEM, Seller, decide, make_due
from tests.factories.subscribers import given_subscriber
from tests.provisioning.untouched import refused

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def end_licence(seller: Seller) -> None:
    uid = Licence.objects.get(operator=seller.operator).uid
    operators.revoke_licence(actor=SYSTEM, licence_uid=uid, reason="test", now=seller.now)


def end_agreement(seller: Seller) -> None:
    uid = WholesaleAgreement.objects.get(operator=seller.operator, host_carrier=seller.carrier).uid
    operators.terminate_agreement(actor=SYSTEM, agreement_uid=uid, reason="test", now=seller.now)


ENDINGS = pytest.mark.parametrize(
    ("end", "error", "code"),
    [
        (end_licence, LicenceNotValid, "licence_not_valid"),
        (end_agreement, AgreementNotValid, "agreement_not_valid"),
    ],
)
End = Callable[[Seller], None]


def send(seller: Seller) -> None:
    """What a worker does; nobody answers at the other end, so whatever is sent comes back as unavailable."""
    services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=clock.now)


def was_tried(order: ServiceOrder) -> bool:
    """The carrier was called about it; one that was kept back has failed instead."""
    job = order.jobs.get()
    return job.status == "QUEUED" and job.error_code == "carrier_unavailable"


# --- at the door ----------------------------------------------------------------------------------------------------
@ENDINGS
def test_no_new_line_number_or_holder(seller: Seller, end: End, error: type[Any], code: str) -> None:
    line, person = seller.active_line(), seller.subscriber()
    end(seller)
    with refused(error):
        seller.order(subscriber=person)
    with refused(error):
        seller.ask("change_number", line)
    with refused(error):
        seller.ask("transfer", line, subscriber=person.uid)
    assert error.code == code


@ENDINGS
def test_the_partner_reads_the_code(
    seller: Seller, api: ApiClient, end: End, error: type[Any], code: str
) -> None:
    person = seller.subscriber()
    end(seller)
    answer = api.post(
        "/api/v1/orders", {"type": "activate", "subscriber": person.uid, "plan": seller.plan.uid}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@ENDINGS
@pytest.mark.parametrize("type", ["suspend", "resume", "change_plan", "change_sim", "terminate"])
def test_running_lines_keep_working(seller: Seller, end: End, error: type[Any], code: str, type: str) -> None:
    """From the order through the first send."""
    line = seller.suspended_line() if type == "resume" else seller.active_line()
    end(seller)
    order = seller.ask(type, line)
    send(seller)
    assert was_tried(order)


@pytest.mark.parametrize(
    ("type", "listed"),
    [("change_plan", True), ("change_sim", True), ("change_number", False), ("transfer", False)],
)
def test_policy_says_which_changes_need_papers(seller: Seller, type: str, listed: bool) -> None:
    line = seller.active_line()
    brings: dict[str, object] = {
        "change_plan": {"plan": seller.another_plan().uid},
        "change_sim": {"iccid": seller.another_card()},
        "transfer": {"subscriber": seller.subscriber().uid},
    }.get(type, {})
    given_policy(
        key=PolicyKey.ORDERS_NEEDING_PAPERS,
        value=["activate", type] if listed else ["activate"],
        now=seller.now,
        operator=seller.operator,
    )
    end_licence(seller)
    if listed:
        with refused(LicenceNotValid):
            seller.ask(type, line, **brings)
    else:
        order = seller.ask(type, line, **brings)
        send(seller)
        assert was_tried(order)


# --- at the first send ----------------------------------------------------------------------------------------------
@ENDINGS
def test_an_activation_that_was_accepted_in_time_is_not_sent_any_more(
    seller: Seller, end: End, error: type[Any], code: str
) -> None:
    order = seller.order()
    end(seller)
    send(seller)
    order.refresh_from_db()
    assert (order.status, order.reason) == ("FAILED", code)
    assert Line.objects.get().status == "TERMINATED"
    assert not HolderSlot.objects.exists()
    assert not PhoneNumber.objects.filter(status=NumberStatus.IN_USE).exists()
    assert order.jobs.get().told_at is None


@pytest.mark.parametrize("type", ["change_number", "transfer"])
def test_nor_is_a_change_that_needs_papers(seller: Seller, type: str) -> None:
    line = seller.active_line()
    order = seller.ask(type, line)
    end_agreement(seller)
    send(seller)
    order.refresh_from_db()
    assert (order.status, order.reason) == ("FAILED", "agreement_not_valid")
    assert Line.objects.get(pk=line.pk).status == "ACTIVE"


def test_a_held_order_goes_on_and_is_not_sent_either(seller: Seller) -> None:
    person = given_subscriber(operator=seller.operator, now=seller.now)
    order = seller.order(subscriber=person)
    assert order.status == "HELD"
    end_licence(seller)
    decide(person, seller.now)
    services.continue_held_orders(actor=SYSTEM, subscriber_ids=[person.pk], now=seller.now)
    send(seller)
    order.refresh_from_db()
    assert (order.status, order.reason) == ("FAILED", "licence_not_valid")


def test_policy_may_let_accepted_orders_go_on(seller: Seller) -> None:
    given_policy(key=PolicyKey.PAPERS_AT_FIRST_SEND, value=False, now=seller.now, operator=seller.operator)
    order = seller.order()
    end_licence(seller)
    send(seller)
    assert was_tried(order)


def test_what_the_carrier_may_know_of_is_sent_again_and_asked_about(seller: Seller) -> None:
    order = seller.order()
    (claim,) = seller.claim()
    seller.record(claim, Unknown("carrier_outcome_unknown", "timed out"))
    end_licence(seller)
    job = ActivationJob.objects.get()
    job.requeue(code="carrier_knows_nothing", detail="", at=seller.now)
    make_due(job)
    send(seller)
    order.refresh_from_db()
    assert order.status == "IN_PROGRESS"
    assert was_tried(order)


# --- warned in time -------------------------------------------------------------------------------------------------
def licence_ending_in(operator: VirtualOperator, days: int, now: Any) -> Licence:
    Licence.objects.filter(operator=operator).delete()
    return given_licence(operator=operator, now=now, valid_until=china_date(now) + days * DAY)


def warn(now: Any) -> int:
    return services.warn_of_ending_papers(actor=SYSTEM, now=now)


def test_each_step_is_told_once(operator: VirtualOperator, now: Any) -> None:
    licence = licence_ending_in(operator, 31, now)
    told = []
    for days in range(32):
        for _ in range(2):
            if warn(now + days * DAY):
                told.append(31 - days)
    assert told == [30, 14, 7, 1]
    events = OutboxEvent.objects.filter(type="licence.ending").order_by("id")
    assert [event.data["days_left"] for event in events] == told
    assert {(event.subject, event.operator_id) for event in events} == {(licence.uid, operator.pk)}
    assert AuditEvent.objects.filter(action="licence.warn", target_id=licence.uid).count() == 4


def test_missed_steps_are_told_as_one(operator: VirtualOperator, now: Any) -> None:
    licence_ending_in(operator, 5, now)
    assert [warn(now), warn(now)] == [1, 0]
    assert PaperWarning.objects.get().days == 7


def test_a_paper_that_is_continued_does_not_end(operator: VirtualOperator, now: Any) -> None:
    licence = licence_ending_in(operator, 5, now)
    given_licence(
        operator=operator,
        now=now,
        valid_from=licence.valid_until,
        valid_until=licence.valid_until + 365 * DAY,
    )
    assert warn(now) == 0


@pytest.mark.parametrize("gap", ["a day late", "another carrier", "revoked"])
def test_one_that_is_not_continued_does(operator: VirtualOperator, now: Any, gap: str) -> None:
    agreements = {
        each.host_carrier.code: each for each in WholesaleAgreement.objects.select_related("host_carrier")
    }
    ending = agreements["unicom"]
    until = china_date(now) + 10 * DAY
    WholesaleAgreement.objects.filter(pk=ending.pk).update(valid_until=until)
    carrier = agreements["mobile"].host_carrier if gap == "another carrier" else ending.host_carrier
    following = given_agreement(
        operator=operator,
        host_carrier=carrier,
        now=now,
        valid_from=until + DAY if gap == "a day late" else until,
        valid_until=until + 365 * DAY,
    )
    if gap == "revoked":
        operators.terminate_agreement(actor=SYSTEM, agreement_uid=following.uid, reason="x", now=now)
    assert warn(now) == 1
    event = OutboxEvent.objects.get(type="agreement.ending")
    assert (event.subject, event.data["carrier"], event.data["days_left"]) == (ending.uid, "unicom", 10)


def test_each_operator_sees_its_own(
    operator: VirtualOperator, other_operator: VirtualOperator, now: Any
) -> None:
    licence = licence_ending_in(operator, 20, now)
    theirs = Actor.system("x", operator_id=other_operator.pk)
    assert operator_selectors.list_ending_papers(actor=theirs, now=now, within_days=30) == []
    (seen,) = operator_selectors.list_ending_papers(actor=SYSTEM, now=now, within_days=30)
    assert (seen.uid, seen.days_left) == (licence.uid, 20)


@pytest.mark.parametrize("role", [Role.OPERATOR_ADMIN, Role.PLATFORM])
def test_on_the_dashboard(operator: VirtualOperator, now: Any, client: Client, role: Role) -> None:
    licence_ending_in(operator, 3, now)
    client.force_login(given_user(role=role, operator=None if role is Role.PLATFORM else operator, now=now))
    groups = {group["title"]: group["cards"] for group in client.get("/admin/").context["dashboard"]}
    (card,) = [card for card in groups["Papers"] if card["title"] == "Licence ends"]
    assert (card["value"], card["tone"], card["word"]) == ("3 days", "danger", "renew")
