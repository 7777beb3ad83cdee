"""The HTTP providers against a real server: an answer we do not fully understand is no answer."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import hmac
import time
from collections.abc import Iterator

import pytest

from apps.subscribers.realname.providers import http
from apps.subscribers.realname.providers.base import (
    AuthorityAnswer,
    Evidence,
    FaceAnswer,
    FaceVerdict,
    LivenessAnswer,
    Providers,
    ProviderUnavailable,
)
from apps.subscribers.realname.providers.base import Reply as Answered
from apps.subscribers.realname.providers.signed_form import FormAuthority, FormFaceMatcher
from tests import simulator
from tests.factories.subscribers import resident_number
from tests.subscribers.conftest import (
    TOKEN,
    Handler,
    ProviderServer,
    Reply,
    providers_at,
    says,
    sends,
    simulated_providers,
)

NAME = "张三丰"
NUMBER = resident_number("110101")


EVIDENCE = Evidence(channel="in_store", reader="R-1", photo=b"jpeg")


def _ask_authority(providers: Providers) -> AuthorityAnswer:
    return providers.authority.match(
        name=NAME, document_type="resident_id", document_number=NUMBER, request_id="ver_x-1"
    ).answer


def _ask_face(providers: Providers) -> FaceAnswer:
    return providers.face.match(document_number=NUMBER, evidence=EVIDENCE, request_id="ver_x-1").answer.face


@pytest.mark.parametrize("answer", list(AuthorityAnswer))
def test_the_authoritys_answers(
    provider: ProviderServer, http_providers: Providers, answer: AuthorityAnswer
) -> None:
    provider.reply = says(answer.value)

    assert _ask_authority(http_providers) is answer
    assert provider.asked == [
        (
            "/authority",
            {
                "name": NAME,
                "document_type": "resident_id",
                "document_number": NUMBER,
                "request_id": "ver_x-1",
            },
            f"Bearer {TOKEN}",
        )
    ]


@pytest.mark.parametrize("answer", list(FaceAnswer))
def test_the_face_matchs_answers(
    provider: ProviderServer, http_providers: Providers, answer: FaceAnswer
) -> None:
    provider.reply = says(answer.value)

    assert _ask_face(http_providers) is answer
    assert provider.asked == [
        (
            "/face",
            {
                "document_number": NUMBER,
                "face_session": "",
                "photo": "anBlZw==",
                "reader": "R-1",
                "channel": "in_store",
                "request_id": "ver_x-1",
            },
            f"Bearer {TOKEN}",
        )
    ]


def _hangs(handler: Handler) -> None:
    time.sleep(1.5)


def _drips(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(20):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def _drips_headers(handler: Handler) -> None:
    """Each byte comes in time; the whole never does."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(20):
        handler.wfile.write(b"X-%d: x\r\n" % number)
        handler.wfile.flush()
        time.sleep(0.1)


def _hangs_up(handler: Handler) -> None:
    handler.connection.close()


def _hangs_up_half_way(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"result": ')
    handler.wfile.flush()
    handler.connection.close()


def _endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"[" * 1000)


ODD: list[tuple[str, Reply, str]] = [
    ("500", says("match", status=500), http.UNAVAILABLE),
    ("503", says("match", status=503), http.UNAVAILABLE),
    ("429", says("match", status=429), http.UNAVAILABLE),
    ("201", says("match", status=201), http.UNAVAILABLE),
    ("204", sends(b"", status=204), http.UNAVAILABLE),
    ("401", says("match", status=401), http.REFUSED_US),
    ("400", says("match", status=400), http.REFUSED_US),
    ("redirect", sends(b"", status=307, Location="/elsewhere"), http.UNAVAILABLE),
    ("unknown word", says("yes"), http.ANSWER_INVALID),
    ("upper case", says("MATCH"), http.ANSWER_INVALID),
    ("no result", sends(b"{}"), http.WRONG_ECHO),
    ("another request", says("match", request_id="ver_y-1"), http.WRONG_ECHO),
    ("another number", says("match", document_number=resident_number("110102")), http.WRONG_ECHO),
    ("no request", says("match", request_id=None), http.WRONG_ECHO),
    ("null", says(None), http.ANSWER_INVALID),
    ("true", says(True), http.ANSWER_INVALID),
    ("a list", says(["match"]), http.ANSWER_INVALID),
    ("an object", says({"match": True}), http.ANSWER_INVALID),
    ("not an object", sends(b'"match"'), http.ANSWER_INVALID),
    ("not JSON", sends(b"<html>match</html>"), http.ANSWER_INVALID),
    ("nothing", sends(b""), http.ANSWER_INVALID),
    ("bad UTF-8", sends(b'{"result": "\xff"}'), http.ANSWER_INVALID),
    ("deep", sends(b"[" * 15_000), http.ANSWER_INVALID),
    ("oversize", sends(b'{"result": "match"}' + b" " * http.MAX_BYTES), http.ANSWER_INVALID),
    ("endless", _endless, http.UNAVAILABLE),
    ("drips its headers", _drips_headers, http.UNAVAILABLE),
    ("packed", sends(gzip.compress(b'{"result": "match"}'), Content_Encoding="gzip"), http.ANSWER_INVALID),
    ("hangs", _hangs, http.UNAVAILABLE),
    ("drips", _drips, http.UNAVAILABLE),
    ("hangs up", _hangs_up, http.UNAVAILABLE),
    ("hangs up half way", _hangs_up_half_way, http.UNAVAILABLE),
]


@pytest.mark.parametrize(("reply", "code"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
@pytest.mark.parametrize("ask", [_ask_authority, _ask_face])
def test_odd_answers_are_no_answers(
    provider: ProviderServer, http_providers: Providers, ask: object, reply: Reply, code: str
) -> None:
    provider.reply = reply
    began = time.monotonic()

    with pytest.raises(ProviderUnavailable) as refused:
        ask(http_providers)  # type: ignore[operator]

    assert refused.value.code == code
    assert len(provider.asked) == 1, "asked once, never redirected"
    assert time.monotonic() - began < 1.2
    assert NAME not in repr(refused.value)
    assert NUMBER not in repr(refused.value)


def test_nobody_listens(closed_port: int) -> None:
    url = f"http://127.0.0.1:{closed_port}"

    with (
        providers_at(authority_url=url, face_url=url, token=TOKEN, total_seconds=0.5) as providers,
        pytest.raises(ProviderUnavailable) as refused,
    ):
        _ask_authority(providers)

    assert refused.value.code == http.UNAVAILABLE


def test_proxies_of_the_environment_are_not_used(
    provider: ProviderServer, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{closed_port}")

    with providers_at(
        authority_url=provider.url, face_url=provider.url, token=TOKEN, total_seconds=0.5
    ) as providers:
        assert _ask_authority(providers) is AuthorityAnswer.MATCH


def test_an_unknown_liveness_is_no_answer(provider: ProviderServer, http_providers: Providers) -> None:
    provider.reply = says("match", liveness="perhaps")

    with pytest.raises(ProviderUnavailable) as refused:
        _ask_face(http_providers)

    assert refused.value.code == http.ANSWER_INVALID


@pytest.fixture(scope="module")
def first_and_second() -> Iterator[list[Providers]]:
    """Both houses of the simulator, each alone."""
    secret = simulator.REALNAME_SECOND_SECRET
    with simulator.running_simulator() as base_url, simulated_providers(base_url) as first:
        authority = FormAuthority(
            name="second_authority", url=f"{base_url}/realname2/citizen", secret=secret, total_seconds=8
        )
        face = FormFaceMatcher(
            name="second_face", url=f"{base_url}/realname2/portrait", secret=secret, total_seconds=8
        )
        with contextlib.closing(authority), contextlib.closing(face):
            yield [first, Providers(authority=authority, face=face)]


LIVE = LivenessAnswer.LIVE
MAGIC = [
    ("700001", AuthorityAnswer.MATCH, FaceVerdict(LIVE, FaceAnswer.MATCH)),
    ("700002", AuthorityAnswer.NAME_MISMATCH, FaceVerdict(LIVE, FaceAnswer.MATCH)),
    ("700003", AuthorityAnswer.MATCH, FaceVerdict(LIVE, FaceAnswer.MISMATCH)),
    ("700004", AuthorityAnswer.MATCH, FaceVerdict(LIVE, FaceAnswer.UNCERTAIN)),
    ("700007", AuthorityAnswer.DOCUMENT_VOID, FaceVerdict(LIVE, FaceAnswer.MATCH)),
    ("700008", AuthorityAnswer.MATCH, FaceVerdict(LivenessAnswer.NOT_LIVE, FaceAnswer.MATCH)),
    ("110101", AuthorityAnswer.MATCH, FaceVerdict(LIVE, FaceAnswer.MATCH)),
]


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize(("area", "authority", "face"), MAGIC)
def test_both_houses_of_the_simulator_are_understood(
    first_and_second: list[Providers], which: int, area: str, authority: AuthorityAnswer, face: FaceVerdict
) -> None:
    providers = first_and_second[which]
    number = resident_number(area)

    answer = providers.authority.match(
        name=NAME, document_type="resident_id", document_number=number, request_id="ver_x-1"
    )
    verdict = providers.face.match(document_number=number, evidence=EVIDENCE, request_id="ver_x-1")

    assert (answer, verdict) == (
        Answered(authority, providers.authority.name),
        Answered(face, providers.face.name),
    )


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
def test_the_simulators_authority_is_down_for_magic_numbers(
    first_and_second: list[Providers], which: int
) -> None:
    def ask(area: str) -> str:
        try:
            return (
                first_and_second[which]
                .authority.match(
                    name=NAME,
                    document_type="resident_id",
                    document_number=resident_number(area),
                    request_id="ver_x-1",
                )
                .answer
            )
        except ProviderUnavailable as error:
            return error.code

    assert [ask("700005") for _ in range(3)] == [http.UNAVAILABLE] * 3
    assert [ask("700006") for _ in range(3)] == [http.UNAVAILABLE, http.UNAVAILABLE, "match"]


class TestSignedForms:
    """The dialect of the second providers against answers that are nearly right."""

    @pytest.fixture
    def authority(self, provider: ProviderServer) -> Iterator[FormAuthority]:
        found = FormAuthority(name="second", url=provider.url, secret=TOKEN, total_seconds=0.5)
        with contextlib.closing(found):
            yield found

    @pytest.mark.parametrize(
        ("body", "key", "code"),
        [
            (f"lsh=ver_x-1&zjhm={NUMBER}&jg=1000", TOKEN, ""),
            (f"lsh=ver_x-1&zjhm={NUMBER}&jg=1000", "another key", http.ANSWER_INVALID),
            (f"lsh=ver_y-1&zjhm={NUMBER}&jg=1000", TOKEN, http.WRONG_ECHO),
            (f"lsh=ver_x-1&zjhm={NUMBER[:-1]}X&jg=1000", TOKEN, http.WRONG_ECHO),
            (f"lsh=ver_x-1&zjhm={NUMBER}&jg=2000", TOKEN, http.ANSWER_INVALID),
            (f"lsh=ver_x-1&zjhm={NUMBER}&jg=9001", TOKEN, http.UNAVAILABLE),
            (f"lsh=ver_x-1&zjhm={NUMBER}&jg=1001&jg=1000", TOKEN, http.ANSWER_INVALID),
            (f"lsh=ver_x-1&zjhm={NUMBER}", TOKEN, http.ANSWER_INVALID),
            ("1000", TOKEN, http.ANSWER_INVALID),
            ("", TOKEN, http.WRONG_ECHO),
        ],
    )
    def test_answers(
        self, provider: ProviderServer, authority: FormAuthority, body: str, key: str, code: str
    ) -> None:
        signature = hmac.new(key.encode(), body.encode(), hashlib.sha256).hexdigest()
        provider.reply = sends(body.encode(), X_Signature=signature)

        def ask() -> Answered[AuthorityAnswer]:
            return authority.match(
                name=NAME, document_type="resident_id", document_number=NUMBER, request_id="ver_x-1"
            )

        if not code:
            assert ask() == Answered(AuthorityAnswer.MATCH, "second")
            return
        with pytest.raises(ProviderUnavailable) as refused:
            ask()
        assert (refused.value.code, refused.value.provider) == (code, "second")
        assert NUMBER not in repr(refused.value)
