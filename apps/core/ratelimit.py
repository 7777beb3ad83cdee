"""A rate limit shared by all processes: GCRA in one Redis call; without Redis each process limits by itself."""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass

import redis
from django.conf import settings

# KEYS[1] holds the theoretical arrival time in microseconds. Redis's own clock, so workers need not agree on theirs.
_GCRA = """
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local ahead = tat - now
if ahead > interval * (burst - 1) then
  return {0, 0, ahead, ahead - interval * (burst - 1)}
end
tat = tat + interval
redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
return {1, math.floor((interval * burst - (tat - now)) / interval), tat - now, 0}
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """`remaining` calls of the burst, seconds until it is whole again, seconds to wait when refused."""

    allowed: bool
    remaining: int
    reset_seconds: int
    retry_after: int


@functools.cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.25, socket_connect_timeout=0.25)


def take(key: str, *, rate_per_second: float, burst: int) -> Decision:
    """Spends one call of `key`. Never raises: a dead Redis means each process applies the limit by itself."""
    interval = int(1_000_000 / rate_per_second)
    try:
        allowed, remaining, reset, wait = _client().eval(_GCRA, 1, f"rate:{key}", interval, burst)
    except redis.RedisError:
        allowed, remaining, reset, wait = _take_locally(key, interval, burst)
    return Decision(
        allowed=bool(allowed),
        remaining=int(remaining),
        reset_seconds=math.ceil(int(reset) / 1_000_000),
        retry_after=math.ceil(int(wait) / 1_000_000),
    )


_local: dict[str, int] = {}


def _take_locally(key: str, interval: int, burst: int) -> tuple[int, int, int, int]:
    now = time.monotonic_ns() // 1000
    tat = max(_local.get(key, now), now)
    if tat - now > interval * (burst - 1):
        return 0, 0, tat - now, tat - now - interval * (burst - 1)
    if len(_local) > 10_000:
        _local.clear()
    tat += interval
    _local[key] = tat
    return 1, (interval * burst - (tat - now)) // interval, tat - now, 0
