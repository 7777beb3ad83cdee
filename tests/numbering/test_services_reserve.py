"""Reserving, prolonging, releasing and expiring."""

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
from apps.numbering import services as numbering
from apps.numbering.errors import (
    CarrierUnknown,
    NumberNotAvailable,
    ReservationAlreadyExtended,
    ReservationClosed,
    ReservationExpired,
    ReservationNotYours,
    ReservationQuantityNotAllowed,
    ReservationTtlNotAllowed,
)
from apps.numbering.models import NumberRange, PhoneNumber, Reservation
from apps.numbering.states import NumberStatus, ReservationStatus
from apps.operators import services as operators
from apps.operators.calendar import china_date
from apps.operators.errors import AgreementNotValid, LicenceNotValid
from apps.operators.models import Licence, VirtualOperator, WholesaleAgreement
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

TASK = Actor.system("numbering.expire_reservations")


@pytest.fixture
def leased(operator: VirtualOperator, now: datetime) -> NumberRange:
    return given_range(operator=operator, now=now)


@pytest.fixture
def partner(operator: VirtualOperator) -> Actor:
    return given_partner(operator=operator)


def refuse(error: type[Exception], operator: VirtualOperator, now: datetime, **wish: Any) -> Any:
    """The reservation is refused, and nothing is different afterwards."""
    before = list(PhoneNumber.objects.order_by("number").values_list("number", "status"))
    actor = wish.pop("actor", SYSTEM)
    with refused(error) as caught:
        numbering.reserve(actor=actor, operator_id=operator.pk, now=now, **wish)
    assert list(PhoneNumber.objects.order_by("number").values_list("number", "status")) == before
    return caught.value


# --- One number -----------------------------------------------------------------------------------------------------
def test_one_number(leased: NumberRange, operator: VirtualOperator, partner: Actor, now: datetime) -> None:
    reservation = numbering.reserve(actor=partner, operator_id=operator.pk, now=now, number=leased.first)
    reservation.refresh_from_db()
    assert (reservation.status, reservation.owner, reservation.numbers) == (
        "ACTIVE",
        partner.id,
        [leased.first],
    )
    assert reservation.expires_at == now + timedelta(seconds=1800)
    row = PhoneNumber.objects.get(number=leased.first)
    assert (row.status, row.reservation) == (NumberStatus.RESERVED, reservation)
    assert PhoneNumber.objects.filter(status=NumberStatus.AVAILABLE).count() == 999
    audit = AuditEvent.objects.get(target_id=reservation.uid)
    assert (audit.action, audit.actor_id, audit.after["numbers"]) == (
        "reservation.create",
        partner.id,
        [row.e164],
    )
    event = OutboxEvent.objects.get(subject=reservation.uid)
    assert (event.type, event.operator_id) == ("number.reserved", operator.pk)
    assert event.data == {"before": None, "after": "ACTIVE", "numbers": [row.e164]}


@pytest.mark.parametrize(
    ("status", "until"),
    [
        (NumberStatus.IN_USE, None),
        (NumberStatus.QUARANTINED, timedelta(days=1)),
        (NumberStatus.WITHHELD, None),
        (NumberStatus.RETURNED, None),
    ],
)
def test_a_number_that_is_not_free(
    leased: NumberRange,
    operator: VirtualOperator,
    now: datetime,
    status: NumberStatus,
    until: timedelta | None,
) -> None:
    PhoneNumber.objects.filter(number=leased.first).update(
        status=status, quarantined_until=None if until is None else now + until
    )
    refuse(NumberNotAvailable, operator, now, number=leased.first)


def test_a_reserved_number_even_by_its_owner(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    given_reservation(operator=operator, now=now, number=leased.first)
    refuse(NumberNotAvailable, operator, now, number=leased.first)
    assert Reservation.objects.count() == 1


def test_unknown_and_foreign_numbers_are_refused_alike(
    leased: NumberRange, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    foreign = given_range(operator=other_operator, now=now)
    unknown = refuse(NumberNotAvailable, operator, now, number=19999999999)
    other = refuse(NumberNotAvailable, operator, now, number=foreign.first)
    assert (unknown.code, unknown.detail, unknown.fields) == (other.code, other.detail, other.fields)


def test_another_operator_s_business_does_not_exist(
    leased: NumberRange, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    refuse(NotFound, operator, now, actor=given_partner(operator=other_operator), number=leased.first)


def test_a_number_excludes_criteria(leased: NumberRange, operator: VirtualOperator, now: datetime) -> None:
    for criteria in ({"carrier": "unicom"}, {"city": "深圳"}, {"suffix": "0"}, {"quantity": 2}, {"grade": 0}):
        refuse(ValueError, operator, now, number=leased.first, **criteria)


# --- The next free ones ---------------------------------------------------------------------------------------------
def test_several_at_once(leased: NumberRange, operator: VirtualOperator, now: datetime) -> None:
    reservation = given_reservation(operator=operator, now=now, quantity=25)
    reservation.refresh_from_db()
    held = PhoneNumber.objects.filter(reservation=reservation, status=NumberStatus.RESERVED)
    assert reservation.numbers == sorted(held.values_list("number", flat=True))
    assert len(set(reservation.numbers)) == 25


def test_all_or_nothing(operator: VirtualOperator, now: datetime) -> None:
    given_few_numbers(operator=operator, now=now, free=2)
    given_few_numbers(operator=operator, now=now, free=2)
    refuse(NumberNotAvailable, operator, now, quantity=5)
    assert Reservation.objects.count() == 0
    assert len(given_reservation(operator=operator, now=now, quantity=4).numbers) == 4


def test_only_numbers_of_the_wanted_kind(operator: VirtualOperator, now: datetime) -> None:
    shenzhen = given_range(operator=operator, now=now)
    hangzhou = given_range(operator=operator, now=now, province="浙江", city="杭州")
    mobile = given_range(operator=operator, now=now, carrier="mobile")

    def numbers(**wish: Any) -> list[int]:
        return given_reservation(operator=operator, now=now, quantity=30, **wish).numbers

    assert all(hangzhou.first <= number <= hangzhou.last for number in numbers(city="杭州"))
    assert all(mobile.first <= number <= mobile.last for number in numbers(carrier="mobile"))
    assert all(shenzhen.first <= number <= shenzhen.last for number in numbers(carrier="unicom", city="深圳"))
    assert all(str(number).endswith("7") for number in numbers(suffix="7"))
    one = given_reservation(operator=operator, now=now, suffix="042", city="杭州")
    assert one.numbers == [hangzhou.first + 42]
    refuse(NumberNotAvailable, operator, now, suffix="042", city="杭州")
    refuse(NumberNotAvailable, operator, now, city="北京")
    refuse(NumberNotAvailable, operator, now, suffix="0123456789")


def test_unknown_carrier(leased: NumberRange, operator: VirtualOperator, now: datetime) -> None:
    error = refuse(CarrierUnknown, operator, now, carrier="unicon")
    assert [each.pointer for each in error.errors] == ["/carrier"]


def test_numbers_of_another_operator_are_never_found(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    given_range(operator=other_operator, now=now)
    refuse(NumberNotAvailable, operator, now)


def test_reserving_takes_few_statements(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    with CaptureQueriesContext(connection) as captured:
        given_reservation(operator=operator, now=now, quantity=50)
    # Licence, policies, claim, reservation, audit row, event.
    assert len(captured) == 6


# --- Who may --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("by_number", [True, False])
def test_no_licence_no_reservation(
    leased: NumberRange, operator: VirtualOperator, now: datetime, by_number: bool
) -> None:
    wish = {"number": leased.first} if by_number else {"carrier": "unicom"}
    licence = Licence.objects.get(operator=operator)
    later = now + timedelta(days=366)
    assert refuse(LicenceNotValid, operator, later, **wish).fields["reason"] == "EXPIRED"
    operators.revoke_licence(actor=SYSTEM, licence_uid=licence.uid, reason="", now=now)
    assert refuse(LicenceNotValid, operator, now, **wish).fields["reason"] == "REVOKED"
    licence.delete()
    assert refuse(LicenceNotValid, operator, now, **wish).fields["reason"] == "NONE"


@pytest.mark.parametrize(
    "wish", [{"number": 0}, {"carrier": "unicom"}, {}], ids=["number", "carrier", "anything"]
)
def test_no_agreement_no_reservation(
    leased: NumberRange, operator: VirtualOperator, now: datetime, wish: dict[str, Any]
) -> None:
    wish = {"number": leased.first} if "number" in wish else wish
    for agreement in WholesaleAgreement.objects.filter(operator=operator):
        operators.terminate_agreement(actor=SYSTEM, agreement_uid=agreement.uid, reason="", now=now)
    assert refuse(AgreementNotValid, operator, now, **wish).fields["reason"] == "REVOKED"


def test_agreement_with_another_carrier_does_not_help(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    given_range(operator=operator, now=now, carrier="mobile")
    unicom = WholesaleAgreement.objects.get(operator=operator, host_carrier__code="unicom")
    operators.terminate_agreement(actor=SYSTEM, agreement_uid=unicom.uid, reason="", now=now)
    refuse(AgreementNotValid, operator, now, carrier="unicom")
    numbers = given_reservation(operator=operator, now=now, quantity=20).numbers
    assert all(str(number).startswith("165") for number in numbers)


@pytest.mark.parametrize("wish", [{"number": 0}, {}], ids=["number", "anything"])
def test_a_lease_that_has_ended_sells_nothing(
    operator: VirtualOperator, now: datetime, wish: dict[str, Any]
) -> None:
    last_day = china_date(now) + timedelta(days=10)
    leased = given_range(operator=operator, now=now, leased_until=last_day)
    wish = {"number": leased.first} if "number" in wish else wish
    given_reservation(operator=operator, now=now + timedelta(days=9), number=leased.last)
    refuse(NumberNotAvailable, operator, now + timedelta(days=10), **wish)


# --- Limits ---------------------------------------------------------------------------------------------------------
def test_length_of_a_reservation(leased: NumberRange, operator: VirtualOperator, now: datetime) -> None:
    for seconds in (60, 86400):
        reservation = given_reservation(operator=operator, now=now, ttl_seconds=seconds)
        assert reservation.expires_at == now + timedelta(seconds=seconds)
    for seconds in (59, 86401, 0, -1):
        error = refuse(ReservationTtlNotAllowed, operator, now, ttl_seconds=seconds)
        assert [each.pointer for each in error.errors] == ["/ttl_seconds"]
    given_policy(key=PolicyKey.RESERVATION_TTL_MAX_SECONDS, value=120, now=now, operator=operator)
    refuse(ReservationTtlNotAllowed, operator, now, ttl_seconds=121)
    assert given_reservation(operator=operator, now=now).expires_at == now + timedelta(seconds=120)


def test_how_many_at_once(leased: NumberRange, operator: VirtualOperator, now: datetime) -> None:
    given_policy(key=PolicyKey.RESERVATION_QUANTITY_MAX, value=3, now=now, operator=operator)
    given_reservation(operator=operator, now=now, quantity=3)
    for quantity in (4, 0, -1):
        error = refuse(ReservationQuantityNotAllowed, operator, now, quantity=quantity)
        assert [each.pointer for each in error.errors] == ["/quantity"]


# --- Extend ---------------------------------------------------------------------------------------------------------
def test_extend_once(leased: NumberRange, operator: VirtualOperator, partner: Actor, now: datetime) -> None:
    reservation = given_reservation(operator=operator, now=now, actor=partner)
    later = now + timedelta(seconds=100)
    numbering.extend_reservation(actor=partner, reservation_uid=reservation.uid, now=later, ttl_seconds=600)
    reservation.refresh_from_db()
    assert reservation.expires_at == now + timedelta(seconds=1800 + 600)
    assert reservation.extended_at == later
    assert AuditEvent.objects.filter(target_id=reservation.uid, action="reservation.extend").count() == 1
    with refused(ReservationAlreadyExtended):
        numbering.extend_reservation(actor=partner, reservation_uid=reservation.uid, now=later)


def test_extend_is_refused_when_it_is_over(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    lapsed, released, expired = (given_reservation(operator=operator, now=now) for _ in range(3))
    numbering.release_reservation(actor=SYSTEM, reservation_uid=released.uid, now=now)
    Reservation.objects.close([expired], ReservationStatus.EXPIRED, now=now)
    with refused(ReservationExpired):
        numbering.extend_reservation(actor=SYSTEM, reservation_uid=lapsed.uid, now=lapsed.expires_at)
    with refused(ReservationExpired):
        numbering.extend_reservation(actor=SYSTEM, reservation_uid=expired.uid, now=now)
    with refused(ReservationClosed):
        numbering.extend_reservation(actor=SYSTEM, reservation_uid=released.uid, now=now)
    with refused(ReservationTtlNotAllowed):
        numbering.extend_reservation(actor=SYSTEM, reservation_uid=lapsed.uid, now=now, ttl_seconds=86401)
    assert Reservation.objects.filter(extended_at=None).count() == 3


def test_precondition_sees_the_locked_row_and_may_refuse(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    reservation = given_reservation(operator=operator, now=now)

    def refuse_all(row: Reservation) -> None:
        assert row == reservation
        raise LookupError

    for service in (numbering.extend_reservation, numbering.release_reservation):
        with refused(LookupError):
            service(actor=SYSTEM, reservation_uid=reservation.uid, now=now, precondition=refuse_all)
    reservation.refresh_from_db()
    assert (reservation.status, reservation.extended_at) == ("ACTIVE", None)


# --- Release --------------------------------------------------------------------------------------------------------
def test_release(leased: NumberRange, operator: VirtualOperator, partner: Actor, now: datetime) -> None:
    reservation = given_reservation(operator=operator, now=now, actor=partner, quantity=3)
    numbering.release_reservation(actor=partner, reservation_uid=reservation.uid, now=now)
    reservation.refresh_from_db()
    assert (reservation.status, reservation.closed_at) == ("RELEASED", now)
    assert PhoneNumber.objects.filter(status=NumberStatus.AVAILABLE, reservation=None).count() == 1000
    assert AuditEvent.objects.filter(target_id=reservation.uid, action="reservation.release").count() == 1
    event = OutboxEvent.objects.get(type="number.released")
    assert event.subject == reservation.uid
    assert event.data == {
        "before": "ACTIVE",
        "after": "RELEASED",
        "numbers": [f"+86{number}" for number in reservation.numbers],
    }
    with refused(InvalidTransition):
        numbering.release_reservation(actor=partner, reservation_uid=reservation.uid, now=now)


@pytest.mark.parametrize("service", [numbering.extend_reservation, numbering.release_reservation])
def test_foreign_reservations_do_not_exist_and_a_colleague_s_is_his(
    leased: NumberRange,
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    now: datetime,
    service: Any,
) -> None:
    reservation = given_reservation(operator=operator, now=now, actor=given_partner(operator=operator))
    for actor, uid, error in (
        (given_partner(operator=other_operator), reservation.uid, NotFound),
        (given_partner(operator=operator), reservation.uid, ReservationNotYours),
        (SYSTEM, "res_01h455vb4pex5vsknk084sn02q", NotFound),
        (SYSTEM, "nonsense", NotFound),
    ):
        with refused(error):
            service(actor=actor, reservation_uid=uid, now=now)
    reservation.refresh_from_db()
    assert (reservation.status, reservation.extended_at) == ("ACTIVE", None)


# --- Expire ---------------------------------------------------------------------------------------------------------
def test_expiry_ends_what_is_over_in_batches(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    over = [given_reservation(operator=operator, now=now, ttl_seconds=60, quantity=2) for _ in range(3)]
    running = given_reservation(operator=operator, now=now, ttl_seconds=61)
    later = now + timedelta(seconds=60)
    assert numbering.expire_reservations(actor=TASK, now=later - timedelta(seconds=1), limit=2) == 0
    assert numbering.expire_reservations(actor=TASK, now=later, limit=2) == 2
    assert numbering.expire_reservations(actor=TASK, now=later, limit=2) == 1
    assert numbering.expire_reservations(actor=TASK, now=later, limit=2) == 0
    ended = Reservation.objects.filter(status=ReservationStatus.EXPIRED, closed_at=later)
    assert set(ended) == set(over)
    assert set(PhoneNumber.objects.filter(status=NumberStatus.RESERVED)) == set(
        PhoneNumber.objects.filter(reservation=running)
    )
    for reservation in over:
        audit = AuditEvent.objects.get(target_id=reservation.uid, action="reservation.expire")
        assert (audit.operator_id, audit.after["status"]) == (operator.pk, "EXPIRED")
        event = OutboxEvent.objects.get(subject=reservation.uid, type="number.released")
        assert event.data["numbers"] == [f"+86{number}" for number in reservation.numbers]


def test_expiry_uses_its_index_and_few_statements(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    for _ in range(3):
        given_reservation(operator=operator, now=now, ttl_seconds=60)
    with CaptureQueriesContext(connection) as captured:
        numbering.expire_reservations(actor=TASK, now=now + timedelta(minutes=2), limit=500)
    writes = [
        query["sql"] for query in captured if query["sql"].strip().startswith(("SELECT", "UPDATE", "WITH"))
    ]
    # Lock what is over, close, free the numbers; audit rows and events are inserts.
    assert len(writes) == 3
    assert "SKIP LOCKED" in writes[0]
