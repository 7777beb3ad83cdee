"""What stands in the way of an order on a live line: refused with a code, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from apps.carriers import services as carrier_services
from apps.carriers.errors import CarrierNotConnected
from apps.core.actor import Actor
from apps.core.errors import DomainError, NotFound
from apps.lines.errors import (
    HolderLimitReached,
    HolderUnchanged,
    LineNotActive,
    PlanNotAvailable,
    PlanUnchanged,
)
from apps.lines.models import Line
from apps.numbering.errors import NumberNotAvailable
from apps.operators import services as operators
from apps.operators.errors import LicenceNotValid
from apps.operators.models import HostCarrier, Licence, VirtualOperator
from apps.operators.policies import PolicyKey
from apps.provisioning.errors import LineHasOpenOrder, VerificationNotHolders
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services import NumberWish
from apps.sims.errors import SimNotAvailable, SimWrongCarrier
from apps.subscribers.errors import IdentityExpired, IdentityNotVerified
from apps.subscribers.realname.providers.base import AuthorityAnswer
from tests.factories.operators import given_policy
from tests.factories.provisioning import (
    SYSTEM,
    TYPES,
    Seller,
    decide,
    given_line,
    given_plan,
    given_seller,
    given_sims,
)
from tests.factories.subscribers import given_subscriber
from tests.provisioning.untouched import refused

pytestmark = pytest.mark.django_db

NEVER = "00000000000000000000000000"


@pytest.mark.parametrize("type", TYPES)
def test_a_line_with_an_open_order_takes_no_other(seller: Seller, type: str) -> None:
    line = given_line(seller, type)
    other = {"plan": seller.another_plan().uid, "subscriber": seller.subscriber().uid}
    card = seller.another_card()
    seller.ask("terminate", line)
    with refused(LineHasOpenOrder):
        ask_with(seller, type, line, other, card)


def ask_with(seller: Seller, type: str, line: Line, other: dict[str, str], card: str) -> ServiceOrder:
    """Such an order, of things that are there already."""
    given = {
        "change_plan": {"plan": other["plan"]},
        "transfer": {"subscriber": other["subscriber"]},
        "change_sim": {"iccid": card},
    }
    return seller.ask(type, line, **given.get(type, {}))


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("status", ["PENDING", "TERMINATED", "foreign"])
def test_a_line_that_is_not_there_takes_none(
    seller: Seller, other_operator: VirtualOperator, type: str, status: str
) -> None:
    other = {"plan": seller.another_plan().uid, "subscriber": seller.subscriber().uid}
    card = seller.another_card()
    actor = SYSTEM
    error: Refusal = LineNotActive
    if status == "PENDING":
        # Its activation is still open.
        line, error = seller.order().line, LineHasOpenOrder
    else:
        line = seller.active_line()
        if status == "TERMINATED":
            seller.done(seller.ask("terminate", line))
        else:
            actor, error = Actor.system("x", operator_id=other_operator.pk), NotFound
    given = {
        "change_plan": {"plan": other["plan"]},
        "transfer": {"subscriber": other["subscriber"]},
        "change_sim": {"iccid": card},
    }
    with refused(error):
        seller.ask(type, line, actor=actor, **given.get(type, {}))


@pytest.mark.parametrize("type", ["change_number", "transfer"])
def test_a_line_that_stands_still_keeps_its_number_and_holder(seller: Seller, type: str) -> None:
    line = seller.suspended_line()
    with refused(LineNotActive):
        seller.ask(type, line, **({"subscriber": line.subscriber.uid} if type == "transfer" else {}))


@pytest.mark.parametrize("type", TYPES)
def test_without_a_connection_nothing_is_ordered(seller: Seller, type: str) -> None:
    line = given_line(seller, type)
    other = {"plan": seller.another_plan().uid, "subscriber": seller.subscriber().uid}
    card = seller.another_card()
    carrier_services.disconnect(
        actor=SYSTEM, connection_uid=seller.connection.uid, reason="moved", now=seller.now
    )
    with refused(CarrierNotConnected):
        ask_with(seller, type, line, other, card)


def unknown_card(seller: Seller, line: Line) -> dict[str, object]:
    return {"iccid": "89860199999999999999"}


def own_card(seller: Seller, line: Line) -> dict[str, object]:
    return {"iccid": line.sim_assignments.get().sim.iccid}


def card_of_another_carrier(seller: Seller, line: Line) -> dict[str, object]:
    mobile = HostCarrier.objects.get(code="mobile")
    return {"iccid": given_sims(operator=seller.operator, carrier=mobile, now=seller.now, count=1)[0]}


def check_of_somebody_else(seller: Seller, line: Line) -> dict[str, object]:
    return {"iccid": seller.another_card(), "verification": seller.subscriber().verifications.get().uid}


def unknown_check(seller: Seller, line: Line) -> dict[str, object]:
    return {"iccid": seller.another_card(), "verification": f"ver_{NEVER}"}


def failed_check(seller: Seller, line: Line) -> dict[str, object]:
    decide(line.subscriber, seller.now, AuthorityAnswer.NAME_MISMATCH)
    return {"iccid": seller.another_card()}


def passed_before_one_that_failed(seller: Seller, line: Line) -> dict[str, object]:
    passed = line.subscriber.verifications.get().uid
    decide(line.subscriber, seller.now, AuthorityAnswer.NAME_MISMATCH)
    return {"iccid": seller.another_card(), "verification": passed}


def old_check(seller: Seller, line: Line) -> dict[str, object]:
    return {"iccid": seller.another_card(), "now": seller.now + timedelta(days=31)}


def own_number(seller: Seller, line: Line) -> dict[str, object]:
    return {"wish": NumberWish(number=line.number_assignments.get().number_id)}


def number_of_nobody(seller: Seller, line: Line) -> dict[str, object]:
    return {"wish": NumberWish(number=17099999999)}


def without_a_licence(seller: Seller, line: Line) -> dict[str, object]:
    uid = Licence.objects.get(operator=seller.operator).uid
    operators.revoke_licence(actor=SYSTEM, licence_uid=uid, reason="test", now=seller.now)
    return {}


def transfer_without_a_licence(seller: Seller, line: Line) -> dict[str, object]:
    return {**without_a_licence(seller, line), "subscriber": seller.subscriber().uid}


def own_plan(seller: Seller, line: Line) -> dict[str, object]:
    return {"plan": seller.plan.uid}


def unknown_plan(seller: Seller, line: Line) -> dict[str, object]:
    return {"plan": "NO-SUCH"}


def plan_of_another_carrier(seller: Seller, line: Line) -> dict[str, object]:
    mobile = HostCarrier.objects.get(code="mobile")
    return {"plan": given_plan(operator=seller.operator, carrier=mobile, now=seller.now, code="M-19").uid}


def own_holder(seller: Seller, line: Line) -> dict[str, object]:
    return {"subscriber": line.subscriber.uid}


def nobody(seller: Seller, line: Line) -> dict[str, object]:
    return {"subscriber": f"sub_{NEVER}"}


def somebody_who_failed(seller: Seller, line: Line) -> dict[str, object]:
    person = given_subscriber(operator=seller.operator, now=seller.now)
    decide(person, seller.now, AuthorityAnswer.NAME_MISMATCH)
    return {"subscriber": person.uid}


def somebody_long_ago(seller: Seller, line: Line) -> dict[str, object]:
    return {"subscriber": seller.subscriber().uid, "now": seller.now + timedelta(days=31)}


def somebody_with_enough(seller: Seller, line: Line) -> dict[str, object]:
    person = seller.subscriber()
    seller.order(subscriber=person)
    given_policy(
        key=PolicyKey.HOLDER_LIMIT, value=1, now=seller.now, operator=seller.operator, valid_from=seller.now
    )
    return {"subscriber": person.uid}


Refusal = type[DomainError]
Situation = Callable[[Seller, Line], dict[str, object]]


@pytest.mark.parametrize(
    ("type", "situation", "error"),
    [
        ("change_sim", unknown_card, SimNotAvailable),
        ("change_sim", own_card, SimNotAvailable),
        ("change_sim", card_of_another_carrier, SimWrongCarrier),
        ("change_sim", check_of_somebody_else, VerificationNotHolders),
        ("change_sim", unknown_check, NotFound),
        ("change_sim", failed_check, IdentityNotVerified),
        ("change_sim", passed_before_one_that_failed, IdentityNotVerified),
        ("change_sim", old_check, IdentityExpired),
        ("change_number", own_number, NumberNotAvailable),
        ("change_number", number_of_nobody, NumberNotAvailable),
        ("change_number", without_a_licence, LicenceNotValid),
        ("change_plan", own_plan, PlanUnchanged),
        ("change_plan", unknown_plan, PlanNotAvailable),
        ("change_plan", plan_of_another_carrier, PlanNotAvailable),
        ("transfer", own_holder, HolderUnchanged),
        ("transfer", nobody, NotFound),
        ("transfer", somebody_who_failed, IdentityNotVerified),
        ("transfer", somebody_long_ago, IdentityExpired),
        ("transfer", somebody_with_enough, HolderLimitReached),
        ("transfer", transfer_without_a_licence, LicenceNotValid),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_refused(seller: Seller, type: str, situation: Situation, error: type[DomainError]) -> None:
    line = seller.active_line()
    fields = situation(seller, line)
    with refused(error):
        seller.ask(type, line, **fields)


def test_two_operators_lines_do_not_meet(seller: Seller, other_operator: VirtualOperator) -> None:
    other = given_seller(operator=other_operator, now=seller.now)
    line, foreign = seller.active_line(), other.subscriber()
    card = other.another_card()
    for type, fields in {
        "transfer": {"subscriber": foreign.uid},
        "change_sim": {"iccid": seller.another_card(), "verification": foreign.verifications.get().uid},
    }.items():
        error = NotFound if type == "transfer" else VerificationNotHolders
        with refused(error):
            seller.ask(type, line, **fields)
    with refused(SimNotAvailable):
        seller.ask("change_sim", line, iccid=card)
