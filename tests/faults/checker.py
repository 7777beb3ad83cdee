"""What must never happen, as queries over three witnesses: the client's log, our tables and the carriers' own records.

One function for each invariant of the design; each returns what breaks it, so that nothing is good news.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.db import connection

from apps.audit import verification
from apps.core.states import StateMachine
from apps.lines.states import LINE
from apps.numbering.states import NUMBER
from apps.provisioning.models import ServiceOrder
from apps.provisioning.states import JOB, ORDER
from apps.sims.states import SIM
from tests.faults.client import Record
from tests.faults.report import Finding

# What is due and has an owner is taken up within a few sweeps.
OVERDUE_SECONDS = 15


@dataclass(frozen=True)
class Evidence:
    """What is not in our own tables."""

    history: Sequence[Record]
    ledger: Sequence[dict[str, Any]]
    carrier_lines: Sequence[dict[str, Any]]
    leaks: Sequence[str]
    # Seconds from the last fault until nothing was open, and how many there might be.
    drained_in: float
    drained_within: float


_CHECKS: list[tuple[str, str, Callable[[Evidence], Iterator[str]]]] = []


def _invariant(name: str, sentence: str) -> Any:
    def register(check: Callable[[Evidence], Iterator[str]]) -> Callable[[Evidence], Iterator[str]]:
        _CHECKS.append((name, sentence, check))
        return check

    return register


def check(evidence: Evidence) -> list[Finding]:
    """Every invariant, in their order."""
    _load(evidence)
    findings = []
    for name, sentence, one in _CHECKS:
        broken = list(one(evidence))
        findings.append(Finding(name, sentence, len(broken), broken[:8]))
    return findings


@_invariant("I1", "An acknowledged order is never lost, and never stuck without an owner.")
def nothing_lost(evidence: Evidence) -> Iterator[str]:
    yield from _rows(
        "acknowledged and not in the database",
        """
        SELECT answer.key, answer.order_uid FROM faults.answer
        LEFT JOIN faults.order_uid ON order_uid.uid = answer.order_uid
        WHERE answer.status = 202 AND answer.type <> 'verification' AND order_uid.id IS NULL
        """,
    )
    yield from _rows(
        "due and nobody comes",
        """
        SELECT id, status, next_attempt_at, lease_until FROM provisioning_activationjob
        WHERE (status = 'SENDING' AND lease_until < clock_timestamp() - make_interval(secs => %(overdue)s))
            OR (status IN ('QUEUED', 'ACCEPTED', 'IN_DOUBT')
                AND greatest(next_attempt_at, lease_until) < clock_timestamp() - make_interval(secs => %(overdue)s))
        """,
        overdue=OVERDUE_SECONDS,
    )
    yield from _rows(
        "in progress without a job, or with a job that has ended and is no dead letter",
        """
        SELECT o.id, o.type, job.status FROM provisioning_serviceorder o
        LEFT JOIN provisioning_activationjob job ON job.order_id = o.id
        WHERE o.status = 'IN_PROGRESS' AND (job.id IS NULL
            OR (job.finished_at IS NOT NULL AND job.failure_kind <> 'SYSTEM'))
        """,
    )
    yield from _rows(
        "finished with a job that is not",
        """
        SELECT o.id, o.status, job.status FROM provisioning_serviceorder o
        JOIN provisioning_activationjob job ON job.order_id = o.id
        WHERE o.finished_at IS NOT NULL AND job.finished_at IS NULL
        """,
    )


@_invariant("I2", "A carrier carries out at most one operation for an order, and none without one.")
def one_effect(evidence: Evidence) -> Iterator[str]:
    yield from _rows(
        "carried out more than once under one reference",
        "SELECT reference, operation, count(*) FROM faults.ledger GROUP BY 1, 2 HAVING count(*) > 1",
    )
    yield from _rows(
        "number or SIM activated more than once",
        """
        SELECT number, iccid, count(*) FROM faults.ledger
        WHERE operation = 'activate' AND result <> 'REFUSED' GROUP BY 1, 2 HAVING count(*) > 1
        """,
    )
    yield from _rows(
        "carried out for no job of ours, or for one that asked for something else",
        """
        SELECT ledger.reference, ledger.operation, job.operation FROM faults.ledger
        LEFT JOIN provisioning_activationjob job ON job.reference = ledger.reference
        WHERE job.id IS NULL OR lower(job.operation) <> ledger.operation OR job.number::text <> ledger.number
        """,
    )
    yield from _rows(
        "two jobs for one order",
        "SELECT order_id, count(*) FROM provisioning_activationjob GROUP BY 1 HAVING count(*) > 1",
    )


@_invariant("I3", "A number and a SIM have at most one live owner, and none is held by nobody.")
def one_owner(evidence: Evidence) -> Iterator[str]:
    for what, column in (("numberassignment", "number_id"), ("simassignment", "sim_id")):
        yield from _rows(
            f"two live lines at one {column[:-3]}",
            f"SELECT {column}, count(*) FROM lines_{what} WHERE released_at IS NULL GROUP BY 1 HAVING count(*) > 1",
        )
        yield from _rows(
            f"live line without one {column[:-3]}",
            f"""
            SELECT line.id, line.status FROM lines_line line
            LEFT JOIN lines_{what} held ON held.line_id = line.id AND held.released_at IS NULL
            WHERE (line.status <> 'TERMINATED') <> (held.id IS NOT NULL)
            """,
        )
    yield from _rows(
        "number in use by no line, or of a line and not in use",
        f"""
        SELECT number.number, number.status, held.line_id FROM numbering_phonenumber number
        FULL JOIN (SELECT * FROM lines_numberassignment WHERE released_at IS NULL) held
            ON held.number_id = number.number
        WHERE coalesce(number.status = {_IN_USE}, false) <> (held.id IS NOT NULL)
        """,
    )
    yield from _rows(
        "SIM bound or promised to no line, or of a line and neither",
        """
        SELECT sim.id, sim.status, held.line_id FROM sims_simcard sim
        FULL JOIN (SELECT * FROM lines_simassignment WHERE released_at IS NULL) held ON held.sim_id = sim.id
        WHERE coalesce(sim.status IN ('RESERVED', 'BOUND'), false) <> (held.id IS NOT NULL)
        """,
    )
    yield from _rows(
        "place of a holder kept by a line that has ended",
        """
        SELECT slot.id, line.status FROM lines_holderslot slot JOIN lines_line line ON line.id = slot.line_id
        WHERE line.status = 'TERMINATED'
        """,
    )


@_invariant(
    "I4",
    "Past the settle horizon the carrier's lines are ours, in the same state, with the same SIM and plan.",
)
def both_sides_agree(evidence: Evidence) -> Iterator[str]:
    yield from _rows(
        "ours and the carrier's line differ",
        """
        SELECT ours.id, ours.number, ours.state, theirs.number, theirs.state, ours.iccid = theirs.iccid,
            ours.plan = theirs.plan
        FROM (
            SELECT line.id, held.number_id::text AS number, sim.iccid, plan.code AS plan,
                CASE WHEN line.status = 'ACTIVE' THEN 'IN_SERVICE'
                    WHEN line.suspension_kind = 'ONE_WAY' THEN 'STOPPED_OUTGOING'
                    WHEN line.status = 'SUSPENDED' THEN 'STOPPED' END AS state
            FROM lines_line line
            JOIN lines_numberassignment held ON held.line_id = line.id AND held.released_at IS NULL
            JOIN lines_simassignment card ON card.line_id = line.id AND card.released_at IS NULL
            JOIN sims_simcard sim ON sim.id = card.sim_id
            JOIN lines_plan plan ON plan.id = line.plan_id
            WHERE line.status IN ('ACTIVE', 'SUSPENDED')
        ) ours
        FULL JOIN (SELECT * FROM faults.carrier_line WHERE state <> 'CLOSED') theirs ON theirs.number = ours.number
        WHERE (ours.state IS DISTINCT FROM theirs.state OR ours.iccid IS DISTINCT FROM theirs.iccid
                OR ours.plan IS DISTINCT FROM theirs.plan)
            -- What staff have been told of, or is under way, is not yet settled.
            AND coalesce(ours.number, theirs.number) NOT IN (
                SELECT number::text FROM provisioning_activationjob
                WHERE failure_kind = 'SYSTEM' OR finished_at IS NULL)
        """,
    )
    yield from _rows(
        "job ended one way here and the other way there",
        """
        SELECT job.reference, job.status, job.error_code, ledger.result FROM provisioning_activationjob job
        JOIN faults.ledger ON ledger.reference = job.reference
        WHERE (job.status = 'SUCCEEDED' AND ledger.result = 'REFUSED')
            OR (job.failure_kind IN ('BUSINESS', 'CANCELLED') AND ledger.result = 'DONE')
        """,
    )
    yield from _rows(
        "succeeded here and unknown there",
        """
        SELECT job.reference, job.operation FROM provisioning_activationjob job
        LEFT JOIN faults.ledger ON ledger.reference = job.reference
        WHERE job.status = 'SUCCEEDED' AND ledger.reference IS NULL AND job.operation NOT IN ('SUSPEND', 'RESUME')
        """,
    )


@_invariant("I5", "One key is one order and one answer.")
def one_answer(evidence: Evidence) -> Iterator[str]:
    yield from _rows(
        "two orders under one key",
        """
        SELECT operator_id, external_id, count(*) FROM provisioning_serviceorder
        WHERE external_id <> '' GROUP BY 1, 2 HAVING count(*) > 1
        """,
    )
    yield from _rows(
        "two different answers to one key",
        """
        SELECT app, key, count(DISTINCT digest) FROM faults.answer WHERE status BETWEEN 200 AND 299
        GROUP BY 1, 2 HAVING count(DISTINCT digest) > 1
        """,
    )
    yield from _rows(
        "refused after it had been accepted",
        """
        SELECT key, min(at) FILTER (WHERE status = 202), max(at) FILTER (WHERE status BETWEEN 400 AND 499)
        FROM faults.answer WHERE code NOT IN ('idempotency_in_progress', 'rate_limited')
        GROUP BY key
        HAVING min(at + seconds) FILTER (WHERE status = 202) < max(at) FILTER (WHERE status BETWEEN 400 AND 499)
        """,
    )
    yield from _rows(
        "an order nobody asked for",
        """
        SELECT o.id, o.external_id FROM provisioning_serviceorder o
        WHERE o.external_id <> '' AND o.external_id NOT IN (SELECT key FROM faults.answer)
        """,
    )


@_invariant(
    "I6", "States move along legal edges only; late, repeated, stale and forged news never moves one back."
)
def legal_steps(evidence: Evidence) -> Iterator[str]:
    yield from _rows(
        "no such step",
        """
        SELECT step.what, step.row_id, step.before, step.after FROM faults.step
        LEFT JOIN faults.edge USING (what, before, after)
        WHERE step.what <> 'provisioning_jobattempt' AND edge.what IS NULL
        """,
    )
    yield from _rows(
        "the outcome of a call written over by somebody whose lease was over",
        """
        SELECT row_id, before, after FROM faults.step
        WHERE what = 'provisioning_jobattempt' AND before <> '' AND after <> 'FENCED'
        """,
    )
    yield from _rows(
        "a message of the carrier stored more than once",
        """
        SELECT connection_id, event_id, count(*) FROM provisioning_carriercallback
        GROUP BY connection_id, event_id, body HAVING count(*) > 1
        """,
    )
    yield from _rows(
        "a message in conflict with what we hold for final, although the carrier is right",
        """
        SELECT callback.event_id, callback.succeeded, job.status FROM provisioning_carriercallback callback
        JOIN provisioning_activationjob job
            ON job.reference = callback.reference AND job.connection_id = callback.connection_id
        JOIN faults.ledger ON ledger.reference = callback.reference
        WHERE callback.outcome = 'CONFLICT' AND callback.number = '+86' || job.number
            AND callback.succeeded = (ledger.result = 'DONE')
        """,
    )


@_invariant("I7", "Nothing in Redis is needed, and nobody's name or identity number is in it.")
def redis_is_dispensable(evidence: Evidence) -> Iterator[str]:
    # That nothing is needed is what the other invariants say after its flushes.
    for key in evidence.leaks:
        yield f"personal data in Redis: {key}"


@_invariant(
    "I11", "Every step of an order is in the audit once and in the outbox once, and the audit's chains hold."
)
def everything_is_told(evidence: Evidence) -> Iterator[str]:
    yield from _rows(
        "steps and audit rows differ",
        """
        SELECT order_uid.uid, told.before, told.after, told.steps, told.rows FROM (
            SELECT coalesce(step.id, audit.id) AS uid, coalesce(step.before, audit.before) AS before,
                coalesce(step.after, audit.after) AS after, coalesce(step.n, 0) AS steps, coalesce(audit.n, 0) AS rows
            FROM (
                SELECT uid AS id, before, after, count(*) AS n FROM faults.step
                JOIN faults.order_uid ON order_uid.id = step.row_id
                WHERE what = 'provisioning_serviceorder' GROUP BY 1, 2, 3
            ) step FULL JOIN (
                SELECT target_id AS id, before ->> 'status' AS before, after ->> 'status' AS after, count(*) AS n
                FROM audit_auditevent WHERE target_type = 'order' AND action <> 'order.place' GROUP BY 1, 2, 3
            ) audit USING (id, before, after)
        ) told JOIN faults.order_uid USING (uid) WHERE told.steps <> told.rows
        """,
    )
    yield from _rows(
        "placed and not once in the audit and once in the outbox",
        """
        SELECT mine.uid, told.n, published.n FROM faults.order_uid mine
        LEFT JOIN (SELECT target_id, count(*) AS n FROM audit_auditevent
            WHERE target_type = 'order' AND action = 'order.place' GROUP BY 1) told ON told.target_id = mine.uid
        LEFT JOIN (SELECT subject, count(*) AS n FROM events_outboxevent
            WHERE type = 'order.created' GROUP BY 1) published ON published.subject = mine.uid
        WHERE told.n IS DISTINCT FROM 1 OR published.n IS DISTINCT FROM 1
        """,
    )
    yield from _rows(
        "ended and not once in the outbox",
        """
        SELECT mine.uid, o.status, count(event.id)
        FROM provisioning_serviceorder o JOIN faults.order_uid mine ON mine.id = o.id
        LEFT JOIN events_outboxevent event ON event.subject = mine.uid
            AND event.type IN ('order.completed', 'order.failed', 'order.cancelled')
        GROUP BY 1, 2
        HAVING count(event.id) <> CASE WHEN o.status IN ('COMPLETED', 'FAILED', 'CANCELLED') THEN 1 ELSE 0 END
            OR count(event.id) FILTER (WHERE event.type <> 'order.' || lower(o.status)) > 0
        """,
    )
    yield from _rows(
        "waiting in the outbox",
        "SELECT id, type FROM events_outboxevent WHERE relayed_at IS NULL AND occurred_at < now() - interval '30 s'",
    )
    for operator_id in verification.list_chains():
        chain = verification.verify(operator_id=operator_id, expected={})
        if chain.fault is not None:
            fault = chain.fault
            yield f"audit chain of {operator_id or 'the platform'}: row {fault.audit_event_id}: {fault.what}"


@_invariant("I12", "Whatever fails, the rest goes on, and the backlog goes down unaided.")
def backlog_drains(evidence: Evidence) -> Iterator[str]:
    if evidence.drained_in >= evidence.drained_within:
        yield f"not drained {evidence.drained_within:.0f} s after the last fault"
    yield from _rows(
        "a callback that nobody applies",
        """
        SELECT id, tries, next_try_at FROM provisioning_carriercallback
        WHERE applied_at IS NULL AND next_try_at < clock_timestamp() - make_interval(secs => %(overdue)s)
        """,
        overdue=OVERDUE_SECONDS,
    )


def bites() -> dict[str, int]:
    """How often the faults bit, as our own tables and the database's notes of every step have it."""
    counted = {
        "orders": "SELECT count(*) FROM provisioning_serviceorder",
        "orders completed": "SELECT count(*) FROM provisioning_serviceorder WHERE status = 'COMPLETED'",
        "orders failed": "SELECT count(*) FROM provisioning_serviceorder WHERE status = 'FAILED'",
        "jobs sent again": "SELECT count(*) FROM provisioning_activationjob WHERE attempts > 1",
        "jobs that were in doubt": """
            SELECT count(DISTINCT row_id) FROM faults.step
            WHERE what = 'provisioning_activationjob' AND after = 'IN_DOUBT'""",
        "dead letters": "SELECT count(*) FROM provisioning_activationjob WHERE failure_kind = 'SYSTEM'",
        "calls lost with their worker": """
            SELECT count(*) FROM faults.step WHERE what = 'provisioning_jobattempt' AND after = 'LOST'""",
        "calls fenced out": "SELECT count(*) FROM provisioning_jobattempt WHERE outcome = 'FENCED'",
        "calls overtaken": """
            SELECT count(*) FROM faults.step WHERE what = 'provisioning_jobattempt' AND after = 'OVERTAKEN'""",
        "calls with no answer": "SELECT count(*) FROM provisioning_jobattempt WHERE outcome = 'UNKNOWN'",
        "calls not taken": "SELECT count(*) FROM provisioning_jobattempt WHERE outcome = 'UNAVAILABLE'",
        "questions": "SELECT count(*) FROM provisioning_jobattempt WHERE kind = 'QUERY'",
        "callbacks stored": "SELECT count(*) FROM provisioning_carriercallback",
        "callbacks in conflict or unmatched": """
            SELECT count(*) FROM provisioning_carriercallback WHERE outcome IN ('CONFLICT', 'UNMATCHED')""",
    }
    found = {}
    with connection.cursor() as cursor:
        for name, statement in counted.items():
            cursor.execute(statement)
            [found[name]] = cursor.fetchone()
    return found


_IN_USE = 2
_TABLES = """
DROP TABLE IF EXISTS faults.answer, faults.ledger, faults.carrier_line, faults.order_uid, faults.edge;
CREATE TABLE faults.answer (
    at float8, seconds float8, app bigint, key text, type text, status int, code text, order_uid text, digest text,
    replayed boolean
);
CREATE TABLE faults.ledger (reference text, operation text, number text, iccid text, result text, duplicate boolean);
CREATE TABLE faults.carrier_line (carrier text, number text, iccid text, plan text, state text);
CREATE TABLE faults.order_uid (id bigint PRIMARY KEY, uid text UNIQUE);
CREATE TABLE faults.edge (what text, before text, after text);
"""
_MACHINES: dict[str, StateMachine[Any]] = {
    "provisioning_serviceorder": ORDER,
    "provisioning_activationjob": JOB,
    "lines_line": LINE,
    "sims_simcard": SIM,
    "numbering_phonenumber": NUMBER,
}


def _load(evidence: Evidence) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        for table, rows in {
            "answer": [tuple(asdict(record).values()) for record in evidence.history],
            "ledger": [
                tuple(
                    entry[name]
                    for name in ("reference", "operation", "number", "iccid", "result", "duplicate")
                )
                for entry in evidence.ledger
            ],
            "carrier_line": [
                tuple(line[name] for name in ("carrier", "number", "iccid", "plan", "status"))
                for line in evidence.carrier_lines
            ],
            "order_uid": list(ServiceOrder.objects.values_list("id", "uid")),
            "edge": [
                (what, str(source.value), str(target.value))
                for what, machine in _MACHINES.items()
                for source, target in machine.edges()
            ],
        }.items():
            with cursor.copy(f"COPY faults.{table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)


def _rows(what: str, statement: str, **parameters: Any) -> Iterator[str]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        for row in cursor.fetchall():
            yield f"{what}: {', '.join(map(str, row))}"
