"""Celery tasks of lines. Each may run twice at once; what is due stands in the tables."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from apps.core.actor import Actor
from apps.core.db import database_now
from apps.lines import services


@shared_task(name="lines.erase_former_holders")
def erase_former_holders(**_future: Any) -> None:
    """Erases the people whose retention has run out, some now and the rest next time."""
    services.erase_former_holders(actor=Actor.system("lines.erase_former_holders"), now=database_now())
