"""The dialect of the second providers: forms both ways, each signed with HMAC-SHA256, numbers for answers.

    X-Signature: hex HMAC-SHA256 of the body, which holds the serial of the question

Their fields are called in pinyin: `lsh` serial, `xm` name, `zjlx` and `zjhm` document type and number, `qd` channel,
`hh` face session, `zp` photo, `dkq` card reader; `jg` result, `ht` liveness.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode

from apps.subscribers.realname.providers.base import (
    AuthorityAnswer,
    Evidence,
    FaceAnswer,
    FaceVerdict,
    LivenessAnswer,
    ProviderUnavailable,
    Reply,
)
from apps.subscribers.realname.providers.http import (
    ANSWER_INVALID,
    REFUSED_US,
    TOTAL_SECONDS,
    UNAVAILABLE,
    Endpoint,
)

_DOCUMENT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "resident_id": "111",
        "temporary_resident_id": "112",
        "household_register": "113",
        "military_id": "114",
        "passport": "414",
        "taiwan_permit": "511",
        "hk_macao_permit": "516",
        "foreign_permanent_resident": "553",
        "hkmt_residence_permit": "554",
        "uscc": "801",
    }
)
_CHANNELS: Mapping[str, str] = MappingProxyType({"in_store": "1", "online_video": "2"})
_AUTHORITY: Mapping[str, AuthorityAnswer] = MappingProxyType(
    {
        "1000": AuthorityAnswer.MATCH,
        "1001": AuthorityAnswer.NAME_MISMATCH,
        "1002": AuthorityAnswer.NOT_FOUND,
        "1003": AuthorityAnswer.DOCUMENT_VOID,
    }
)
_FACE: Mapping[str, FaceAnswer] = MappingProxyType(
    {"2000": FaceAnswer.MATCH, "2001": FaceAnswer.MISMATCH, "2002": FaceAnswer.UNCERTAIN}
)
_LIVENESS: Mapping[str, LivenessAnswer] = MappingProxyType(
    {"0": LivenessAnswer.LIVE, "1": LivenessAnswer.NOT_LIVE, "2": LivenessAnswer.UNCERTAIN}
)
_BUSY = "9001"


class _Form:
    def __init__(self, *, name: str, url: str, secret: str, total_seconds: float = TOTAL_SECONDS) -> None:
        self.name = name
        self._endpoint = Endpoint(provider=name, url=url, total_seconds=total_seconds)
        self._secret = secret.encode()

    def close(self) -> None:
        self._endpoint.close()

    def _ask(self, question: dict[str, str]) -> dict[str, str]:
        body = urlencode(question).encode()
        told, headers = self._endpoint.post(
            body,
            {"Content-Type": "application/x-www-form-urlencoded", "X-Signature": self._sign(body)},
        )
        if not hmac.compare_digest(self._sign(told).encode(), headers.get("x-signature", "").encode()):
            raise self._endpoint.no_answer(ANSWER_INVALID)
        try:
            pairs = parse_qsl(
                told.decode("ascii"), strict_parsing=True, keep_blank_values=True, max_num_fields=16
            )
        except ValueError:
            raise self._endpoint.no_answer(ANSWER_INVALID) from None
        answer = dict(pairs)
        if len(answer) != len(pairs):
            raise self._endpoint.no_answer(ANSWER_INVALID)
        if answer.get("jg") == _BUSY:
            raise self._endpoint.no_answer(UNAVAILABLE)
        self._endpoint.check_echo(
            request=(question["lsh"], answer.get("lsh")), number=(question["zjhm"], answer.get("zjhm"))
        )
        return answer

    def _sign(self, body: bytes) -> str:
        return hmac.new(self._secret, body, hashlib.sha256).hexdigest()


class FormAuthority(_Form):
    """The identity authority."""

    def match(
        self, *, name: str, document_type: str, document_number: str, request_id: str
    ) -> Reply[AuthorityAnswer]:
        kind = _DOCUMENT_TYPES.get(document_type)
        if kind is None:
            raise ProviderUnavailable(REFUSED_US, provider=self.name, blames_question=True)
        answer = self._ask({"lsh": request_id, "xm": name, "zjlx": kind, "zjhm": document_number})
        return Reply(self._endpoint.word(_AUTHORITY.__getitem__, answer.get("jg")), self.name)


class FormFaceMatcher(_Form):
    """The face match."""

    def match(self, *, document_number: str, evidence: Evidence, request_id: str) -> Reply[FaceVerdict]:
        answer = self._ask(
            {
                "lsh": request_id,
                "zjhm": document_number,
                "qd": _CHANNELS.get(evidence.channel, "0"),
                "hh": evidence.face_session,
                "zp": base64.urlsafe_b64encode(evidence.photo).decode(),
                "dkq": evidence.reader,
            }
        )
        verdict = FaceVerdict(
            liveness=self._endpoint.word(_LIVENESS.__getitem__, answer.get("ht")),
            face=self._endpoint.word(_FACE.__getitem__, answer.get("jg")),
        )
        return Reply(verdict, self.name)
