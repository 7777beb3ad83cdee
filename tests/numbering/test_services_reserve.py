"""Reserving, prolonging, releasing and expiring."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
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
    ReservationLimitReached,
    ReservationNotYours,
    ReservationQuantityNotAllowed,
    ReservationTtlNotAllowed,
)
from apps.numbering.models import NumberRange, PhoneNumber, Reservation
from apps.numbering.states import NumberGrade, NumberStatus, ReservationStatus, WithheldBy
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
    given_terms,
)
from tests.factories.operators import given_policy
from tests.refusals import refused


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
        status=status,
        quarantined_until=None if until is None else now + until,
        withheld_by=WithheldBy.POLICE if status == NumberStatus.WITHHELD else None,
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

    # First, since the others take numbers from a random one on, which may be this one.
    one = given_reservation(operator=operator, now=now, suffix="042", city="杭州")
    assert one.numbers == [hangzhou.first + 42]
    refuse(NumberNotAvailable, operator, now, suffix="042", city="杭州")
    assert all(hangzhou.first <= number <= hangzhou.last for number in numbers(city="杭州"))
    assert all(mobile.first <= number <= mobile.last for number in numbers(carrier="mobile"))
    assert all(shenzhen.first <= number <= shenzhen.last for number in numbers(carrier="unicom", city="深圳"))
    assert all(str(number).endswith("7") for number in numbers(suffix="7"))
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
    # Licence, policies, wait for the caller's other calls, count what it holds, wait for others who want several,
    # claim, reservation, audit row, event.
    assert len(captured) == 9


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


def test_how_many_one_caller_holds(
    leased: NumberRange, operator: VirtualOperator, partner: Actor, now: datetime
) -> None:
    given_policy(key=PolicyKey.RESERVATION_HELD_MAX, value=5, now=now, operator=operator)
    first = given_reservation(operator=operator, now=now, actor=partner, quantity=3)
    error = refuse(ReservationLimitReached, operator, now, actor=partner, quantity=3)
    assert error.fields == {"held": 3, "most": 5}
    given_reservation(operator=operator, now=now, actor=partner, quantity=2)
    refuse(ReservationLimitReached, operator, now, actor=partner, number=leased.last)
    # Another caller of the same operator has a limit of its own.
    given_reservation(operator=operator, now=now, actor=given_partner(operator=operator), quantity=5)
    # What counts is what is still held: one number is sold, the rest of the first reservation is released.
    numbering.take_number(
        actor=partner,
        operator_id=operator.pk,
        host_carrier_id=leased.host_carrier_id,
        number=first.numbers[0],
        now=now,
    )
    given_reservation(operator=operator, now=now, actor=partner)
    refuse(ReservationLimitReached, operator, now, actor=partner)
    numbering.release_reservation(actor=partner, reservation_uid=first.uid, now=now)
    given_reservation(operator=operator, now=now, actor=partner, quantity=2)
    refuse(ReservationLimitReached, operator, now, actor=partner)


def test_the_same_name_at_another_operator_is_somebody_else(
    leased: NumberRange, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    """Our own jobs have one name everywhere."""
    given_range(operator=other_operator, now=now)
    given_policy(key=PolicyKey.RESERVATION_HELD_MAX, value=1, now=now)
    given_reservation(operator=operator, now=now)
    given_reservation(operator=other_operator, now=now)
    refuse(ReservationLimitReached, operator, now)


# --- Terms ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("by_number", [True, False])
def test_terms_are_frozen(
    leased: NumberRange,
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    now: datetime,
    by_number: bool,
) -> None:
    gold = (leased.first + 888, leased.first + 999)
    PhoneNumber.objects.filter(number__in=gold).update(grade=NumberGrade.GOLD)
    given_terms(operator=operator, now=now - timedelta(days=1), deposit=Decimal(1))
    given_terms(operator=operator, now=now, deposit=Decimal("400.00"))
    given_terms(operator=operator, now=now, grade=NumberGrade.SILVER)
    given_terms(operator=operator, now=now, deposit=Decimal(7), valid_from=now + timedelta(seconds=1))
    given_terms(operator=other_operator, now=now, deposit=Decimal(8))
    wish = {"number": gold[0]} if by_number else {"grade": NumberGrade.GOLD, "quantity": 2}
    reservation = given_reservation(operator=operator, now=now, **wish)
    frozen = {"grade": "gold", "deposit": "400.00", "min_monthly_spend": "89.00", "months": 24}
    expected = {str(number): frozen for number in (gold[:1] if by_number else gold)}
    reservation.refresh_from_db()
    assert reservation.terms == expected
    # Whatever happens to rules and terms afterwards.
    given_terms(operator=operator, now=now + timedelta(minutes=1), deposit=Decimal(9))
    PhoneNumber.objects.filter(number__in=gold).update(grade=NumberGrade.DIAMOND)
    numbering.extend_reservation(
        actor=SYSTEM, reservation_uid=reservation.uid, now=now + timedelta(minutes=2)
    )
    reservation.refresh_from_db()
    assert reservation.terms == expected


def test_without_terms_a_pretty_number_costs_nothing_extra(
    leased: NumberRange, operator: VirtualOperator, now: datetime
) -> None:
    PhoneNumber.objects.filter(number=leased.first).update(grade=NumberGrade.GOLD)
    given_terms(operator=operator, now=now, grade=NumberGrade.SILVER)
    assert given_reservation(operator=operator, now=now, number=leased.first).terms == {}
    assert given_reservation(operator=operator, now=now).terms == {}


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
