"""The reference data and demo tenants of seeds/, loaded through the services."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from django.conf import settings

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.operators import policies, selectors, services
from apps.operators.management import seeding
from apps.operators.models import (
    AccessCode,
    Dealer,
    DocumentType,
    HostCarrier,
    Licence,
    Policy,
    VirtualOperator,
    WholesaleAgreement,
)
from apps.operators.policies import PolicyKey
from apps.operators.states import OperatorMode, Validity
from tests.refusals import refused

SEEDS = Path(settings.BASE_DIR) / "seeds"
DEMO = {"alibaba", "jd", "xiaomi"}
TABLES = (HostCarrier, AccessCode, DocumentType, VirtualOperator, Licence, WholesaleAgreement, Dealer, Policy)


@pytest.fixture
def loaded(db: None, system: Actor, now: datetime) -> dict[str, int]:
    return load_all(system, now)


def load_all(system: Actor, now: datetime) -> dict[str, int]:
    """Reference data, then the demonstration tenants; how many rows each file added."""
    added = seeding.load(folder=SEEDS, actor=system, now=now)
    return added | {
        f"demo/{n}": c for n, c in seeding.load(folder=SEEDS / "demo", actor=system, now=now).items()
    }


def test_loading_twice_adds_nothing(loaded: dict[str, int], system: Actor, now: datetime) -> None:
    assert all(loaded.values())
    counts = [table._default_manager.count() for table in (*TABLES, AuditEvent)]
    again = load_all(system, now)
    assert set(again.values()) == {0}
    assert [table._default_manager.count() for table in (*TABLES, AuditEvent)] == counts


def test_the_fifteen_licensees_of_2018(loaded: dict[str, int]) -> None:
    live = VirtualOperator.objects.filter(mode=OperatorMode.LIVE)
    assert live.count() == 15
    assert {o.first_host.code for o in live.select_related("first_host") if o.first_host} == {"unicom"}
    assert all(o.name and o.name_zh and o.source_note for o in live)
    yuantel = Licence.objects.get(operator__code="yuantel")
    assert (yuantel.valid_from, yuantel.valid_until) == (date(2018, 7, 12), date(2023, 7, 12))
    others = Licence.objects.exclude(operator__code="yuantel").filter(number__startswith="2018/")
    assert others.count() == 14
    assert set(others.values_list("valid_from", "valid_until")) == {(date(2018, 7, 23), date(2023, 7, 23))}


def test_only_the_demo_tenants_may_do_business_today(loaded: dict[str, int], now: datetime) -> None:
    states = {
        operator.code: selectors.get_licence_state(operator_id=operator.pk, now=now).state
        for operator in VirtualOperator.objects.all()
    }
    assert set(states.values()) == {Validity.VALID, Validity.EXPIRED}
    valid = {code for code, state in states.items() if state is Validity.VALID}
    assert valid == DEMO | {f"{code}-test" for code in DEMO}
    for code in valid:
        licence = Licence.objects.filter(operator__code=code).latest("valid_until")
        assert licence.source_note.startswith("DEMO ONLY")
    # All fifteen could in 2020.
    then = datetime(2020, 1, 1, tzinfo=UTC)
    for operator in VirtualOperator.objects.filter(mode=OperatorMode.LIVE):
        assert services.require_valid_licence(operator_id=operator.pk, now=then).number.startswith("2018/")


def test_demo_tenants_have_agreements_with_all_three_hosts(loaded: dict[str, int], now: datetime) -> None:
    for code in DEMO | {f"{code}-test" for code in DEMO}:
        operator = VirtualOperator.objects.get(code=code)
        states = selectors.list_agreement_states(operator_id=operator.pk, now=now)
        assert [(s.carrier, s.state) for s in states] == [
            ("mobile", Validity.VALID),
            ("telecom", Validity.VALID),
            ("unicom", Validity.VALID),
        ]
    assert all(a.source_note.startswith("DEMO ONLY") for a in WholesaleAgreement.objects.all())


def test_every_policy_is_set_and_says_where_it_comes_from(loaded: dict[str, int], now: datetime) -> None:
    found = policies.get_many(operator_id=None, keys=tuple(PolicyKey), now=now)
    assert (found[PolicyKey.HOLDER_LIMIT], found[PolicyKey.QUARANTINE_DAYS]) == (5, 90)
    assert (found[PolicyKey.RETENTION_YEARS], found[PolicyKey.MINIMUM_AGE]) == (2, 16)
    assert found[PolicyKey.FACE_EVIDENCE_REQUIRED] is True
    assert all(len(policy.source_note) > 20 for policy in Policy.objects.all())
    demo = VirtualOperator.objects.get(code="jd")
    assert policies.get(operator_id=demo.pk, key=PolicyKey.FACE_EVIDENCE_REQUIRED, now=now) is False
    # Known since the day of its law, not only since the seeds were loaded.
    assert (
        policies.get(operator_id=None, key=PolicyKey.HOLDER_LIMIT, now=datetime(2017, 1, 1, tzinfo=UTC)) == 5
    )


def test_what_staff_changed_stays(loaded: dict[str, int], system: Actor, now: datetime) -> None:
    services.set_policy(
        actor=system,
        operator=None,
        key=PolicyKey.HOLDER_LIMIT,
        value=4,
        source_note="decision of today",
        now=now,
    )
    load_all(system, now)
    assert policies.get(operator_id=None, key=PolicyKey.HOLDER_LIMIT, now=now) == 4


@pytest.mark.parametrize(
    ("digits", "carrier"),
    [
        ("1620", "telecom"),
        ("1659", "mobile"),
        ("1670", "unicom"),
        ("1700", "telecom"),
        ("1702", "telecom"),
        ("1703", "mobile"),
        ("1704", "unicom"),
        ("1705", "mobile"),
        ("1706", "mobile"),
        ("1707", "unicom"),
        ("1709", "unicom"),
        ("1710", "unicom"),
        ("1390", None),
        ("1490", None),
    ],
)
def test_access_codes(loaded: dict[str, int], digits: str, carrier: str | None) -> None:
    found = selectors.get_access_code(digits=digits + "123")
    assert (found.host_carrier.code if found else None) == carrier
    assert found is None or found.resale_only


def test_document_types_are_those_of_the_contract(loaded: dict[str, int]) -> None:
    assert set(DocumentType.objects.values_list("code", flat=True)) == {
        "resident_id",
        "temporary_resident_id",
        "household_register",
        "hk_macao_permit",
        "taiwan_permit",
        "hkmt_residence_permit",
        "foreign_permanent_resident",
        "passport",
        "military_id",
        "uscc",
    }
    assert list(DocumentType.objects.filter(holder_kind="ORGANIZATION").values_list("code", flat=True)) == [
        "uscc"
    ]


def test_dealers(loaded: dict[str, int], now: datetime) -> None:
    operator = VirtualOperator.objects.get(code="alibaba")
    for code, state in (("SZ001", Validity.VALID), ("GZ009", Validity.EXPIRED)):
        assert Dealer.objects.get(operator=operator, code=code).validity(now=now) is state


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("licences.csv", "nobody,1,COMMERCIAL,2018-07-23,2023-07-23,*,x"),
        ("licences.csv", "jd,1,COMMERCIAL,2018-07-23,2018-07-23,*,x"),
        ("licences.csv", "jd,1,COMMERCIAL,yesterday,2018-07-23,*,x"),
        ("policies.csv", ",holder.limt,5,,x"),
        ("policies.csv", "jd,holder.limit,many,,x"),
        ("access_codes.csv", "1999,broadnet,yes,x"),
    ],
)
def test_a_bad_seed_names_file_and_line(
    db: None, system: Actor, now: datetime, tmp_path: Path, name: str, line: str
) -> None:
    folder = tmp_path / "seeds"
    shutil.copytree(SEEDS, folder)
    path = folder / name
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines, line]), encoding="utf-8")
    with refused(seeding.SeedInvalid) as caught:
        seeding.load(folder=folder, actor=system, now=now)
    assert str(caught.value).startswith(f"{name}, line {len(lines) + 1}: ")
