"""Leasing a range."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import DomainError, Forbidden, NotFound
from apps.numbering import services as numbering
from apps.numbering.errors import AccessCodeMismatch, RangeInvalid, RangeOverlap
from apps.numbering.models import NumberRange, PhoneNumber
from apps.numbering.states import NumberGrade, NumberStatus, RangeStatus
from apps.operators import services as operators
from apps.operators.calendar import china_date
from apps.operators.errors import AgreementNotValid, LicenceNotValid
from apps.operators.models import HostCarrier, Licence, VirtualOperator, WholesaleAgreement
from apps.operators.states import LicenceKind
from tests.factories.numbering import SYSTEM, given_partner, given_range
from tests.factories.operators import given_agreement, given_licence, given_operator, given_policies
from tests.refusals import refused


@pytest.fixture
def agreement(operator: VirtualOperator) -> WholesaleAgreement:
    return WholesaleAgreement.objects.get(operator=operator, host_carrier__code="unicom")


@pytest.fixture
def offer(operator: VirtualOperator, agreement: WholesaleAgreement, now: datetime) -> dict[str, Any]:
    """A lease that is in order."""
    return {
        "actor": SYSTEM,
        "operator": operator,
        "agreement": agreement,
        "prefix": "17090001",
        "home_province": "广东",
        "home_city": "深圳",
        "leased_from": china_date(now),
        "leased_until": china_date(now) + timedelta(days=300),
        "now": now,
    }


def refuse(error: type[DomainError], offer: dict[str, Any], **changes: Any) -> DomainError:
    """The changed lease is refused with this error and leaves nothing behind."""
    audits = AuditEvent.objects.count()
    with refused(error) as caught:
        numbering.lease_range(**{**offer, **changes})
    assert NumberRange.objects.count() == 0
    assert PhoneNumber.objects.count() == 0
    assert AuditEvent.objects.count() == audits
    assert isinstance(caught.value, DomainError)
    return caught.value


@pytest.mark.parametrize(
    ("prefix", "first", "last"),
    [("17090001", 17090001000, 17090001999), ("1709000", 17090000000, 17090009999)],
)
def test_all_numbers_of_the_block_are_free(offer: dict[str, Any], prefix: str, first: int, last: int) -> None:
    leased = numbering.lease_range(**{**offer, "prefix": prefix})
    leased.refresh_from_db()
    assert (leased.first, leased.last, leased.status) == (first, last, RangeStatus.ACTIVE)
    assert (leased.span.lower, leased.span.upper) == (first, last + 1)
    assert leased.uid.startswith("rng_")
    rows = PhoneNumber.objects.values_list(
        "number", "status", "grade", "operator", "range", "reservation", "quarantined_until"
    )
    expected = {
        (number, NumberStatus.AVAILABLE, NumberGrade.ORDINARY, leased.operator_id, leased.pk, None, None)
        for number in range(first, last + 1)
    }
    assert set(rows) == expected
    row = AuditEvent.objects.get(target_id=leased.uid)
    assert (row.action, row.operator_id, row.after["status"]) == ("range.lease", leased.operator_id, "ACTIVE")


def test_materialising_is_one_statement(offer: dict[str, Any]) -> None:
    with CaptureQueriesContext(connection) as captured:
        numbering.lease_range(**{**offer, "prefix": "1709000"})
    touching = [query["sql"] for query in captured if "INTO numbering_phonenumber" in query["sql"]]
    assert len(touching) == 1
    assert "generate_series" in touching[0]
    assert PhoneNumber.objects.count() == 10_000


def test_needs_the_right_and_the_own_operator(
    offer: dict[str, Any], operator: VirtualOperator, other_operator: VirtualOperator
) -> None:
    refuse(Forbidden, offer, actor=given_partner(operator=operator))
    stranger = Actor.system("stranger", operator_id=other_operator.pk)
    refuse(NotFound, offer, actor=stranger)


@pytest.mark.parametrize(
    "prefix",
    ["", "170900", "170900011", "27090001", "1709000a", "1709000１", "17090001\n", "+8617090", "0170900"],
)
def test_prefix_of_the_wrong_length_or_alphabet(offer: dict[str, Any], prefix: str) -> None:
    error = refuse(RangeInvalid, offer, prefix=prefix)
    assert [each.pointer for each in error.errors] == ["/prefix"]


def test_every_bad_field_is_named(offer: dict[str, Any], now: datetime) -> None:
    today = china_date(now)
    error = refuse(
        RangeInvalid,
        offer,
        prefix="1",
        home_province=" 广东",
        home_city="深圳/南山",
        leased_from=today + timedelta(days=1),
        leased_until=today,
    )
    assert [(each.pointer, each.code) for each in error.errors] == [
        ("/prefix", "invalid"),
        ("/home_province", "invalid"),
        ("/home_city", "invalid"),
        ("/leased_until", "invalid"),
        ("/leased_from", "in_future"),
    ]


@pytest.mark.parametrize("home_city", ["=1+1", "@SUM(A1)", "\u202e深圳", "深\x07圳", " 深圳", ""])
def test_a_home_area_is_the_name_of_a_place(offer: dict[str, Any], home_city: str) -> None:
    """Partners open it in a spreadsheet."""
    error = refuse(RangeInvalid, offer, home_city=home_city)
    assert [each.pointer for each in error.errors] == ["/home_city"]


def test_lease_lies_within_the_agreement(offer: dict[str, Any], agreement: WholesaleAgreement) -> None:
    numbering.lease_range(
        **{**offer, "leased_from": agreement.valid_from, "leased_until": agreement.valid_until}
    )
    day = timedelta(days=1)
    for changes, code in (
        ({"leased_from": agreement.valid_from - day}, "before_agreement"),
        ({"leased_until": agreement.valid_until + day}, "after_agreement"),
    ):
        with refused(RangeInvalid) as caught:
            numbering.lease_range(**{**offer, "prefix": "17090002", **changes})
        assert [each.code for each in caught.value.errors] == [code]
    assert NumberRange.objects.count() == 1


@pytest.mark.parametrize("prefix", ["17030001", "17000001", "16200001", "13800001", "17050001"])
def test_digits_of_another_host_carrier_or_of_nobody(offer: dict[str, Any], prefix: str) -> None:
    refuse(AccessCodeMismatch, offer, prefix=prefix)


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("prefix", ["17090001", "1709000"])
def test_overlap_is_refused_for_any_operator(
    offer: dict[str, Any], other_operator: VirtualOperator, now: datetime, foreign: bool, prefix: str
) -> None:
    first = numbering.lease_range(**offer)
    operator = other_operator if foreign else first.operator
    agreement = WholesaleAgreement.objects.get(operator=operator, host_carrier__code="unicom")
    with refused(RangeOverlap) as caught:
        numbering.lease_range(**{**offer, "operator": operator, "agreement": agreement, "prefix": prefix})
    assert first.operator.code not in str(caught.value)
    assert list(NumberRange.objects.all()) == [first]
    assert PhoneNumber.objects.count() == 1000
    given_range(operator=operator, now=now, prefix="17090002")


def end_of(now: datetime, days: int) -> date:
    return china_date(now) + timedelta(days=days)


@pytest.mark.parametrize(
    ("from_day", "until_day", "reason"), [(-10, -1, "EXPIRED"), (-10, 0, "EXPIRED"), (1, 10, "NOT_YET_VALID")]
)
def test_licence_out_of_its_dates(
    carriers: dict[str, HostCarrier], now: datetime, from_day: int, until_day: int, reason: str
) -> None:
    given_policies(now=now)
    operator = given_operator(now=now, licensed=False)
    licence = {"valid_from": end_of(now, from_day), "valid_until": end_of(now, until_day)}
    given_licence(operator=operator, now=now, **licence)
    with refused(LicenceNotValid) as caught:
        given_range(operator=operator, now=now)
    assert caught.value.fields["reason"] == reason
    assert NumberRange.objects.count() == PhoneNumber.objects.count() == 0


def test_licence_missing_revoked_or_for_another_place(offer: dict[str, Any], now: datetime) -> None:
    unlicensed = given_operator(now=now, licensed=False)
    agreement = WholesaleAgreement.objects.get(operator=unlicensed, host_carrier__code="unicom")
    refuse(LicenceNotValid, offer, operator=unlicensed, agreement=agreement)

    given_licence(operator=unlicensed, now=now, kind=LicenceKind.PILOT, areas=["广东/广州", "浙江"])
    error = refuse(LicenceNotValid, offer, operator=unlicensed, agreement=agreement)
    assert error.fields["reason"] == "NOT_COVERED"
    pilot = Licence.objects.get(operator=unlicensed)
    operators.revoke_licence(actor=SYSTEM, licence_uid=pilot.uid, reason="", now=now)
    error = refuse(
        LicenceNotValid,
        offer,
        operator=unlicensed,
        agreement=agreement,
        home_province="浙江",
        home_city="杭州",
    )
    assert error.fields["reason"] == "REVOKED"


def test_a_pilot_licence_is_enough_where_it_covers(offer: dict[str, Any], now: datetime) -> None:
    pilot = given_operator(now=now, licensed=False)
    given_licence(operator=pilot, now=now, kind=LicenceKind.PILOT, areas=["广东/深圳", "浙江"])
    given_range(operator=pilot, now=now)
    given_range(operator=pilot, now=now, province="浙江", city="杭州")


def test_agreement_of_another_operator_or_ended_or_for_another_place(
    offer: dict[str, Any],
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    agreement: WholesaleAgreement,
    now: datetime,
) -> None:
    foreign = WholesaleAgreement.objects.get(operator=other_operator, host_carrier__code="unicom")
    assert refuse(AgreementNotValid, offer, agreement=foreign).fields["reason"] == "NONE"

    local = given_agreement(
        operator=operator, host_carrier=agreement.host_carrier, now=now, areas=["浙江", "广东/广州"]
    )
    assert refuse(AgreementNotValid, offer, agreement=local).fields["reason"] == "NOT_COVERED"

    operators.terminate_agreement(actor=SYSTEM, agreement_uid=agreement.uid, reason="", now=now)
    agreement.refresh_from_db()
    assert refuse(AgreementNotValid, offer, agreement=agreement).fields["reason"] == "REVOKED"


def test_agreement_that_begins_tomorrow(
    offer: dict[str, Any], agreement: WholesaleAgreement, now: datetime
) -> None:
    later = given_agreement(
        operator=agreement.operator,
        host_carrier=agreement.host_carrier,
        now=now,
        valid_from=china_date(now) + timedelta(days=1),
    )
    error = refuse(RangeInvalid, offer, agreement=later)
    assert [each.code for each in error.errors] == ["before_agreement"]
