"""The comparison: one statement, so one moment of ours, against pages that were fetched one after the other.

What keeps false alarms out. A page shows a line as it was at some moment after the page was asked for (`asked_at`, by
the database's clock). Our side is as it is now. Whatever we do to a line at the carrier is a job under an order, so the
two may rightly differ where an order for the line is open, where a job of it is open, or where a job ended later than
the page was asked for, less a margin for clocks and for what the carrier lists late. Such lines are set aside; the next
run will see them at rest. For a line that stands on no page, the first page of the run counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor
from apps.core.db import operation
from apps.provisioning.models import ReconciliationRun
from apps.sims.iccids import IDENTIFYING

# Beside the connection's own settle time: clocks of our machines, and transactions that commit late.
MARGIN_SECONDS = 60.0
# Enough to hash a million lines without files; only for this transaction.
_MEMORY = "SET LOCAL work_mem = '128MB'"

# Ids as core.public_ids makes them: version 7, so that they sort by age.
_UUID7 = """
overlay(overlay(replace(gen_random_uuid()::text, '-', '')
    PLACING lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') FROM 1)
    PLACING '7' FROM 13)::uuid
"""
# A line as we have it; `held` and `carried` are what it holds now.
_OURS = """
jsonb_build_object('status', {line}.status, 'suspension', {line}.suspension_kind, 'number', {held}.number_id,
    'iccid', {card}.iccid, 'plan', {plan}.code)
"""

_COMPARE = f"""
WITH theirs AS MATERIALIZED (
    -- A line that moved while pages were fetched may stand on two: the later one counts.
    SELECT DISTINCT ON (number) number, left(iccid, {IDENTIFYING}) AS card, iccid, state, plan, asked_at
    FROM provisioning_carrierview WHERE run_id = %(run)s
    ORDER BY number, asked_at DESC
), ours AS MATERIALIZED (
    SELECT line.id AS line_id, held.number_id AS number, left(card.iccid, {IDENTIFYING}) AS card, card.iccid,
        plan.code AS plan, line.status,
        CASE line.status WHEN 'SUSPENDED' THEN 'SUSPENDED_' || line.suspension_kind ELSE line.status END AS state,
        line.suspension_kind
    FROM lines_line AS line
    JOIN lines_numberassignment AS held ON held.line_id = line.id AND held.released_at IS NULL
    JOIN lines_simassignment AS carried ON carried.line_id = line.id AND carried.released_at IS NULL
    JOIN sims_simcard AS card ON card.id = carried.sim_id
    JOIN lines_plan AS plan ON plan.id = line.plan_id
    WHERE line.operator_id = %(operator)s AND line.host_carrier_id = %(carrier)s AND line.status <> 'TERMINATED'
), pairs AS MATERIALIZED (
    SELECT ours.line_id, ours.number, ours.card, ours.state, ours.plan,
        theirs.number AS their_number, theirs.card AS their_card, theirs.iccid AS their_iccid,
        theirs.state AS their_state, theirs.plan AS their_plan, theirs.asked_at,
        jsonb_build_object('status', ours.status, 'suspension', ours.suspension_kind, 'number', ours.number,
            'iccid', ours.iccid, 'plan', ours.plan) AS ours,
        jsonb_build_object('state', theirs.state, 'number', theirs.number, 'iccid', theirs.iccid,
            'plan', theirs.plan) AS theirs
    FROM ours FULL JOIN theirs ON theirs.number = ours.number
    WHERE CASE
        WHEN ours.line_id IS NULL THEN theirs.state <> 'TERMINATED'
        -- One that is being opened has an open order: whatever the carrier has of it is on its way.
        WHEN ours.status = 'PENDING' THEN false
        WHEN theirs.number IS NULL THEN true
        ELSE (theirs.state, theirs.card, theirs.plan) IS DISTINCT FROM (ours.state, ours.card, ours.plan)
    END
), moved AS MATERIALIZED (
    -- The same card is in service under a number that no live line of ours has.
    SELECT DISTINCT ON (here.line_id) here.line_id, there.their_number, there.asked_at, there.theirs
    FROM pairs AS here JOIN pairs AS there ON there.line_id IS NULL AND there.their_card = here.card
    WHERE here.line_id IS NOT NULL AND (here.their_number IS NULL OR here.their_state = 'TERMINATED')
    ORDER BY here.line_id, there.their_number
), differences AS (
    SELECT 'NUMBER' AS kind, here.number, here.line_id, NULL::bigint AS other_id, here.ours, moved.theirs,
        least(moved.asked_at, %(first_asked_at)s) AS asked_at
    FROM moved JOIN pairs AS here USING (line_id)
  UNION ALL
    SELECT CASE WHEN their_number IS NULL THEN 'MISSING_THERE' ELSE 'ENDED_THERE' END, number, line_id, NULL, ours,
        CASE WHEN their_number IS NULL THEN '{{}}' ELSE theirs END, coalesce(asked_at, %(first_asked_at)s)
    FROM pairs
    WHERE line_id IS NOT NULL AND (their_number IS NULL OR their_state = 'TERMINATED')
      AND NOT EXISTS (SELECT FROM moved WHERE moved.line_id = pairs.line_id)
  UNION ALL
    SELECT each.kind, number, line_id, NULL, ours, theirs, asked_at
    FROM pairs CROSS JOIN LATERAL (VALUES
        ('SUSPENSION', their_state <> state), ('SIM', their_card <> card), ('PLAN', their_plan <> plan)
    ) AS each(kind, differs)
    WHERE line_id IS NOT NULL AND their_number IS NOT NULL AND their_state <> 'TERMINATED' AND each.differs
  UNION ALL
    SELECT CASE WHEN last.line_id IS NULL THEN 'UNKNOWN_HERE' ELSE 'LIVE_THERE' END, pairs.their_number,
        last.line_id, carrier.line_id, coalesce(last.ours, '{{}}'), pairs.theirs, pairs.asked_at
    FROM pairs
    LEFT JOIN LATERAL (
        -- Who had the number last.
        SELECT line.id AS line_id, {_OURS.format(line="line", held="held", card="card", plan="plan")} AS ours
        FROM lines_numberassignment AS past JOIN lines_line AS line ON line.id = past.line_id
        JOIN lines_plan AS plan ON plan.id = line.plan_id
        LEFT JOIN lines_numberassignment AS held ON held.line_id = line.id AND held.released_at IS NULL
        LEFT JOIN lines_simassignment AS carried ON carried.line_id = line.id AND carried.released_at IS NULL
        LEFT JOIN sims_simcard AS card ON card.id = carried.sim_id
        WHERE past.number_id = pairs.their_number
          AND line.operator_id = %(operator)s AND line.host_carrier_id = %(carrier)s
        ORDER BY past.id DESC LIMIT 1
    ) AS last ON true
    LEFT JOIN LATERAL (
        -- Who has the card: a line that is getting this number has not yet got it here.
        SELECT carried.line_id FROM sims_simcard AS card JOIN lines_simassignment AS carried ON carried.sim_id = card.id
        WHERE left(card.iccid, {IDENTIFYING}) = pairs.their_card ORDER BY carried.id DESC LIMIT 1
    ) AS carrier ON true
    WHERE pairs.line_id IS NULL
      AND NOT EXISTS (SELECT FROM moved WHERE moved.their_number = pairs.their_number)
), found AS MATERIALIZED (
    SELECT *, EXISTS (
        SELECT FROM provisioning_serviceorder AS asked
        WHERE asked.line_id IN (differences.line_id, differences.other_id)
          AND (asked.status IN ('HELD', 'IN_PROGRESS') OR (asked.status = 'ACKNOWLEDGED' AND asked.due_at IS NULL))
    ) OR EXISTS (
        SELECT FROM provisioning_activationjob AS job
        WHERE job.line_id IN (differences.line_id, differences.other_id)
          AND (job.finished_at IS NULL
            OR job.finished_at >= differences.asked_at - make_interval(secs => %(margin)s))
    ) AS is_moving
    FROM differences
), listed AS (
    INSERT INTO provisioning_discrepancy AS known (uid, operator_id, connection_id, run_id, kind, status, number,
        line_id, ours, theirs, first_seen_at, seen_at, decided_by, decided_by_label, reason, error_code, error_detail)
    SELECT {_UUID7}, %(operator)s, %(connection)s, %(run)s, kind, 'OPEN', number, line_id, ours, theirs, asked_at,
        asked_at, '', '', '', '', ''
    FROM found WHERE NOT is_moving
    ON CONFLICT (connection_id, kind, number) WHERE status IN ('OPEN', 'ACCEPTED', 'IGNORED') DO UPDATE SET
        run_id = excluded.run_id, line_id = excluded.line_id, ours = excluded.ours, theirs = excluded.theirs,
        seen_at = excluded.seen_at,
        -- What was ignored stays so for as long as it is the same.
        status = CASE WHEN (known.ours, known.theirs) IS DISTINCT FROM (excluded.ours, excluded.theirs)
            THEN 'OPEN' ELSE known.status END
    -- What is being repaired is repaired as it was accepted.
    WHERE known.status <> 'ACCEPTED'
    RETURNING 1
), gone AS (
    UPDATE provisioning_discrepancy AS known SET status = 'GONE', ended_at = %(now)s
    WHERE connection_id = %(connection)s AND status IN ('OPEN', 'IGNORED')
      AND NOT EXISTS (SELECT FROM found WHERE found.kind = known.kind AND found.number = known.number)
    RETURNING 1
)
SELECT (SELECT count(*) FROM listed), (SELECT count(*) FROM found WHERE is_moving), (SELECT count(*) FROM gone)
"""  # noqa: S608 - only our own constants are formatted in


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many differences are listed, were left alone because the line is on the move, and are not there any more."""

    listed: int
    set_aside: int
    gone: int


def margin(carrier: CarrierConnection) -> timedelta:
    """So long before a page was asked for, a job may have ended that the page does not show yet."""
    return timedelta(seconds=carrier.settle_seconds + MARGIN_SECONDS)


@operation
def compare(*, actor: Actor, run: ReconciliationRun, now: datetime) -> Comparison:
    """Lists every difference between the fetched pages and our lines; the caller holds the run and has all its pages.

    One that stands already is not listed again, and one that is ignored stays so unless it has changed. One that is not
    found any more is GONE. Nothing is repaired.
    """
    carrier = run.connection
    with connection.cursor() as cursor:
        cursor.execute(_MEMORY)
        cursor.execute(
            _COMPARE,
            {
                "run": run.pk,
                "operator": run.operator_id,
                "connection": run.connection_id,
                "carrier": carrier.host_carrier_id,
                "first_asked_at": run.first_asked_at,
                "margin": margin(carrier).total_seconds(),
                "now": now,
            },
        )
        return Comparison(*cursor.fetchone())
