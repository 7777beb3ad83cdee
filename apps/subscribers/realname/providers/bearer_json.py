"""The dialect of the first providers: JSON both ways, a bearer token, words for answers."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from apps.subscribers.realname.providers.base import (
    AuthorityAnswer,
    Evidence,
    FaceAnswer,
    FaceVerdict,
    LivenessAnswer,
    Reply,
)
from apps.subscribers.realname.providers.http import ANSWER_INVALID, TOTAL_SECONDS, Endpoint


class _Json:
    def __init__(self, *, name: str, url: str, token: str, total_seconds: float = TOTAL_SECONDS) -> None:
        self.name = name
        self._endpoint = Endpoint(provider=name, url=url, total_seconds=total_seconds)
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }

    def close(self) -> None:
        self._endpoint.close()

    def _ask(self, question: dict[str, str]) -> dict[str, Any]:
        body, _ = self._endpoint.post(orjson.dumps(question), self._headers)
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise self._endpoint.no_answer(ANSWER_INVALID) from None
        if not isinstance(answer, dict):
            raise self._endpoint.no_answer(ANSWER_INVALID)
        self._endpoint.check_echo(
            request=(question["request_id"], answer.get("request_id")),
            number=(question["document_number"], answer.get("document_number")),
        )
        return answer


class JsonAuthority(_Json):
    """The identity authority."""

    def match(
        self, *, name: str, document_type: str, document_number: str, request_id: str
    ) -> Reply[AuthorityAnswer]:
        answer = self._ask(
            {
                "name": name,
                "document_type": document_type,
                "document_number": document_number,
                "request_id": request_id,
            }
        )
        return Reply(self._endpoint.word(AuthorityAnswer, answer.get("result")), self.name)


class JsonFaceMatcher(_Json):
    """The face match."""

    def match(self, *, document_number: str, evidence: Evidence, request_id: str) -> Reply[FaceVerdict]:
        answer = self._ask(
            {
                "document_number": document_number,
                "face_session": evidence.face_session,
                "photo": base64.b64encode(evidence.photo).decode(),
                "reader": evidence.reader,
                "channel": evidence.channel,
                "request_id": request_id,
            }
        )
        verdict = FaceVerdict(
            liveness=self._endpoint.word(LivenessAnswer, answer.get("liveness")),
            face=self._endpoint.word(FaceAnswer, answer.get("result")),
        )
        return Reply(verdict, self.name)
