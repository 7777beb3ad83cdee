"""Several providers of one kind, asked in their order until one answers, each behind a breaker of its own."""

from __future__ import annotations

import atexit
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from django.conf import settings

from apps.core.breaker import Breaker
from apps.subscribers.realname.providers.base import (
    Authority,
    AuthorityAnswer,
    Evidence,
    FaceMatcher,
    FaceVerdict,
    Providers,
    ProviderUnavailable,
    Reply,
)
from apps.subscribers.realname.providers.bearer_json import JsonAuthority, JsonFaceMatcher
from apps.subscribers.realname.providers.http import BREAKER_OPEN
from apps.subscribers.realname.providers.signed_form import FormAuthority, FormFaceMatcher


class _Named(Protocol):
    @property
    def name(self) -> str: ...


P = TypeVar("P", bound=_Named)
R = TypeVar("R")


class _Chain(Generic[P]):
    """:param links: provider and breaker, the one to ask first at the head; at least one."""

    def __init__(self, links: Sequence[tuple[P, Breaker]]) -> None:
        self._links = tuple(links)

    @property
    def name(self) -> str:
        return self._links[0][0].name

    def _first_answer(self, request_id: str, ask: Callable[[P], R]) -> R:
        """:raises ProviderUnavailable: the first provider's, when none of them answers."""
        refusals: list[ProviderUnavailable] = []
        # The same person asked about again is the same question: request ids end in the number of the attempt.
        question = request_id.rpartition("-")[0] or request_id
        for provider, breaker in self._links:
            permit = breaker.admit()
            if not permit.granted:
                refusals.append(ProviderUnavailable(BREAKER_OPEN, provider=provider.name))
                continue
            try:
                answer = ask(provider)
            except ProviderUnavailable as refusal:
                if refusal.blames_question:
                    breaker.note_answer(permit)
                else:
                    breaker.note_failure(question)
                refusals.append(refusal)
                continue
            breaker.note_answer(permit)
            return answer
        # What was really asked says more than a breaker.
        raise next((refusal for refusal in refusals if refusal.code != BREAKER_OPEN), refusals[0])


class AuthorityChain(_Chain[Authority]):
    """Fail-over between authorities."""

    def match(
        self, *, name: str, document_type: str, document_number: str, request_id: str
    ) -> Reply[AuthorityAnswer]:
        return self._first_answer(
            request_id,
            lambda provider: provider.match(
                name=name,
                document_type=document_type,
                document_number=document_number,
                request_id=request_id,
            ),
        )


class FaceChain(_Chain[FaceMatcher]):
    """Fail-over between face matchers."""

    def match(self, *, document_number: str, evidence: Evidence, request_id: str) -> Reply[FaceVerdict]:
        return self._first_answer(
            request_id,
            lambda provider: provider.match(
                document_number=document_number, evidence=evidence, request_id=request_id
            ),
        )


def breaker_of(*, provider: str, url: str) -> Breaker:
    """The breaker that all processes share for this provider at this address."""
    address = hashlib.sha256(url.encode()).hexdigest()[:12]
    return Breaker(name=f"realname.{provider}.{address}")


def configured() -> Providers:
    """The providers of the settings; each process keeps one connection pool per address."""
    return _providers(
        settings.REALNAME_AUTHORITY_URL,
        settings.REALNAME_FACE_URL,
        settings.REALNAME_TOKEN,
        settings.REALNAME_SECOND_AUTHORITY_URL,
        settings.REALNAME_SECOND_FACE_URL,
        settings.REALNAME_SECOND_SECRET,
    )


@functools.cache
def _providers(
    authority_url: str,
    face_url: str,
    token: str,
    second_authority_url: str,
    second_face_url: str,
    second_secret: str,
) -> Providers:
    first = JsonAuthority(name="authority", url=authority_url, token=token)
    first_face = JsonFaceMatcher(name="face", url=face_url, token=token)
    authorities: list[tuple[Authority, Breaker]] = [
        (first, breaker_of(provider="authority", url=authority_url))
    ]
    faces: list[tuple[FaceMatcher, Breaker]] = [(first_face, breaker_of(provider="face", url=face_url))]
    atexit.register(first.close)
    atexit.register(first_face.close)
    if second_authority_url:
        second = FormAuthority(name="second_authority", url=second_authority_url, secret=second_secret)
        authorities.append((second, breaker_of(provider="second_authority", url=second_authority_url)))
        atexit.register(second.close)
    if second_face_url:
        second_face = FormFaceMatcher(name="second_face", url=second_face_url, secret=second_secret)
        faces.append((second_face, breaker_of(provider="second_face", url=second_face_url)))
        atexit.register(second_face.close)
    return Providers(authority=AuthorityChain(authorities), face=FaceChain(faces))
