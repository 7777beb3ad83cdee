"""Operators that can sell over all three carriers, people with passed checks, and what the checker notes of steps."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from apps.core.actor import Actor
from apps.numbering import services as numbering
from apps.operators.calendar import china_date
from apps.operators.models import WholesaleAgreement
from apps.subscribers.models import Verification
from apps.subscribers.services import run_due_verifications
from apps.subscribers.states import VerificationStatus
from tests.factories.accounts import given_partner_app, given_token
from tests.factories.operators import given_operator, given_policies
from tests.factories.provisioning import given_connection, given_plan, given_sims
from tests.factories.subscribers import answering, given_subscriber, given_verification, resident_number

SYSTEM = Actor.system("faults")
NAME = "张三丰"
CARDS_A_PERSON = 4
# Seven digits: ten thousand numbers.
_AREAS = {"unicom": "1709", "mobile": "1659", "telecom": "1629"}
_blocks = {carrier: itertools.count(0) for carrier in _AREAS}

# Impatient, so that a run meets in a minute what takes an hour: a lease is 2 x timeout + 5 s.
CONNECTION: dict[str, Any] = {
    "timeout_seconds": 1.0,
    "settle_seconds": 1.0,
    "callback_wait_seconds": 2.0,
    "max_in_flight": 16,
}


@dataclass
class Shop:
    """One operator as its partner's program sees it, and the ids of its connections."""

    operator_id: int
    token: str
    plans: dict[str, list[str]]
    connections: dict[str, int]
    blocks: dict[str, str]
    # With a passed check, and without any.
    people: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


@dataclass
class Stock:
    shops: list[Shop]
    # What must never be found in Redis.
    canaries: frozenset[bytes]


def given_stock(
    *,
    now: datetime,
    shops: int = 3,
    orders: int,
    strangers: int = 0,
    carriers: tuple[str, ...] = ("unicom", "mobile", "telecom"),
    base_url: str,
    **settings: Any,
) -> Stock:
    """Enough of everything for so many activations, spread evenly over shops and carriers."""
    given_policies(now=now)
    canaries = {NAME.encode(), NAME.encode("unicode-escape")}
    made = []
    each = orders // (shops * len(carriers)) + 30
    with transaction.atomic():
        for _ in range(shops):
            operator = given_operator(now=now)
            app, _ = given_partner_app(operator=operator, now=now)
            shop = Shop(operator.pk, given_token(app=app, now=now, lifetime=timedelta(days=1)), {}, {}, {})
            for code in carriers:
                agreement = WholesaleAgreement.objects.select_related("host_carrier").get(
                    operator=operator, host_carrier__code=code
                )
                host = agreement.host_carrier
                shop.blocks[code] = f"{_AREAS[code]}{next(_blocks[code]):03d}"
                numbering.lease_range(
                    actor=SYSTEM,
                    operator=operator,
                    agreement=agreement,
                    prefix=shop.blocks[code],
                    home_province="广东",
                    home_city="深圳",
                    leased_from=china_date(now) - timedelta(days=30),
                    leased_until=china_date(now) + timedelta(days=300),
                    now=now,
                )
                given_sims(operator=operator, carrier=host, now=now, count=each)
                shop.plans[code] = [
                    given_plan(operator=operator, carrier=host, now=now, code=f"P-{code}-{n}").uid
                    for n in (1, 2)
                ]
                shop.connections[code] = given_connection(
                    operator=operator,
                    carrier=host,
                    now=now,
                    base_url=f"{base_url}/{code}",
                    **{**CONNECTION, **settings},
                ).pk
            known = orders // (shops * CARDS_A_PERSON) + 4
            for index in range(known + strangers // shops):
                number = resident_number()
                canaries.add(number.encode())
                person = given_subscriber(operator=operator, now=now, name=NAME, number=number)
                if index < known:
                    given_verification(subscriber=person, now=now)
                (shop.people if index < known else shop.strangers).append(person.uid)
            made.append(shop)
    while Verification.objects.filter(status=VerificationStatus.PENDING).exists():
        run_due_verifications(clock=lambda: now, providers=answering())
    watch_steps()
    return Stock(made, frozenset(canaries))


_WATCHED = {
    "provisioning_serviceorder": "status",
    "provisioning_activationjob": "status",
    "provisioning_jobattempt": "outcome",
    "lines_line": "status",
    "sims_simcard": "status",
    "numbering_phonenumber": "status",
}
_STEPS = """
CREATE SCHEMA faults;
CREATE TABLE faults.step (
    n bigserial PRIMARY KEY, what text, row_id bigint, before text, after text,
    at timestamptz DEFAULT clock_timestamp()
);
CREATE FUNCTION faults.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO faults.step (what, row_id, before, after) VALUES (
        TG_TABLE_NAME, (to_jsonb(NEW) ->> TG_ARGV[1])::bigint,
        CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) ->> TG_ARGV[0] END, to_jsonb(NEW) ->> TG_ARGV[0]
    );
    RETURN NULL;
END $$;
"""


def watch_steps() -> None:
    """The database itself writes down every step of every state: what the code forgets to tell is told here."""
    with connection.cursor() as cursor:
        cursor.execute(_STEPS)
        for table, column in _WATCHED.items():
            key = "number" if table == "numbering_phonenumber" else "id"
            cursor.execute(
                f"CREATE TRIGGER faults_step AFTER UPDATE OF {column} ON {table} FOR EACH ROW"
                f" WHEN (OLD.{column} IS DISTINCT FROM NEW.{column})"
                f" EXECUTE FUNCTION faults.note('{column}', '{key}')"
            )
