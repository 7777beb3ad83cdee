"""The carrier's view while a run is open: an unlogged table without an index of its lines, filled by COPY.

It is emptied when the run ends, and by the database itself after a crash; so whoever reads it counts first.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import connection

from apps.carriers.base import CarrierLine
from apps.core.actor import Actor
from apps.core.db import operation
from apps.numbering.numbers import parse_e164

_COPY = "COPY provisioning_carrierview (run_id, number, iccid, state, plan, asked_at) FROM STDIN"


@operation
def add_page(*, actor: Actor, run_id: int, lines: Iterable[CarrierLine], asked_at: datetime) -> None:
    """Keeps one page; `asked_at` is from before it was asked for, by the database's clock."""
    with connection.cursor() as cursor, cursor.copy(_COPY) as rows:
        for line in lines:
            number = parse_e164(line.number)
            rows.write_row((run_id, number, line.iccid, line.state.value, line.plan_code, asked_at))


def count_lines(*, run_id: int) -> int:
    """How many lines of the run are still there."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM provisioning_carrierview WHERE run_id = %s", [run_id])
        (count,) = cursor.fetchone()
    return int(count)


@operation
def forget(*, actor: Actor, run_id: int) -> None:
    """Empties it of the run's lines."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM provisioning_carrierview WHERE run_id = %s", [run_id])


@operation
def gather_statistics(*, actor: Actor) -> None:
    """Right after loading, or the comparison would be planned for an empty table."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE provisioning_carrierview")
