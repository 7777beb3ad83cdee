"""Transactions by intent, and the order in which rows are locked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections, transaction

P = ParamSpec("P")
R = TypeVar("R")

# The name under which a connection of the driver keeps the cursor of `execute`.
_KEPT = "_kaihu_cursor"

# Whoever locks rows of several tables takes them in this order; inside a table by primary key. No cycles, no deadlocks.
LOCK_ORDER = (
    "accounts.IdempotencyKey",
    "subscribers.WatchListEntry",
    "subscribers.Subscriber",
    "subscribers.Verification",
    "subscribers.ReviewCase",
    "provisioning.HolderDispute",
    "subscribers.ReverificationDemand",
    "lines.HolderSlot",
    "numbering.BulkRun",
    "numbering.BulkRow",
    "numbering.NumberRange",
    "numbering.Reservation",
    "numbering.PhoneNumber",
    "numbering.EarlyRelease",
    "sims.SimCard",
    "lines.Line",
    "provisioning.ServiceOrder",
    "provisioning.Gate",
    "provisioning.ActivationJob",
    "provisioning.JobAttempt",
    "provisioning.CarrierCallback",
    "provisioning.Discrepancy",
)


def operation(function: Callable[P, R]) -> Callable[P, R]:
    """All or nothing; joins the caller's transaction when there is one."""
    return transaction.atomic(savepoint=False)(function)


def use_case(function: Callable[P, R]) -> Callable[P, R]:
    """All or nothing, and committed when it returns: must be the outermost transaction."""
    return transaction.atomic(durable=True)(function)


def execute(statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Sends a statement written by hand, in the transaction that is open, and returns its rows (none: an empty list).

    For the few statements that everything passes through: one cursor of the driver, kept, costs the processor half of
    what a new one of Django's does. Whoever watches statements (a debug cursor, an execute wrapper) sees these as well.

    :raises DatabaseError: as Django's cursor does.
    """
    database = connections[DEFAULT_DB_ALIAS]
    driver = database.connection
    if driver is None or database.execute_wrappers or database.queries_logged:
        with database.cursor() as cursor:
            cursor.execute(statement, parameters)
            return [] if cursor.description is None else cursor.fetchall()
    database.validate_no_broken_transaction()
    try:
        kept = driver.__dict__.get(_KEPT)
        if kept is None:
            kept = driver.__dict__[_KEPT] = driver.cursor()
        kept.execute(statement, parameters)
        return [] if kept.rownumber is None else kept.fetchall()
    except Exception:
        with database.wrap_database_errors:
            raise


def commit_without_waiting() -> None:
    """This transaction's commit does not wait for the disk: for steps that are done again when the server forgets them.

    A server that crashes may forget the last ones, each as a whole; nothing that was committed after them is kept then.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")


def in_transaction() -> bool:
    """Whether a transaction of ours is open (the one a test case wraps around itself does not count)."""
    if not connection.in_atomic_block:
        return False
    return any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def outside_transaction(function: Callable[P, R]) -> Callable[P, R]:
    """For everything that calls the network: refuses to run while a transaction is open (rule 3)."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if in_transaction():
            raise RuntimeError(
                f"{function.__qualname__} calls the network and must not run inside a transaction"
            )
        return function(*args, **kwargs)

    return wrapper


def violated_constraint(error: DatabaseError) -> str | None:
    """The name of the constraint that an IntegrityError speaks of, or None."""
    diagnostics = getattr(error.__cause__, "diag", None)
    return getattr(diagnostics, "constraint_name", None)


def database_now() -> datetime:
    """The database's clock, the only one that leases, back-off and horizons are measured with."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row = cursor.fetchone()
    moment: datetime = row[0]
    return moment


def serialize_on(key: str) -> None:
    """Waits until no other transaction holds the same key; held until this one ends. Taken before any row lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
