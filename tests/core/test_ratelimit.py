"""The rate limit: GCRA, exact, shared through Redis, and never an error."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import redis
from django.conf import settings

from apps.core import ratelimit
from apps.core.ratelimit import Decision, take

# So slow that nothing is earned back while a test runs.
SLOW = 1 / 3600


@pytest.fixture
def key() -> str:
    return f"tests:{uuid.uuid4().hex}"


@pytest.fixture
def use_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Points the limiter at another address for one test."""

    def use(url: str) -> None:
        monkeypatch.setattr(settings, "REDIS_URL", url)
        ratelimit._client.cache_clear()

    yield use
    ratelimit._client.cache_clear()


@pytest.fixture
def without_redis(use_redis: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    use_redis("redis://127.0.0.1:9/0")
    monkeypatch.setattr(ratelimit, "_local", {})


class Clock:
    """The fallback's clock, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic_ns(self) -> int:
        return int(self.seconds * 1_000_000_000)


@pytest.fixture
def clock(without_redis: None, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ratelimit, "time", clock)
    return clock


def test_a_burst_is_counted_exactly(key: str) -> None:
    decisions = [take(key, rate_per_second=SLOW, burst=5) for _ in range(8)]
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False] * 3
    assert [decision.remaining for decision in decisions] == [4, 3, 2, 1, 0, 0, 0, 0]
    for number, decision in enumerate(decisions[:5], start=1):
        assert decision.retry_after == 0
        assert number * 3600 - 5 <= decision.reset_seconds <= number * 3600
    assert all(3595 <= decision.retry_after <= 3600 for decision in decisions[5:])


def test_a_refused_call_costs_nothing(key: str) -> None:
    decisions = [take(key, rate_per_second=SLOW, burst=2) for _ in range(20)]
    assert decisions[-1].reset_seconds <= 2 * 3600


def test_keys_do_not_share(key: str) -> None:
    assert take(key, rate_per_second=SLOW, burst=1).allowed
    assert not take(key, rate_per_second=SLOW, burst=1).allowed
    assert take(f"{key}:other", rate_per_second=SLOW, burst=1).allowed


def test_a_window_lets_through_what_the_rate_says(key: str) -> None:
    """By Redis' own clock: the burst and what was earned between the first call and the last refusal, exactly."""
    # A burst of a second: only a longer pause of this test could let some of what is earned go to waste.
    burst, interval = 100, 10_000
    with redis.Redis.from_url(settings.REDIS_URL) as client:

        def microseconds() -> int:
            seconds, rest = client.time()
            return int(seconds) * 1_000_000 + int(rest)

        before_first = microseconds()
        allowed = int(take(key, rate_per_second=100, burst=burst).allowed)
        after_first = microseconds()
        while True:
            before_last = microseconds()
            if take(key, rate_per_second=100, burst=burst).allowed:
                allowed += 1
            elif before_last - before_first > 505_000:  # in the middle of an interval
                break
        after_last = microseconds()
    earned_at_least = (before_last - after_first) // interval
    earned_at_most = (after_last - before_first) // interval
    assert earned_at_least <= allowed - burst <= earned_at_most


def test_many_at_once_get_no_more_than_the_burst(key: str) -> None:
    barrier = threading.Barrier(8)
    allowed: list[bool] = []

    def run() -> None:
        barrier.wait()
        allowed.extend(take(key, rate_per_second=SLOW, burst=20).allowed for _ in range(10))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (allowed.count(True), allowed.count(False)) == (20, 60)


def test_redis_forgets_a_key_when_its_burst_is_whole_again(key: str) -> None:
    take(key, rate_per_second=10, burst=5)
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        assert 1 <= client.pttl(f"rate:{key}") <= 102


# --- Without Redis --------------------------------------------------------------------------------------------------
def test_without_redis_each_process_limits_by_itself(clock: Clock, key: str) -> None:
    decisions = [take(key, rate_per_second=2, burst=3) for _ in range(5)]
    assert [decision.allowed for decision in decisions] == [True, True, True, False, False]
    assert [decision.remaining for decision in decisions] == [2, 1, 0, 0, 0]
    assert decisions[-1] == Decision(allowed=False, remaining=0, reset_seconds=2, retry_after=1)
    clock.seconds += 0.499
    assert not take(key, rate_per_second=2, burst=3).allowed
    clock.seconds += 0.001
    assert take(key, rate_per_second=2, burst=3).allowed
    assert not take(key, rate_per_second=2, burst=3).allowed
    clock.seconds += 1000
    assert [take(key, rate_per_second=2, burst=3).allowed for _ in range(4)] == [True, True, True, False]


def test_without_redis_a_long_run_keeps_the_rate(clock: Clock, key: str) -> None:
    allowed = 0
    for _ in range(2_000):
        allowed += take(key, rate_per_second=100, burst=50).allowed
        clock.seconds += 0.005
    assert allowed == 50 + 999


@pytest.mark.usefixtures("without_redis")
def test_what_a_process_remembers_does_not_grow_for_ever(key: str) -> None:
    ratelimit._local.update({f"key {number}": 0 for number in range(10_001)})
    assert take(key, rate_per_second=1, burst=1).allowed
    assert list(ratelimit._local) == [key]


@pytest.mark.usefixtures("without_redis")
def test_a_dead_redis_costs_no_time(key: str) -> None:
    started = time.monotonic()
    for _ in range(20):
        assert take(key, rate_per_second=1000, burst=1000).allowed
    assert time.monotonic() - started < 2


def test_a_redis_that_does_not_answer_is_left_after_a_quarter_of_a_second(
    use_redis: Callable[[str], None], key: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_redis(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        assert take(key, rate_per_second=1, burst=1).allowed
        assert time.monotonic() - started < 2


def test_something_that_is_no_redis_is_no_error(use_redis: Callable[[str], None], key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            while True:
                try:
                    client, _ = other.accept()
                except OSError:
                    return
                with client:
                    client.recv(100)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        use_redis(f"redis://127.0.0.1:{other.getsockname()[1]}/0")
        assert take(key, rate_per_second=1, burst=1).allowed
        other.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_value_of_another_kind_under_the_key_is_no_error(key: str) -> None:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.lpush(f"rate:{key}", "not a number")
        try:
            assert take(key, rate_per_second=SLOW, burst=1).allowed
        finally:
            client.delete(f"rate:{key}")
