"""Celery tasks of this app; beat sends them, each runs until nothing is left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import shared_task

from apps.core import clock
from apps.core.actor import Actor
from apps.numbering import services

BATCH = 500
# Set-based, and fastest at about this size.
RESERVATIONS = 2_000
# Files have up to thousands of rows.
RUNS = 20
# How long one message keeps a worker at long work; beat sends the next.
SLICE = timedelta(seconds=5)


@shared_task(name="numbering.expire_reservations")
def expire_reservations(**_future: Any) -> None:
    """Frees the numbers of reservations whose time is over."""
    actor = Actor.system("numbering.expire_reservations")
    while services.expire_reservations(actor=actor, now=clock.now(), limit=RESERVATIONS) == RESERVATIONS:
        pass


@shared_task(name="numbering.end_quarantines")
def end_quarantines(**_future: Any) -> None:
    """Frees the numbers whose quarantine is over."""
    actor = Actor.system("numbering.end_quarantines")
    while services.end_quarantines(actor=actor, now=clock.now(), limit=BATCH) == BATCH:
        pass


@shared_task(name="numbering.begin_leases")
def begin_leases(**_future: Any) -> None:
    """Activates planned ranges whose first day has come: some of them, the next message the next."""
    services.begin_leases(actor=Actor.system("numbering.begin_leases"), now=clock.now())


@shared_task(name="numbering.continue_runs")
def continue_runs(**_future: Any) -> None:
    """Takes imports and re-grading further, for a while; what is left then waits for the next message."""
    actor, end = Actor.system("numbering.continue_runs"), clock.now() + SLICE
    while clock.now() < end and services.continue_runs(actor=actor, now=clock.now(), limit=1):
        pass


@shared_task(name="numbering.start_regrades")
def start_regrades(**_future: Any) -> None:
    """Each night: numbers that have come free since the rules changed have the grade they were sold at."""
    services.start_regrades(actor=Actor.system("numbering.start_regrades"), now=clock.now())


@shared_task(name="numbering.fold_stock")
def fold_stock(**_future: Any) -> None:
    """Adds what changed to the counts of numbers."""
    services.fold_stock()


@shared_task(name="numbering.note_stock_day")
def note_stock_day(**_future: Any) -> None:
    """Keeps the counts of the day so far, for forecasts."""
    services.note_stock_day(now=clock.now())


@shared_task(name="numbering.forget_runs")
def forget_runs(**_future: Any) -> None:
    """Each night: rows of files that nobody asks for any more."""
    actor = Actor.system("numbering.forget_runs")
    while services.forget_runs(actor=actor, now=clock.now(), limit=RUNS):
        pass
