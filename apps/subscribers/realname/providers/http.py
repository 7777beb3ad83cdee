"""The way to a provider over HTTPS. An answer we do not fully understand is no answer.

Connect time and the whole call are limited, so is the size; redirects and proxies of the environment are not followed,
nothing is unpacked: the body holds a name and an identity number and goes to the configured address only.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from apps.carriers.base import CarrierUnavailable, OutcomeUnknown
from apps.carriers.transport import Limits, Transport, blocking
from apps.subscribers.realname.providers.base import ProviderUnavailable

logger = logging.getLogger(__name__)

TOTAL_SECONDS = 6.0
MAX_BYTES = 16 * 1024
IN_FLIGHT = 64

UNAVAILABLE = "provider_unavailable"
REFUSED_US = "provider_refused_us"
ANSWER_INVALID = "provider_answer_invalid"
# It speaks of somebody or something else than it was asked about.
WRONG_ECHO = "provider_wrong_echo"
# Not asked: it has failed too often.
BREAKER_OPEN = "provider_breaker_open"

_REFUSED_QUESTION = (400, 404, 413, 422)
_REFUSED_US = (401, 403)

W = TypeVar("W")


class Endpoint:
    """One address of one provider, with a connection pool that threads share."""

    def __init__(self, *, provider: str, url: str, total_seconds: float = TOTAL_SECONDS) -> None:
        self.provider = provider
        self._url = url
        self._transport = Transport(Limits(total_seconds=total_seconds, max_in_flight=IN_FLIGHT))

    def close(self) -> None:
        """Gives the connections back."""
        self._transport.retire()

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers (names in lower case) of an answer with status 200. :raises ProviderUnavailable:"""
        try:
            reply = blocking(self._transport.post, self._url, content=body, headers=headers)
        except (CarrierUnavailable, OutcomeUnknown):
            # Said without the exception: its text could name what was sent.
            raise self.no_answer(UNAVAILABLE) from None
        if reply.status in (*_REFUSED_QUESTION, *_REFUSED_US):
            logger.error("provider refuses us", extra={"provider": self.provider, "status": reply.status})
            raise ProviderUnavailable(
                REFUSED_US,
                provider=self.provider,
                blames_question=reply.status in _REFUSED_QUESTION,
            )
        if reply.status != 200:
            raise self.no_answer(UNAVAILABLE)
        if len(reply.body) > MAX_BYTES:
            raise self.no_answer(ANSWER_INVALID)
        return reply.body, reply.headers

    def no_answer(self, code: str) -> ProviderUnavailable:
        return ProviderUnavailable(code, provider=self.provider)

    def word(self, read: Callable[[str], W], value: object) -> W:
        """The value as one of our words. :raises ProviderUnavailable: it is none of those that were agreed on."""
        try:
            if isinstance(value, str):
                return read(value)
        except (ValueError, KeyError):
            pass
        raise self.no_answer(ANSWER_INVALID)

    def check_echo(self, **asked_and_told: tuple[str, object]) -> None:
        """:raises ProviderUnavailable: when the answer repeats anything else than what was asked."""
        for asked, told in asked_and_told.values():
            if not isinstance(told, str) or not hmac.compare_digest(asked.encode(), told.encode()):
                logger.error("provider answers another question", extra={"provider": self.provider})
                raise self.no_answer(WRONG_ECHO)
