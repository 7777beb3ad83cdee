"""Hand-off to the workers. A message is a nudge (rule 4): losing one costs a sweep interval, never an order."""

from __future__ import annotations

import functools
import logging
import threading
from typing import Any

from celery import current_app
from django.db import transaction

from apps.core.faults import faultpoint

logger = logging.getLogger(__name__)
_loading = threading.Lock()


def after_commit(task_name: str, /, *, queue: str | None = None, **kwargs: Any) -> None:
    """Publishes the named task once the open transaction has committed; ids only. A dead broker is logged, not raised.

    `queue` overrides the task's own, where the queue depends on the row (one per host carrier).
    """
    transaction.on_commit(functools.partial(_publish, _task(task_name), queue, kwargs))


def now(task_name: str, /, *, queue: str | None = None, **kwargs: Any) -> None:
    """The same outside any transaction: a worker that passes work on."""
    _publish(_task(task_name), queue, kwargs)


def _task(name: str) -> Any:
    """The registered task; the modules that register them are only loaded by themselves in a worker."""
    if name not in current_app.tasks:
        # Under a lock: another thread that is in the middle of loading has registered some tasks and not yet others.
        with _loading:
            current_app.loader.import_default_modules()
    return current_app.tasks[name]


def _publish(task: Any, queue: str | None, kwargs: dict[str, Any]) -> None:
    options = {"queue": queue} if queue else {}
    try:
        faultpoint("nudge.before_publish")
        task.apply_async(kwargs=kwargs, retry=False, **options)
    except Exception as error:  # whatever the broker client raises: the sweeper finds the row
        logger.warning("nudge lost", extra={"task": task.name, "error": type(error).__name__})
