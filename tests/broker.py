"""What lies in the broker: the messages that workers would get, read without any worker."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from celery import Celery, current_app
from django.conf import settings

DEFAULT: str = settings.CELERY_TASK_DEFAULT_QUEUE


@dataclass(frozen=True, slots=True)
class Message:
    task: str
    kwargs: dict[str, Any]


def take_all(queue: str) -> list[Message]:
    """Every message of the queue, oldest first; the queue is empty afterwards."""
    with redis.Redis.from_url(settings.CELERY_BROKER_URL) as client:
        waiting, _ = client.pipeline().lrange(queue, 0, -1).delete(queue).execute()
    return [_read(raw) for raw in reversed(waiting)]


def _read(raw: bytes) -> Message:
    envelope = json.loads(raw)
    args, kwargs, _ = json.loads(base64.b64decode(envelope["body"]))
    assert args == [], "tasks take keywords only"
    return Message(envelope["headers"]["task"], kwargs)


@contextmanager
def tasks(*names: str) -> Iterator[None]:
    """Tasks that exist for one test; without a route of their own they lie in the queue `DEFAULT`."""
    take_all(DEFAULT)
    for name in names:
        current_app.task(name=name, shared=False)(_do_nothing)
    yield
    for name in names:
        current_app.tasks.pop(name)
    take_all(DEFAULT)


@contextmanager
def dead(*names: str) -> Iterator[None]:
    """The same settings and task names, but nobody listens where the broker should be."""
    real = current_app._get_current_object()
    app = Celery("dead", set_as_current=False)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.broker_url = "redis://127.0.0.1:9/0"
    for name in names:
        app.task(name=name, shared=False)(_do_nothing)
    app.set_current()
    yield
    real.set_current()


def _do_nothing(**_: Any) -> None:
    pass
