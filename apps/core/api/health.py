"""Is the process alive, and can it do its work?"""

from __future__ import annotations

import redis
from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, JsonResponse


def alive(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers."""
    return JsonResponse({"status": "alive"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 when PostgreSQL answers, else 503.

    A missing Redis is said but does not take us out: it only carries nudges.
    """
    database = _database()
    body = {"status": "ready" if database else "not ready", "database": database, "redis": _redis()}
    return JsonResponse(body, status=200 if database else 503)


def _database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True


def _redis() -> bool:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5)
    try:
        with client:
            return bool(client.ping())
    except redis.RedisError:
        return False
