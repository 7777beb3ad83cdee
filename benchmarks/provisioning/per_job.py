"""One Celery task per job, the way that is usual: the baseline. A worker includes it with `-I`."""

from __future__ import annotations

import functools
from typing import Any

from celery import shared_task
from django.db import connection

from apps.carriers import services as carriers
from apps.carriers.models import CarrierConnection
from apps.core import clock
from apps.core.actor import Actor
from apps.lines import selectors as lines
from apps.provisioning import selectors
from apps.provisioning.services import calling
from apps.provisioning.services.carrier_requests import build
from apps.provisioning.services.jobs import Claim
from apps.provisioning.services.recording import Result, record_steps
from apps.provisioning.states import AttemptKind
from apps.subscribers import services as subscribers
from benchmarks.provisioning.ways import BlockingExchange, finish

ACTOR = Actor.system("benchmark")
QUEUE = "benchmark"
_CLAIM = """
WITH claimed AS (
    UPDATE provisioning_activationjob SET status = 'SENDING', attempts = attempts + 1, token = token + 1,
        lease_until = clock_timestamp() + make_interval(secs => 60)
    WHERE id = %s AND status = 'QUEUED'
    RETURNING id, token, operation, reference, request_id, order_id, line_id, number, connection_id, clock_timestamp()
), intended AS (
    INSERT INTO provisioning_jobattempt (job_id, token, kind, started_at, outcome, code, detail)
    SELECT id, token, 'SEND', clock_timestamp(), '', '', '' FROM claimed
)
SELECT * FROM claimed
"""


@functools.cache
def _carrier(connection_id: int) -> CarrierConnection:
    return CarrierConnection.objects.get(pk=connection_id)


@functools.cache
def _adapter(connection_id: int) -> Any:
    adapter = carriers.adapter_for(_carrier(connection_id))
    adapter.exchange = BlockingExchange(64)
    return adapter


@shared_task(name="benchmark.call")
def call(job_id: int) -> None:
    """Claim, load, call, record: one of each."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [job_id])
        row = cursor.fetchone()
    if row is None:
        return
    key, token, operation, reference, request_id, order_id, line_id, number, connection_id, at = row
    claim = Claim(
        key,
        token,
        AttemptKind.SEND,
        operation,
        reference,
        request_id,
        order_id,
        line_id,
        number,
        True,
        connection_id,
        at,
    )
    fittings = lines.get_fittings(line_ids=[line_id])
    fact = selectors.get_sending_facts(order_ids=[order_id])[order_id]
    holder = subscribers.open_identity_for_carrier(actor=ACTOR, subscriber_ids=[fact.holder_id])[
        fact.holder_id
    ]
    request = build(claim, fittings[line_id], fact, holder)
    work = calling.Work(claim, _carrier(connection_id), _adapter(connection_id), float("inf"), request)
    outcome = finish(calling._carry_out(work))
    record_steps(results=[Result(claim, work.carrier, outcome)], places=[None], now=clock.now())
