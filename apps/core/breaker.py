"""A circuit breaker shared by all processes: who fails again and again is left alone for a while, then tried once.

Closed: everybody may ask. After failures over so many different questions without an answer in between it opens:
nobody asks. When its time is over one caller may (half open): an answer closes it, a failure opens it anew, and a
caller that dies over it costs `probe_seconds`. One question asked many times counts once, so that a single person
whom a provider cannot deal with shuts nobody else out.

The state lies in Redis, measured with its clock. Without Redis every breaker is closed: it only spares time.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass

import redis
from django.conf import settings

logger = logging.getLogger(__name__)

# KEYS: until when it is open (milliseconds), the questions that failed. Both answers: may ask, nothing to forget.
_ADMIT = """
local till = redis.call('GET', KEYS[1])
if not till then
  return {1, 1 - redis.call('EXISTS', KEYS[2])}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if now < tonumber(till) then
  return {0, 0}
end
redis.call('SET', KEYS[1], string.format('%.0f', now + ARGV[1]), 'PX', ARGV[2])
return {1, 0}
"""
_FAIL = """
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('SCARD', KEYS[2]) < tonumber(ARGV[2]) then
  return 0
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('SET', KEYS[1], string.format('%.0f', now + ARGV[3]), 'PX', ARGV[4])
return 1
"""


@dataclass(frozen=True, slots=True)
class Permit:
    """Whether to ask; `clean` when an answer will be nothing new."""

    granted: bool
    clean: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The breaker of one address; `name` is a word, never anything personal."""

    name: str
    failures: int = 5
    open_seconds: float = 30.0
    # Longer than any call takes.
    probe_seconds: float = 15.0
    # Failures further apart than this have nothing to do with each other.
    forget_seconds: float = 600.0

    def admit(self) -> Permit:
        """Asked before every call. Half open, it lets exactly one caller through."""
        try:
            granted, clean = _client().eval(
                _ADMIT, 2, *self._keys(), _ms(self.probe_seconds), _ms(self.forget_seconds)
            )
        except redis.RedisError as error:
            self._without_redis(error)
            return Permit(True, True)
        return Permit(bool(granted), bool(clean))

    def note_answer(self, permit: Permit) -> None:
        """The call was answered: closed, and no failure is remembered."""
        if permit.clean:
            return
        try:
            _client().delete(*self._keys())
        except redis.RedisError as error:
            self._without_redis(error)

    def note_failure(self, question: str) -> None:
        """The call was not answered; `question` is an id that is the same when it is asked again."""
        try:
            opened = _client().eval(
                _FAIL,
                2,
                *self._keys(),
                question,
                self.failures,
                _ms(self.open_seconds),
                _ms(self.forget_seconds),
            )
        except redis.RedisError as error:
            self._without_redis(error)
            return
        if opened:
            logger.warning("breaker open", extra={"breaker": self.name, "seconds": self.open_seconds})

    def _keys(self) -> tuple[str, str]:
        return f"breaker:{self.name}:open", f"breaker:{self.name}:failed"

    def _without_redis(self, error: redis.RedisError) -> None:
        logger.warning("breaker without redis", extra={"breaker": self.name, "error": type(error).__name__})


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


@functools.cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.25, socket_connect_timeout=0.25)
