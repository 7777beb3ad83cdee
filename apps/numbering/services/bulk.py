"""Work on many ranges or numbers by file: looked at first, applied when somebody says so, whole or what is valid."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, connection
from django.db.models import F

from apps.audit import services as audit
from apps.core import dispatch
from apps.core.actor import Actor
from apps.core.db import commit_without_waiting, operation, outside_transaction, use_case
from apps.core.errors import FieldError, NotFound
from apps.core.public_ids import get_by_uid
from apps.numbering import bulk_file
from apps.numbering.bulk_file import FileRow
from apps.numbering.errors import BulkHasInvalidRows, BulkHasNoValidRows
from apps.numbering.models import BulkRow, BulkRun
from apps.numbering.services import lease_rows, withhold_rows
from apps.numbering.services.lease_rows import LeaseRow, told
from apps.numbering.services.regrading import continue_regrade
from apps.numbering.services.single import MANAGE_NUMBERS
from apps.numbering.services.withhold_rows import WithholdRow
from apps.numbering.states import BulkKind, BulkStatus, RowStatus
from apps.operators.models import VirtualOperator

COLUMNS = {BulkKind.LEASES: lease_rows.COLUMNS, BulkKind.WITHHOLD: withhold_rows.COLUMNS}
# As many as somebody reads in a refusal; the run's page has them all.
ERRORS_TOLD = 20
logger = logging.getLogger(__name__)

# Ranges in one transaction: so many that what each costs beside its numbers counts no more, and yet a second's work.
TOGETHER = 10
_CHUNK = 5_000
# What a file's rows said can be read as long as somebody may still ask; nobody applies a preview that old.
ROWS_KEPT = timedelta(days=90)
PREVIEW_KEPT = timedelta(days=7)

_INSERT_ROWS = """
INSERT INTO numbering_bulkrow (run_id, line, status, fields, errors)
SELECT %s::bigint, (entry ->> 0)::int, entry ->> 1, entry -> 2, entry -> 3
FROM jsonb_array_elements(%s::jsonb) AS entry
"""
_UPDATE_ROWS = """
UPDATE numbering_bulkrow AS b SET status = changed.status, errors = changed.errors
FROM (
    SELECT (entry ->> 0)::int AS line, entry ->> 1 AS status, entry -> 2 AS errors
    FROM jsonb_array_elements(%s::jsonb) AS entry
) AS changed
WHERE b.run_id = %s::bigint AND b.line = changed.line
"""


@operation
def preview_leases(
    *, actor: Actor, operator: VirtualOperator, file_name: str, content: bytes, now: datetime
) -> BulkRun:
    """Reads a CSV of leases and keeps its rows, each VALID or INVALID with the reasons. Nothing is leased.

    Rows are held against the rules of `plan_range`, against each other, and against what is leased by whomever.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: another operator's business.
    :raises BulkFileTooLarge: :raises BulkFileInvalid: no CSV with the columns that leases need.
    """
    return _preview(actor, operator, BulkKind.LEASES, file_name, content, now)


@operation
def preview_withholding(
    *, actor: Actor, operator: VirtualOperator, file_name: str, content: bytes, now: datetime
) -> BulkRun:
    """Reads a CSV of numbers to be kept from sale and keeps its rows, as `preview_leases` does. Nothing is withheld.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: another operator's business.
    :raises BulkFileTooLarge: :raises BulkFileInvalid: no CSV with the columns that withholding needs.
    """
    return _preview(actor, operator, BulkKind.WITHHOLD, file_name, content, now)


@operation
def apply_run(*, actor: Actor, run_uid: str, now: datetime, skip_invalid: bool = False) -> BulkRun:
    """Does what a previewed file says, after holding every row against the world as it is now.

    With a row that is not valid nothing happens, unless `skip_invalid`: then such rows are SKIPPED. Leases are planned
    here, all at once; their numbers are created by `continue_runs`. Withholding is done when this returns.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: not PREVIEWED. :raises BulkHasInvalidRows: `errors` names the first of them.
    :raises BulkHasNoValidRows: :raises RangeOverlap: :raises RangeCrossesHomeArea: somebody leased it this moment.
    """
    actor.require(MANAGE_NUMBERS)
    run = get_by_uid(BulkRun.objects.visible_to(actor).select_for_update(), run_uid)
    run.start(now=now)
    rows = _stored(run)
    valid = _check(BulkKind(run.kind), run.operator_id, rows, now)
    if not skip_invalid:
        _require_no_errors(rows)
    if not valid:
        raise BulkHasNoValidRows
    _store_skipped(run, rows)
    if run.kind == BulkKind.LEASES:
        lease_rows.plan(
            run=run, leases=[each for each in valid if isinstance(each, LeaseRow)], actor=actor, now=now
        )
        run.grow(len(valid))
        dispatch.after_commit("numbering.continue_runs")
    else:
        wishes = [each for each in valid if isinstance(each, WithholdRow)]
        _withhold(run, wishes, actor, now, skip_invalid=skip_invalid)
    _record(actor, "bulk_run.apply", run, now, before=BulkStatus.PREVIEWED)
    return run


@operation
def discard_run(*, actor: Actor, run_uid: str, now: datetime) -> BulkRun:
    """PREVIEWED -> DISCARDED: the file is not wanted; its rows are forgotten.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: not PREVIEWED.
    """
    actor.require(MANAGE_NUMBERS)
    run = get_by_uid(BulkRun.objects.visible_to(actor).select_for_update(), run_uid)
    _discard(run, actor, now)
    return run


@use_case
def forget_runs(*, actor: Actor, now: datetime, limit: int) -> int:
    """Discards previews of PREVIEW_KEPT ago, deletes rows of runs that ended ROWS_KEPT ago; the runs stay.

    At most `limit` of each; returns how many.
    """
    over = BulkRun.objects.select_for_update(skip_locked=True)
    stale = over.filter(status=BulkStatus.PREVIEWED, created_at__lte=now - PREVIEW_KEPT).order_by("id")[
        :limit
    ]
    for run in stale:
        _discard(run, actor, now)
    old = BulkRun.objects.filter(ended_at__lte=now - ROWS_KEPT, pk__in=BulkRow.objects.values("run"))
    ended = list(old.order_by("id").values_list("pk", flat=True)[:limit])
    BulkRow.objects.filter(run__in=ended).delete()
    return len(stale) + len(ended)


@outside_transaction
def continue_runs(*, actor: Actor, now: datetime, limit: int) -> bool:
    """Takes every running piece of work at most `limit` steps further; returns whether this call got anything done.

    Each step is a transaction of its own: a worker may be killed at any moment, and two at once share the work. A run
    that fails does not keep the others from going on.
    """
    has_moved = False
    running = BulkRun.objects.filter(status=BulkStatus.RUNNING).order_by("id")
    for run_id, kind, done in running.values_list("id", "kind", "done"):
        try:
            if kind == BulkKind.REGRADE:
                continue_regrade(run_id=run_id, now=now, limit=limit)
                has_moved |= running.filter(pk=run_id).exclude(done=done).exists()
            else:
                has_moved |= _continue_leases(run_id, actor, now, limit)
        except DatabaseError:
            logger.exception("bulk run does not go on", extra={"run": run_id})
    return has_moved


def _discard(run: BulkRun, actor: Actor, now: datetime) -> None:
    run.end(BulkStatus.DISCARDED, now=now)
    run.rows.all().delete()
    _record(actor, "bulk_run.discard", run, now, before=BulkStatus.PREVIEWED)


def _continue_leases(run_id: int, actor: Actor, now: datetime, limit: int) -> bool:
    for step in range(limit):
        if not _activate_next(run_id=run_id, actor=actor, now=now):
            _complete(run_id=run_id, actor=actor, now=now)
            return step > 0
    return True


@use_case
def _activate_next(*, run_id: int, actor: Actor, now: datetime) -> bool:
    """False when no row is left, or somebody else is at the last ones."""
    commit_without_waiting()
    waiting = BulkRow.objects.select_for_update(skip_locked=True)
    rows = list(waiting.filter(run_id=run_id, status=RowStatus.VALID).order_by("line")[:TOGETHER])
    if not rows:
        return False
    lease_rows.activate(rows=rows, actor=actor, now=now)
    # Last, since workers that share a run wait for each other here.
    BulkRun.objects.filter(pk=run_id).update(done=F("done") + len(rows))
    return True


@use_case
def _complete(*, run_id: int, actor: Actor, now: datetime) -> None:
    """Unless it is already, or somebody is still at the last rows."""
    run = BulkRun.objects.select_for_update().get(pk=run_id)
    if run.status == BulkStatus.RUNNING and not run.rows.filter(status=RowStatus.VALID).exists():
        run.end(BulkStatus.COMPLETED, now=now)
        _record(actor, "bulk_run.complete", run, now, before=BulkStatus.RUNNING)


def _preview(
    actor: Actor, operator: VirtualOperator, kind: BulkKind, file_name: str, content: bytes, now: datetime
) -> BulkRun:
    """:raises NotFound: another operator's business."""
    actor.require(MANAGE_NUMBERS)
    if not actor.sees(operator.pk):
        raise NotFound
    rows = bulk_file.read(content, COLUMNS[kind])
    _check(kind, operator.pk, rows, now)
    run = BulkRun.objects.create(
        operator=operator,
        kind=kind,
        status=BulkStatus.PREVIEWED,
        file_name="".join(character for character in file_name if character.isprintable())[-120:],
        asked_by=actor.id,
        asked_by_label=actor.label,
        created_at=now,
    )
    entries = [
        (row.line, RowStatus.INVALID if row.errors else RowStatus.VALID, row.fields, told(row.errors))
        for row in rows
    ]
    for start in range(0, len(entries), _CHUNK):
        _execute(_INSERT_ROWS, [run.pk, json.dumps(entries[start : start + _CHUNK])])
    _record(actor, "bulk_run.preview", run, now, before=None, rows=len(rows))
    return run


def _check(
    kind: BulkKind, operator_id: int, rows: Sequence[FileRow], now: datetime
) -> Sequence[LeaseRow | WithholdRow]:
    check = lease_rows.check if kind is BulkKind.LEASES else withhold_rows.check
    return check(operator_id=operator_id, rows=rows, now=now)


def _stored(run: BulkRun) -> list[FileRow]:
    """The rows as they were read. What cannot be seen from their cells alone stays wrong."""
    rows = []
    for line, fields, errors in run.rows.order_by("line").values_list("line", "fields", "errors"):
        kept = [FieldError(**error) for error in errors if error["code"] == "too_many_cells"]
        rows.append(FileRow(line, fields, kept))
    return rows


def _require_no_errors(rows: Sequence[FileRow]) -> None:
    """:raises BulkHasInvalidRows:"""
    invalid = [row for row in rows if row.errors]
    if invalid:
        errors = [
            FieldError(f"/rows/{row.line}{error.pointer}", error.code, error.detail)
            for row in invalid[:ERRORS_TOLD]
            for error in row.errors
        ]
        raise BulkHasInvalidRows(f"{len(invalid)} of {len(rows)} rows are not valid.", errors=errors)


def _store_skipped(run: BulkRun, rows: Sequence[FileRow]) -> None:
    _settle(run, RowStatus.SKIPPED, [row for row in rows if row.errors])
    # Rows that have become valid since they were looked at.
    run.rows.filter(status=RowStatus.INVALID).update(status=RowStatus.VALID, errors=[])


def _withhold(
    run: BulkRun, wishes: Sequence[WithholdRow], actor: Actor, now: datetime, *, skip_invalid: bool
) -> None:
    """:raises BulkHasInvalidRows: :raises BulkHasNoValidRows: somebody took numbers since they were checked."""
    spoilt = withhold_rows.withhold(run=run, wishes=wishes, actor=actor, now=now)
    for wish in spoilt:
        wish.row.refuse("number", "number_not_available", "Somebody has taken it this moment.")
    if not skip_invalid:
        _require_no_errors([wish.row for wish in wishes])
    if len(spoilt) == len(wishes):
        raise BulkHasNoValidRows
    _settle(run, RowStatus.SKIPPED, [wish.row for wish in spoilt])
    done = run.rows.filter(status=RowStatus.VALID).update(status=RowStatus.SUCCEEDED)
    run.grow(done)
    run.step(done)
    run.end(BulkStatus.COMPLETED, now=now)


def _settle(run: BulkRun, status: RowStatus, rows: Sequence[FileRow]) -> None:
    for start in range(0, len(rows), _CHUNK):
        entries = [(row.line, status, told(row.errors)) for row in rows[start : start + _CHUNK]]
        _execute(_UPDATE_ROWS, [json.dumps(entries), run.pk])


def _execute(statement: str, parameters: Sequence[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def _record(
    actor: Actor, action: str, run: BulkRun, now: datetime, *, before: BulkStatus | None, **more: int
) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="bulk_run",
        target_id=run.uid,
        operator_id=run.operator_id,
        before=None if before is None else {"status": before},
        after={"status": run.status, "kind": run.kind, "rows": run.total} | more,
        now=now,
    )
