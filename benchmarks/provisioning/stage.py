"""Operators with any number of activation jobs: a few made by the services, the others copied from them in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection

from apps.core import clock
from apps.core.public_ids import encode
from apps.numbering import services as numbering
from apps.operators.calendar import china_date
from apps.operators.models import WholesaleAgreement
from apps.provisioning.models import ActivationJob
from tests.factories.operators import given_carriers, given_operator, given_policies
from tests.factories.provisioning import SYSTEM, Seller, given_seller
from tests.factories.subscribers import given_verified_subscriber

# People that the lines are spread over: a batch of claims opens about as many identities as it has jobs.
PEOPLE = 100
_PER_RANGE = 10_000
_PREFIXES = {"unicom": "17095", "mobile": "16595", "telecom": "16295"}
_blocks = dict.fromkeys(_PREFIXES, 0)
UNLIMITED: dict[str, Any] = {"max_in_flight": 1000, "calls_per_second": 10_000.0}


@dataclass(frozen=True)
class Stage:
    """One operator at one host carrier, and the keys of its jobs."""

    seller: Seller
    jobs: list[int]

    @property
    def connection_id(self) -> int:
        return int(self.seller.connection.pk)


def given_market() -> None:
    """Carriers and policies, for any number of operators."""
    now = clock.now()
    given_policies(now=now)
    given_carriers(now=now)


def given_stage(*, carrier: str, base_url: str, jobs: int, **settings: Any) -> Stage:
    """Jobs that are not due; nobody calls back and nothing is asked about while they are measured."""
    now = clock.now()
    seller = given_seller(
        operator=given_operator(now=now),
        now=now,
        carrier=carrier,
        base_url=f"{base_url}/{carrier}",
        **{"timeout_seconds": 20.0, "callback_wait_seconds": 3600.0, "settle_seconds": 30.0, **settings},
    )
    template = seller.order().jobs.get()
    people = [given_verified_subscriber(operator=seller.operator, now=now) for _ in range(min(PEOPLE, jobs))]
    numbers = _numbers(seller, carrier, jobs)
    with connection.cursor() as cursor:
        lines = _copies(
            cursor,
            "lines_line",
            template.line_id,
            jobs,
            uid="gen_random_uuid()",
            subscriber_id=f"(ARRAY{[person.pk for person in people]})[1 + n %% {len(people)}]",
        )
        sim = template.line.sim_assignments.get().sim_id
        cards = _copies(
            cursor,
            "sims_simcard",
            sim,
            jobs,
            iccid=f"'898601' || lpad(('5' || {seller.connection.pk} || lpad(n::text, 6, '0')), 12, '0') || 'B'",
            imsi="NULL",
        )
        _copies(
            cursor,
            "lines_simassignment",
            template.line.sim_assignments.get().pk,
            jobs,
            line_id=_nth(lines),
            sim_id=_nth(cards),
        )
        number = template.line.number_assignments.get()
        cursor.execute(
            "UPDATE numbering_phonenumber AS mine SET status = sold.status FROM numbering_phonenumber AS sold "
            "WHERE sold.number = %s AND mine.number BETWEEN %s AND %s",
            [number.number_id, numbers, numbers + jobs - 1],
        )
        _copies(
            cursor,
            "lines_numberassignment",
            number.pk,
            jobs,
            line_id=_nth(lines),
            number_id=f"{numbers} + n - 1",
        )
        checks = [person.verifications.get().pk for person in people]
        orders = _copies(
            cursor,
            "provisioning_serviceorder",
            template.order_id,
            jobs,
            uid="gen_random_uuid()",
            line_id=_nth(lines),
            verification_id=f"(ARRAY{checks})[1 + n %% {len(checks)}]",
        )
        keys = _copies(
            cursor,
            "provisioning_activationjob",
            template.pk,
            jobs,
            uid="gen_random_uuid()",
            order_id=_nth(orders),
            line_id=_nth(lines),
            number=f"{numbers} + n - 1",
            reference=f"'{encode('job', _uuid(cursor))[:12]}_' || n",
        )
        cursor.execute("DELETE FROM provisioning_activationjob WHERE id = %s", [template.pk])
    put_off(keys)
    return Stage(seller, keys)


def put_off(jobs: list[int]) -> None:
    """As if they had never been touched, and due some other day."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM provisioning_jobattempt WHERE job_id = ANY(%s)", [jobs])
    ActivationJob.objects.filter(pk__in=jobs).update(
        status="QUEUED",
        attempts=0,
        unknowns=0,
        queries=0,
        lease_until=None,
        told_at=None,
        finished_at=None,
        failure_kind="",
        error_code="",
        carrier_reference="",
        next_attempt_at=clock.now() + timedelta(days=1),
    )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) provisioning_activationjob, provisioning_jobattempt")
        cursor.execute(
            "UPDATE provisioning_gate SET failures = 0, is_open = FALSE, next_call_at = now(), next_retry_at = now()"
        )


def _numbers(seller: Seller, carrier: str, jobs: int) -> int:
    """The first of that many numbers in a row, leased to the operator."""
    first = 0
    for _ in range(-(-jobs // _PER_RANGE)):
        prefix = f"{_PREFIXES[carrier]}{_blocks[carrier]:02d}"
        _blocks[carrier] += 1
        leased = numbering.lease_range(
            actor=SYSTEM,
            operator=seller.operator,
            agreement=WholesaleAgreement.objects.get(operator=seller.operator, host_carrier=seller.carrier),
            prefix=prefix,
            home_province="广东",
            home_city="深圳",
            leased_from=china_date(seller.now) - timedelta(days=30),
            leased_until=china_date(seller.now) + timedelta(days=300),
            now=seller.now,
        )
        first = first or leased.first
    return first


def _nth(keys: list[int]) -> str:
    """The n-th key, of keys that follow each other."""
    assert keys == list(range(keys[0], keys[0] + len(keys)))
    return f"{keys[0]} + n - 1"


def _uuid(cursor: Any) -> Any:
    cursor.execute("SELECT gen_random_uuid()")
    return cursor.fetchone()[0]


def _copies(cursor: Any, table: str, template: int, many: int, **changes: str) -> list[int]:
    """Rows like that one, but for some columns (SQL over n from 1); returns their keys, in order."""
    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND column_name <> 'id'",
        [table],
    )
    columns = [row[0] for row in cursor.fetchall()]
    values = ", ".join(changes.get(column, f"t.{column}") for column in columns)
    cursor.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608 - names from the catalogue
        f"SELECT {values} FROM {table} AS t, generate_series(1, {many}) AS n WHERE t.id = %s ORDER BY n "
        "RETURNING id",
        [template],
    )
    return [row[0] for row in cursor.fetchall()]
