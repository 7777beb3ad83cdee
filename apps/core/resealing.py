"""Moving the rows of a table from older keys to the current ones, batch by batch; an app calls it for its own tables.

Where to go on stands in the rows themselves: every blob names its key. So a run may be killed at any point, and two
runs at once only share the work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Model, Q
from psycopg import sql

from apps.core import keyring
from apps.core.db import operation
from apps.core.sealing import SealBroken, seal_bytes, unseal_bytes

logger = logging.getLogger(__name__)

# Column -> its context in a row.
Columns = Mapping[str, Callable[[Any], str]]


@dataclass(frozen=True, slots=True)
class Batch:
    """How many rows were moved, and the key of the last one looked at; None: there are no more."""

    moved: int
    last: int | None


def made_with(column: str, name: bytes) -> Q:
    """Rows whose blob or index begins with that name; an index of the column finds them."""
    after = name[:-1] + bytes([name[-1] + 1])
    return Q((f"{column}__gte", name), (f"{column}__lt", after))


def not_current(columns: Columns) -> Q:
    """Rows with a blob of another key than the current one. Empty ones have been erased."""
    current = keyring.ring().seals_with
    stale = Q()
    for column in columns:
        stale |= ~made_with(column, current) & Q((f"{column}__gt", b""))
    return stale


@operation
def reseal(*, model: type[Model], columns: Columns, after: int, limit: int) -> Batch:
    """Seals the next rows after that key anew, under the current data key.

    Left as they are: rows that somebody has locked, and rows that do not open, which the log names.
    """
    rows = list(
        model._base_manager.filter(not_current(columns), pk__gt=after)
        .select_for_update(skip_locked=True, no_key=True)
        .order_by("pk")[:limit]
    )
    if not rows:
        return Batch(0, None)
    moved = [values for row in rows if (values := _anew(row, columns))]
    if moved:
        store(model=model, columns=list(columns), rows=moved)
    return Batch(len(moved), rows[-1].pk)


def store(*, model: type[Model], columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Writes bytes into columns of many rows in one statement; each row is its key and a value for each column."""
    assignments = [sql.SQL("{0} = new.{0}").format(sql.Identifier(column)) for column in columns]
    statement = sql.SQL(
        "UPDATE {table} SET {assignments} FROM unnest({arrays}) AS new({names}) WHERE {table}.id = new.id"
    ).format(
        table=sql.Identifier(model._meta.db_table),
        assignments=sql.SQL(", ").join(assignments),
        arrays=sql.SQL(", ").join([sql.SQL("%s::bigint[]"), *[sql.SQL("%s::bytea[]")] * len(columns)]),
        names=sql.SQL(", ").join(map(sql.Identifier, ["id", *columns])),
    )
    with connection.cursor() as cursor:
        cursor.execute(
            statement.as_string(cursor.connection), [list(column) for column in zip(*rows, strict=True)]
        )


def _anew(row: Model, columns: Columns) -> tuple[Any, ...] | None:
    values = []
    for column, context_of in columns.items():
        blob = getattr(row, column)
        context = context_of(row)
        try:
            values.append(seal_bytes(unseal_bytes(blob, context=context), context=context) if blob else blob)
        except SealBroken:
            logger.error("sealed row does not open", extra={"row": f"{row._meta.label}.{column} {row.pk}"})
            return None
    return (row.pk, *values)
