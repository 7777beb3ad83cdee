"""The HTTP providers against a real server: an answer we do not fully understand is no answer."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator

import pytest

from apps.subscribers.realname.providers import http
from apps.subscribers.realname.providers.base import (
    AuthorityAnswer,
    FaceAnswer,
    Providers,
    ProviderUnavailable,
)
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


def _ask_authority(providers: Providers) -> AuthorityAnswer:
    return providers.authority.match(
        name=NAME, document_type="resident_id", document_number=NUMBER, request_id="ver_x-1"
    )


def _ask_face(providers: Providers) -> FaceAnswer:
    return providers.face.match(
        document_number=NUMBER, face_session="", channel="in_store", request_id="ver_x-1"
    )


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
            {"document_number": NUMBER, "face_session": "", "channel": "in_store", "request_id": "ver_x-1"},
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
    ("no result", sends(b"{}"), http.ANSWER_INVALID),
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
    ("endless", _endless, http.ANSWER_INVALID),
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


@pytest.fixture(scope="module")
def simulated() -> Iterator[Providers]:
    with simulator.running_simulator() as base_url, simulated_providers(base_url) as providers:
        yield providers


MAGIC = [
    ("700001", AuthorityAnswer.MATCH, FaceAnswer.MATCH),
    ("700002", AuthorityAnswer.NAME_MISMATCH, FaceAnswer.MATCH),
    ("700003", AuthorityAnswer.MATCH, FaceAnswer.MISMATCH),
    ("700004", AuthorityAnswer.MATCH, FaceAnswer.UNCERTAIN),
    ("700007", AuthorityAnswer.DOCUMENT_VOID, FaceAnswer.MATCH),
    ("110101", AuthorityAnswer.MATCH, FaceAnswer.MATCH),
]


@pytest.mark.parametrize(("area", "authority", "face"), MAGIC)
def test_the_simulator_speaks_the_same_language(
    simulated: Providers, area: str, authority: AuthorityAnswer, face: FaceAnswer
) -> None:
    number = resident_number(area)

    answer = simulated.authority.match(
        name=NAME, document_type="resident_id", document_number=number, request_id="ver_x-1"
    )
    match = simulated.face.match(
        document_number=number, face_session="", channel="in_store", request_id="ver_x-1"
    )

    assert (answer, match) == (authority, face)


def test_the_simulators_authority_is_down_for_magic_numbers(simulated: Providers) -> None:
    def ask(area: str) -> str:
        try:
            return simulated.authority.match(
                name=NAME,
                document_type="resident_id",
                document_number=resident_number(area),
                request_id="ver_x-1",
            )
        except ProviderUnavailable as error:
            return error.code

    assert [ask("700005") for _ in range(3)] == [http.UNAVAILABLE] * 3
    assert [ask("700006") for _ in range(3)] == [http.UNAVAILABLE, http.UNAVAILABLE, "match"]
