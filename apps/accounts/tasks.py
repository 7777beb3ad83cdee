"""Housekeeping by beat; safe to run twice at once."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from apps.accounts import services as accounts
from apps.core import clock

_BATCH = 5_000


@shared_task(name="accounts.forget_idempotency_keys")
def forget_idempotency_keys(**_future: Any) -> None:
    """Keys older than seven days, in batches: a long delete would hold its snapshot over everything else."""
    while accounts.forget_idempotency_keys(now=clock.now(), limit=_BATCH) == _BATCH:
        pass


@shared_task(name="accounts.forget_expired_tokens")
def forget_expired_tokens(**_future: Any) -> None:
    """Tokens that can open nothing any more, in batches."""
    while accounts.forget_expired_tokens(now=clock.now(), limit=_BATCH) == _BATCH:
        pass
