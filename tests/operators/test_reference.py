"""Reference rows and the database's own guards."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from django.db import IntegrityError, models

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.db import violated_constraint
from apps.core.errors import Forbidden, NotFound
from apps.operators import selectors, services, territory
from apps.operators.models import AccessCode, Dealer, HostCarrier, Licence, Policy, VirtualOperator
from tests.factories.operators import given_carriers
from tests.refusals import refused


def test_reference_rows_are_registered_once_and_corrected_in_place(
    db: None, system: Actor, now: datetime
) -> None:
    given_carriers(now=now)
    rows = (HostCarrier.objects.count(), AccessCode.objects.count(), AuditEvent.objects.count())
    given_carriers(now=now)
    assert (HostCarrier.objects.count(), AccessCode.objects.count(), AuditEvent.objects.count()) == rows
    services.register_host_carrier(
        actor=system, code="unicom", name="China Unicom", name_zh="中国联通", now=now
    )
    assert selectors.get_host_carrier(code="unicom").name == "China Unicom"
    changed = AuditEvent.objects.latest("id")
    assert (changed.action, changed.target_id, changed.after) == (
        "host_carrier.register",
        "unicom",
        {"name": "China Unicom"},
    )


def test_reference_rows_are_not_for_operator_staff(db: None, operator_admin: Actor, now: datetime) -> None:
    with refused(Forbidden):
        services.register_host_carrier(actor=operator_admin, code="own", name="x", name_zh="x", now=now)
    assert not HostCarrier.objects.filter(code="own").exists()


def test_the_longest_access_code_decides(carriers: dict[str, HostCarrier]) -> None:
    for digits, code in (
        ("1709000", "unicom"),
        ("17090001", "unicom"),
        ("1700123", "telecom"),
        ("1703", "mobile"),
        ("17112345678", "unicom"),
        ("162", "telecom"),
    ):
        found = selectors.get_access_code(digits=digits)
        assert found is not None
        assert found.host_carrier.code == code
    for digits in ("1708000", "139", "17", "", "abc"):
        assert selectors.get_access_code(digits=digits) is None


def test_unknown_carriers_and_foreign_operators_do_not_exist(
    operator: VirtualOperator, other_operator: VirtualOperator, operator_admin: Actor, platform_admin: Actor
) -> None:
    with refused(NotFound):
        selectors.get_host_carrier(code="broadnet")
    assert selectors.get_operator(actor=operator_admin, uid=operator.uid) == operator
    for uid in (other_operator.uid, "opr_00000000000000000000000000", "opr_nonsense", operator.uid.upper()):
        with refused(NotFound):
            selectors.get_operator(actor=operator_admin, uid=uid)
    with refused(NotFound):
        selectors.get_operator_by_code(actor=operator_admin, code=other_operator.code)
    assert list(selectors.list_operators(actor=operator_admin)) == [operator]
    assert set(selectors.list_operators(actor=platform_admin)) >= {operator, other_operator}


@pytest.mark.parametrize(
    ("areas", "place", "covered"),
    [
        (["*"], "西藏/拉萨", True),
        (["广东"], "广东", True),
        (["广东"], "广东/深圳", True),
        (["广东/深圳"], "广东/深圳", True),
        (["广东/深圳"], "广东", False),
        (["广东/深圳"], "广东/广州", False),
        (["广东"], "广西/南宁", False),
        ([], "广东", False),
    ],
)
def test_territory(areas: list[str], place: str, covered: bool) -> None:
    assert territory.covers(areas, place) is covered


BACKWARDS = {"valid_from": date(2020, 1, 1), "valid_until": date(2019, 1, 1)}
TERM = {"valid_from": date(2020, 1, 1), "valid_until": date(2021, 1, 1), "areas": ["*"]}


@pytest.mark.parametrize(
    ("model", "fields", "constraint"),
    [
        (Licence, {**TERM, "number": "1", "kind": "PILOT", "valid_until": date(2020, 1, 1)}, "licence_term"),
        (Licence, {**TERM, "number": "1", "kind": "PILOT", "areas": []}, "licence_has_areas"),
        (Dealer, {**BACKWARDS, "code": "d", "name": "d"}, "dealer_term"),
        (Policy, {"key": "holder.limit", "value": 9, "source_note": "x"}, "policy_version"),
    ],
)
def test_the_database_refuses_what_must_never_be(
    operator: VirtualOperator,
    now: datetime,
    model: type[models.Model],
    fields: dict[str, Any],
    constraint: str,
) -> None:
    if model is Policy:
        fields = {**fields, "valid_from": now}
        Policy.objects.create(operator=operator, created_at=now, **fields)
    with refused(IntegrityError) as caught:
        model._default_manager.create(operator=operator, created_at=now, **fields)
    assert violated_constraint(caught.value) == constraint


@pytest.mark.parametrize("mode", ["LIVE", "TEST"])
def test_the_database_ties_mode_to_sandbox(operator: VirtualOperator, now: datetime, mode: str) -> None:
    with refused(IntegrityError) as caught:
        VirtualOperator.objects.create(
            code="odd",
            name="x",
            name_zh="x",
            mode=mode,
            sandbox_of=operator if mode == "LIVE" else None,
            created_at=now,
        )
    assert violated_constraint(caught.value) == "operator_test_is_sandbox"


def test_two_policy_defaults_at_one_moment_are_refused_by_the_database(db: None, now: datetime) -> None:
    fields: dict[str, Any] = {"operator": None, "key": "x", "value": 1, "source_note": "x", "created_at": now}
    Policy.objects.create(valid_from=now, **fields)
    with refused(IntegrityError) as caught:
        Policy.objects.create(valid_from=now, **fields)
    assert violated_constraint(caught.value) == "policy_version"
