"""Providers over HTTPS and JSON. An answer we do not fully understand is no answer.

Connect, read and total time are limited, so is the size; redirects and proxies of the environment are not followed:
the body holds a name and an identity number and goes to the configured address only.
"""

from __future__ import annotations

import atexit
import functools
import logging
import time
from typing import Any

import httpx2
import orjson
from django.conf import settings

from apps.subscribers.realname.providers.base import (
    AuthorityAnswer,
    FaceAnswer,
    Providers,
    ProviderUnavailable,
)

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0
TOTAL_SECONDS = 8.0
MAX_BYTES = 16 * 1024

UNAVAILABLE = "provider_unavailable"
REFUSED_US = "provider_refused_us"
ANSWER_INVALID = "provider_answer_invalid"


class _JsonEndpoint:
    """One address that takes and gives a JSON object, with a connection pool that threads share."""

    def __init__(self, *, name: str, url: str, token: str, total_seconds: float = TOTAL_SECONDS) -> None:
        self.name = name
        self._url = url
        self._total_seconds = total_seconds
        read_seconds = min(READ_SECONDS, total_seconds)
        self._client = httpx2.Client(
            # Unpacked answers only: a small packed one could unpack to anything.
            headers={
                "Authorization": f"Bearer {token}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            timeout=httpx2.Timeout(read_seconds, connect=min(CONNECT_SECONDS, total_seconds)),
            limits=httpx2.Limits(max_connections=64, max_keepalive_connections=16),
            follow_redirects=False,
            trust_env=False,
        )

    def close(self) -> None:
        """Gives the connections back."""
        self._client.close()

    def ask(self, question: dict[str, str]) -> Any:
        """The value of `result` in the answer. :raises ProviderUnavailable: for everything else than 200 and JSON."""
        deadline = time.monotonic() + self._total_seconds
        try:
            with self._client.stream("POST", self._url, json=question) as response:
                if response.status_code in (400, 401, 403, 404, 422):
                    logger.error(
                        "provider refuses us", extra={"provider": self.name, "status": response.status_code}
                    )
                    raise ProviderUnavailable(REFUSED_US)
                if response.status_code != 200:
                    raise ProviderUnavailable(UNAVAILABLE)
                body = self._read(response, deadline)
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL):
            # Said without the exception: its text could name what was sent.
            raise ProviderUnavailable(UNAVAILABLE) from None
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise ProviderUnavailable(ANSWER_INVALID) from None
        if not isinstance(answer, dict):
            raise ProviderUnavailable(ANSWER_INVALID)
        return answer.get("result")

    @staticmethod
    def _read(response: httpx2.Response, deadline: float) -> bytes:
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAX_BYTES:
                raise ProviderUnavailable(ANSWER_INVALID)
            if time.monotonic() > deadline:
                raise ProviderUnavailable(UNAVAILABLE)
        return bytes(body)


class HttpAuthority(_JsonEndpoint):
    """The identity authority."""

    def match(
        self, *, name: str, document_type: str, document_number: str, request_id: str
    ) -> AuthorityAnswer:
        result = self.ask(
            {
                "name": name,
                "document_type": document_type,
                "document_number": document_number,
                "request_id": request_id,
            }
        )
        try:
            return AuthorityAnswer(result)
        except ValueError:
            raise ProviderUnavailable(ANSWER_INVALID) from None


class HttpFaceMatcher(_JsonEndpoint):
    """The face match."""

    def match(self, *, document_number: str, face_session: str, channel: str, request_id: str) -> FaceAnswer:
        result = self.ask(
            {
                "document_number": document_number,
                "face_session": face_session,
                "channel": channel,
                "request_id": request_id,
            }
        )
        try:
            return FaceAnswer(result)
        except ValueError:
            raise ProviderUnavailable(ANSWER_INVALID) from None


def configured() -> Providers:
    """The providers of the settings; each process keeps one connection pool per address."""
    return _providers(settings.REALNAME_AUTHORITY_URL, settings.REALNAME_FACE_URL, settings.REALNAME_TOKEN)


@functools.cache
def _providers(authority_url: str, face_url: str, token: str) -> Providers:
    authority = HttpAuthority(name="authority", url=authority_url, token=token)
    face = HttpFaceMatcher(name="face", url=face_url, token=token)
    atexit.register(authority.close)
    atexit.register(face.close)
    return Providers(authority=authority, face=face)
