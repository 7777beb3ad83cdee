"""The breaker on a real Redis: opened by failures over different questions, closed by one good probe, shared by all."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest
import redis
from django.conf import settings

from apps.core import breaker as module
from apps.core.breaker import Breaker, Permit
from tests.threads import in_parallel

OPEN_SECONDS = 0.15


@pytest.fixture
def breaker() -> Breaker:
    return Breaker(name=f"test.{uuid.uuid4()}", open_seconds=OPEN_SECONDS, probe_seconds=OPEN_SECONDS)


def _fail(breaker: Breaker, count: int) -> None:
    for number in range(count):
        assert breaker.admit().granted
        breaker.note_failure(f"ver_{number}")


def test_at_first_everybody_may_ask(breaker: Breaker) -> None:
    assert breaker.admit() == Permit(granted=True, clean=True)


def test_five_failures_open_it_for_a_while(breaker: Breaker) -> None:
    _fail(breaker, 4)
    assert breaker.admit() == Permit(granted=True, clean=False)
    breaker.note_failure("ver_5")

    assert [breaker.admit().granted for _ in range(3)] == [False] * 3
    # Another process sees the same.
    assert not Breaker(name=breaker.name).admit().granted


def test_an_answer_in_between_forgets_them(breaker: Breaker) -> None:
    _fail(breaker, 4)
    breaker.note_answer(breaker.admit())
    _fail(breaker, 4)

    assert breaker.admit().granted


def test_one_question_asked_again_and_again_counts_once(breaker: Breaker) -> None:
    for _ in range(20):
        assert breaker.admit().granted
        breaker.note_failure("ver_1")


def test_then_one_of_many_may_try_and_its_answer_closes_it(breaker: Breaker) -> None:
    _fail(breaker, 5)
    time.sleep(OPEN_SECONDS * 1.2)

    permits = in_parallel(6, lambda _: breaker.admit())

    assert sorted(permit.granted for permit in permits) == [False] * 5 + [True]
    breaker.note_answer(next(permit for permit in permits if permit.granted))
    assert breaker.admit() == Permit(granted=True, clean=True)


def test_a_probe_that_fails_opens_it_anew(breaker: Breaker) -> None:
    _fail(breaker, 5)
    time.sleep(OPEN_SECONDS * 1.2)
    assert breaker.admit().granted
    breaker.note_failure("ver_9")

    assert not breaker.admit().granted


def test_a_probe_that_never_comes_back_costs_its_time_only(breaker: Breaker) -> None:
    _fail(breaker, 5)
    time.sleep(OPEN_SECONDS * 1.2)
    assert [breaker.admit().granted, breaker.admit().granted] == [True, False]
    time.sleep(OPEN_SECONDS * 1.2)

    assert breaker.admit().granted


@pytest.fixture
def without_redis() -> Iterator[None]:
    dead = redis.Redis.from_url("redis://127.0.0.1:9", socket_connect_timeout=0.1)
    original = module._client
    module._client = lambda: dead  # type: ignore[assignment]
    yield
    module._client = original


def test_without_redis_it_is_closed(breaker: Breaker, without_redis: None) -> None:
    for number in range(8):
        permit = breaker.admit()
        assert permit.granted
        breaker.note_failure(f"ver_{number}")
    breaker.note_answer(Permit(granted=True, clean=False))


def test_what_redis_lost_is_closed(breaker: Breaker) -> None:
    _fail(breaker, 5)
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete(*breaker._keys())

    assert breaker.admit() == Permit(granted=True, clean=True)
