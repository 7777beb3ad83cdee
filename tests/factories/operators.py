"""Tenants and what they are allowed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from apps.core.actor import Actor
from apps.operators import services as operators
from apps.operators.calendar import china_date
from apps.operators.models import Dealer, HostCarrier, Licence, Policy, VirtualOperator, WholesaleAgreement
from apps.operators.policies import PolicyKey
from apps.operators.states import LicenceKind

SYSTEM = Actor.system("tests")
CARRIERS = {"unicom": "中国联通", "mobile": "中国移动", "telecom": "中国电信"}
ACCESS_CODES = {
    "1700": "telecom",
    "1703": "mobile",
    "1709": "unicom",
    "162": "telecom",
    "165": "mobile",
    "171": "unicom",
}
DEFAULT_POLICIES: dict[PolicyKey, Any] = {
    PolicyKey.HOLDER_LIMIT: 5,
    PolicyKey.HOLDER_CHECK_VERIFIED_MINUTES: 1440,
    PolicyKey.HOLDER_CHECKS_PER_HOUR: 60,
    PolicyKey.HOLDER_CHECKS_PER_DOCUMENT: 10,
    PolicyKey.DISPUTE_DAYS: 15,
    PolicyKey.ORGANIZATIONS_EXEMPT: True,
    PolicyKey.ACTUAL_USERS_COUNTED: True,
    PolicyKey.ACTUAL_USER_REQUIRED: True,
    PolicyKey.QUARANTINE_DAYS: 90,
    PolicyKey.RESERVATION_TTL_SECONDS: 1800,
    PolicyKey.RESERVATION_TTL_MAX_SECONDS: 86400,
    PolicyKey.RESERVATION_QUANTITY_MAX: 100,
    PolicyKey.RESERVATION_HELD_MAX: 1000,
    PolicyKey.LEASE_WARNING_DAYS: 30,
    PolicyKey.RETENTION_YEARS: 2,
    PolicyKey.MINIMUM_AGE: 16,
    PolicyKey.MINIMUM_AGE_WITH_GUARDIAN: 8,
    PolicyKey.REPRESENTATIVE_AGE: 18,
    PolicyKey.PROXY_CHANNELS: ["in_store"],
    PolicyKey.AUTHORISATION_LETTER_REQUIRED: True,
    PolicyKey.VERIFICATION_FRESH_DAYS: 30,
    PolicyKey.VERIFICATION_PATIENCE_HOURS: 48,
    PolicyKey.PHOTO_MAX_HOURS: 24,
    PolicyKey.REVIEW_CLAIM_MINUTES: 30,
    PolicyKey.VERIFICATION_MAX_ATTEMPTS: 300,
    PolicyKey.UNANSWERED_TO_REVIEW: False,
    PolicyKey.WATCHLIST_TO_REVIEW: False,
    PolicyKey.ACCEPTED_DOCUMENT_TYPES: ["resident_id", "uscc"],
    PolicyKey.FACE_EVIDENCE_REQUIRED: False,
    PolicyKey.CONSENT_REQUIRED: False,
    PolicyKey.ABNORMAL_USE_HOURS: [0, 48],
    PolicyKey.DOCUMENT_EXPIRED_HOURS: [168, 720],
    PolicyKey.REGULATOR_LIST_HOURS: [24, 72],
    PolicyKey.DISPUTE_HOURS: [72, 168],
    PolicyKey.DOCUMENT_WARNING_DAYS: 30,
    PolicyKey.REVEALS_PER_HOUR: 30,
    PolicyKey.HELD_ORDER_HOURS: 48,
    PolicyKey.JOB_MAX_ATTEMPTS: 8,
    PolicyKey.JOB_PATIENCE_HOURS: 24,
    PolicyKey.SIM_CHANGE_CHECK_HOURS: 24,
    PolicyKey.ORDERS_NEEDING_PAPERS: ["activate", "change_number", "transfer"],
    PolicyKey.PAPERS_AT_FIRST_SEND: True,
    PolicyKey.PAPER_WARNING_DAYS: [30, 14, 7, 1],
}
_numbers = itertools.count(1)


def given_carriers(*, now: datetime) -> dict[str, HostCarrier]:
    """The three host carriers by code, with some access codes each; may be called again."""
    if (known := {row.code: row for row in HostCarrier.objects.all()}).keys() >= CARRIERS.keys():
        return {code: known[code] for code in CARRIERS}
    carriers = {
        code: operators.register_host_carrier(
            actor=SYSTEM, code=code, name=code.title(), name_zh=name_zh, now=now
        )
        for code, name_zh in CARRIERS.items()
    }
    for prefix, code in ACCESS_CODES.items():
        operators.register_access_code(
            actor=SYSTEM,
            prefix=prefix,
            host_carrier=carriers[code],
            resale_only=True,
            source_note="for tests",
            now=now,
        )
    return carriers


def given_policies(*, now: datetime) -> None:
    """Every policy's default, in force for ten years; may be called again.

    All at once: they are forty, nearly every test needs them, and set one by one they would be half of its time.
    """
    known = set(Policy.objects.filter(operator=None).values_list("key", flat=True))
    Policy.objects.bulk_create(
        Policy(
            operator=None,
            key=key,
            value=value,
            valid_from=now - timedelta(days=3650),
            source_note="for tests",
            created_at=now,
        )
        for key, value in DEFAULT_POLICIES.items()
        if key not in known
    )


def given_policy(
    *,
    key: PolicyKey,
    value: Any,
    now: datetime,
    operator: VirtualOperator | None = None,
    valid_from: datetime | None = None,
) -> Policy:
    return operators.set_policy(
        actor=SYSTEM,
        operator=operator,
        key=key,
        value=value,
        source_note="for tests",
        now=now,
        valid_from=valid_from,
    )


def given_operator(
    *,
    now: datetime,
    code: str = "",
    licensed: bool = True,
    carriers: Sequence[str] = ("unicom", "mobile", "telecom"),
) -> VirtualOperator:
    """A live operator; licensed nationwide, with an agreement for each carrier named."""
    code = code or f"operator-{next(_numbers)}"
    operator = operators.register_operator(
        actor=SYSTEM, code=code, name=code.title(), name_zh="测试虚商", now=now
    )
    if licensed:
        given_licence(operator=operator, now=now)
    for carrier in given_carriers(now=now).values():
        if carrier.code in carriers:
            given_agreement(operator=operator, host_carrier=carrier, now=now)
    return operator


def given_licence(
    *,
    operator: VirtualOperator,
    now: datetime,
    kind: LicenceKind = LicenceKind.COMMERCIAL,
    areas: Sequence[str] = ("*",),
    valid_from: date | None = None,
    valid_until: date | None = None,
) -> Licence:
    """Valid from a year ago for two years unless said otherwise."""
    today = china_date(now)
    return operators.grant_licence(
        actor=SYSTEM,
        operator=operator,
        number=f"T-{next(_numbers)}",
        kind=kind,
        valid_from=valid_from or today - timedelta(days=365),
        valid_until=valid_until or today + timedelta(days=365),
        areas=areas,
        now=now,
    )


def given_agreement(
    *,
    operator: VirtualOperator,
    host_carrier: HostCarrier,
    now: datetime,
    areas: Sequence[str] = ("*",),
    valid_from: date | None = None,
    valid_until: date | None = None,
) -> WholesaleAgreement:
    """Valid from a year ago for two years unless said otherwise."""
    today = china_date(now)
    return operators.sign_agreement(
        actor=SYSTEM,
        operator=operator,
        host_carrier=host_carrier,
        contract_no=f"C-{next(_numbers)}",
        valid_from=valid_from or today - timedelta(days=365),
        valid_until=valid_until or today + timedelta(days=365),
        areas=areas,
        now=now,
    )


def given_dealer(
    *,
    operator: VirtualOperator,
    now: datetime,
    code: str = "",
    valid_from: date | None = None,
    valid_until: date | None = None,
) -> Dealer:
    return operators.register_dealer(
        actor=SYSTEM,
        operator=operator,
        code=code or f"D{next(_numbers)}",
        name="Test dealer",
        valid_from=valid_from or china_date(now) - timedelta(days=30),
        valid_until=valid_until,
        now=now,
    )
