"""Demands to be verified again: warned, one-way, two-way, and back at once; what they place, lift and tell."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor, ActorKind
from apps.core.errors import Forbidden, InvalidTransition, NotFound
from apps.events.models import OutboxEvent
from apps.lines.errors import LineNotActive, SuspensionNotYours
from apps.lines.states import SuspensionCause, SuspensionKind
from apps.operators.calendar import CHINA
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.provisioning import services
from apps.provisioning.models import ServiceOrder
from apps.subscribers import services as subscribers
from apps.subscribers.errors import DemandAlreadyOpen, ReasonMissing
from apps.subscribers.models import DemandStep, ReverificationDemand, Verification
from apps.subscribers.realname.providers.base import AuthorityAnswer
from apps.subscribers.states import DemandReason
from tests.factories.accounts import given_user
from tests.factories.operators import given_policy
from tests.factories.provisioning import SYSTEM, Seller, decide
from tests.factories.subscribers import (
    answering,
    given_notices,
    given_verification,
)
from tests.provisioning.reverifying import (
    ABUSE,
    DISPUTE,
    EXPIRED,
    HOUR,
    LISTED,
    MOMENT,
    RUNS,
    STOPPED,
    STOPPED_ONE_WAY,
    demanded,
    run,
    stands,
)
from tests.refusals import refused

pytestmark = pytest.mark.django_db

ONE_WAY, TWO_WAY = SuspensionKind.ONE_WAY, SuspensionKind.TWO_WAY


@pytest.fixture(autouse=True)
def _notices(operator: VirtualOperator, now: datetime) -> None:
    given_notices(now=now)


@pytest.mark.parametrize(
    ("reason", "first", "second"), [(ABUSE, 0, 48), (LISTED, 24, 96), (DISPUTE, 72, 240), (EXPIRED, 168, 888)]
)
def test_the_whole_ladder(
    seller: Seller, now: datetime, reason: DemandReason, first: int, second: int
) -> None:
    """Each step at its hour and not a second before; hours of the seeds' policies, from the demand."""
    line = seller.active_line()
    demand = demanded(line.subscriber, reason, now)
    expected = [
        *([(now, "WARNED", RUNS)] if first else []),
        *([(now + first * HOUR - MOMENT, "WARNED", RUNS)] if first else []),
        (now + first * HOUR, "ONE_WAY", STOPPED_ONE_WAY),
        (now + second * HOUR - MOMENT, "ONE_WAY", STOPPED_ONE_WAY),
        (now + second * HOUR, "TWO_WAY", STOPPED),
        # Nobody's line is ended for want of a verification.
        (now + timedelta(days=4000), "TWO_WAY", STOPPED),
    ]
    assert demand.status == "WARNED"
    assert demand.next_step_at == now + first * HOUR
    for at, status, state in expected:
        run(seller, at)
        demand.refresh_from_db()
        assert (demand.status, stands(line)) == (status, state), at
    assert (demand.next_step_at, demand.apply_at, demand.closed_at) == (None, None, None)

    later = now + timedelta(days=4001)
    decide(line.subscriber, later)
    run(seller, later)
    demand.refresh_from_db()
    assert (demand.status, demand.closed_at, stands(line)) == ("PASSED", later, RUNS)
    assert demand.verification == Verification.objects.latest("id")
    assert demand.apply_at is None

    steps = list(demand.steps.order_by("id"))
    assert [(step.status, step.taken_at) for step in steps] == [
        ("WARNED", now),
        ("ONE_WAY", now + first * HOUR),
        ("TWO_WAY", now + second * HOUR),
        ("PASSED", later),
    ]
    assert [step.next_step_at for step in steps] == [now + first * HOUR, now + second * HOUR, None, None]
    for step in steps:
        for words in (step.notice_zh, step.notice_en, step.remedy_zh, step.remedy_en, step.papers_zh):
            assert words
            assert "{" not in words
    news = OutboxEvent.objects.filter(subject=demand.uid).order_by("id")
    assert [(event.type, event.data["before"], event.data["status"]) for event in news] == [
        ("reverification.demanded", None, "WARNED"),
        ("reverification.step_taken", "WARNED", "ONE_WAY"),
        ("reverification.step_taken", "ONE_WAY", "TWO_WAY"),
        ("reverification.passed", "TWO_WAY", "PASSED"),
    ]
    trail = AuditEvent.objects.filter(target_id=demand.uid).order_by("id")
    assert [event.action for event in trail] == [
        "reverification.demand",
        "reverification.step",
        "reverification.step",
        "reverification.pass",
    ]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_pass_at_any_step_restores_at_once(seller: Seller, now: datetime, steps: int) -> None:
    line = seller.active_line()
    demand = demanded(line.subscriber, LISTED, now)
    at = now
    for at in (now, now + 24 * HOUR, now + 96 * HOUR)[: steps + 1]:
        run(seller, at)
    at += MOMENT
    decide(line.subscriber, at)
    # One look, at that very moment: the carrier is asked already.
    services.apply_demands(now=at)
    if steps:
        assert line.orders.get(type="RESUME").status == "IN_PROGRESS"
    run(seller, at)
    demand.refresh_from_db()
    assert (demand.status, stands(line)) == ("PASSED", RUNS)
    # And nothing comes after it.
    run(seller, at + 9000 * HOUR)
    assert (demand.steps.count(), stands(line)) == (steps + 2, RUNS)


def test_only_a_verification_asked_for_since_then_counts(seller: Seller, now: datetime) -> None:
    line = seller.active_line()
    waiting = given_verification(subscriber=line.subscriber, now=now)
    demand = demanded(line.subscriber, ABUSE, now + MOMENT)
    decide_waiting(now + 2 * MOMENT)
    waiting.refresh_from_db()
    demand.refresh_from_db()
    assert (waiting.status, demand.status) == ("PASSED", "WARNED")
    # Once the person is suspended, what passed before is worth nothing any more.
    run(seller, now + 2 * MOMENT)
    waiting.refresh_from_db()
    assert waiting.status == "EXPIRED"
    assert not Verification.objects.filter(subscriber=line.subscriber, status="PASSED").exists()
    decide(line.subscriber, now + HOUR, AuthorityAnswer.NAME_MISMATCH)
    demand.refresh_from_db()
    assert demand.status == "ONE_WAY"


def decide_waiting(now: datetime) -> None:
    subscribers.run_due_verifications(clock=lambda: now, providers=answering())


def test_a_line_that_others_stopped_stays_stopped(
    seller: Seller, now: datetime, operator_admin: Actor
) -> None:
    line = seller.active_line()
    seller.done(seller.ask("suspend", line, actor=operator_admin, reason=SuspensionCause.FRAUD, kind=ONE_WAY))
    by_hand = SuspensionCause.REVERIFICATION
    seller.done(seller.ask("suspend", line, actor=operator_admin, reason=by_hand, kind=TWO_WAY))
    demanded(line.subscriber, ABUSE, now)
    run(seller, now)
    run(seller, now + 48 * HOUR)
    assert len(stands(line)[2]) == 4
    decide(line.subscriber, now + 49 * HOUR)
    run(seller, now + 49 * HOUR)
    # Staff's own suspension for the same cause is not the demand's.
    assert stands(line) == ("SUSPENDED", "TWO_WAY", ["FRAUD ONE_WAY", "REVERIFICATION TWO_WAY"])
    seller.done(seller.ask("resume", line, actor=operator_admin, reason=by_hand))
    assert stands(line) == ("SUSPENDED", "ONE_WAY", ["FRAUD ONE_WAY"])


def test_nobody_lifts_what_a_demand_stands_behind(
    seller: Seller, now: datetime, operator: VirtualOperator, operator_admin: Actor
) -> None:
    line = seller.active_line()
    demand = demanded(line.subscriber, ABUSE, now)
    run(seller, now)
    partner = Actor(kind=ActorKind.PARTNER, id="app_one", label="app_one", operator_id=operator.pk)
    for actor in (partner, operator_admin, Actor.system("another job")):
        with refused(SuspensionNotYours):
            seller.ask("resume", line, actor=actor, reason=SuspensionCause.REVERIFICATION)
    assert stands(line) == STOPPED_ONE_WAY
    reason = line.suspensions.get()
    step = demand.steps.get(status="ONE_WAY")
    assert (reason.owner, reason.placed_by) == ("SYSTEM", demand.uid)
    assert reason.notice == f"{step.notice_zh}\n{step.notice_en}"
    assert reason.remedy == f"{step.remedy_zh}\n{step.remedy_en}"

    subscribers.withdraw_demand(
        actor=operator_admin, demand_uid=demand.uid, reason="a mistake of ours", now=now + HOUR
    )
    run(seller, now + HOUR)
    demand.refresh_from_db()
    assert (demand.status, demand.closed_at, stands(line)) == ("WITHDRAWN", now + HOUR, RUNS)
    with refused(InvalidTransition):
        subscribers.withdraw_demand(
            actor=operator_admin, demand_uid=demand.uid, reason="a mistake of ours", now=now + HOUR
        )


def test_one_line_or_all_of_them(seller: Seller, now: datetime) -> None:
    one = seller.active_line()
    other = seller.active_line(subscriber=one.subscriber)
    demand = services.demand_reverification_of_line(
        actor=SYSTEM, line=one.uid, reason=ABUSE, note="a pattern of calls", now=now
    )
    run(seller, now)
    assert (stands(one), stands(other)) == (STOPPED_ONE_WAY, RUNS)
    demanded(one.subscriber, LISTED, now)
    run(seller, now + 24 * HOUR)
    assert stands(one)[2] == ["REVERIFICATION ONE_WAY"] * 2
    assert stands(other) == STOPPED_ONE_WAY
    subscribers.withdraw_demand(actor=SYSTEM, demand_uid=demand.uid, reason="not theirs", now=now + 25 * HOUR)
    run(seller, now + 25 * HOUR)
    # Each demand has its own reason; the other's keeps the line still.
    assert stands(one) == stands(other) == STOPPED_ONE_WAY
    decide(one.subscriber, now + 26 * HOUR)
    run(seller, now + 26 * HOUR)
    assert stands(one) == stands(other) == RUNS


def test_a_line_that_is_busy_follows_later(seller: Seller, now: datetime) -> None:
    line = seller.active_line()
    order = seller.ask("change_plan", line)
    demand = demanded(line.subscriber, ABUSE, now)
    subscribers.take_due_steps(actor=SYSTEM, now=now)
    assert services.apply_demands(now=now) == 1
    demand.refresh_from_db()
    assert demand.apply_at == now + timedelta(seconds=5)
    assert services.apply_demands(now=now) == 0
    assert services.apply_demands(now=now + timedelta(seconds=5)) == 1
    demand.refresh_from_db()
    # Longer each time.
    assert demand.apply_at == now + timedelta(seconds=15)
    seller.done(order)
    run(seller, now)
    demand.refresh_from_db()
    assert (stands(line), demand.apply_at) == (STOPPED_ONE_WAY, None)


def test_a_pass_before_the_carrier_has_answered_is_not_forgotten(seller: Seller, now: datetime) -> None:
    line = seller.active_line()
    demand = demanded(line.subscriber, ABUSE, now)
    subscribers.take_due_steps(actor=SYSTEM, now=now)
    services.apply_demands(now=now)
    suspension = line.orders.get(type="SUSPEND")
    decide(line.subscriber, now + MOMENT)
    services.apply_demands(now=now + MOMENT)
    assert not line.orders.filter(type="RESUME").exists()
    seller.done(suspension)
    assert stands(line) == STOPPED_ONE_WAY
    run(seller, now + MOMENT)
    demand.refresh_from_db()
    assert (stands(line), demand.apply_at, demand.status) == (RUNS, None, "PASSED")


def test_lines_that_end_or_change_hands(seller: Seller, now: datetime) -> None:
    ended, handed_on = seller.active_line(), seller.active_line()
    demands = [
        services.demand_reverification_of_line(
            actor=SYSTEM, line=line.uid, reason=LISTED, note="on the list", now=now
        )
        for line in (ended, handed_on)
    ]
    seller.done(seller.ask("terminate", ended))
    seller.done(seller.ask("transfer", handed_on))
    run(seller, now + 24 * HOUR)
    for demand in demands:
        demand.refresh_from_db()
        assert (demand.status, demand.apply_at) == ("WITHDRAWN", None)
    assert stands(handed_on) == RUNS
    with refused(LineNotActive):
        services.demand_reverification_of_line(
            actor=SYSTEM, line=ended.uid, reason=LISTED, note="on the list", now=now
        )


def test_a_line_that_comes_to_life_meanwhile_follows(seller: Seller, now: datetime) -> None:
    line = seller.active_line()
    coming = seller.order(subscriber=line.subscriber)
    demand = demanded(line.subscriber, ABUSE, now)
    subscribers.take_due_steps(actor=SYSTEM, now=now)
    services.apply_demands(now=now)
    demand.refresh_from_db()
    assert demand.apply_at is not None
    run(seller, now)
    assert stands(coming.line) == STOPPED_ONE_WAY


def test_what_a_person_was_told_is_kept_whatever_policy_says_later(
    seller: Seller, now: datetime, operator: VirtualOperator
) -> None:
    demand = demanded(seller.active_line().subscriber, LISTED, now)
    given_policy(key=PolicyKey.REGULATOR_LIST_HOURS, value=[1, 2], now=now, operator=operator)
    run(seller, now + HOUR)
    demand.refresh_from_db()
    assert (demand.status, demand.next_step_at) == ("WARNED", now + 24 * HOUR)
    due = (now + 24 * HOUR).astimezone(CHINA)
    told = demand.steps.get()
    assert f"{due:%Y-%m-%d %H:%M} (Beijing time)" in told.notice_en
    assert f"{due.year}年{due.month}月{due.day}日{due:%H:%M}" in told.notice_zh
    # The new policy holds from the next step on, and for that operator.
    run(seller, now + 24 * HOUR)
    demand.refresh_from_db()
    assert demand.next_step_at == now + 26 * HOUR


def test_who_may_demand(
    seller: Seller, now: datetime, operator: VirtualOperator, other_operator: VirtualOperator
) -> None:
    person = seller.active_line().subscriber
    partner = Actor(kind=ActorKind.PARTNER, id="app_one", label="app_one", operator_id=operator.pk)
    support = actor_of_user(given_user(role=Role.SUPPORT, operator=operator, now=now))
    compliance = actor_of_user(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
    foreign = actor_of_user(given_user(role=Role.COMPLIANCE, operator=other_operator, now=now))
    for actor, error in ((partner, Forbidden), (support, Forbidden), (foreign, NotFound)):
        with refused(error):
            demanded(person, LISTED, now, actor=actor)
    with refused(ReasonMissing):
        demanded(person, LISTED, now, note=" ")
    demand = demanded(person, LISTED, now, actor=compliance)
    with refused(DemandAlreadyOpen):
        demanded(person, LISTED, now)
    for actor, error in ((partner, Forbidden), (support, Forbidden), (foreign, NotFound)):
        with refused(error):
            subscribers.withdraw_demand(actor=actor, demand_uid=demand.uid, reason="a mistake", now=now)
    # Another reason, or one line of theirs, is another matter.
    demanded(person, DISPUTE, now, actor=compliance)
    assert ReverificationDemand.objects.count() == 2


def test_the_database_keeps_the_rules(seller: Seller, now: datetime) -> None:
    demand = demanded(seller.active_line().subscriber, LISTED, now)
    rows = ReverificationDemand.objects.filter(pk=demand.pk)
    for changes, constraint in (
        ({"status": "TWO_WAY"}, "demand_status_matches_times"),
        ({"status": "PASSED", "next_step_at": None, "closed_at": now}, "demand_status_matches_times"),
        ({"closed_at": now}, "demand_status_matches_times"),
        ({"next_step_at": None}, "demand_status_matches_times"),
        ({"document_until": date(2090, 1, 1)}, "demand_document_has_end"),
        ({"reason": "OTHER"}, "demand_reason"),
    ):
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            rows.update(**changes)
    demand.pk, demand.uid = None, ReverificationDemand().uid
    with pytest.raises(IntegrityError, match="demand_one_open"), transaction.atomic():
        demand.save(force_insert=True)
    step = DemandStep.objects.get()
    step.pk = None
    with pytest.raises(IntegrityError, match="demand_step_once"), transaction.atomic():
        step.save(force_insert=True)


def test_an_organisations_many_lines_follow_in_bounded_steps(
    seller: Seller, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.provisioning.services.reverification.LINES_AT_ONCE", 2)
    person = seller.subscriber()
    lines = [seller.active_line(subscriber=person) for _ in range(5)]
    demand = demanded(person, ABUSE, now)
    subscribers.take_due_steps(actor=SYSTEM, now=now)
    placed = []
    while services.apply_demands(now=now):
        placed.append(ServiceOrder.objects.filter(type="SUSPEND").count())
    assert placed == [2, 4, 5]
    run(seller, now)
    demand.refresh_from_db()
    assert (demand.apply_at, [stands(line) for line in lines]) == (None, [STOPPED_ONE_WAY] * 5)
