"""Rest between two holders, and its early end with a second person."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden, InvalidTransition, NotFound
from apps.numbering import selectors
from apps.numbering import services as numbering
from apps.numbering.errors import (
    EarlyReleaseExists,
    EarlyReleaseNeedsSecondPerson,
    NumberNotAvailable,
    NumberNotQuarantined,
    NumberReasonMissing,
)
from apps.numbering.models import EarlyRelease, NumberRange, PhoneNumber
from apps.numbering.states import NumberStatus, ReleaseStatus, WithheldBy
from apps.operators.errors import PolicyInvalid
from apps.operators.models import VirtualOperator
from apps.operators.policies import REGISTRY, PolicyKey
from tests.factories.accounts import given_user
from tests.factories.numbering import (
    SYSTEM,
    given_early_release,
    given_partner,
    given_quarantined,
    given_range,
)
from tests.refusals import refused

DAY = timedelta(days=1)


@pytest.fixture
def leased(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now)


@pytest.fixture
def second(operator: VirtualOperator, now: datetime) -> Actor:
    """Somebody of compliance."""
    return actor_of_user(given_user(role=Role.COMPLIANCE, operator=operator, now=now))


def row_of(number: int) -> PhoneNumber:
    return PhoneNumber.objects.get(number=number)


@pytest.fixture
def wish(leased: NumberRange, operator_admin: Actor, now: datetime) -> EarlyRelease:
    return given_early_release(leased=leased, actor=operator_admin, now=now)


# --- The end that time brings ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("days", [0, 1, 29])
def test_policy_cannot_make_it_shorter_than_a_month(days: int) -> None:
    with pytest.raises(PolicyInvalid):
        REGISTRY[PolicyKey.QUARANTINE_DAYS].read(days)
    assert REGISTRY[PolicyKey.QUARANTINE_DAYS].read(30) == 30


def test_the_end_of_many_costs_the_same_few_statements(leased: NumberRange, now: datetime) -> None:
    spent = []
    for count in (1, 20):
        for offset in range(count):
            given_quarantined(leased=leased, now=now, offset=offset)
        with CaptureQueriesContext(connection) as queries:
            assert numbering.end_quarantines(actor=SYSTEM, now=now + 90 * DAY, limit=500) == count
        spent.append(len(queries))
    assert spent[0] == spent[1] <= 5
    ended = AuditEvent.objects.filter(action="number.end_quarantine")
    assert ended.count() == 21
    assert {(str(row.before), str(row.after)) for row in ended} == {
        (str({"status": "QUARANTINED"}), str({"status": "AVAILABLE"}))
    }


def test_the_end_drops_what_was_asked_for(wish: EarlyRelease, now: datetime) -> None:
    """Else an approval would end the quarantine of the number's next holder."""
    numbering.end_quarantines(actor=SYSTEM, now=now + 90 * DAY, limit=500)
    wish.refresh_from_db()
    assert (wish.status, wish.decided_by) == (ReleaseStatus.REJECTED, "kaihu")
    assert AuditEvent.objects.filter(action="early_release.drop", target_id=wish.uid).count() == 1


# --- The early end --------------------------------------------------------------------------------------------------
def test_a_second_person_ends_it(
    wish: EarlyRelease, operator_admin: Actor, second: Actor, now: datetime
) -> None:
    assert row_of(wish.number_id).status == NumberStatus.QUARANTINED
    numbering.approve_early_release(actor=second, release_uid=wish.uid, now=now + DAY)
    row = row_of(wish.number_id)
    assert (row.status, row.quarantined_until) == (NumberStatus.AVAILABLE, None)
    wish.refresh_from_db()
    assert (wish.status, wish.requested_by, wish.decided_by, wish.decided_at) == (
        "APPROVED",
        operator_admin.id,
        second.id,
        now + DAY,
    )
    (trail,) = AuditEvent.objects.filter(target_id=row.e164, action="number.release_early")
    assert (trail.actor_id, trail.reason) == (second.id, "porting back")
    actions = AuditEvent.objects.filter(target_id=wish.uid).order_by("id").values_list("action", flat=True)
    assert list(actions) == ["early_release.request", "early_release.approve"]


def test_a_second_person_says_no(wish: EarlyRelease, second: Actor, now: datetime) -> None:
    with refused(NumberReasonMissing):
        numbering.reject_early_release(actor=second, release_uid=wish.uid, reason=" ", now=now)
    numbering.reject_early_release(actor=second, release_uid=wish.uid, reason="too early", now=now)
    assert row_of(wish.number_id).status == NumberStatus.QUARANTINED
    with refused(InvalidTransition):
        numbering.approve_early_release(actor=second, release_uid=wish.uid, now=now)
    assert row_of(wish.number_id).status == NumberStatus.QUARANTINED


@pytest.mark.parametrize("decide", [numbering.approve_early_release, numbering.reject_early_release])
def test_nobody_decides_alone(wish: EarlyRelease, operator_admin: Actor, now: datetime, decide: Any) -> None:
    with refused(EarlyReleaseNeedsSecondPerson):
        decide(actor=operator_admin, release_uid=wish.uid, reason="me again", now=now)
    wish.refresh_from_db()
    assert (wish.status, row_of(wish.number_id).status) == ("REQUESTED", NumberStatus.QUARANTINED)


def test_nor_behind_the_service_s_back(wish: EarlyRelease, now: datetime) -> None:
    with pytest.raises(IntegrityError, match="early_release_second_person"), transaction.atomic():
        EarlyRelease.objects.filter(pk=wish.pk).update(
            status="APPROVED", decided_by=wish.requested_by, decided_at=now
        )


def test_who_may_not(
    wish: EarlyRelease,
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    second: Actor,
    now: datetime,
) -> None:
    support = actor_of_user(given_user(role=Role.SUPPORT, operator=operator, now=now))
    foreign = actor_of_user(given_user(role=Role.OPERATOR_ADMIN, operator=other_operator, now=now))
    for actor in (support, second):
        with refused(Forbidden):
            numbering.request_early_release(actor=actor, number=wish.number_id, reason="x", now=now)
    with refused(Forbidden):
        numbering.approve_early_release(actor=support, release_uid=wish.uid, now=now)
    with refused(NotFound):
        numbering.approve_early_release(actor=foreign, release_uid=wish.uid, now=now)
    with refused(NotFound):
        numbering.request_early_release(actor=foreign, number=wish.number_id, reason="x", now=now)
    assert selectors.count_early_releases(actor=second) == 1
    assert selectors.count_early_releases(actor=foreign) == 0


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_a_reason_is_needed(leased: NumberRange, operator_admin: Actor, now: datetime, reason: str) -> None:
    number = given_quarantined(leased=leased, now=now)
    with refused(NumberReasonMissing):
        numbering.request_early_release(actor=operator_admin, number=number, reason=reason, now=now)


def test_one_request_at_a_time(
    wish: EarlyRelease, operator_admin: Actor, second: Actor, now: datetime
) -> None:
    again = {"actor": operator_admin, "number": wish.number_id, "reason": "again", "now": now}
    with refused(EarlyReleaseExists):
        numbering.request_early_release(**again)
    numbering.reject_early_release(actor=second, release_uid=wish.uid, reason="no", now=now)
    numbering.request_early_release(**again)


def test_only_what_is_in_quarantine(
    wish: EarlyRelease, leased: NumberRange, operator_admin: Actor, second: Actor, now: datetime
) -> None:
    with refused(NumberNotQuarantined):
        numbering.request_early_release(actor=operator_admin, number=leased.first + 1, reason="x", now=now)
    numbering.withhold_number(
        actor=operator_admin, number=wish.number_id, by=WithheldBy.POLICE, reason="case 7", now=now
    )
    with refused(NumberNotQuarantined):
        numbering.approve_early_release(actor=second, release_uid=wish.uid, now=now)
    wish.refresh_from_db()
    assert (wish.status, row_of(wish.number_id).status) == ("REQUESTED", NumberStatus.WITHHELD)


# --- What cannot be had ---------------------------------------------------------------------------------------------
def test_neither_reserved_nor_taken_while_it_rests(
    wish: EarlyRelease, operator: VirtualOperator, now: datetime
) -> None:
    with refused(NumberNotAvailable):
        numbering.reserve(
            actor=given_partner(operator=operator), operator_id=operator.pk, number=wish.number_id, now=now
        )
    assert row_of(wish.number_id).status == NumberStatus.QUARANTINED
