"""What an activation order takes, and what each refusal leaves behind: nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from apps.audit.models import AuditEvent
from apps.carriers.errors import CarrierNotConnected
from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.events.models import OutboxEvent
from apps.lines.errors import HolderLimitReached, PlanNotAvailable
from apps.numbering import services as numbering
from apps.numbering.errors import NumberNotAvailable
from apps.numbering.states import NumberStatus
from apps.operators import services as operators
from apps.operators.errors import AgreementNotValid, DealerNotAllowed, LicenceNotValid
from apps.operators.models import Licence, VirtualOperator, WholesaleAgreement
from apps.operators.policies import PolicyKey
from apps.operators.states import LicenceKind
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services import NumberWish, place_activation_order
from apps.provisioning.states import JobStatus, OrderStatus
from apps.sims.errors import SimNotAvailable, SimWrongCarrier
from apps.subscribers import services as subscribers
from apps.subscribers.errors import IdentityExpired, IdentityNotVerified
from apps.subscribers.realname.providers.base import AuthorityAnswer
from tests.factories.operators import given_licence, given_policy
from tests.factories.provisioning import SYSTEM, Seller, given_seller, given_sims
from tests.factories.subscribers import answering, given_subscriber, given_verification
from tests.provisioning.untouched import refused

pytestmark = pytest.mark.django_db


def test_takes_slot_number_and_sim_and_queues_one_job(seller: Seller) -> None:
    order = seller.order()

    assert order.status == OrderStatus.IN_PROGRESS
    line = order.line
    assert line.status == "PENDING"
    number = line.number_assignments.get().number
    assert (number.status, number.range_id) == (NumberStatus.IN_USE, seller.range.pk)
    assert line.sim_assignments.get().sim.status == "RESERVED"
    assert line.holder_slots.get().slot == 1
    job = order.jobs.get()
    assert (job.status, job.attempts, job.operation) == (JobStatus.QUEUED, 0, "ACTIVATE")
    assert job.reference == job.uid
    assert list(
        AuditEvent.objects.filter(target_id=order.uid).order_by("id").values_list("action", flat=True)
    ) == ["order.place", "order.start"]
    assert list(OutboxEvent.objects.filter(subject=order.uid).values_list("type", flat=True)) == [
        "order.created"
    ]


def test_takes_the_number_it_asks_for(seller: Seller) -> None:
    wanted = seller.range.first + 77
    order = seller.order(wish=NumberWish(number=wanted))
    assert order.line.number_assignments.get().number_id == wanted


def test_takes_the_numbers_of_its_reservation_one_by_one(seller: Seller) -> None:
    reservation = numbering.reserve(
        actor=SYSTEM, operator_id=seller.operator.pk, carrier="unicom", quantity=2, now=seller.now
    )
    taken = [
        seller.order(wish=NumberWish(reservation=reservation.uid)).line.number_assignments.get().number_id
        for _ in range(2)
    ]
    reservation.refresh_from_db()
    assert sorted(taken) == sorted(reservation.numbers)
    assert reservation.status == "CONSUMED"


def test_without_a_check_it_is_held_with_everything_it_took(seller: Seller) -> None:
    person = given_subscriber(operator=seller.operator, now=seller.now)
    order = seller.order(subscriber=person)
    assert (order.status, order.reason) == (OrderStatus.HELD, "identity_not_verified")
    assert order.held_until == seller.now + timedelta(hours=48)
    assert not order.jobs.exists()
    assert order.line.number_assignments.get().number.status == NumberStatus.IN_USE


def test_refused_after_a_failed_check(seller: Seller) -> None:
    person = given_subscriber(operator=seller.operator, now=seller.now)
    given_verification(subscriber=person, now=seller.now)
    subscribers.run_due_verifications(
        clock=lambda: seller.now, providers=answering(AuthorityAnswer.NAME_MISMATCH)
    )
    with refused(IdentityNotVerified):
        seller.order(subscriber=person)


def test_refused_when_the_check_is_too_old(seller: Seller) -> None:
    person = seller.subscriber()
    later = seller.now + timedelta(days=31)
    with refused(IdentityExpired):
        order_at(seller, later, subscriber=person)


def order_at(seller: Seller, moment: datetime, **fields: object) -> ServiceOrder:
    return Seller(**{**seller.__dict__, "now": moment}).order(**fields)


def revoke(licence: Licence, now: datetime) -> None:
    operators.revoke_licence(actor=SYSTEM, licence_uid=licence.uid, reason="test", now=now)


@pytest.mark.parametrize("days", [-400, 400])
def test_refused_outside_the_licence_dates(seller: Seller, days: int) -> None:
    person = given_subscriber(operator=seller.operator, now=seller.now)
    with refused(LicenceNotValid):
        order_at(seller, seller.now + timedelta(days=days), subscriber=person)


def test_refused_with_a_revoked_licence(seller: Seller) -> None:
    person = seller.subscriber()
    revoke(Licence.objects.get(operator=seller.operator), seller.now)
    with refused(LicenceNotValid):
        seller.order(subscriber=person)


def test_a_pilot_licence_sells_only_in_its_areas(seller: Seller) -> None:
    person = seller.subscriber()
    revoke(Licence.objects.get(operator=seller.operator), seller.now)
    given_licence(operator=seller.operator, now=seller.now, kind=LicenceKind.PILOT, areas=["广东/广州"])
    with refused(LicenceNotValid):
        seller.order(subscriber=person)
    given_licence(operator=seller.operator, now=seller.now, kind=LicenceKind.PILOT, areas=["广东/深圳"])
    assert seller.order(subscriber=person).status == OrderStatus.IN_PROGRESS


def test_refused_when_the_agreement_has_ended(seller: Seller) -> None:
    person = seller.subscriber()
    agreement = WholesaleAgreement.objects.get(operator=seller.operator, host_carrier=seller.carrier)
    operators.terminate_agreement(actor=SYSTEM, agreement_uid=agreement.uid, reason="test", now=seller.now)
    with refused(AgreementNotValid):
        seller.order(subscriber=person)


def test_refused_without_a_carrier_connection(seller: Seller) -> None:
    person = seller.subscriber()
    seller.connection.disconnect(now=seller.now)
    with refused(CarrierNotConnected):
        seller.order(subscriber=person)


def test_the_sixth_card_is_refused(seller: Seller) -> None:
    person = seller.subscriber()
    for _ in range(5):
        seller.order(subscriber=person)
    with refused(HolderLimitReached):
        seller.order(subscriber=person)


def test_the_limit_is_policy(seller: Seller) -> None:
    given_policy(
        key=PolicyKey.HOLDER_LIMIT, value=1, now=seller.now, operator=seller.operator, valid_from=seller.now
    )
    person = seller.subscriber()
    seller.order(subscriber=person)
    with refused(HolderLimitReached):
        seller.order(subscriber=person)


def test_refused_for_a_number_of_another_operator(seller: Seller, other_operator: VirtualOperator) -> None:
    other = given_seller(operator=other_operator, now=seller.now, cards=1)
    person = seller.subscriber()
    with refused(NumberNotAvailable):
        seller.order(subscriber=person, wish=NumberWish(number=other.range.first))


def test_refused_for_a_number_somebody_has_reserved(seller: Seller) -> None:
    somebody = Actor.system("somebody-else", operator_id=seller.operator.pk)
    reservation = numbering.reserve(
        actor=somebody, operator_id=seller.operator.pk, carrier="unicom", now=seller.now
    )
    person = seller.subscriber()
    partner = Actor(kind="PARTNER", id="app_x", label="x", operator_id=seller.operator.pk)
    with refused(NumberNotAvailable):
        place_activation_order(
            actor=partner,
            operator_id=seller.operator.pk,
            subscriber=person.uid,
            plan=seller.plan.uid,
            wish=NumberWish(number=reservation.numbers[0]),
            now=seller.now,
        )


def test_refused_for_a_foreign_reservation(seller: Seller, other_operator: VirtualOperator) -> None:
    other = given_seller(operator=other_operator, now=seller.now, cards=1)
    reservation = numbering.reserve(
        actor=SYSTEM, operator_id=other.operator.pk, carrier="unicom", now=seller.now
    )
    person = seller.subscriber()
    with refused(NotFound):
        seller.order(subscriber=person, wish=NumberWish(reservation=reservation.uid))


def test_refused_for_a_sim_of_another_carrier(seller: Seller, carriers: dict[str, object]) -> None:
    (iccid,) = given_sims(operator=seller.operator, carrier=carriers["mobile"], now=seller.now, count=1)
    person = seller.subscriber()
    with refused(SimWrongCarrier):
        seller.order(subscriber=person, iccid=iccid)


def test_refused_for_a_sim_that_is_taken(seller: Seller) -> None:
    iccid = seller.order().line.sim_assignments.get().sim.iccid
    person = seller.subscriber()
    with refused(SimNotAvailable):
        seller.order(subscriber=person, iccid=iccid)


def test_refused_when_there_is_no_sim_left(operator: VirtualOperator, now: datetime) -> None:
    seller = given_seller(operator=operator, now=now, cards=1)
    seller.order()
    person = seller.subscriber()
    with refused(SimNotAvailable):
        seller.order(subscriber=person)


def test_refused_for_an_unknown_plan_dealer_and_subscriber(seller: Seller) -> None:
    person = seller.subscriber()
    with refused(DealerNotAllowed):
        seller.order(subscriber=person, dealer="nobody")
    other = Seller(**{**seller.__dict__, "plan": type(seller.plan)(uid="pln_00000000000000000000000000")})
    with refused(PlanNotAvailable):
        other.order(subscriber=person)
    foreign = Actor(kind="PARTNER", id="app_x", label="x", operator_id=seller.operator.pk + 1)
    with refused(NotFound):
        place_activation_order(
            actor=foreign,
            operator_id=seller.operator.pk + 1,
            subscriber=person.uid,
            plan=seller.plan.uid,
            wish=NumberWish(),
            now=seller.now,
        )
