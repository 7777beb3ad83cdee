"""What the database refuses, whoever writes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.core.db import violated_constraint
from apps.core.errors import InvalidTransition
from apps.operators.models import HostCarrier, VirtualOperator
from apps.sims.models import SimBatch, SimCard
from apps.sims.states import SimStatus
from tests.factories.sims import given_card, new_imsi


@pytest.fixture
def card(operator: VirtualOperator, carriers: dict[str, HostCarrier], now: datetime) -> SimCard:
    return given_card(operator=operator, host_carrier=carriers["unicom"], now=now)


def refuses(constraint: str, write: Any) -> None:
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        write()
    assert violated_constraint(caught.value) == constraint


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("sim_card_iccid_form", {"iccid": "898601123456789012"}),
        ("sim_card_iccid_form", {"iccid": "79860112345678901234"}),
        ("sim_card_iccid_form", {"iccid": "8986011234567890123s"}),
        ("sim_card_imsi_form", {"imsi": "46001123456789"}),
        ("sim_card_imsi_form", {"imsi": "310011234567890"}),
        ("sim_card_imsi_form", {"imsi": ""}),
        ("sim_card_status", {"status": "SOLD"}),
        ("sim_card_form_factor", {"form_factor": "CHIP"}),
    ],
)
def test_card(card: SimCard, constraint: str, values: dict[str, Any]) -> None:
    refuses(constraint, lambda: SimCard.objects.filter(pk=card.pk).update(**values))


def test_batch_has_rows(card: SimCard) -> None:
    refuses("sim_batch_has_rows", lambda: SimBatch.objects.update(rows=0))


@pytest.mark.parametrize("changed", ["same", "without check digit", "another check digit"])
def test_a_card_is_in_one_stock_only(card: SimCard, other_operator: VirtualOperator, changed: str) -> None:
    iccid = {
        "same": card.iccid,
        "without check digit": card.iccid[:19],
        "another check digit": card.iccid[:19] + "X",
    }[changed]
    twin = SimCard(
        iccid=iccid,
        operator=other_operator,
        host_carrier=card.host_carrier,
        batch=card.batch,
        form_factor="PHYSICAL",
        is_magic=False,
    )
    refuses("sim_card_iccid", twin.save)


def test_an_imsi_is_on_one_card_only(card: SimCard, other_operator: VirtualOperator, now: datetime) -> None:
    other = given_card(operator=other_operator, host_carrier=card.host_carrier, now=now)
    refuses("sims_simcard_imsi_key", lambda: SimCard.objects.filter(pk=other.pk).update(imsi=card.imsi))
    SimCard.objects.update(imsi=None)
    SimCard.objects.filter(pk=other.pk).update(imsi=new_imsi())


def test_verbs_refuse_what_the_table_does_not_have(card: SimCard) -> None:
    for verb in (card.bind, card.return_to_stock):
        with pytest.raises(InvalidTransition):
            verb()
    card.reserve()
    with pytest.raises(InvalidTransition):
        card.reserve()
    card.bind()
    for verb in (card.reserve, card.bind, card.return_to_stock):
        with pytest.raises(InvalidTransition):
            verb()
    card.retire()
    card.refresh_from_db()
    assert card.status == SimStatus.RETIRED
