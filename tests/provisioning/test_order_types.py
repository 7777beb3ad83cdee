"""Every type of order on a live line: what it brings, what is undone, what it waits for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.audit.models import AuditEvent
from apps.carriers.base import Accepted, Rejected
from apps.core.actor import Actor, ActorKind
from apps.events.models import OutboxEvent
from apps.lines.errors import (
    LineNotActive,
)
from apps.lines.models import HolderSlot, Line
from apps.lines.selectors import get_fittings
from apps.lines.states import SuspensionCause
from apps.numbering import services as numbering
from apps.numbering.models import PhoneNumber
from apps.numbering.numbers import to_e164
from apps.numbering.states import NumberStatus
from apps.provisioning import services, tasks
from apps.provisioning.errors import OrderNotCancellable
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services import NumberWish
from apps.provisioning.services.opening import standing_of_check
from apps.sims.models import SimCard
from apps.subscribers import services as subscribers
from apps.subscribers.models import Subscriber
from apps.subscribers.realname.providers.base import AuthorityAnswer
from apps.subscribers.states import Standing
from tests.factories.callbacks import callback_body, send_callback
from tests.factories.provisioning import (
    SYSTEM,
    TYPES,
    Seller,
    decide,
    given_line,
)
from tests.factories.reviews import given_doubt
from tests.factories.subscribers import answering, given_subscriber, given_verification
from tests.provisioning.untouched import refused

pytestmark = pytest.mark.django_db


def holdings(line: Line) -> dict[str, object]:
    """What the line has, and what that is."""
    line = Line.objects.get(pk=line.pk)
    has = get_fittings(line_ids=[line.pk])[line.pk]
    return {
        "status": (line.status, line.suspension_kind),
        "number": (has.number, PhoneNumber.objects.get(pk=has.number).status),
        "iccid": (has.iccid, SimCard.objects.get(iccid=has.iccid).status),
        "plan": line.plan_id,
        "holder": line.subscriber_id,
        "slot": sorted(HolderSlot.objects.values_list("id", "line_id", "coming_line_id")),
        "suspensions": sorted(line.suspensions.filter(lifted_at=None).values_list("cause", "kind")),
        "given": sorted(SimCard.objects.exclude(status="IN_STOCK").values_list("iccid", "status")),
        "taken": sorted(PhoneNumber.objects.exclude(status=0).values_list("number", "status")),
    }


def event_of(line: Line, type: str) -> dict[str, object]:
    return OutboxEvent.objects.filter(subject=line.uid, type=type).latest("id").data


# --- What each brings -----------------------------------------------------------------------------------------------
def test_another_sim(seller: Seller) -> None:
    line = seller.active_line()
    old = line.sim_assignments.get().sim
    iccid = seller.another_card()
    order = seller.ask("change_sim", line, iccid=iccid)
    assert SimCard.objects.get(iccid=iccid).status == "RESERVED"
    assert seller.done(order).status == "COMPLETED"
    assert [
        (held.sim.iccid, held.sim.status, held.released_at is None)
        for held in line.sim_assignments.order_by("id")
    ] == [(old.iccid, "RETIRED", False), (iccid, "BOUND", True)]
    assert event_of(line, "line.sim_changed") == {"line": line.uid, "before": old.iccid, "after": iccid}
    assert AuditEvent.objects.get(target_id=line.uid, action="line.change_sim").before == {"iccid": old.iccid}


def test_another_number(seller: Seller) -> None:
    line = seller.active_line()
    old, new = line.number_assignments.get().number_id, seller.range.first + 500
    order = seller.ask("change_number", line)
    assert PhoneNumber.objects.get(pk=new).status == NumberStatus.IN_USE
    assert seller.done(order).status == "COMPLETED"
    assert [
        (held.number_id, held.number.status, held.released_at is None)
        for held in line.number_assignments.order_by("id")
    ] == [(old, NumberStatus.QUARANTINED, False), (new, NumberStatus.IN_USE, True)]
    assert event_of(line, "line.number_changed") == {
        "line": line.uid,
        "before": to_e164(old),
        "after": to_e164(new),
    }


def test_a_number_of_a_reservation(seller: Seller) -> None:
    line = seller.active_line()
    reservation = numbering.reserve(
        actor=SYSTEM, operator_id=seller.operator.pk, carrier="unicom", now=seller.now
    )
    seller.done(seller.ask("change_number", line, wish=NumberWish(reservation=reservation.uid)))
    assert line.number_assignments.get(released_at=None).number_id == reservation.numbers[0]


def test_another_plan(seller: Seller) -> None:
    line = seller.active_line()
    plan = seller.another_plan()
    assert seller.done(seller.ask("change_plan", line, plan=plan.code)).status == "COMPLETED"
    line.refresh_from_db()
    assert line.plan_id == plan.pk
    assert event_of(line, "line.plan_changed") == {
        "line": line.uid,
        "before": seller.plan.uid,
        "after": plan.uid,
    }


def test_another_holder(seller: Seller) -> None:
    line = seller.active_line()
    old, new = line.subscriber, seller.subscriber()
    order = seller.ask("transfer", line, subscriber=new.uid)
    # Until the carrier has it, both places are filled.
    assert HolderSlot.objects.count() == 2
    assert seller.done(order).status == "COMPLETED"
    line.refresh_from_db()
    assert line.subscriber_id == new.pk
    slot = HolderSlot.objects.get()
    assert (slot.line_id, slot.coming_line_id) == (line.pk, None)
    assert bytes(slot.fingerprint) == bytes(new.documents.get().fingerprint)
    assert event_of(line, "line.transferred") == {"line": line.uid, "before": old.uid, "after": new.uid}


def test_a_suspended_line_ends_with_all_its_reasons(seller: Seller) -> None:
    line = seller.suspended_line()
    seller.done(seller.ask("terminate", line))
    line.refresh_from_db()
    assert (line.status, line.suspension_kind) == ("TERMINATED", None)
    assert line.suspensions.get().lifted_at == seller.now


# --- Undone when the carrier refuses, or when it is cancelled -------------------------------------------------------
@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("end", ["refused", "cancelled"])
def test_nothing_remains_of_what_is_refused_or_cancelled(seller: Seller, type: str, end: str) -> None:
    line = given_line(seller, type)
    before = holdings(line)
    order = seller.ask(type, line)
    if end == "refused":
        ended = seller.answer(order, Rejected("carrier_line_busy", "no"))
        assert (ended.status, ended.reason) == ("FAILED", "carrier_line_busy")
    else:
        ended = services.cancel_order(actor=SYSTEM, order=order.uid, now=seller.now)
        assert (ended.status, ended.jobs.get().failure_kind) == ("CANCELLED", "CANCELLED")
    assert holdings(line) == before
    # The line is free for the next order.
    assert seller.ask("terminate", line).status == "IN_PROGRESS"


@pytest.mark.parametrize("code", ["carrier_sim_invalid", "carrier_sim_in_use"])
def test_a_card_that_the_carrier_refuses_is_not_given_out_again(seller: Seller, code: str) -> None:
    line = seller.active_line()
    iccid = seller.another_card()
    seller.answer(seller.ask("change_sim", line, iccid=iccid), Rejected(code, "no"))
    assert SimCard.objects.get(iccid=iccid).status == "RETIRED"
    assert line.sim_assignments.get().sim.status == "BOUND"


@pytest.mark.parametrize("code", ["carrier_number_invalid", "carrier_number_in_use"])
def test_a_number_that_the_carrier_refuses_is_withheld(seller: Seller, code: str) -> None:
    line = seller.active_line()
    seller.answer(seller.ask("change_number", line), Rejected(code, "no"))
    assert PhoneNumber.objects.get(pk=seller.range.first + 500).status == NumberStatus.WITHHELD
    assert line.number_assignments.get().number.status == NumberStatus.IN_USE


@pytest.mark.parametrize("type", TYPES)
def test_a_line_that_the_carrier_does_not_know_is_for_staff(seller: Seller, type: str) -> None:
    order = seller.ask(type, given_line(seller, type))
    after = seller.answer(order, Rejected("carrier_line_not_found", "no"))
    assert (after.status, after.jobs.get().is_dead_letter) == ("IN_PROGRESS", True)


@pytest.mark.parametrize(("type", "status"), [("suspend", "SUSPENDED"), ("resume", "ACTIVE")])
def test_what_is_so_already_is_done(seller: Seller, type: str, status: str) -> None:
    line = given_line(seller, type)
    done = seller.answer(seller.ask(type, line), Rejected("carrier_line_already_so", "no"))
    line.refresh_from_db()
    assert (done.status, line.status) == ("COMPLETED", status)


@pytest.mark.parametrize("type", TYPES)
def test_what_the_carrier_was_told_cannot_be_cancelled(seller: Seller, type: str) -> None:
    order = seller.ask(type, given_line(seller, type))
    seller.answer(order, Accepted("UC-1"))
    with refused(OrderNotCancellable):
        services.cancel_order(actor=SYSTEM, order=order.uid, now=seller.now)


# --- What the carrier calls back about ------------------------------------------------------------------------------
@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("result", ["DONE", "REFUSED"])
def test_callbacks_of_each_operation(seller: Seller, type: str, result: str) -> None:
    line = given_line(seller, type)
    number = str(line.number_assignments.get().number_id)
    before = holdings(line)
    order = seller.ask(type, line)
    seller.answer(order, Accepted("UC-1"))
    job = order.jobs.get()
    for event_id in ("EV-1", "EV-2"):
        # The carrier names the number that the line had, the second time when it has another already.
        body = callback_body(job, now=seller.now, result=result, event_id=event_id, number=number)
        send_callback(seller.connection, body, now=seller.now)
    tasks.apply_callbacks()
    order.refresh_from_db()
    assert order.status == ("COMPLETED" if result == "DONE" else "FAILED")
    assert (holdings(line) == before) is (result == "REFUSED")
    outcomes = list(seller.connection.carriercallback_set.order_by("id").values_list("outcome", flat=True))
    assert outcomes == ["APPLIED", "REPEATED"]


# --- Held until somebody is verified --------------------------------------------------------------------------------
def held(seller: Seller, type: str) -> tuple[ServiceOrder, Line, Subscriber]:
    """An order that waits for a check that nobody has answered, its line, and whose check it is."""
    line = seller.active_line()
    if type == "transfer":
        person = given_subscriber(operator=seller.operator, now=seller.now)
        fields: dict[str, object] = {"subscriber": person.uid}
    else:
        person = line.subscriber
        fields = {"verification": given_verification(subscriber=person, now=seller.now).uid}
    order = seller.ask(type, line, **fields)
    assert (order.status, order.reason, order.jobs.count()) == ("HELD", "identity_not_verified", 0)
    return order, line, person


def decide_what_waits(
    seller: Seller, person: Subscriber, answer: AuthorityAnswer = AuthorityAnswer.MATCH
) -> None:
    if not person.verifications.filter(status="PENDING").exists():
        given_verification(subscriber=person, now=seller.now)
    subscribers.run_due_verifications(clock=lambda: seller.now, providers=answering(answer))


@pytest.mark.parametrize("type", ["change_sim", "transfer"])
@pytest.mark.parametrize("by", ["event", "sweep"])
def test_a_held_order_goes_on_when_the_check_passes(seller: Seller, type: str, by: str) -> None:
    order, _, person = held(seller, type)
    decide_what_waits(seller, person)
    if by == "event":
        tasks.continue_held_orders(subject=person.verifications.latest("id").uid)
    else:
        tasks.sweep()
    order.refresh_from_db()
    assert (order.status, order.reason) == ("IN_PROGRESS", "")
    assert order.verification_id == person.verifications.latest("id").pk
    assert seller.done(order).status == "COMPLETED"


@pytest.mark.parametrize("type", ["change_sim", "transfer"])
@pytest.mark.parametrize("end", ["failed", "too long", "cancelled"])
def test_a_held_order_that_ends_gives_everything_back(seller: Seller, type: str, end: str) -> None:
    order, line, person = held(seller, type)
    match end:
        case "failed":
            decide_what_waits(seller, person, AuthorityAnswer.NAME_MISMATCH)
            tasks.sweep()
            ending = ("FAILED", "identity_not_verified")
        case "too long":
            services.end_held_orders(actor=SYSTEM, now=seller.now + timedelta(hours=49))
            ending = ("CANCELLED", "held_too_long")
        case _:
            services.cancel_order(actor=SYSTEM, order=order.uid, now=seller.now)
            ending = ("CANCELLED", "cancelled_by_system")
    order.refresh_from_db()
    assert (order.status, order.reason) == ending
    assert HolderSlot.objects.get().line_id == line.pk
    assert SimCard.objects.filter(status="RESERVED").count() == 0
    assert Line.objects.get(pk=line.pk).status == "ACTIVE"


def test_only_the_check_that_it_names_lets_a_new_card_go_on(seller: Seller) -> None:
    _, _, person = held(seller, "change_sim")
    # The holder is verified, and was when the line was opened; that is not what the order waits for.
    assert services.continue_held_orders(actor=SYSTEM, subscriber_ids=[person.pk], now=seller.now) == 0


def test_a_check_that_is_contradicted_before_the_first_call_stops_it(seller: Seller) -> None:
    line = seller.active_line()
    order = seller.ask("change_sim", line)
    decide(line.subscriber, seller.now, AuthorityAnswer.NAME_MISMATCH)
    services.drain(actor=SYSTEM, connection_id=seller.connection.pk, clock=lambda: seller.now)
    order.refresh_from_db()
    assert (order.status, order.reason) == ("FAILED", "identity_expired")
    assert SimCard.objects.filter(status="RESERVED").count() == 0


def test_a_lost_phone_gets_a_new_card_but_a_fraudsters_does_not(seller: Seller) -> None:
    partner = Actor(kind=ActorKind.PARTNER, id="app_x", label="x", operator_id=seller.operator.pk)
    line = seller.suspended_line(actor=partner)
    order = seller.done(seller.ask("change_sim", line, actor=partner))
    assert order.status == "COMPLETED"
    seller.ask("suspend", line, reason=SuspensionCause.FRAUD)
    iccid = seller.another_card()
    with refused(LineNotActive):
        seller.ask("change_sim", line, actor=partner, iccid=iccid)


def test_a_later_doubt_counts_against_a_named_check(seller: Seller) -> None:
    person = seller.subscriber()
    check = person.verifications.get()
    assert standing_of_check(check, seller.now) is Standing.PASSED_FRESH
    given_doubt(operator=seller.operator, now=seller.now, subscriber=person)
    assert standing_of_check(check, seller.now) is Standing.REVIEW
