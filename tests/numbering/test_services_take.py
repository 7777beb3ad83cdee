"""Taking numbers into use, giving them back, quarantine."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import InvalidTransition, NotFound
from apps.events.models import OutboxEvent
from apps.numbering import selectors
from apps.numbering import services as numbering
from apps.numbering.errors import (
    NumberNotAvailable,
    NumberWrongCarrier,
    ReservationClosed,
    ReservationExpired,
    ReservationNotYours,
)
from apps.numbering.models import NumberRange, PhoneNumber, RangeStock, Reservation
from apps.numbering.selectors import NumberFilter
from apps.numbering.services import NumberCriteria
from apps.numbering.states import NumberStatus, ReservationStatus, WithheldBy
from apps.operators.calendar import china_date
from apps.operators.errors import AgreementNotValid
from apps.operators.models import HostCarrier, VirtualOperator, WholesaleAgreement
from apps.operators.policies import PolicyKey
from tests.factories.numbering import (
    SYSTEM,
    given_few_numbers,
    given_partner,
    given_range,
    given_reservation,
)
from tests.factories.operators import given_policy
from tests.refusals import refused

BEAT = Actor.system("numbering.end_quarantines")


@pytest.fixture
def leased(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now)


@pytest.fixture
def partner(operator: VirtualOperator) -> Actor:
    return given_partner(operator=operator)


@pytest.fixture
def taking(leased: NumberRange, partner: Actor, now: datetime) -> dict[str, Any]:
    return {
        "actor": partner,
        "operator_id": leased.operator_id,
        "host_carrier_id": leased.host_carrier_id,
        "now": now,
    }


def refuse(error: type[Exception], taking: dict[str, Any], **changes: Any) -> Any:
    before = list(PhoneNumber.objects.order_by("number").values_list("number", "status", "reservation"))
    with refused(error) as caught:
        numbering.take_number(**{**taking, **changes})
    assert (
        list(PhoneNumber.objects.order_by("number").values_list("number", "status", "reservation")) == before
    )
    return caught.value


# --- The next free one ----------------------------------------------------------------------------------------------
def test_next_free(taking: dict[str, Any], leased: NumberRange) -> None:
    with CaptureQueriesContext(connection) as captured:
        taken = numbering.take_number(**taking)
    assert len(captured) == 2  # the claim and the audit row
    assert "SKIP LOCKED" in captured[0]["sql"]
    assert (taken.status, taken.range_id, taken.operator_id) == (
        NumberStatus.IN_USE,
        leased.pk,
        leased.operator_id,
    )
    with CaptureQueriesContext(connection) as captured:
        assert (taken.range.home_province, taken.range.home_city) == ("广东", "深圳")
    assert len(captured) == 0
    assert taken.range.prefix == leased.prefix
    assert PhoneNumber.objects.get(number=taken.number).status == NumberStatus.IN_USE
    audit = AuditEvent.objects.get(target_id=taken.e164)
    assert (audit.action, audit.before, audit.after) == (
        "number.take",
        {"status": "AVAILABLE"},
        {"status": "IN_USE"},
    )


def test_every_free_number_is_found_and_no_other(
    operator: VirtualOperator, partner: Actor, now: datetime
) -> None:
    ranges = [given_few_numbers(operator=operator, now=now, free=free) for free in (3, 0, 5)]
    free = set(PhoneNumber.objects.filter(status=NumberStatus.AVAILABLE).values_list("number", flat=True))
    taking = {
        "actor": partner,
        "operator_id": operator.pk,
        "host_carrier_id": ranges[0].host_carrier_id,
        "now": now,
    }
    taken = [numbering.take_number(**taking).number for _ in range(8)]
    assert set(taken) == free
    refuse(NumberNotAvailable, taking)


def test_starts_anywhere_in_any_of_the_ranges(
    taking: dict[str, Any], leased: NumberRange, now: datetime
) -> None:
    second = given_range(operator=leased.operator, now=now)
    RangeStock.objects.filter(range=leased).update(draw=0.25)
    RangeStock.objects.filter(range=second).update(draw=0.75)
    taken = [numbering.take_number(**taking).number for _ in range(40)]
    # By chance all forty could lie in one range, or in one half of both: once in 2**38 runs.
    assert {leased.pk, second.pk} == {row.range_id for row in PhoneNumber.objects.filter(number__in=taken)}
    assert min(number % 1000 for number in taken) < 500 <= max(number % 1000 for number in taken)


def test_criteria(
    taking: dict[str, Any], leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    hangzhou = given_range(operator=operator, now=now, province="浙江", city="杭州")
    taken = numbering.take_number(**taking, criteria=NumberCriteria(city="杭州", suffix="77"))
    assert (taken.range_id, taken.number % 100) == (hangzhou.pk, 77)
    refuse(NumberNotAvailable, taking, criteria=NumberCriteria(city="上海"))


def test_only_of_the_wanted_carrier(
    taking: dict[str, Any], carriers: dict[str, HostCarrier], leased: NumberRange
) -> None:
    refuse(NumberNotAvailable, taking, host_carrier_id=carriers["mobile"].pk)


def break_lease(leased: NumberRange, now: datetime, how: str) -> None:
    today = china_date(now)
    agreements = WholesaleAgreement.objects.filter(pk=leased.agreement_id)
    ranges = NumberRange.objects.filter(pk=leased.pk)
    match how:
        case "returning":
            ranges.update(status="RETURNING", returning_at=now)
        case "lease over":
            ranges.update(leased_until=today)
        case "lease not begun":
            ranges.update(leased_from=today + timedelta(days=1))
        case "agreement terminated":
            agreements.update(terminated_at=now)
        case "agreement over":
            agreements.update(valid_until=today)
        case "agreement not begun":
            agreements.update(valid_from=today + timedelta(days=1))
        case "agreement ends later":
            agreements.update(terminated_at=now + timedelta(seconds=1))


@pytest.mark.parametrize(
    "how",
    [
        "returning",
        "lease over",
        "lease not begun",
        "agreement terminated",
        "agreement over",
        "agreement not begun",
        "agreement ends later",
        "nothing",
    ],
)
def test_claim_and_list_agree_on_what_may_be_sold(
    taking: dict[str, Any], leased: NumberRange, now: datetime, how: str
) -> None:
    break_lease(leased, now, how)
    numbers = selectors.list_sellable_numbers(
        actor=SYSTEM, operator_id=leased.operator_id, wanted=NumberFilter(), now=now
    )
    listed = numbers.count() == 1000
    assert listed is (how in ("agreement ends later", "nothing"))
    if listed:
        numbering.take_number(**taking, number=leased.first)
        numbering.take_number(**taking)
    else:
        refuse(NumberNotAvailable, taking)
        error = AgreementNotValid if how.startswith("agreement") else NumberNotAvailable
        refuse(error, taking, number=leased.first)


def test_another_operator_s_business_does_not_exist(
    taking: dict[str, Any], other_operator: VirtualOperator
) -> None:
    refuse(NotFound, taking, actor=given_partner(operator=other_operator))


# --- That number ----------------------------------------------------------------------------------------------------
def test_that_number(taking: dict[str, Any], leased: NumberRange) -> None:
    taken = numbering.take_number(**taking, number=leased.first)
    assert (taken.number, taken.status) == (leased.first, NumberStatus.IN_USE)
    refuse(NumberNotAvailable, taking, number=leased.first)


def test_that_number_when_it_cannot_be_had(
    taking: dict[str, Any],
    other_operator: VirtualOperator,
    operator: VirtualOperator,
    leased: NumberRange,
    now: datetime,
) -> None:
    foreign = given_range(operator=other_operator, now=now)
    mobile = given_range(operator=operator, now=now, carrier="mobile")
    PhoneNumber.objects.filter(number=leased.first).update(
        status=NumberStatus.WITHHELD, withheld_by=WithheldBy.POLICE
    )
    PhoneNumber.objects.filter(number=leased.first + 1).update(
        status=NumberStatus.QUARANTINED, quarantined_until=now - timedelta(days=1)
    )
    refuse(NumberNotAvailable, taking, number=19999999999)
    refuse(NumberNotAvailable, taking, number=foreign.first)
    refuse(NumberNotAvailable, taking, number=leased.first)
    refuse(NumberNotAvailable, taking, number=leased.first + 1)
    refuse(NumberWrongCarrier, taking, number=mobile.first)


def test_that_number_out_of_the_own_reservation(
    taking: dict[str, Any], leased: NumberRange, operator: VirtualOperator, partner: Actor, now: datetime
) -> None:
    reservation = given_reservation(operator=operator, now=now, actor=partner, number=leased.first)
    refuse(NumberNotAvailable, taking, actor=given_partner(operator=operator), number=leased.first)
    taken = numbering.take_number(**taking, number=leased.first)
    assert (taken.status, taken.reservation) == (NumberStatus.IN_USE, None)
    reservation.refresh_from_db()
    assert (reservation.status, reservation.closed_at) == (ReservationStatus.CONSUMED, now)


def test_our_own_jobs_act_for_whoever_reserved(
    taking: dict[str, Any], leased: NumberRange, operator: VirtualOperator, partner: Actor, now: datetime
) -> None:
    given_reservation(operator=operator, now=now, actor=partner, number=leased.first)
    numbering.take_number(**{**taking, "actor": SYSTEM}, number=leased.first)


# --- Out of a reservation -------------------------------------------------------------------------------------------
def test_a_reservation_is_used_up_number_by_number(
    taking: dict[str, Any], operator: VirtualOperator, partner: Actor, now: datetime
) -> None:
    reservation = given_reservation(operator=operator, now=now, actor=partner, quantity=3)
    for count, expected in enumerate(reservation.numbers, start=1):
        taken = numbering.take_number(**taking, reservation_uid=reservation.uid)
        assert (taken.number, taken.status, taken.reservation) == (expected, NumberStatus.IN_USE, None)
        reservation.refresh_from_db()
        assert reservation.status == ("CONSUMED" if count == 3 else "ACTIVE")
    refuse(ReservationClosed, taking, reservation_uid=reservation.uid)
    actions = (
        AuditEvent.objects.filter(target_id=reservation.uid).order_by("id").values_list("action", flat=True)
    )
    assert list(actions) == ["reservation.create", "reservation.consume"]
    assert AuditEvent.objects.filter(action="number.take", before={"status": "RESERVED"}).count() == 3


def test_what_was_used_is_not_freed(
    taking: dict[str, Any], operator: VirtualOperator, partner: Actor, now: datetime
) -> None:
    reservation = given_reservation(operator=operator, now=now, actor=partner, quantity=3)
    taken = numbering.take_number(**taking, reservation_uid=reservation.uid)
    numbering.release_reservation(actor=partner, reservation_uid=reservation.uid, now=now)
    assert PhoneNumber.objects.get(number=taken.number).status == NumberStatus.IN_USE
    assert PhoneNumber.objects.filter(status=NumberStatus.AVAILABLE).count() == 999
    event = OutboxEvent.objects.get(type="number.released")
    assert event.data["numbers"] == [
        f"+86{number}" for number in reservation.numbers if number != taken.number
    ]


def test_reservations_that_cannot_be_used(
    taking: dict[str, Any],
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    partner: Actor,
    leased: NumberRange,
    now: datetime,
) -> None:
    own = given_reservation(operator=operator, now=now, actor=partner, ttl_seconds=60)
    later = now + timedelta(seconds=60)
    refuse(NotFound, taking, reservation_uid="res_01h455vb4pex5vsknk084sn02q")
    refuse(NotFound, taking, reservation_uid="sub_01h455vb4pex5vsknk084sn02q")
    foreign = {"actor": SYSTEM, "operator_id": other_operator.pk}
    refuse(NotFound, taking, reservation_uid=own.uid, **foreign)
    refuse(ReservationNotYours, taking, reservation_uid=own.uid, actor=given_partner(operator=operator))
    refuse(ReservationExpired, taking, reservation_uid=own.uid, now=later)
    refuse(ReservationExpired, taking, number=own.numbers[0], now=later)
    numbering.expire_reservations(actor=SYSTEM, now=later, limit=10)
    refuse(ReservationExpired, taking, reservation_uid=own.uid, now=later)
    released = given_reservation(operator=operator, now=now, actor=partner)
    numbering.release_reservation(actor=partner, reservation_uid=released.uid, now=now)
    refuse(ReservationClosed, taking, reservation_uid=released.uid)


def test_a_reservation_gives_numbers_of_the_wanted_carrier_only(
    taking: dict[str, Any],
    operator: VirtualOperator,
    partner: Actor,
    carriers: dict[str, HostCarrier],
    now: datetime,
) -> None:
    given_range(operator=operator, now=now, carrier="mobile")
    mobile = given_reservation(operator=operator, now=now, actor=partner, carrier="mobile")
    refuse(NumberWrongCarrier, taking, reservation_uid=mobile.uid)
    refuse(NumberWrongCarrier, taking, number=mobile.numbers[0])
    numbering.take_number(**{**taking, "host_carrier_id": carriers["mobile"].pk}, reservation_uid=mobile.uid)


def test_a_reservation_does_not_outlive_the_lease(
    taking: dict[str, Any], operator: VirtualOperator, partner: Actor, leased: NumberRange, now: datetime
) -> None:
    reservation = given_reservation(operator=operator, now=now, actor=partner)
    NumberRange.objects.filter(pk=leased.pk).update(leased_until=china_date(now))
    refuse(NumberNotAvailable, taking, reservation_uid=reservation.uid)


# --- Back again -----------------------------------------------------------------------------------------------------
def test_unused_number_is_free_at_once(taking: dict[str, Any], partner: Actor, now: datetime) -> None:
    taken = numbering.take_number(**taking)
    numbering.return_unused_number(actor=partner, number=taken.number, now=now)
    row = PhoneNumber.objects.get(number=taken.number)
    assert (row.status, row.quarantined_until, row.reservation) == (NumberStatus.AVAILABLE, None, None)
    assert AuditEvent.objects.filter(target_id=taken.e164, action="number.return_unused").count() == 1
    with refused(InvalidTransition):
        numbering.return_unused_number(actor=partner, number=taken.number, now=now)


def test_quarantine_lasts_as_long_as_policy_says(
    taking: dict[str, Any], operator: VirtualOperator, partner: Actor, now: datetime
) -> None:
    first, second = (numbering.take_number(**taking).number for _ in range(2))
    numbering.quarantine_number(actor=partner, number=first, now=now)
    given_policy(key=PolicyKey.QUARANTINE_DAYS, value=120, now=now, operator=operator)
    numbering.quarantine_number(actor=partner, number=second, now=now)
    rows = {row.number: row for row in PhoneNumber.objects.filter(status=NumberStatus.QUARANTINED)}
    assert {number: row.quarantined_until for number, row in rows.items()} == {
        first: now + timedelta(days=90),
        second: now + timedelta(days=120),
    }
    for service in (numbering.quarantine_number, numbering.return_unused_number):
        with refused(InvalidTransition):
            service(actor=partner, number=first, now=now)
    refuse(NumberNotAvailable, taking, number=first)


@pytest.mark.parametrize("service", [numbering.quarantine_number, numbering.return_unused_number])
def test_foreign_and_unknown_numbers_are_not_found(
    taking: dict[str, Any], other_operator: VirtualOperator, now: datetime, service: Any
) -> None:
    taken = numbering.take_number(**taking)
    with refused(NotFound):
        service(actor=given_partner(operator=other_operator), number=taken.number, now=now)
    with refused(NotFound):
        service(actor=SYSTEM, number=19999999999, now=now)
    assert PhoneNumber.objects.get(number=taken.number).status == NumberStatus.IN_USE


@pytest.mark.parametrize("status", ["AVAILABLE", "RESERVED", "WITHHELD"])
@pytest.mark.parametrize("service", [numbering.quarantine_number, numbering.return_unused_number])
def test_only_a_number_in_use_comes_back(
    leased: NumberRange, operator: VirtualOperator, now: datetime, service: Any, status: str
) -> None:
    if status == "RESERVED":
        given_reservation(operator=operator, now=now, number=leased.first)
    else:
        withheld_by = WithheldBy.CARRIER if status == "WITHHELD" else None
        PhoneNumber.objects.filter(number=leased.first).update(
            status=NumberStatus[status], withheld_by=withheld_by
        )
    with refused(InvalidTransition):
        service(actor=SYSTEM, number=leased.first, now=now)
    assert PhoneNumber.objects.get(number=leased.first).status == NumberStatus[status]


def test_quarantines_end_in_batches(taking: dict[str, Any], partner: Actor, now: datetime) -> None:
    numbers = [numbering.take_number(**taking).number for _ in range(3)]
    for number in numbers:
        numbering.quarantine_number(actor=partner, number=number, now=now)
    over = now + timedelta(days=90)
    assert numbering.end_quarantines(actor=BEAT, now=over - timedelta(seconds=1), limit=2) == 0
    assert numbering.end_quarantines(actor=BEAT, now=over, limit=2) == 2
    assert numbering.end_quarantines(actor=BEAT, now=over, limit=2) == 1
    assert numbering.end_quarantines(actor=BEAT, now=over, limit=2) == 0
    rows = PhoneNumber.objects.filter(number__in=numbers)
    assert {(row.status, row.quarantined_until) for row in rows} == {(NumberStatus.AVAILABLE, None)}
    ended = AuditEvent.objects.filter(action="number.end_quarantine")
    assert {row.target_id for row in ended} == {f"+86{number}" for number in numbers}
    assert Reservation.objects.count() == 0
