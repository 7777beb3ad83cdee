"""Grading the free numbers of an operator again, range by range, after the rules have changed."""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from apps.audit import services as audit
from apps.core import dispatch
from apps.core.actor import Actor
from apps.core.db import operation, serialize_on, use_case
from apps.core.errors import NotFound
from apps.numbering.models import BulkRun, GradeRule, NumberRange
from apps.numbering.services.materialise import grade_numbers
from apps.numbering.services.single import MANAGE_NUMBERS
from apps.numbering.states import BulkKind, BulkStatus, RangeStatus, RowStatus
from apps.operators.models import VirtualOperator

# Ranges of the operator that the run does not know yet: all at first; later those leased or split off meanwhile.
_ADD_RANGES = f"""
INSERT INTO numbering_bulkrow (run_id, line, status, fields, errors, range_id)
SELECT %(run)s::bigint, %(known)s::int + row_number() OVER (ORDER BY r.first), '{RowStatus.VALID.value}', '{{}}', '[]',
    r.id
FROM numbering_numberrange AS r
WHERE r.operator_id = %(operator)s::bigint
    AND r.status IN ('{RangeStatus.ACTIVE.value}', '{RangeStatus.RETURNING.value}')
    AND NOT EXISTS (SELECT FROM numbering_bulkrow AS b WHERE b.run_id = %(run)s::bigint AND b.range_id = r.id)
"""  # noqa: S608 - only our own constants are formatted in


@operation
def start_regrade(*, actor: Actor, operator: VirtualOperator, now: datetime) -> BulkRun:
    """A RUNNING run over all of the operator's ranges; `continue_regrade` does the work.

    When one is running already, it begins anew, since rules may have changed since it began: one at a time is enough.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: another operator's business.
    """
    actor.require(MANAGE_NUMBERS)
    if not actor.sees(operator.pk):
        raise NotFound
    return _start(actor, operator.pk, now)


@operation
def start_regrades(*, actor: Actor, now: datetime, only_catalogue: bool = False) -> int:
    """`start_regrade` for every operator that has ranges, or only for those without own rules; returns how many.

    Each night, since numbers that were reserved or used when rules changed come free with the grade they had.

    :raises Forbidden: without the right numbering.manage, or not for the whole platform.
    """
    actor.require(MANAGE_NUMBERS)
    ranges = NumberRange.objects.filter(status__in=(RangeStatus.ACTIVE, RangeStatus.RETURNING))
    if only_catalogue:
        own = GradeRule.objects.filter(retired_at=None, operator__isnull=False)
        ranges = ranges.exclude(operator__in=own.values("operator"))
    operators = ranges.visible_to(actor).order_by("operator").values_list("operator", flat=True).distinct()
    for operator_id in operators:
        _start(actor, operator_id, now)
    return len(operators)


def continue_regrade(*, run_id: int, now: datetime, limit: int | None = None) -> bool:
    """Grades the ranges that the run has not done yet (at most `limit` of them), each in a transaction of its own.

    Only free numbers change, and only those whose grade differs. May be killed at any moment and be called again, and
    by two workers at once: one of them does the work. Returns whether something is left to do for somebody.
    """
    ranges = 0
    while limit is None or ranges < limit:
        step = _next(run_id, now)
        if step is not None:
            return step
        ranges += 1
    return True


@use_case
def _next(run_id: int, now: datetime) -> bool | None:
    """One range; False when the run is over, True when somebody else is at it, None when there may be more."""
    run = BulkRun.objects.select_for_update(skip_locked=True).filter(pk=run_id, kind=BulkKind.REGRADE).first()
    if run is None:
        return BulkRun.objects.filter(pk=run_id, status=BulkStatus.RUNNING).exists()
    if run.status != BulkStatus.RUNNING:
        return False
    row = run.rows.filter(status=RowStatus.VALID).order_by("line").first()
    if row is None:
        return _finish(run, now)
    # Who splits or merges it waits. Numbers are graded by where they lie, so that a range merged meanwhile counts too.
    if row.range_id is not None:
        grade_numbers(NumberRange.objects.select_for_update(no_key=True).get(pk=row.range_id))
    row.settle(RowStatus.SUCCEEDED)
    run.step()
    return None


def _finish(run: BulkRun, now: datetime) -> bool | None:
    if added := _add_ranges(run):
        run.grow(added)
        return None
    run.end(BulkStatus.COMPLETED, now=now)
    # What became of each range is of no interest any more.
    run.rows.all().delete()
    audit.record(
        actor=Actor.system("numbering.continue_regrade", run.operator_id),
        action="regrade.complete",
        target_type="bulk_run",
        target_id=run.uid,
        operator_id=run.operator_id,
        before={"status": BulkStatus.RUNNING},
        after={"status": run.status, "ranges": run.total},
        now=now,
    )
    return False


def _start(actor: Actor, operator_id: int, now: datetime) -> BulkRun:
    serialize_on(f"numbering.regrade:{operator_id}")
    # Waits for the range that a worker is at.
    run = (
        BulkRun.objects.select_for_update()
        .filter(operator_id=operator_id, kind=BulkKind.REGRADE, status=BulkStatus.RUNNING)
        .first()
    )
    if run is not None and run.done == 0:
        return run
    if run is not None:
        run.rows.all().delete()
        run.begin_again(now=now)
    else:
        run = BulkRun.objects.create(
            operator_id=operator_id,
            kind=BulkKind.REGRADE,
            status=BulkStatus.RUNNING,
            asked_by=actor.id,
            asked_by_label=actor.label,
            created_at=now,
            started_at=now,
        )
    run.grow(_add_ranges(run))
    dispatch.after_commit("numbering.continue_runs")
    audit.record(
        actor=actor,
        action="regrade.start",
        target_type="bulk_run",
        target_id=run.uid,
        operator_id=operator_id,
        after={"status": run.status, "ranges": run.total},
        now=now,
    )
    return run


def _add_ranges(run: BulkRun) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_ADD_RANGES, {"run": run.pk, "known": run.total, "operator": run.operator_id})
        return int(cursor.rowcount)
