"""Licences, agreements, dealers: who may do business now and here."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden, NotFound
from apps.operators import services as operators
from apps.operators.errors import (
    AgreementNotValid,
    AlreadyEnded,
    AlreadyExists,
    DealerNotAllowed,
    LicenceNotValid,
    TermInvalid,
)
from apps.operators.models import Dealer, HostCarrier, Licence, VirtualOperator, WholesaleAgreement
from apps.operators.states import LicenceKind, Validity
from tests.factories.operators import given_agreement, given_dealer, given_licence, given_operator
from tests.refusals import refused

DAY = timedelta(days=1)


@pytest.fixture
def unlicensed(db: None, now: datetime) -> VirtualOperator:
    return given_operator(now=now, licensed=False, carriers=())


def china(year: int, month: int, day: int, hour: int = 12) -> datetime:
    return datetime(year, month, day, hour, tzinfo=ZoneInfo("Asia/Shanghai"))


# --- Licence --------------------------------------------------------------------------------------------------------
def test_a_licence_that_is_valid_now_is_found_with_one_query(
    unlicensed: VirtualOperator, now: datetime, django_assert_num_queries: Any
) -> None:
    licence = given_licence(operator=unlicensed, now=now)
    with django_assert_num_queries(1):
        assert operators.require_valid_licence(operator_id=unlicensed.pk, now=now) == licence


def test_without_a_licence(unlicensed: VirtualOperator, now: datetime) -> None:
    with refused(LicenceNotValid, reason=Validity.NONE):
        operators.require_valid_licence(operator_id=unlicensed.pk, now=now)


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        (china(2018, 7, 11, 23), Validity.NOT_YET_VALID),
        (china(2018, 7, 12, 0), None),
        (china(2023, 7, 11, 23), None),
        (china(2023, 7, 12, 0), Validity.EXPIRED),
        # Half past seven in the evening in London is the next day in Beijing.
        (datetime(2023, 7, 11, 19, 30, tzinfo=UTC), Validity.EXPIRED),
        (datetime(2018, 7, 11, 16, 0, tzinfo=UTC), None),
    ],
)
def test_the_days_of_a_licence_are_days_in_china_and_the_last_is_exclusive(
    unlicensed: VirtualOperator, now: datetime, moment: datetime, reason: Validity | None
) -> None:
    licence = given_licence(
        operator=unlicensed, now=now, valid_from=date(2018, 7, 12), valid_until=date(2023, 7, 12)
    )
    if reason is None:
        assert operators.require_valid_licence(operator_id=unlicensed.pk, now=moment) == licence
    else:
        with refused(LicenceNotValid, reason=reason):
            operators.require_valid_licence(operator_id=unlicensed.pk, now=moment)


def test_a_revoked_licence_ends_at_once(unlicensed: VirtualOperator, system: Actor, now: datetime) -> None:
    licence = given_licence(operator=unlicensed, now=now)
    operators.revoke_licence(actor=system, licence_uid=licence.uid, reason="art. 69", now=now)
    assert operators.require_valid_licence(operator_id=unlicensed.pk, now=now - DAY) == licence
    with refused(LicenceNotValid, reason=Validity.REVOKED):
        operators.require_valid_licence(operator_id=unlicensed.pk, now=now)
    with refused(AlreadyEnded):
        operators.revoke_licence(actor=system, licence_uid=licence.uid, reason="again", now=now)
    recorded = AuditEvent.objects.get(target_id=licence.uid, action="licence.revoke")
    assert (recorded.reason, recorded.operator_id, recorded.actor_label) == (
        "art. 69",
        unlicensed.pk,
        "tests",
    )


def test_a_pilot_licence_counts_inside_its_dates_and_cities_only(
    unlicensed: VirtualOperator, now: datetime
) -> None:
    pilot = given_licence(
        operator=unlicensed,
        now=now,
        kind=LicenceKind.PILOT,
        areas=("广东/深圳", "北京"),
        valid_from=date(2013, 12, 26),
        valid_until=date(2016, 1, 1),
    )
    during = china(2014, 6, 1)
    for area in ("广东/深圳", "北京", "北京/北京", None):
        assert operators.require_valid_licence(operator_id=unlicensed.pk, now=during, area=area) == pilot
    for area in ("广东/广州", "广东", "上海", "深圳"):
        with refused(LicenceNotValid, reason=Validity.NOT_COVERED):
            operators.require_valid_licence(operator_id=unlicensed.pk, now=during, area=area)
    with refused(LicenceNotValid, reason=Validity.EXPIRED):
        operators.require_valid_licence(operator_id=unlicensed.pk, now=china(2016, 1, 1), area="广东/深圳")


def test_any_valid_licence_will_do_and_the_refusal_names_the_nearest(
    unlicensed: VirtualOperator, now: datetime
) -> None:
    given_licence(operator=unlicensed, now=now, valid_from=date(2013, 1, 1), valid_until=date(2015, 1, 1))
    with refused(LicenceNotValid, reason=Validity.EXPIRED):
        operators.require_valid_licence(operator_id=unlicensed.pk, now=now)
    given_licence(operator=unlicensed, now=now, areas=("海南",))
    with refused(LicenceNotValid, reason=Validity.NOT_COVERED):
        operators.require_valid_licence(operator_id=unlicensed.pk, now=now, area="四川/成都")
    nationwide = given_licence(operator=unlicensed, now=now)
    found = operators.require_valid_licence(operator_id=unlicensed.pk, now=now, area="四川/成都")
    assert found == nationwide


def test_another_operator_s_licence_is_no_licence(
    unlicensed: VirtualOperator, operator: VirtualOperator, now: datetime
) -> None:
    assert operators.require_valid_licence(operator_id=operator.pk, now=now).operator == operator
    with refused(LicenceNotValid, reason=Validity.NONE):
        operators.require_valid_licence(operator_id=unlicensed.pk, now=now)


# --- Agreement ------------------------------------------------------------------------------------------------------
def test_an_agreement_holds_for_its_carrier_term_and_territory(
    unlicensed: VirtualOperator,
    carriers: dict[str, HostCarrier],
    now: datetime,
    django_assert_num_queries: Any,
) -> None:
    agreement = given_agreement(
        operator=unlicensed, host_carrier=carriers["unicom"], now=now, areas=("广东", "浙江/杭州")
    )
    unicom = carriers["unicom"].pk

    def require(**place: str) -> WholesaleAgreement:
        return operators.require_valid_agreement(
            operator_id=unlicensed.pk, host_carrier_id=unicom, now=now, **place
        )

    with django_assert_num_queries(1):
        assert require(province="广东", city="深圳") == agreement
    assert require() == require(province="广东") == require(province="浙江", city="杭州") == agreement
    for place in (
        {"province": "浙江"},
        {"province": "浙江", "city": "宁波"},
        {"province": "北京", "city": "北京"},
    ):
        with refused(AgreementNotValid, reason=Validity.NOT_COVERED):
            require(**place)
    with refused(AgreementNotValid, reason=Validity.NONE):
        operators.require_valid_agreement(
            operator_id=unlicensed.pk, host_carrier_id=carriers["mobile"].pk, now=now
        )


def test_an_agreement_before_and_after_its_term(
    unlicensed: VirtualOperator, carriers: dict[str, HostCarrier], now: datetime
) -> None:
    agreement = given_agreement(
        operator=unlicensed,
        host_carrier=carriers["telecom"],
        now=now,
        valid_from=date(2024, 1, 1),
        valid_until=date(2025, 1, 1),
    )
    telecom = carriers["telecom"].pk
    for moment, reason in (
        (china(2023, 12, 31, 23), Validity.NOT_YET_VALID),
        (china(2025, 1, 1, 0), Validity.EXPIRED),
    ):
        with refused(AgreementNotValid, reason=reason):
            operators.require_valid_agreement(operator_id=unlicensed.pk, host_carrier_id=telecom, now=moment)
    found = operators.require_valid_agreement(
        operator_id=unlicensed.pk, host_carrier_id=telecom, now=china(2024, 12, 31, 23)
    )
    assert found == agreement


def test_a_terminated_agreement_ends_at_once(
    unlicensed: VirtualOperator, carriers: dict[str, HostCarrier], system: Actor, now: datetime
) -> None:
    agreement = given_agreement(operator=unlicensed, host_carrier=carriers["unicom"], now=now)
    operators.terminate_agreement(actor=system, agreement_uid=agreement.uid, reason="market exit", now=now)
    with refused(AgreementNotValid, reason=Validity.REVOKED):
        operators.require_valid_agreement(
            operator_id=unlicensed.pk, host_carrier_id=carriers["unicom"].pk, now=now
        )
    with refused(AlreadyEnded):
        operators.terminate_agreement(actor=system, agreement_uid=agreement.uid, reason="again", now=now)
    assert AuditEvent.objects.filter(target_id=agreement.uid, action="agreement.terminate").count() == 1


# --- Recording them -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"valid_until": date(2020, 1, 1)}, TermInvalid),
        ({"areas": ()}, TermInvalid),
        ({"areas": ("广东/深圳/南山",)}, TermInvalid),
        ({"areas": ("广东/",)}, TermInvalid),
        ({"areas": (" 广东",)}, TermInvalid),
    ],
)
def test_a_malformed_term_is_not_recorded(
    unlicensed: VirtualOperator, now: datetime, change: dict[str, Any], error: type[Exception]
) -> None:
    with refused(error):
        given_licence(operator=unlicensed, now=now, **{"valid_from": date(2020, 1, 1), **change})
    assert not Licence.objects.filter(operator=unlicensed).exists()


def test_the_same_paper_twice_is_refused(
    unlicensed: VirtualOperator, carriers: dict[str, HostCarrier], system: Actor, now: datetime
) -> None:
    licence = given_licence(operator=unlicensed, now=now)
    with refused(AlreadyExists):
        operators.grant_licence(
            actor=system,
            operator=unlicensed,
            number=licence.number,
            kind=LicenceKind.COMMERCIAL,
            valid_from=licence.valid_from,
            valid_until=licence.valid_until,
            areas=("*",),
            now=now,
        )
    agreement = given_agreement(operator=unlicensed, host_carrier=carriers["unicom"], now=now)
    with refused(AlreadyExists):
        operators.sign_agreement(
            actor=system,
            operator=unlicensed,
            host_carrier=carriers["mobile"],
            contract_no=agreement.contract_no,
            valid_from=agreement.valid_from,
            valid_until=agreement.valid_until,
            areas=("*",),
            now=now,
        )
    assert (
        Licence.objects.filter(operator=unlicensed).count(),
        unlicensed.wholesaleagreement_set.count(),
    ) == (1, 1)


def test_operator_staff_cannot_grant_themselves_anything(
    operator: VirtualOperator, operator_admin: Actor, carriers: dict[str, HostCarrier], now: datetime
) -> None:
    term: dict[str, Any] = {
        "actor": operator_admin,
        "operator": operator,
        "valid_from": date(2020, 1, 1),
        "valid_until": date(2030, 1, 1),
        "areas": ("*",),
        "now": now,
    }
    licence = Licence.objects.get(operator=operator)
    before = AuditEvent.objects.count()
    with refused(Forbidden):
        operators.grant_licence(number="x", kind=LicenceKind.COMMERCIAL, **term)
    with refused(Forbidden):
        operators.sign_agreement(host_carrier=carriers["unicom"], contract_no="x", **term)
    with refused(Forbidden):
        operators.revoke_licence(actor=operator_admin, licence_uid=licence.uid, reason="x", now=now)
    with refused(Forbidden):
        operators.register_operator(actor=operator_admin, code="x", name="x", name_zh="x", now=now)
    with refused(Forbidden):
        operators.open_sandbox(actor=operator_admin, operator=operator, now=now)
    assert AuditEvent.objects.count() == before
    assert Licence.objects.filter(operator=operator).count() == 1


# --- Operators ------------------------------------------------------------------------------------------------------
def test_a_sandbox_is_a_tenant_of_its_own(operator: VirtualOperator, system: Actor, now: datetime) -> None:
    sandbox = operators.open_sandbox(actor=system, operator=operator, now=now)
    assert (sandbox.code, sandbox.mode, sandbox.sandbox_of) == (f"{operator.code}-test", "TEST", operator)
    with refused(LicenceNotValid, reason=Validity.NONE):
        operators.require_valid_licence(operator_id=sandbox.pk, now=now)
    with refused(AlreadyExists):
        operators.open_sandbox(actor=system, operator=operator, now=now)
    with refused(TermInvalid):
        operators.open_sandbox(actor=system, operator=sandbox, now=now)
    assert VirtualOperator.objects.filter(sandbox_of=operator).count() == 1


def test_a_code_is_taken_once(operator: VirtualOperator, system: Actor, now: datetime) -> None:
    with refused(AlreadyExists):
        operators.register_operator(actor=system, code=operator.code, name="x", name_zh="x", now=now)


# --- Dealers --------------------------------------------------------------------------------------------------------
def test_a_dealer_is_found_by_code_or_id_within_its_operator(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    dealer = given_dealer(operator=operator, now=now, code="SZ001")
    for name in ("SZ001", dealer.uid):
        found = operators.require_dealer(operator_id=operator.pk, dealer_code_or_uid=name, now=now)
        assert found == dealer
        with refused(DealerNotAllowed):
            operators.require_dealer(operator_id=other_operator.pk, dealer_code_or_uid=name, now=now)
    for unknown in ("SZ002", "dlr_00000000000000000000000000", "dlr_nonsense", "sz001"):
        with refused(DealerNotAllowed):
            operators.require_dealer(operator_id=operator.pk, dealer_code_or_uid=unknown, now=now)


def test_a_dealer_outside_its_dates_or_suspended_may_not_act(
    operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    today = now.astimezone(ZoneInfo("Asia/Shanghai")).date()
    early = given_dealer(operator=operator, now=now, valid_from=today + DAY)
    late = given_dealer(operator=operator, now=now, valid_from=today - 9 * DAY, valid_until=today)
    suspended = given_dealer(operator=operator, now=now)
    operators.suspend_dealer(actor=operator_admin, dealer_uid=suspended.uid, reason="batch opening", now=now)
    for dealer in (early, late, suspended):
        with refused(DealerNotAllowed):
            operators.require_dealer(operator_id=operator.pk, dealer_code_or_uid=dealer.code, now=now)
    assert AuditEvent.objects.get(action="dealer.suspend").reason == "batch opening"
    with refused(AlreadyEnded):
        operators.suspend_dealer(actor=operator_admin, dealer_uid=suspended.uid, reason="again", now=now)


def test_operator_admins_manage_their_own_dealers_only(
    operator: VirtualOperator, other_operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    fields: dict[str, Any] = {"actor": operator_admin, "name": "x", "valid_from": now.date(), "now": now}
    operators.register_dealer(operator=operator, code="A", **fields)
    with refused(AlreadyExists):
        operators.register_dealer(operator=operator, code="A", **fields)
    with refused(NotFound):
        operators.register_dealer(operator=other_operator, code="A", **fields)
    theirs = given_dealer(operator=other_operator, now=now)
    with refused(NotFound):
        operators.suspend_dealer(actor=operator_admin, dealer_uid=theirs.uid, reason="x", now=now)
    theirs.refresh_from_db()
    assert theirs.suspended_at is None
    assert Dealer.objects.filter(code="A").count() == 1
