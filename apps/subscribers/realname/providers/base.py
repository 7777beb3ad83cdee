"""What a provider of real-name checks can be asked, in our own words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class AuthorityAnswer(StrEnum):
    """What the population register says about a name and a number."""

    MATCH = "match"
    NAME_MISMATCH = "name_mismatch"
    NOT_FOUND = "not_found"
    DOCUMENT_VOID = "document_void"


class FaceAnswer(StrEnum):
    """Whether the live face is the one on the document; UNCERTAIN asks for a person's eyes."""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNCERTAIN = "uncertain"


class ProviderUnavailable(Exception):
    """No usable answer. `code` says why: provider_unavailable, provider_refused_us or provider_answer_invalid."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Authority(Protocol):
    name: str

    def match(
        self, *, name: str, document_type: str, document_number: str, request_id: str
    ) -> AuthorityAnswer:
        """Asks whether name and number belong together. Blocking, time-limited, safe to repeat and to call in threads.

        :raises ProviderUnavailable: for everything that is not one of the answers.
        """


class FaceMatcher(Protocol):
    name: str

    def match(self, *, document_number: str, face_session: str, channel: str, request_id: str) -> FaceAnswer:
        """Asks whether the person in the live session is the document's. Blocking, time-limited, safe to repeat.

        :raises ProviderUnavailable: for everything that is not one of the answers.
        """


@dataclass(frozen=True, slots=True)
class Providers:
    authority: Authority
    face: FaceMatcher
