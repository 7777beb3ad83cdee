"""A run from its start to its list of discrepancies: leased, page by page, and resumable after any kill.

The network is called with no transaction open; a page and the cursor behind it are written in one. Whoever was
overtaken writes nothing (the token). Waiting lives in `next_attempt_at` by the database's clock.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from apps.audit import services as audit
from apps.carriers import selectors as carrier_selectors
from apps.carriers import services as carriers
from apps.carriers import transport
from apps.carriers.base import (
    Adapter,
    CarrierError,
    CarrierMisconfigured,
    CarrierUnavailable,
    LinesPage,
    LinesRequest,
)
from apps.carriers.errors import ConnectionNotLive
from apps.carriers.models import CarrierConnection
from apps.core import dispatch
from apps.core.actor import Actor
from apps.core.db import database_now, operation, outside_transaction, use_case, violated_constraint
from apps.core.public_ids import get_by_uid
from apps.lines import selectors as line_selectors
from apps.provisioning import selectors
from apps.provisioning.errors import ReconciliationRuns
from apps.provisioning.models import ReconciliationRun
from apps.provisioning.services.reconciliation import view
from apps.provisioning.services.reconciliation.comparing import compare
from apps.provisioning.states import ReconciliationStatus

logger = logging.getLogger(__name__)

MANAGE = "reconciliation.manage"
# What every carrier allows.
PAGE_SIZE = 1000
# Calls in a row without a page before staff have to look; the waits between them add up to hours.
MOST_FAILURES = 60
LONGEST_WAIT_SECONDS = 300.0
# While calls are stopped or the circuit is open.
REST_SECONDS = 60.0
# From so many lines on, a view with less than half of them is not believed. Fewer staff can look at one by one.
PLAUSIBLE_FROM = 20


class Overtaken(Exception):
    """Somebody else has the run by now, or it is over; nothing may be written."""


@operation
def start_reconciliation(*, actor: Actor, connection: str, now: datetime) -> ReconciliationRun:
    """Begins a run over one connection and nudges a worker.

    :raises Forbidden: without the right reconciliation.manage. :raises NotFound: no such connection of this operator.
    :raises ConnectionNotLive: it has ended. :raises ReconciliationRuns: a run over it is open; it goes on.
    """
    actor.require(MANAGE)
    carrier = get_by_uid(carrier_selectors.list_connections(actor=actor), connection)
    if not carrier.is_active:
        raise ConnectionNotLive
    run = ReconciliationRun(
        operator_id=carrier.operator_id,
        connection=carrier,
        lines_expected=line_selectors.count_live(
            operator_id=carrier.operator_id, host_carrier_id=carrier.host_carrier_id
        ),
        asked_by=actor.id,
        asked_by_label=actor.label,
        created_at=now,
    )
    try:
        with transaction.atomic():
            run.save()
    except IntegrityError as error:
        if violated_constraint(error) != "one_open_reconciliation_per_connection":
            raise
        raise ReconciliationRuns from None
    _record(actor, run, "start", None, now)
    dispatch.after_commit("provisioning.reconcile", run_id=run.pk)
    return run


def start_reconciliations(*, actor: Actor, now: datetime) -> int:
    """Begins a run over every live connection that has none open; returns how many. For the night."""
    started = 0
    busy = ReconciliationRun.objects.open().values("connection")
    waiting = (
        carrier_selectors.list_connections(actor=actor).filter(disconnected_at=None).exclude(pk__in=busy)
    )
    for carrier in waiting.order_by("pk"):
        try:
            start_reconciliation(actor=actor, connection=carrier.uid, now=now)
            started += 1
        except (ReconciliationRuns, ConnectionNotLive):  # this moment
            continue
        except Exception:
            logger.exception("reconciliation not started", extra={"connection": carrier.uid})
    return started


@operation
def cancel_reconciliation(*, actor: Actor, run: str, reason: str, now: datetime) -> ReconciliationRun:
    """Ends an open run; its pages are forgotten, and no discrepancy of it is listed.

    :raises Forbidden: without the right reconciliation.manage. :raises NotFound: no such run of this operator.
    :raises InvalidTransition: it is over.
    """
    actor.require(MANAGE)
    found = get_by_uid(ReconciliationRun.objects.visible_to(actor).select_for_update(of=("self",)), run)
    before = found.status
    found.cancel(now)
    view.forget(actor=actor, run_id=found.pk)
    _record(actor, found, "cancel", before, now, reason)
    return found


@outside_transaction
def continue_reconciliation(
    *, actor: Actor, run_id: int, clock: Callable[[], datetime], seconds: float = 20.0
) -> bool:
    """Takes an open run further for about `seconds`; True when there is more to do at once.

    Any number of workers may be told to: one has the lease, the others leave. One that dies costs the page it was at.
    """
    try:
        run = _claim(actor=actor, run_id=run_id)
        return run is not None and _go_on(actor, run, clock, time.monotonic() + seconds)
    except Overtaken:
        return False


def _go_on(actor: Actor, run: ReconciliationRun, clock: Callable[[], datetime], until: float) -> bool:
    """Until there is nothing more to do at once, or the time is up; True when it is."""
    try:
        adapter = carriers.adapter_for(run.connection)
        while True:
            if run.status == ReconciliationStatus.COMPARING:
                run = _compare(actor=actor, run_id=run.pk, token=run.token, now=clock())
            else:
                run = _fetch_page(actor, adapter, run, clock)
            if not run.is_open or run.lease_until is None:
                return False
            if time.monotonic() >= until:
                _release(actor=actor, run_id=run.pk, token=run.token)
                return True
    except Overtaken:
        raise
    except Exception as error:
        # Whatever it is, it must not be tried again at once and for ever.
        logger.exception("reconciliation failed", extra={"run": run.uid})
        _put_off(
            actor=actor,
            run=run,
            code="run_failed",
            detail=type(error).__name__,
            wait=_backoff(run.failures),
            now=clock(),
        )
        return False


@use_case
def _claim(*, actor: Actor, run_id: int) -> ReconciliationRun | None:
    """The run with a lease on it; None when it is over, not due, or somebody has it."""
    run = (
        ReconciliationRun.objects.open()
        .select_for_update(of=("self",), skip_locked=True)
        .select_related("connection")
        .filter(pk=run_id)
        .first()
    )
    at = database_now()
    if run is None or run.next_attempt_at > at or (run.lease_until is not None and run.lease_until > at):
        return None
    run.lease(until=at + _lease(run.connection))
    return run


def _fetch_page(
    actor: Actor, adapter: Adapter, run: ReconciliationRun, clock: Callable[[], datetime]
) -> ReconciliationRun:
    """Network, then one transaction."""
    if not run.connection.is_active:
        return _fail(
            actor=actor,
            run=run,
            code="carrier_not_connected",
            detail="The connection has ended.",
            now=clock(),
        )
    if selectors.is_stopped(connection_id=run.connection_id):
        # However long: that is no failure of the run.
        return _rest(actor=actor, run=run)
    asked_at = database_now()
    request = LinesRequest(cursor=run.cursor, limit=PAGE_SIZE, request_id=actor.request_id)
    try:
        page = transport.blocking(adapter.list_lines, request)
    except CarrierMisconfigured as error:
        return _fail(actor=actor, run=run, code=error.code, detail=error.detail, now=clock())
    except CarrierUnavailable as error:
        wait = _backoff(run.failures, error.retry_after)
        return _put_off(actor=actor, run=run, code=error.code, detail=error.detail, wait=wait, now=clock())
    except CarrierError as error:
        wait = _backoff(run.failures)
        return _put_off(actor=actor, run=run, code=error.code, detail=error.detail, wait=wait, now=clock())
    except Exception as error:  # a bug in an adapter must not spin; nothing has changed at the carrier
        logger.exception("adapter failed", extra={"run": run.uid})
        return _put_off(
            actor=actor,
            run=run,
            code="adapter_failed",
            detail=type(error).__name__,
            wait=_backoff(run.failures),
            now=clock(),
        )
    return _keep_page(actor=actor, run=run, page=page, asked_at=asked_at)


@use_case
def _keep_page(
    *, actor: Actor, run: ReconciliationRun, page: LinesPage, asked_at: datetime
) -> ReconciliationRun:
    locked = _lock(run.pk, run.token)
    view.add_page(actor=actor, run_id=locked.pk, lines=page.lines, asked_at=asked_at)
    locked.take_page(
        lines=len(page.lines),
        next=page.next,
        asked_at=asked_at,
        lease_until=database_now() + _lease(locked.connection),
    )
    return locked


@use_case
def _compare(*, actor: Actor, run_id: int, token: int, now: datetime) -> ReconciliationRun:
    """COMPARING -> COMPLETED; back to FETCHING when pages are missing, or every line of theirs would be an alarm."""
    run = _lock(run_id, token)
    if view.count_lines(run_id=run_id) != run.lines_fetched:
        logger.warning("the pages of a reconciliation are lost", extra={"run": run.uid})
        view.forget(actor=actor, run_id=run_id)
        run.fetch_again()
        return run
    if run.lines_expected >= PLAUSIBLE_FROM and run.lines_fetched * 2 < run.lines_expected:
        # Not so many lines have ended overnight: a list that stands for nothing must not become a list of alarms.
        detail = f"The carrier lists {run.lines_fetched} lines, and we have {run.lines_expected}."
        return _end_failed(actor, run, "view_implausible", detail, now)
    view.gather_statistics(actor=actor)
    comparison = compare(actor=actor, run=run, now=now)
    view.forget(actor=actor, run_id=run_id)
    run.complete(found=comparison.listed, set_aside=comparison.set_aside, now=now)
    _record(actor, run, "complete", ReconciliationStatus.COMPARING, now)
    return run


@use_case
def _put_off(
    *, actor: Actor, run: ReconciliationRun, code: str, detail: str, wait: timedelta, now: datetime
) -> ReconciliationRun:
    """No page this time: again later, unless that was said too often."""
    locked = _lock(run.pk, run.token)
    if locked.failures >= MOST_FAILURES:
        return _end_failed(actor, locked, code, detail, now)
    locked.wait(code=code, detail=detail, until=database_now() + wait)
    return locked


@use_case
def _rest(*, actor: Actor, run: ReconciliationRun) -> ReconciliationRun:
    """Nothing is called over the connection just now."""
    locked = _lock(run.pk, run.token)
    locked.rest(until=database_now() + timedelta(seconds=REST_SECONDS))
    return locked


@use_case
def _fail(
    *, actor: Actor, run: ReconciliationRun, code: str, detail: str, now: datetime
) -> ReconciliationRun:
    return _end_failed(actor, _lock(run.pk, run.token), code, detail, now)


def _end_failed(
    actor: Actor, run: ReconciliationRun, code: str, detail: str, now: datetime
) -> ReconciliationRun:
    before = run.status
    run.fail(code=code, detail=detail, now=now)
    view.forget(actor=actor, run_id=run.pk)
    _record(actor, run, "fail", before, now)
    return run


@use_case
def _release(*, actor: Actor, run_id: int, token: int) -> None:
    _lock(run_id, token).release()


def _lock(run_id: int, token: int) -> ReconciliationRun:
    """:raises Overtaken: the lease is somebody else's, or the run is over."""
    run = (
        ReconciliationRun.objects.select_for_update(of=("self",)).select_related("connection").get(pk=run_id)
    )
    if run.token != token:
        raise Overtaken
    return run


def _lease(carrier: CarrierConnection) -> timedelta:
    """Longer than a call can take and its page to be written."""
    return timedelta(seconds=2.0 * carrier.timeout_seconds + 10.0)


def _backoff(failures: int, retry_after: float | None = None) -> timedelta:
    bound = min(LONGEST_WAIT_SECONDS, 2.0 ** min(failures, 12))
    return timedelta(seconds=max(random.uniform(0, bound), retry_after or 0.0))  # noqa: S311 - not a secret


def _record(
    actor: Actor, run: ReconciliationRun, verb: str, before: str | None, now: datetime, reason: str = ""
) -> None:
    after: dict[str, object] = {"status": run.status}
    if run.status == ReconciliationStatus.COMPLETED:
        after |= {"lines": run.lines_fetched, "found": run.found, "set_aside": run.set_aside}
    if run.status == ReconciliationStatus.FAILED:
        after["error"] = run.error_code
    audit.record(
        actor=actor,
        action=f"reconciliation.{verb}",
        target_type="reconciliation",
        target_id=run.uid,
        operator_id=run.operator_id,
        before={"status": before} if before else None,
        after=after,
        reason=reason,
        now=now,
    )
