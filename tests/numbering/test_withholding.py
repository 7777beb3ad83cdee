"""Keeping single numbers from sale, and letting them go."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden, InvalidTransition, NotFound
from apps.numbering import services as numbering
from apps.numbering.errors import NumberInUse, NumberNotAvailable, NumberNotWithheld, NumberReasonMissing
from apps.numbering.models import NumberRange, PhoneNumber
from apps.numbering.states import NumberStatus, WithheldBy
from apps.operators.models import VirtualOperator
from tests.factories.accounts import given_user
from tests.factories.numbering import SYSTEM, given_partner, given_quarantined, given_range, given_reservation
from tests.refusals import refused


@pytest.fixture
def leased(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now)


def row_of(number: int) -> PhoneNumber:
    return PhoneNumber.objects.get(number=number)


@pytest.mark.parametrize("by", list(WithheldBy), ids=lambda by: by.label)
def test_withheld_and_released(
    leased: NumberRange, operator: VirtualOperator, operator_admin: Actor, now: datetime, by: WithheldBy
) -> None:
    number = leased.first
    numbering.withhold_number(actor=operator_admin, number=number, by=by, reason="case 7", now=now)
    assert (row_of(number).status, row_of(number).withheld_by) == (NumberStatus.WITHHELD, by)
    with refused(NumberNotAvailable):
        numbering.reserve(
            actor=given_partner(operator=operator), operator_id=operator.pk, number=number, now=now
        )
    numbering.release_withheld_number(actor=operator_admin, number=number, reason="closed", now=now)
    assert (row_of(number).status, row_of(number).withheld_by) == (NumberStatus.AVAILABLE, None)
    trail = AuditEvent.objects.filter(target_id=row_of(number).e164).order_by("id")
    assert [(row.action, row.after, row.reason) for row in trail] == [
        ("number.withhold", {"status": "WITHHELD", "withheld_by": by.label}, "case 7"),
        ("number.release_withheld", {"status": "AVAILABLE"}, "closed"),
    ]


@pytest.mark.parametrize(
    ("days", "expected"),
    [(10, NumberStatus.QUARANTINED), (90, NumberStatus.AVAILABLE)],
    ids=["rests on", "over"],
)
def test_back_to_what_is_left_of_the_quarantine(
    leased: NumberRange, operator_admin: Actor, now: datetime, days: int, expected: NumberStatus
) -> None:
    number = given_quarantined(leased=leased, now=now)
    wish = numbering.request_early_release(actor=operator_admin, number=number, reason="please", now=now)
    numbering.withhold_number(
        actor=operator_admin, number=number, by=WithheldBy.FRAUD, reason="case 7", now=now
    )
    later = now + timedelta(days=days)
    assert numbering.end_quarantines(actor=SYSTEM, now=later, limit=10) == 0
    numbering.release_withheld_number(actor=operator_admin, number=number, reason="closed", now=later)
    row = row_of(number)
    assert row.status == expected
    wish.refresh_from_db()
    if expected == NumberStatus.QUARANTINED:
        assert (row.quarantined_until, wish.status) == (now + timedelta(days=90), "REQUESTED")
    else:
        assert (row.quarantined_until, wish.status) == (None, "REJECTED")


def test_staff_take_no_number_away_from_a_line(
    leased: NumberRange, operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    numbering.take_number(
        actor=SYSTEM,
        operator_id=operator.pk,
        host_carrier_id=leased.host_carrier_id,
        number=leased.first,
        now=now,
    )
    with refused(NumberInUse):
        numbering.withhold_number(actor=operator_admin, number=leased.first, reason="x", now=now)
    assert row_of(leased.first).status == NumberStatus.IN_USE
    # A number that the host carrier refuses while its line is being opened.
    numbering.withhold_number(actor=SYSTEM, number=leased.first, reason="", now=now)
    assert row_of(leased.first).withheld_by == WithheldBy.CARRIER


def test_what_cannot_be(
    leased: NumberRange,
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    operator_admin: Actor,
    now: datetime,
) -> None:
    given_reservation(operator=operator, now=now, number=leased.first)
    with refused(InvalidTransition):
        numbering.withhold_number(actor=operator_admin, number=leased.first, reason="x", now=now)
    with refused(NumberNotWithheld):
        numbering.release_withheld_number(actor=operator_admin, number=leased.first, reason="x", now=now)
    foreign = given_range(operator=other_operator, now=now)
    for service in (numbering.withhold_number, numbering.release_withheld_number):
        with refused(NotFound):
            service(actor=operator_admin, number=foreign.first, reason="x", now=now)
        with refused(NumberReasonMissing):
            service(actor=operator_admin, number=leased.first + 1, reason=" ", now=now)
        support = actor_of_user(given_user(role=Role.SUPPORT, operator=operator, now=now))
        with refused(Forbidden):
            service(actor=support, number=leased.first + 1, reason="x", now=now)
    assert row_of(leased.first).status == NumberStatus.RESERVED
    assert row_of(leased.first + 1).status == NumberStatus.AVAILABLE
