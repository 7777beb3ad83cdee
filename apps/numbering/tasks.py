"""Celery tasks of this app; beat sends them, each runs until nothing is left."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from apps.core import clock
from apps.core.actor import Actor
from apps.numbering import services

BATCH = 500


@shared_task(name="numbering.expire_reservations")
def expire_reservations(**_future: Any) -> None:
    """Frees the numbers of reservations whose time is over."""
    actor = Actor.system("numbering.expire_reservations")
    while services.expire_reservations(actor=actor, now=clock.now(), limit=BATCH) == BATCH:
        pass


@shared_task(name="numbering.end_quarantines")
def end_quarantines(**_future: Any) -> None:
    """Frees the numbers whose quarantine is over."""
    actor = Actor.system("numbering.end_quarantines")
    while services.end_quarantines(actor=actor, now=clock.now(), limit=BATCH) == BATCH:
        pass
