"""Celery tasks of the audit trail."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from apps.audit import services


@shared_task(name="audit.seal")
def seal(**_future: Any) -> None:
    """Gives committed rows their places in the chains until none is due."""
    while services.seal():
        pass
