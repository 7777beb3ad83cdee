"""Alive is not ready, and Redis is not needed for either."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test import Client

pytestmark = pytest.mark.urls("tests.core.urls")


@pytest.mark.django_db
def test_with_both_there_it_is_ready(client: Client) -> None:
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (
        200,
        {"status": "ready", "database": True, "redis": True},
    )


@pytest.mark.django_db
def test_without_redis_it_is_ready_and_says_so_at_once(client: Client, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    started = time.monotonic()
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (
        200,
        {"status": "ready", "database": True, "redis": False},
    )
    assert time.monotonic() - started < 2


@pytest.fixture
def no_database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Nobody listens where the database should be."""
    with django_db_blocker.unblock():
        connection.close()
        address = connection.settings_dict
        connection.settings_dict = {**address, "PORT": "9"}
        yield
        connection.settings_dict = address


@pytest.mark.usefixtures("no_database")
def test_without_the_database_it_is_not_ready(client: Client) -> None:
    with pytest.raises(OperationalError):
        connection.cursor()
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (
        503,
        {"status": "not ready", "database": False, "redis": True},
    )


@pytest.mark.django_db
def test_a_connection_that_has_ended_is_no_crash(client: Client) -> None:
    def broken(*_: Any) -> None:
        raise InterfaceError("connection already closed")

    with connection.execute_wrapper(broken):
        assert client.get("/readyz").status_code == 503


def test_alive_asks_nobody(client: Client) -> None:
    """Without the `db` fixture any query would fail this test."""
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})
