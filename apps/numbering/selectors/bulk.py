"""Work on many ranges or numbers, and its rows."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import Count, QuerySet

from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.numbering.models import BulkRow, BulkRun
from apps.numbering.states import RowStatus


def list_rows(*, actor: Actor, run: BulkRun, states: Collection[RowStatus]) -> QuerySet[BulkRow]:
    """Rows of the run in these states, by line, with their ranges.

    :raises NotFound: another operator's.
    """
    if not actor.sees(run.operator_id):
        raise NotFound
    return run.rows.filter(status__in=states).select_related("range").order_by("line")


def count_rows(*, run: BulkRun) -> dict[RowStatus, int]:
    """How many rows are in each state; states without any are left out."""
    counted = run.rows.order_by("status").values_list("status").annotate(count=Count("*"))
    return {RowStatus(status): count for status, count in counted}
