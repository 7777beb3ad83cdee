""" "This number is not mine": opened, decided, carried out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from apps.accounts.models import PartnerApp
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden, InvalidTransition, NotFound
from apps.events.models import OutboxEvent
from apps.lines.errors import LineDetached, LineNotActive
from apps.lines.models import HolderSlot, Line
from apps.lines.states import SuspensionCause
from apps.operators.models import VirtualOperator
from apps.provisioning import selectors, services
from apps.provisioning.errors import (
    DisputeExists,
    DisputeNotVerified,
    DisputeOvertaken,
    DisputeOwn,
    LineDisputed,
    LineHasOpenOrder,
)
from apps.provisioning.models import HolderDispute, ServiceOrder
from apps.subscribers.errors import ReasonMissing
from apps.subscribers.realname.providers.base import AuthorityAnswer
from apps.subscribers.services import run_due_verifications
from tests.factories.accounts import ApiClient, given_partner_app, given_token, given_user
from tests.factories.provisioning import Seller, decide
from tests.factories.reviews import actor_of, given_dispute, given_holder_check, given_staff, question_about
from tests.factories.subscribers import answering, given_verification
from tests.refusals import refused

pytestmark = pytest.mark.django_db

REASON = "compared the signatures"


@pytest.fixture
def officer(operator: VirtualOperator, now: datetime) -> Actor:
    return given_staff(role=Role.COMPLIANCE, operator=operator, now=now)


@pytest.fixture
def line(seller: Seller) -> Line:
    return seller.active_line()


@pytest.fixture
def dispute(line: Line, now: datetime) -> HolderDispute:
    return given_dispute(line=line, now=now)


def _finish(seller: Seller) -> None:
    """The carrier does whatever is under way."""
    for order in ServiceOrder.objects.filter(status="IN_PROGRESS"):
        seller.done(order)


def _suspensions(line: Line) -> set[tuple[str, str]]:
    return set(line.suspensions.filter(lifted_at=None).values_list("kind", "cause"))


# --- Opening --------------------------------------------------------------------------------------------------------
def test_it_has_a_deadline_and_is_told(line: Line, now: datetime, operator: VirtualOperator) -> None:
    support = given_staff(role=Role.SUPPORT, operator=operator, now=now)
    row = services.open_dispute(actor=support, line=line.uid, statement="never heard of it", now=now)
    assert (row.status, row.due_at, row.subscriber) == ("OPEN", now + timedelta(days=15), line.subscriber)
    assert AuditEvent.objects.get(action="dispute.open").reason == "never heard of it"
    event = OutboxEvent.objects.get(type="holder_dispute.opened")
    assert event.data == {
        "dispute": row.uid,
        "line": line.uid,
        "before": None,
        "status": "OPEN",
        "outcome": None,
    }
    assert selectors.get_waiting_disputes(actor=support, now=now).overdue == 0
    assert selectors.get_waiting_disputes(actor=support, now=row.due_at).overdue == 1


def test_one_at_a_time(line: Line, dispute: HolderDispute, now: datetime) -> None:
    with refused(DisputeExists):
        given_dispute(line=line, now=now)
    dispute.pk, dispute.uid = None, HolderDispute._meta.get_field("uid").get_default()
    with pytest.raises(IntegrityError, match="holder_dispute_one_per_line"), transaction.atomic():
        dispute.save(force_insert=True)


def test_only_a_live_line_of_this_operator(
    seller: Seller, line: Line, officer: Actor, other_operator: VirtualOperator, now: datetime
) -> None:
    stranger = given_staff(role=Role.COMPLIANCE, operator=other_operator, now=now)
    with refused(NotFound):
        given_dispute(line=line, now=now, actor=stranger)
    engineer = given_staff(role=Role.ENGINEER, operator=seller.operator, now=now)
    with refused(Forbidden):
        given_dispute(line=line, now=now, actor=engineer)
    pending = seller.order().line
    with refused(LineNotActive):
        given_dispute(line=pending, now=now)


# --- Outcomes -------------------------------------------------------------------------------------------------------
def test_verify_and_it_is_theirs(
    seller: Seller, line: Line, dispute: HolderDispute, officer: Actor, now: datetime
) -> None:
    services.demand_proof(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    _finish(seller)
    assert _suspensions(line) == {("ONE_WAY", "REVERIFICATION")}
    with refused(DisputeNotVerified):
        services.settle_verified(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    later = now + timedelta(hours=1)
    decide(line.subscriber, later, AuthorityAnswer.DOCUMENT_VOID)
    with refused(DisputeNotVerified):
        services.settle_verified(actor=officer, dispute=dispute.uid, reason=REASON, now=later)
    decide(line.subscriber, later)

    row = services.settle_verified(actor=officer, dispute=dispute.uid, reason=REASON, now=later)

    _finish(seller)
    line.refresh_from_db()
    assert (row.status, row.outcome, row.decided_by) == ("RESOLVED", "VERIFY", officer.id)
    assert (line.status, line.detached_at) == ("ACTIVE", None)
    assert list(
        OutboxEvent.objects.filter(subject=row.uid).order_by("id").values_list("type", flat=True)
    ) == [
        "holder_dispute.opened",
        "holder_dispute.verifying",
        "holder_dispute.resolved",
    ]


def test_detach_frees_the_person_and_keeps_the_line_still_until_somebody_registers(
    seller: Seller, line: Line, dispute: HolderDispute, officer: Actor, now: datetime
) -> None:
    person = line.subscriber
    row = services.detach_disputed_line(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    assert (row.status, row.outcome) == ("RESOLVED", "DETACH")
    assert HolderSlot.objects.count() == 0
    assert given_holder_check(person=person, now=now).line_ids == []
    _finish(seller)
    assert _suspensions(line) == {("TWO_WAY", "REVERIFICATION")}
    with refused(LineDetached):
        seller.ask("resume", line, reason=SuspensionCause.REVERIFICATION, actor=officer)
    with refused(LineDetached):
        given_dispute(line=line, now=now)

    owner = seller.subscriber()
    seller.done(seller.ask("transfer", line, subscriber=owner.uid))
    line.refresh_from_db()
    assert (line.subscriber, line.detached_at) == (owner, None)
    assert HolderSlot.objects.get().line == line
    services.place_resumption_order(
        actor=officer, line=line.uid, reason=SuspensionCause.REVERIFICATION, now=now
    )
    _finish(seller)
    line.refresh_from_db()
    assert line.status == "ACTIVE"


def test_a_detached_line_may_come_back_to_who_had_it(
    seller: Seller, line: Line, dispute: HolderDispute, officer: Actor, now: datetime
) -> None:
    services.detach_disputed_line(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    _finish(seller)
    seller.done(seller.ask("transfer", line, subscriber=line.subscriber.uid))
    line.refresh_from_db()
    assert line.detached_at is None
    assert HolderSlot.objects.get().line == line
    assert line.subscriber.handed_on_at is None


def test_suspend(seller: Seller, line: Line, dispute: HolderDispute, officer: Actor, now: datetime) -> None:
    row = services.suspend_disputed_line(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    _finish(seller)
    assert row.outcome == "SUSPEND"
    assert _suspensions(line) == {("TWO_WAY", "FRAUD")}
    assert HolderSlot.objects.count() == 1, "it still counts"
    assert row.uid in line.suspensions.get().note


def test_terminate(seller: Seller, line: Line, dispute: HolderDispute, officer: Actor, now: datetime) -> None:
    row = services.terminate_disputed_line(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    _finish(seller)
    line.refresh_from_db()
    assert (row.outcome, line.status) == ("TERMINATE", "TERMINATED")
    assert HolderSlot.objects.count() == 0


def test_withdrawn_while_verifying_lets_the_line_run(
    seller: Seller, line: Line, dispute: HolderDispute, officer: Actor, now: datetime
) -> None:
    services.demand_proof(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    _finish(seller)
    row = services.withdraw_dispute(actor=officer, dispute=dispute.uid, reason="it is her son's", now=now)
    _finish(seller)
    line.refresh_from_db()
    assert (row.status, row.outcome, line.status) == ("WITHDRAWN", "", "ACTIVE")
    given_dispute(line=line, now=now)


def test_settled_although_staff_have_let_the_line_run_already(
    seller: Seller, line: Line, dispute: HolderDispute, officer: Actor, now: datetime
) -> None:
    services.demand_proof(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    _finish(seller)
    seller.ask("resume", line, reason=SuspensionCause.REVERIFICATION, actor=officer)
    _finish(seller)
    later = now + timedelta(hours=1)
    decide(line.subscriber, later)
    row = services.settle_verified(actor=officer, dispute=dispute.uid, reason=REASON, now=later)
    assert (row.status, row.outcome) == ("RESOLVED", "VERIFY")


def test_withdrawn_although_staff_have_let_the_line_run_already(
    seller: Seller, line: Line, dispute: HolderDispute, officer: Actor, now: datetime
) -> None:
    services.demand_proof(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    _finish(seller)
    seller.ask("resume", line, reason=SuspensionCause.REVERIFICATION, actor=officer)
    _finish(seller)
    row = services.withdraw_dispute(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    assert row.status == "WITHDRAWN"


def test_a_check_that_is_too_old_proves_nothing(
    seller: Seller, line: Line, dispute: HolderDispute, officer: Actor, now: datetime
) -> None:
    services.demand_proof(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    _finish(seller)
    decide(line.subscriber, now + timedelta(hours=1))
    check = line.subscriber.verifications.order_by("-id")[0]
    with refused(DisputeNotVerified):
        services.settle_verified(actor=officer, dispute=dispute.uid, reason=REASON, now=check.fresh_until)


def test_while_it_is_disputed_nobody_else_gets_the_line(
    seller: Seller, line: Line, dispute: HolderDispute, officer: Actor, now: datetime
) -> None:
    somebody = seller.subscriber()
    with refused(LineDisputed):
        seller.ask("transfer", line, subscriber=somebody.uid)
    services.withdraw_dispute(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    assert seller.ask("transfer", line).status == "IN_PROGRESS"


@pytest.fixture
def overtaken(seller: Seller, line: Line, now: datetime) -> HolderDispute:
    """The line was on its way to somebody else when it was disputed."""
    transfer = seller.ask("transfer", line)
    row = given_dispute(line=line, now=now)
    seller.done(transfer)
    return row


DECISIONS: list[Callable[..., HolderDispute]] = [
    services.demand_proof,
    services.settle_verified,
    services.detach_disputed_line,
    services.suspend_disputed_line,
    services.terminate_disputed_line,
    services.withdraw_dispute,
]


@pytest.mark.parametrize("service", DECISIONS, ids=lambda service: service.__name__)
def test_who_decides(
    service: Callable[..., HolderDispute],
    dispute: HolderDispute,
    line: Line,
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    officer: Actor,
    now: datetime,
) -> None:
    support = given_staff(role=Role.SUPPORT, operator=operator, now=now)
    with refused(Forbidden):
        service(actor=support, dispute=dispute.uid, reason=REASON, now=now)
    stranger = given_staff(role=Role.COMPLIANCE, operator=other_operator, now=now)
    with refused(NotFound):
        service(actor=stranger, dispute=dispute.uid, reason=REASON, now=now)
    with refused(ReasonMissing):
        service(actor=officer, dispute=dispute.uid, reason="ok", now=now)
    services.withdraw_dispute(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    if service is not services.settle_verified:
        with refused(InvalidTransition):
            service(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    line.refresh_from_db()
    assert (line.status, line.detached_at, HolderSlot.objects.count()) == ("ACTIVE", None, 1)


@pytest.mark.parametrize("service", DECISIONS[:5], ids=lambda service: service.__name__)
def test_nothing_is_done_to_who_has_the_line_by_now(
    service: Callable[..., HolderDispute],
    overtaken: HolderDispute,
    line: Line,
    officer: Actor,
    now: datetime,
) -> None:
    orders = ServiceOrder.objects.count()
    with refused(DisputeOvertaken):
        service(actor=officer, dispute=overtaken.uid, reason=REASON, now=now)
    line.refresh_from_db()
    assert (line.status, line.detached_at, ServiceOrder.objects.count()) == ("ACTIVE", None, orders)
    services.withdraw_dispute(actor=officer, dispute=overtaken.uid, reason=REASON, now=now)


@pytest.mark.parametrize("service", DECISIONS, ids=lambda service: service.__name__)
def test_who_opened_it_does_not_decide_it(
    service: Callable[..., HolderDispute], line: Line, officer: Actor, now: datetime
) -> None:
    row = given_dispute(line=line, now=now, actor=officer)
    with refused(DisputeOwn):
        service(actor=officer, dispute=row.uid, reason=REASON, now=now)
    with pytest.raises(IntegrityError, match="holder_dispute_four_eyes"), transaction.atomic():
        row.withdraw(by=officer.id, label="", decision=REASON, now=now)


def test_an_open_order_on_the_line_comes_first(
    seller: Seller, line: Line, dispute: HolderDispute, officer: Actor, now: datetime
) -> None:
    seller.ask("change_plan", line)
    for service in (DECISIONS[0], *DECISIONS[2:5]):
        with refused(LineHasOpenOrder):
            service(actor=officer, dispute=dispute.uid, reason=REASON, now=now)
    dispute.refresh_from_db()
    line.refresh_from_db()
    assert (dispute.status, line.detached_at, HolderSlot.objects.count()) == ("OPEN", None, 1)


# --- REST -----------------------------------------------------------------------------------------------------------
class TestRest:
    @pytest.fixture
    def check(self, api: ApiClient, partner_app: PartnerApp, line: Line, now: datetime) -> str:
        """The app has had the holder verified and has asked for their numbers."""
        given_verification(subscriber=line.subscriber, now=now, actor=actor_of(partner_app))
        run_due_verifications(clock=lambda: now, providers=answering())
        question = question_about(line.subscriber)
        body = {"document": {"type": "resident_id", "number": question.document_number}}
        answer = api.post("/api/v1/holder-checks", body).json()
        assert answer["count"] == 1
        return str(answer["id"])

    BODY = {"item": 1, "statement": "never heard of this number"}

    def test_open_and_watch(
        self, api: ApiClient, check: str, line: Line, officer: Actor, now: datetime
    ) -> None:
        opened = api.post(f"/api/v1/holder-checks/{check}/disputes", self.BODY)
        assert opened.status_code == 201, opened.content
        shown = opened.json()
        assert (shown["status"], shown["outcome"], shown["holder_check"]) == ("OPEN", None, check)
        assert shown["number"].startswith("*******")
        assert api.get(opened["Location"]).json() == shown
        assert api.get("/api/v1/holder-disputes?status=OPEN").json()["items"] == [shown]
        assert api.get("/api/v1/holder-disputes?status=SHUT").status_code == 400

        services.terminate_disputed_line(actor=officer, dispute=shown["id"], reason=REASON, now=now)
        after = api.get(opened["Location"]).json()
        assert (after["status"], after["outcome"]) == ("RESOLVED", "terminate")
        assert REASON not in str(after)

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({**BODY, "item": 2}, 422, "dispute_item_unknown"),
            ({**BODY, "item": 0}, 400, "validation_error"),
            ({"item": 1}, 400, "validation_error"),
            ({**BODY, "statement": "no"}, 400, "validation_error"),
            ({**BODY, "line": "x"}, 400, "unknown_field"),
        ],
    )
    def test_bad_bodies(self, api: ApiClient, check: str, body: Any, status: int, code: str) -> None:
        answer = api.post(f"/api/v1/holder-checks/{check}/disputes", body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)

    def test_only_the_app_that_asked(
        self, operator: VirtualOperator, other_api: ApiClient, check: str, now: datetime
    ) -> None:
        app, _ = given_partner_app(operator=operator, now=now)
        for client in (ApiClient(given_token(app=app, now=now)), other_api):
            answer = client.post(f"/api/v1/holder-checks/{check}/disputes", self.BODY)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    def test_not_for_ever(self, partner_app: PartnerApp, check: str, now: datetime) -> None:
        late = now + timedelta(days=2)
        with pytest.raises(Exception, match="holder_check_expired"), transaction.atomic():
            services.dispute_told_number(
                actor=actor_of(partner_app), holder_check=check, item=1, statement=REASON, now=late
            )

    def test_another_operator_s_do_not_exist(self, api: ApiClient, other_api: ApiClient, check: str) -> None:
        opened = api.post(f"/api/v1/holder-checks/{check}/disputes", self.BODY)
        assert other_api.get(opened["Location"]).status_code == 404
        assert other_api.get("/api/v1/holder-disputes").json()["items"] == []


# --- The page -------------------------------------------------------------------------------------------------------
def test_from_the_question_to_the_decision(
    seller: Seller, line: Line, operator: VirtualOperator, now: datetime
) -> None:
    client = Client()
    client.force_login(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
    check = given_holder_check(person=line.subscriber, now=now)
    press = reverse("admin:lines_holdercheck_press", args=(check.pk, "dispute"))
    assert "*******" in client.get(press).content.decode()
    client.post(press, {"item": "1", "statement": "never heard of it"})
    row = HolderDispute.objects.get()
    # A second person decides.
    client.force_login(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
    assert row.uid[-8:] in client.get(reverse("admin:provisioning_holderdispute_changelist")).content.decode()
    page = reverse("admin:provisioning_holderdispute_change", args=(row.pk,))
    assert "never heard of it" in client.get(page).content.decode()
    decided = client.post(
        reverse("admin:provisioning_holderdispute_press", args=(row.pk, "detach")),
        {"reason": REASON},
        follow=True,
    )
    assert "stands still until its user has registered" in decided.content.decode()
    row.refresh_from_db()
    assert row.outcome == "DETACH"
