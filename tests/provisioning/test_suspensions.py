"""Suspensions are a set of reasons: who may place and lift which, and when the carrier hears of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor, ActorKind
from apps.core.errors import Forbidden
from apps.events.models import OutboxEvent
from apps.lines.errors import (
    LineNotActive,
    SuspensionAlreadyPlaced,
    SuspensionNotFound,
    SuspensionNotYours,
)
from apps.lines.models import Line, SuspensionReason
from apps.lines.states import GRAVE, SuspensionCause, SuspensionKind, strongest
from apps.operators.models import VirtualOperator
from apps.provisioning.models import ActivationJob, ServiceOrder
from tests.factories.accounts import given_user
from tests.factories.provisioning import Seller
from tests.refusals import refused

pytestmark = pytest.mark.django_db

ONE_WAY, TWO_WAY = SuspensionKind.ONE_WAY, SuspensionKind.TWO_WAY
ARREARS, LOST, FRAUD = SuspensionCause.ARREARS, SuspensionCause.LOST, SuspensionCause.FRAUD


def app(operator: VirtualOperator, name: str = "app_one") -> Actor:
    return Actor(kind=ActorKind.PARTNER, id=name, label=name, operator_id=operator.pk)


@pytest.fixture
def line(seller: Seller) -> Line:
    return seller.active_line()


@pytest.fixture
def partner(operator: VirtualOperator) -> Actor:
    return app(operator)


@pytest.fixture
def staff(operator_admin: Actor) -> Actor:
    return operator_admin


def kind_of(line: Line) -> str | None:
    line.refresh_from_db()
    in_force = line.suspensions.filter(lifted_at=None).values_list("kind", flat=True)
    # Whatever happens, the line is what its reasons say.
    assert line.suspension_kind == strongest(*in_force)
    assert line.status == ("SUSPENDED" if line.suspension_kind else "ACTIVE")
    return line.suspension_kind


def settle(seller: Seller, order: ServiceOrder) -> str | None:
    """Lets the carrier do it, if it is asked at all; what it was asked for."""
    job = order.jobs.first()
    if job is not None:
        seller.done(order)
    order.refresh_from_db()
    assert order.status == "COMPLETED"
    return f"{job.operation} {order.suspension_kind}" if job else None


@pytest.mark.parametrize(
    ("steps", "asked", "kinds"),
    [
        ([(LOST, TWO_WAY), LOST], ["SUSPEND TWO_WAY", "RESUME None"], [TWO_WAY, None]),
        # Weaker beside stronger, and what was left of it afterwards.
        (
            [(LOST, TWO_WAY), (ARREARS, ONE_WAY), LOST, ARREARS],
            ["SUSPEND TWO_WAY", None, "SUSPEND ONE_WAY", "RESUME None"],
            [TWO_WAY, TWO_WAY, ONE_WAY, None],
        ),
        (
            [(ARREARS, ONE_WAY), (LOST, TWO_WAY), ARREARS, LOST],
            ["SUSPEND ONE_WAY", "SUSPEND TWO_WAY", None, "RESUME None"],
            [ONE_WAY, TWO_WAY, TWO_WAY, None],
        ),
        # The same reason, first one-way, then two-way, lifted together.
        (
            [(ARREARS, ONE_WAY), (ARREARS, TWO_WAY), ARREARS],
            ["SUSPEND ONE_WAY", "SUSPEND TWO_WAY", "RESUME None"],
            [ONE_WAY, TWO_WAY, None],
        ),
    ],
)
def test_the_carrier_hears_only_of_what_changes_the_line(
    seller: Seller, line: Line, partner: Actor, steps: list[Any], asked: list[Any], kinds: list[Any]
) -> None:
    for step, ask, kind in zip(steps, asked, kinds, strict=True):
        before = kind_of(line)
        if isinstance(step, tuple):
            order = seller.ask("suspend", line, actor=partner, reason=step[0], kind=step[1])
        else:
            order = seller.ask("resume", line, actor=partner, reason=step)
        assert settle(seller, order) == ask
        assert kind_of(line) == kind
        type = "line.suspended" if kind else "line.resumed"
        news = OutboxEvent.objects.filter(subject=line.uid, type=type)
        assert news.latest("id").data["kind_after"] == (kind.lower() if kind else None)
        assert (before == kind) is (ask is None)
    # An event for each change of the line, and no other.
    changes = OutboxEvent.objects.filter(subject=line.uid, type__in=["line.suspended", "line.resumed"])
    assert changes.count() == len([ask for ask in asked if ask])
    audited = AuditEvent.objects.filter(target_id=line.uid, action__in=["line.suspend", "line.resume"])
    assert audited.count() == len(steps)


def test_the_line_stands_still_only_once_the_carrier_has_done_it(seller: Seller, line: Line) -> None:
    order = seller.ask("suspend", line)
    assert (kind_of(line), SuspensionReason.objects.count()) == (None, 0)
    seller.done(order)
    assert kind_of(line) == TWO_WAY


def test_who_placed_it_is_kept_whoever_writes_it(seller: Seller, line: Line, partner: Actor) -> None:
    seller.done(seller.ask("suspend", line, actor=partner, note="on the bus"))
    reason = line.suspensions.get()
    assert (reason.placed_by, reason.placed_by_label, reason.owner) == ("app_one", "app_one", "PARTNER")
    assert (reason.note, reason.notice != "", reason.remedy != "") == ("on the bus", True, True)
    seller.done(seller.ask("resume", line, actor=partner))
    reason.refresh_from_db()
    assert (reason.lifted_by, reason.lifted_at) == ("app_one", seller.now)


@pytest.mark.parametrize(
    ("cause", "owner"), [(ARREARS, "OPERATOR"), (FRAUD, "OPERATOR"), (SuspensionCause.REGULATOR, "REGULATOR")]
)
def test_whose_decision_it_was(
    seller: Seller, line: Line, staff: Actor, cause: SuspensionCause, owner: str
) -> None:
    seller.done(seller.ask("suspend", line, actor=staff, reason=cause))
    assert line.suspensions.get().owner == owner


@pytest.mark.parametrize("cause", [LOST, *GRAVE])
def test_a_partner_lifts_nothing_of_the_operator(
    seller: Seller, line: Line, partner: Actor, staff: Actor, cause: SuspensionCause
) -> None:
    seller.done(seller.ask("suspend", line, actor=staff, reason=cause))
    with refused(SuspensionNotYours):
        seller.ask("resume", line, actor=partner, reason=cause)
    assert kind_of(line) == TWO_WAY
    assert settle(seller, seller.ask("resume", line, actor=staff, reason=cause)) == "RESUME None"


def test_a_partner_app_lifts_nothing_of_another(
    seller: Seller, line: Line, partner: Actor, operator: VirtualOperator
) -> None:
    seller.done(seller.ask("suspend", line, actor=app(operator, "app_two")))
    with refused(SuspensionNotYours):
        seller.ask("resume", line, actor=partner)
    # Both for the same reason: each lifts its own.
    assert settle(seller, seller.ask("suspend", line, actor=partner)) is None
    assert settle(seller, seller.ask("resume", line, actor=partner)) is None
    assert line.suspensions.get(lifted_at=None).placed_by == "app_two"
    assert kind_of(line) == TWO_WAY


def test_staff_lift_what_partners_placed(seller: Seller, line: Line, partner: Actor, staff: Actor) -> None:
    seller.done(seller.ask("suspend", line, actor=partner))
    assert settle(seller, seller.ask("resume", line, actor=staff)) == "RESUME None"


@pytest.mark.parametrize("cause", [ARREARS, FRAUD])
def test_what_is_not_there_cannot_be_lifted(seller: Seller, line: Line, cause: SuspensionCause) -> None:
    with refused(SuspensionNotFound):
        seller.ask("resume", line, reason=cause)
    seller.done(seller.ask("suspend", line))
    with refused(SuspensionNotFound):
        seller.ask("resume", line, reason=cause)
    seller.done(seller.ask("resume", line))
    with refused(SuspensionNotFound):
        seller.ask("resume", line)


def test_the_same_suspension_is_placed_once(seller: Seller, line: Line, partner: Actor) -> None:
    seller.done(seller.ask("suspend", line, actor=partner))
    before = (ServiceOrder.objects.count(), ActivationJob.objects.count())
    with refused(SuspensionAlreadyPlaced):
        seller.ask("suspend", line, actor=partner)
    assert (ServiceOrder.objects.count(), ActivationJob.objects.count()) == before


def test_a_partner_cannot_place_what_is_the_operators(seller: Seller, line: Line, partner: Actor) -> None:
    for cause in GRAVE:
        with refused(Forbidden):
            seller.ask("suspend", line, actor=partner, reason=cause)
    assert not ServiceOrder.objects.filter(type="SUSPEND").exists()


@pytest.mark.parametrize(
    ("role", "ordinary", "grave"),
    [
        (Role.SUPPORT, True, False),
        (Role.COMPLIANCE, False, True),
        (Role.ENGINEER, False, False),
        (Role.OPERATOR_ADMIN, True, True),
    ],
)
def test_rights_of_staff(
    seller: Seller, line: Line, operator: VirtualOperator, role: Role, ordinary: bool, grave: bool
) -> None:
    actor = actor_of_user(given_user(role=role, operator=operator, now=seller.now))
    for cause, allowed in ((ARREARS, ordinary), (FRAUD, grave)):
        if allowed:
            seller.done(seller.ask("suspend", line, actor=actor, reason=cause))
            seller.done(seller.ask("resume", line, actor=actor, reason=cause))
        else:
            for type in ("suspend", "resume"):
                with refused(Forbidden):
                    seller.ask(type, line, actor=actor, reason=cause)


def test_the_database_keeps_one_of_a_kind(seller: Seller, line: Line) -> None:
    seller.done(seller.ask("suspend", line))
    twin = SuspensionReason.objects.get()
    twin.pk = None
    with pytest.raises(IntegrityError, match="one_suspension_of_a_kind"), transaction.atomic():
        twin.save(force_insert=True)
    with pytest.raises(IntegrityError, match="suspension_lifted_by_somebody"), transaction.atomic():
        SuspensionReason.objects.update(lifted_at=seller.now)


def test_a_terminated_line_neither_stops_nor_resumes(seller: Seller) -> None:
    line = seller.active_line()
    seller.done(seller.ask("terminate", line))
    for type in ("suspend", "resume"):
        with refused(LineNotActive):
            seller.ask(type, line)
