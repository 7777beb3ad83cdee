"""Taking cards, binding them, giving them back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEvent
from apps.core.errors import InvalidTransition, NotFound
from apps.operators.models import HostCarrier, VirtualOperator
from apps.sims import magic
from apps.sims import services as sims
from apps.sims.errors import SimNotAvailable, SimWrongCarrier
from apps.sims.models import SimCard
from apps.sims.states import SimStatus
from tests.factories.numbering import given_partner
from tests.factories.sims import given_batch, given_card, new_iccid
from tests.refusals import refused


@pytest.fixture
def unicom(carriers: dict[str, HostCarrier]) -> HostCarrier:
    return carriers["unicom"]


@pytest.fixture
def taking(operator: VirtualOperator, unicom: HostCarrier, now: datetime) -> dict[str, Any]:
    return {
        "actor": given_partner(operator=operator),
        "operator_id": operator.pk,
        "host_carrier_id": unicom.pk,
        "now": now,
    }


def refuse(error: type[Exception], taking: dict[str, Any], **changes: Any) -> Any:
    before = list(SimCard.objects.order_by("id").values_list("id", "status"))
    with refused(error) as caught:
        sims.take_sim(**{**taking, **changes})
    assert list(SimCard.objects.order_by("id").values_list("id", "status")) == before
    return caught.value


def test_any_plain_card(
    taking: dict[str, Any], operator: VirtualOperator, unicom: HostCarrier, now: datetime
) -> None:
    endings = [*magic.ENDINGS, "0001", "9008"]
    given_batch(
        operator=operator, host_carrier=unicom, now=now, iccids=[new_iccid(ending=each) for each in endings]
    )
    with CaptureQueriesContext(connection) as captured:
        first = sims.take_sim(**taking)
    assert len(captured) == 2  # the claim and the audit row
    assert "SKIP LOCKED" in captured[0]["sql"]
    second = sims.take_sim(**taking)
    assert {first.iccid[-4:], second.iccid[-4:]} == {"0001", "9008"}
    stored = SimCard.objects.get(pk=first.pk)
    assert (first.status, stored.status, first.imsi) == (SimStatus.RESERVED, SimStatus.RESERVED, stored.imsi)
    audit = AuditEvent.objects.get(target_id=first.iccid)
    assert (audit.action, audit.before, audit.after) == (
        "sim.take",
        {"status": "IN_STOCK"},
        {"status": "RESERVED"},
    )
    # Eight with a magic ending are left, and none of them is given out.
    refuse(SimNotAvailable, taking)


def test_only_of_the_operator_and_the_carrier(
    taking: dict[str, Any],
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    carriers: dict[str, HostCarrier],
    now: datetime,
) -> None:
    given_card(operator=other_operator, host_carrier=carriers["unicom"], now=now)
    given_card(operator=operator, host_carrier=carriers["mobile"], now=now)
    refuse(SimNotAvailable, taking)


@pytest.mark.parametrize("length", [19, 20])
def test_that_card(
    taking: dict[str, Any], operator: VirtualOperator, unicom: HostCarrier, now: datetime, length: int
) -> None:
    card = given_card(operator=operator, host_carrier=unicom, now=now, ending="9001")
    taken = sims.take_sim(**taking, iccid=card.iccid[:length])
    assert (taken.pk, taken.iccid, taken.status) == (card.pk, card.iccid, SimStatus.RESERVED)
    refuse(SimNotAvailable, taking, iccid=card.iccid)


def test_that_card_when_it_cannot_be_had(
    taking: dict[str, Any],
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    carriers: dict[str, HostCarrier],
    now: datetime,
) -> None:
    foreign = given_card(operator=other_operator, host_carrier=carriers["unicom"], now=now)
    mobile = given_card(operator=operator, host_carrier=carriers["mobile"], now=now)
    unknown = refuse(SimNotAvailable, taking, iccid=new_iccid())
    other = refuse(SimNotAvailable, taking, iccid=foreign.iccid)
    assert (unknown.detail, unknown.fields) == (other.detail, other.fields)
    refuse(SimNotAvailable, taking, iccid="nonsense")
    refuse(SimWrongCarrier, taking, iccid=mobile.iccid)


@pytest.mark.parametrize("status", ["RESERVED", "BOUND", "RETIRED", "LOST"])
def test_a_card_that_is_not_in_stock(
    taking: dict[str, Any], operator: VirtualOperator, unicom: HostCarrier, now: datetime, status: str
) -> None:
    card = given_card(operator=operator, host_carrier=unicom, now=now)
    SimCard.objects.update(status=status)
    refuse(SimNotAvailable, taking, iccid=card.iccid)
    refuse(SimNotAvailable, taking)


def test_another_operator_s_business_does_not_exist(
    taking: dict[str, Any], other_operator: VirtualOperator
) -> None:
    refuse(NotFound, taking, actor=given_partner(operator=other_operator))


def test_from_stock_to_a_line_and_to_its_end(
    taking: dict[str, Any], operator: VirtualOperator, unicom: HostCarrier, now: datetime
) -> None:
    card = given_card(operator=operator, host_carrier=unicom, now=now)
    actor = taking["actor"]
    sims.take_sim(**taking)
    assert sims.bind_sim(actor=actor, sim_id=card.pk, now=now).status == SimStatus.BOUND
    for service in (sims.bind_sim, sims.return_sim_to_stock):
        with refused(InvalidTransition):
            service(actor=actor, sim_id=card.pk, now=now)
    assert sims.retire_sim(actor=actor, sim_id=card.pk, now=now).status == SimStatus.RETIRED
    with refused(InvalidTransition):
        sims.retire_sim(actor=actor, sim_id=card.pk, now=now)
    trail = AuditEvent.objects.filter(target_id=card.iccid).order_by("id")
    assert list(trail.values_list("action", "before__status", "after__status")) == [
        ("sim.take", "IN_STOCK", "RESERVED"),
        ("sim.bind", "RESERVED", "BOUND"),
        ("sim.retire", "BOUND", "RETIRED"),
    ]


def test_back_to_stock(
    taking: dict[str, Any], operator: VirtualOperator, unicom: HostCarrier, now: datetime
) -> None:
    card = given_card(operator=operator, host_carrier=unicom, now=now)
    for service in (sims.bind_sim, sims.return_sim_to_stock):
        with refused(InvalidTransition):
            service(actor=taking["actor"], sim_id=card.pk, now=now)
    sims.take_sim(**taking)
    sims.return_sim_to_stock(actor=taking["actor"], sim_id=card.pk, now=now)
    assert sims.take_sim(**taking).pk == card.pk


def test_a_card_the_carrier_refuses_is_retired_unused(
    taking: dict[str, Any], operator: VirtualOperator, unicom: HostCarrier, now: datetime
) -> None:
    card = given_card(operator=operator, host_carrier=unicom, now=now)
    sims.take_sim(**taking)
    assert sims.retire_sim(actor=taking["actor"], sim_id=card.pk, now=now).status == SimStatus.RETIRED
    for service in (sims.bind_sim, sims.return_sim_to_stock, sims.retire_sim):
        with refused(InvalidTransition):
            service(actor=taking["actor"], sim_id=card.pk, now=now)


@pytest.mark.parametrize("service", [sims.bind_sim, sims.return_sim_to_stock, sims.retire_sim])
def test_foreign_and_unknown_cards_are_not_found(
    taking: dict[str, Any], other_operator: VirtualOperator, unicom: HostCarrier, now: datetime, service: Any
) -> None:
    foreign = given_card(operator=other_operator, host_carrier=unicom, now=now)
    for sim_id in (foreign.pk, 0):
        with refused(NotFound):
            service(actor=taking["actor"], sim_id=sim_id, now=now)
    assert SimCard.objects.get(pk=foreign.pk).status == SimStatus.IN_STOCK
