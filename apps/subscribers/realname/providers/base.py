"""What a provider of real-name checks can be asked, in our own words."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


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


class LivenessAnswer(StrEnum):
    """Whether a living person stood before the camera, not a picture of one."""

    LIVE = "live"
    NOT_LIVE = "not_live"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class FaceVerdict:
    """Both come of one look at one session or photo."""

    liveness: LivenessAnswer
    face: FaceAnswer


@dataclass(frozen=True, slots=True)
class Evidence:
    """What shows that the person was there: a face session, or a photo taken at the counter beside a card reader."""

    channel: str
    face_session: str = field(default="", repr=False)
    reader: str = ""
    # A JPEG, or nothing.
    photo: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """An answer, and the name of the provider that gave it."""

    answer: T
    provider: str


class ProviderUnavailable(Exception):
    """No usable answer. `code` says why: see `http`; `provider` was asked last.

    `blames_question` when only this question was refused: the provider is well.
    """

    def __init__(self, code: str, *, provider: str = "", blames_question: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.provider = provider
        self.blames_question = blames_question


class Authority(Protocol):
    @property
    def name(self) -> str: ...

    def match(
        self, *, name: str, document_type: str, document_number: str, request_id: str
    ) -> Reply[AuthorityAnswer]:
        """Asks whether name and number belong together. Blocking, time-limited, safe to repeat and to call in threads.

        :raises ProviderUnavailable: for everything that is not one of the answers to this very question.
        """


class FaceMatcher(Protocol):
    @property
    def name(self) -> str: ...

    def match(self, *, document_number: str, evidence: Evidence, request_id: str) -> Reply[FaceVerdict]:
        """Asks whether the person of the evidence lives and is the document's. Blocking, time-limited, safe to repeat.

        :raises ProviderUnavailable: for everything that is not one of the answers to this very question.
        """


@dataclass(frozen=True, slots=True)
class Providers:
    authority: Authority
    face: FaceMatcher
