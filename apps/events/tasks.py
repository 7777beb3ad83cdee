"""Celery tasks of the outbox."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from apps.core import clock
from apps.core.faults import faultpoint
from apps.events import services


@shared_task(name="events.relay")
def relay(**_future: Any) -> None:
    """Hands waiting events on until none is left."""
    while services.relay(now=clock.now()):
        faultpoint("relay.after_commit")
