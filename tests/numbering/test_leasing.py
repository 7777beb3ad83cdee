"""The life of a lease: planned, begun on its day, renewed, seen before it ends. Refusals of the terms themselves:
test_services_leasing.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import DomainError, Forbidden, InvalidTransition, NotFound
from apps.numbering import selectors, tasks
from apps.numbering import services as numbering
from apps.numbering.errors import (
    LeaseEnded,
    LeaseNotLater,
    NumberNotAvailable,
    RangeCrossesHomeArea,
    RangeInvalid,
    RangeNotDue,
    RangeOverlap,
)
from apps.numbering.models import NumberRange, PhoneNumber
from apps.numbering.states import NumberStatus, RangeStatus
from apps.operators import services as operators
from apps.operators.calendar import china_date
from apps.operators.errors import AgreementNotValid
from apps.operators.models import HostCarrier, VirtualOperator, WholesaleAgreement
from apps.operators.policies import PolicyKey
from tests.factories.numbering import SYSTEM, given_partner, given_range
from tests.factories.operators import given_agreement, given_operator, given_policies, given_policy
from tests.refusals import refused

DAY = timedelta(days=1)
Planned = Callable[..., NumberRange]


def agreement_of(operator: VirtualOperator, carrier: str = "unicom") -> WholesaleAgreement:
    """The first one; tests sign more."""
    return WholesaleAgreement.objects.filter(operator=operator, host_carrier__code=carrier).earliest("pk")


@pytest.fixture
def plan(operator: VirtualOperator, now: datetime) -> Planned:
    """Plans a lease that is in order, with these changes; from tomorrow on unless said otherwise."""

    def do(**changes: Any) -> NumberRange:
        terms = {
            "actor": SYSTEM,
            "operator": operator,
            "agreement": agreement_of(operator),
            "prefix": "17190000",
            "home_province": "广东",
            "home_city": "深圳",
            "leased_from": china_date(now) + DAY,
            "leased_until": china_date(now) + 300 * DAY,
            "now": now,
        }
        return numbering.plan_range(**{**terms, **changes})

    return do


def take(operator: VirtualOperator, now: datetime, **wish: Any) -> PhoneNumber:
    host = agreement_of(operator).host_carrier_id
    return numbering.take_number(actor=SYSTEM, operator_id=operator.pk, host_carrier_id=host, now=now, **wish)


# --- Planned ----------------------------------------------------------------------------------------------------------
def test_a_plan_keeps_the_block_and_has_no_numbers(
    plan: Planned, operator: VirtualOperator, now: datetime
) -> None:
    planned = plan(contract_reference="HT-1", monthly_fee=Decimal("0.30"), minimum_use=60)
    planned.refresh_from_db()
    assert (planned.status, planned.activated_at, planned.digits) == (RangeStatus.PLANNED, None, 11)
    assert (planned.contract_reference, planned.monthly_fee, planned.minimum_use) == (
        "HT-1",
        Decimal("0.30"),
        60,
    )
    assert PhoneNumber.objects.count() == 0
    with refused(RangeOverlap):
        given_range(operator=given_operator(now=now), now=now, prefix="1719000")
    row = AuditEvent.objects.get(target_id=planned.uid)
    assert (row.action, row.after["monthly_fee"]) == ("range.plan", "0.30")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"contract_reference": "x" * 65}, "/contract_reference"),
        ({"contract_reference": "a\nb"}, "/contract_reference"),
        ({"monthly_fee": Decimal("-0.01")}, "/monthly_fee"),
        ({"monthly_fee": Decimal("0.001")}, "/monthly_fee"),
        ({"monthly_fee": Decimal("1000000")}, "/monthly_fee"),
        ({"monthly_fee": Decimal("NaN")}, "/monthly_fee"),
        ({"minimum_use": 101}, "/minimum_use"),
        ({"minimum_use": -1}, "/minimum_use"),
        ({"prefix": "", "first": 17190000001, "last": 17190000999}, "/first"),
        ({"prefix": "", "first": 17190000000, "last": 17190000998}, "/last"),
        ({"prefix": "", "first": 17190001000, "last": 17190000999}, "/last"),
        ({"prefix": "", "first": 1719000000, "last": 1719000999}, "/first"),
        ({"prefix": "", "first": 17190000000, "last": 1719000000999}, "/last"),
    ],
)
def test_terms_out_of_bounds(plan: Planned, changes: dict[str, Any], pointer: str) -> None:
    with refused(RangeInvalid) as caught:
        plan(**changes)
    assert [error.pointer for error in caught.value.errors] == [pointer]
    assert NumberRange.objects.count() == 0


@pytest.mark.parametrize(
    ("first", "last", "prefix"),
    [
        (17190003000, 17190003999, "17190003"),
        (17190003000, 17190006999, "1719000"),
        (17190000000, 17190009999, "1719000"),
    ],
)
def test_by_first_and_last_number(plan: Planned, first: int, last: int, prefix: str) -> None:
    planned = plan(prefix="", first=first, last=last)
    assert (planned.first, planned.last, planned.prefix) == (first, last, prefix)


def test_a_range_lies_in_one_ten_thousand_block_which_has_one_home(plan: Planned) -> None:
    with refused(RangeCrossesHomeArea):
        plan(prefix="", first=17190009000, last=17190010999)
    plan()
    with refused(RangeCrossesHomeArea):
        plan(prefix="17190001", home_city="广州")
    plan(prefix="17190010", home_city="广州")
    assert NumberRange.objects.count() == 2


@pytest.mark.parametrize(
    ("prefix", "code"),
    [("1440123", "wrong_length"), ("14401234", "wrong_length"), ("170300012", "wrong_length")],
)
def test_the_access_code_says_how_long_its_numbers_are(
    plan: Planned,
    operator: VirtualOperator,
    carriers: dict[str, HostCarrier],
    now: datetime,
    prefix: str,
    code: str,
) -> None:
    given_machine_codes(carriers, now)
    with refused(RangeInvalid) as caught:
        plan(prefix=prefix, agreement=agreement_of(operator, "mobile"))
    assert [(error.pointer, error.code) for error in caught.value.errors] == [("/prefix", code)]


@pytest.mark.parametrize(
    ("prefix", "first", "size"), [("144012345", 1440123450000, 10_000), ("1440123456", 1440123456000, 1000)]
)
def test_numbers_of_machines_have_13_digits(
    operator: VirtualOperator,
    carriers: dict[str, HostCarrier],
    now: datetime,
    prefix: str,
    first: int,
    size: int,
) -> None:
    given_machine_codes(carriers, now)
    leased = given_range(operator=operator, now=now, carrier="mobile", prefix=prefix)
    assert (leased.digits, leased.first, leased.size) == (13, first, size)
    assert PhoneNumber.objects.filter(range=leased, number__range=(first, first + size - 1)).count() == size


def given_machine_codes(carriers: dict[str, HostCarrier], now: datetime) -> None:
    operators.register_access_code(
        actor=SYSTEM,
        prefix="1440",
        digits=13,
        host_carrier=carriers["mobile"],
        resale_only=False,
        source_note="for tests",
        now=now,
    )


def test_a_plan_may_rest_on_an_agreement_that_begins_later(
    plan: Planned, operator: VirtualOperator, now: datetime
) -> None:
    begins = china_date(now) + 10 * DAY
    later = given_agreement(
        operator=operator,
        host_carrier=agreement_of(operator).host_carrier,
        now=now,
        valid_from=begins,
        areas=["广东"],
    )
    planned = plan(agreement=later, leased_from=begins)
    for error, changes in (
        (RangeInvalid, {"leased_from": begins - DAY}),
        (AgreementNotValid, {"leased_from": begins, "home_province": "浙江", "home_city": "杭州"}),
    ):
        with refused(error):
            plan(prefix="17190010", agreement=later, **changes)
    with refused(RangeNotDue):
        numbering.activate_range(actor=SYSTEM, range_uid=planned.uid, now=now)
    numbering.activate_range(actor=SYSTEM, range_uid=planned.uid, now=now + 11 * DAY)


# --- Begun ------------------------------------------------------------------------------------------------------------
def test_activation_waits_for_the_day_in_china(plan: Planned, operator: VirtualOperator) -> None:
    # Midnight in Beijing is four in the afternoon in London.
    midnight = datetime.fromisoformat("2031-05-01T16:00:00+00:00")
    given_policies(now=midnight)
    tenant = given_operator(now=midnight)
    planned = plan(
        operator=tenant,
        agreement=agreement_of(tenant),
        leased_from=date(2031, 5, 2),
        leased_until=date(2031, 9, 1),
        now=midnight - 5 * DAY,
    )
    with refused(RangeNotDue):
        numbering.activate_range(actor=SYSTEM, range_uid=planned.uid, now=midnight - timedelta(seconds=1))
    numbering.activate_range(actor=SYSTEM, range_uid=planned.uid, now=midnight)
    planned.refresh_from_db()
    assert (planned.status, planned.activated_at) == (RangeStatus.ACTIVE, midnight)
    assert PhoneNumber.objects.filter(range=planned, status=NumberStatus.AVAILABLE).count() == 1000
    assert take(tenant, midnight).range_id == planned.pk
    row = AuditEvent.objects.get(action="range.activate", target_id=planned.uid)
    assert (row.before, row.after) == ({"status": "PLANNED"}, {"status": "ACTIVE"})


def test_activation_asks_for_the_papers_again(
    plan: Planned, operator: VirtualOperator, now: datetime
) -> None:
    planned = plan()
    tomorrow = now + DAY
    operators.terminate_agreement(actor=SYSTEM, agreement_uid=planned.agreement.uid, reason="", now=tomorrow)
    with refused(AgreementNotValid, reason="REVOKED"):
        numbering.activate_range(actor=SYSTEM, range_uid=planned.uid, now=tomorrow)
    with refused(LeaseEnded):
        numbering.activate_range(actor=SYSTEM, range_uid=planned.uid, now=now + 300 * DAY)
    assert PhoneNumber.objects.count() == 0


def test_a_plan_is_begun_or_withdrawn_once(plan: Planned, now: datetime) -> None:
    begun, withdrawn = plan(), plan(prefix="17190001")
    numbering.activate_range(actor=SYSTEM, range_uid=begun.uid, now=now + DAY)
    numbering.withdraw_plan(actor=SYSTEM, range_uid=withdrawn.uid, now=now, reason="too dear")
    withdrawn.refresh_from_db()
    assert (withdrawn.status, withdrawn.returned_at) == (RangeStatus.RETURNED, now)
    for leased in (begun, withdrawn):
        for verb in (numbering.activate_range, numbering.withdraw_plan):
            with refused(InvalidTransition):
                verb(actor=SYSTEM, range_uid=leased.uid, now=now + DAY)
    plan(prefix="17190001")


def test_only_with_the_right_and_only_own_ranges(
    plan: Planned, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    planned = plan()
    partner = given_partner(operator=operator)
    stranger = Actor.system("stranger", operator_id=other_operator.pk)
    until = china_date(now) + 310 * DAY
    for verb, more in (
        (numbering.activate_range, {}),
        (numbering.withdraw_plan, {}),
        (numbering.renew_lease, {"leased_until": until}),
        (numbering.begin_return, {}),
        (numbering.keep_range, {}),
        (numbering.finish_return, {}),
        (numbering.split_range, {"at": 17190000000}),
        (numbering.merge_ranges, {"other_uid": planned.uid}),
    ):
        call: Any = verb
        with refused(Forbidden):
            call(actor=partner, range_uid=planned.uid, now=now, **more)
        for uid, actor in ((planned.uid, stranger), ("rng_nonsense", SYSTEM)):
            with refused(NotFound):
                call(actor=actor, range_uid=uid, now=now, **more)


def begin(now: datetime) -> int:
    return numbering.begin_leases(actor=SYSTEM, now=now)


@pytest.mark.django_db(transaction=True)
def test_leases_begin_by_themselves_and_one_that_cannot_stops_no_other(
    plan: Planned, operator: VirtualOperator, now: datetime
) -> None:
    short = given_agreement(operator=operator, host_carrier=agreement_of(operator).host_carrier, now=now)
    stuck = plan(agreement=short)
    fine, later = plan(prefix="17190001"), plan(prefix="17190002", leased_from=china_date(now) + 2 * DAY)
    assert begin(now) == 0
    tomorrow = now + DAY
    operators.terminate_agreement(actor=SYSTEM, agreement_uid=short.uid, reason="", now=tomorrow)
    assert [begin(tomorrow) for _ in range(3)] == [1, 0, 0]
    states = dict(NumberRange.objects.values_list("pk", "status"))
    assert states == {stuck.pk: "PLANNED", fine.pk: "ACTIVE", later.pk: "PLANNED"}
    # Told once, not every hour.
    row = AuditEvent.objects.get(action="range.activate_failed")
    assert (row.target_id, row.after["code"]) == (stuck.uid, "agreement_not_valid")


def test_the_task_begins_leases(plan: Planned, now: datetime) -> None:
    planned = plan(leased_from=china_date(now))
    tasks.begin_leases.apply(kwargs={"argument_of_a_later_version": 1}, throw=True)
    planned.refresh_from_db()
    assert planned.status == RangeStatus.ACTIVE


# --- Renewed, and seen before it ends ---------------------------------------------------------------------------------
def test_renewal_within_the_agreement(operator: VirtualOperator, now: datetime) -> None:
    today = china_date(now)
    leased = given_range(operator=operator, now=now, leased_until=today + DAY)
    later = now + 3 * DAY
    with refused(NumberNotAvailable):
        take(operator, later)
    numbering.renew_lease(actor=SYSTEM, range_uid=leased.uid, leased_until=today + 30 * DAY, now=later)
    assert take(operator, later).range_id == leased.pk
    row = AuditEvent.objects.get(action="range.renew")
    assert (row.before["leased_until"], row.after["leased_until"]) == (
        str(today + DAY),
        str(today + 30 * DAY),
    )


def test_renewal_under_a_newer_agreement(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    leased = given_range(operator=operator, now=now)
    host = leased.host_carrier
    end = agreement_of(operator).valid_until + 100 * DAY

    def renew(**changes: Any) -> NumberRange:
        call = {"actor": SYSTEM, "range_uid": leased.uid, "leased_until": end, "now": now}
        return numbering.renew_lease(**{**call, **changes})

    given: Callable[..., WholesaleAgreement] = lambda **terms: given_agreement(now=now, **terms)  # noqa: E731
    cases: list[tuple[type[DomainError], dict[str, Any]]] = [
        (RangeInvalid, {}),
        (AgreementNotValid, {"agreement": agreement_of(operator, "mobile")}),
        (AgreementNotValid, {"agreement": agreement_of(other_operator)}),
        (
            AgreementNotValid,
            {
                "agreement": given(
                    operator=operator, host_carrier=host, valid_from=china_date(now) + DAY, valid_until=end
                )
            },
        ),
        (
            AgreementNotValid,
            {"agreement": given(operator=operator, host_carrier=host, areas=["浙江"], valid_until=end)},
        ),
        (LeaseNotLater, {"leased_until": leased.leased_until}),
        (LeaseNotLater, {"leased_until": leased.leased_until + DAY, "now": now + 301 * DAY}),
    ]
    for error, changes in cases:
        with refused(error):
            renew(**changes)
    newer = given(operator=operator, host_carrier=host, valid_until=end)
    renew(agreement=newer)
    leased.refresh_from_db()
    assert (leased.leased_until, leased.agreement) == (end, newer)


def test_what_is_given_back_is_not_renewed(operator: VirtualOperator, now: datetime) -> None:
    leased = given_range(operator=operator, now=now)
    numbering.begin_return(actor=SYSTEM, range_uid=leased.uid, now=now)
    with refused(InvalidTransition):
        numbering.renew_lease(
            actor=SYSTEM, range_uid=leased.uid, leased_until=leased.leased_until + DAY, now=now
        )


def test_leases_that_end_are_seen_a_month_before(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    today = china_date(now)
    ends = {
        days: given_range(operator=operator, now=now, leased_until=today + days * DAY) for days in (1, 30, 31)
    }
    foreign = given_range(operator=other_operator, now=now, leased_until=today + DAY)
    own = Actor.system("own", operator_id=operator.pk)
    assert set(selectors.list_ending(actor=own, now=now)) == {ends[1], ends[30]}
    assert set(selectors.list_ending(actor=SYSTEM, now=now)) == {ends[1], ends[30], foreign}
    assert set(selectors.list_ending(actor=own, now=now, days=1)) == {ends[1]}
    # What is over is not forgotten; what is given back or renewed needs nobody any more.
    later = now + 2 * DAY
    assert ends[1] in selectors.list_ending(actor=own, now=later)
    numbering.begin_return(actor=SYSTEM, range_uid=ends[1].uid, now=later)
    numbering.renew_lease(actor=SYSTEM, range_uid=ends[30].uid, leased_until=today + 200 * DAY, now=later)
    assert set(selectors.list_ending(actor=own, now=later)) == {ends[31]}
    given_policy(key=PolicyKey.LEASE_WARNING_DAYS, value=3, operator=operator, now=later)
    assert set(selectors.list_ending(actor=own, now=later)) == set()
