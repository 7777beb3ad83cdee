"""A provider at the other end of a socket, which does whatever a test tells it to."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from apps.subscribers.realname.providers.base import Providers
from apps.subscribers.realname.providers.bearer_json import JsonAuthority, JsonFaceMatcher
from tests import broker, simulator

TOKEN = "only-for-tests"


Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    server: ProviderServer

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        raw = self.rfile.read(length)
        question = json.loads(raw) if raw.startswith(b"{") else {"form": raw.decode()}
        self.server.asked.append((self.path, question, self.headers.get("Authorization", "")))
        self.server.reply(self)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: what it says would be about nobody."""


class ProviderServer(ThreadingHTTPServer):
    """`asked` holds (path, question, Authorization) of every call; `reply` is what the next ones get."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, str], str]] = []
        self.reply: Reply = says("match")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what some tests are about."""


def says(result: Any, status: int = 200, **more: Any) -> Reply:
    """That answer to whatever was asked last, alive, with more fields or other echoes."""

    def reply(handler: Handler) -> None:
        _, question, _ = handler.server.asked[-1]
        echo = {name: question[name] for name in ("request_id", "document_number")}
        body = json.dumps({**echo, "liveness": "live", "result": result, **more}).encode()
        handler.answer(status, body, Content_Type="application/json")

    return reply


def sends(body: bytes, status: int = 200, **headers: str) -> Reply:
    return lambda handler: handler.answer(status, body, **headers)


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    server = ProviderServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@contextlib.contextmanager
def providers_at(
    *, authority_url: str, face_url: str, token: str, total_seconds: float
) -> Iterator[Providers]:
    """HTTP providers for the length of the block."""
    authority = JsonAuthority(name="authority", url=authority_url, token=token, total_seconds=total_seconds)
    face = JsonFaceMatcher(name="face", url=face_url, token=token, total_seconds=total_seconds)
    with contextlib.closing(authority), contextlib.closing(face):
        yield Providers(authority=authority, face=face)


def simulated_providers(base_url: str) -> contextlib.AbstractContextManager[Providers]:
    """The simulator's second face, with generous times."""
    return providers_at(
        authority_url=f"{base_url}/realname/authority",
        face_url=f"{base_url}/realname/face",
        token=simulator.REALNAME_TOKEN,
        total_seconds=8,
    )


@pytest.fixture
def http_providers(provider: ProviderServer) -> Iterator[Providers]:
    """Both providers at that server, with a total time of half a second."""
    with providers_at(
        authority_url=f"{provider.url}/authority",
        face_url=f"{provider.url}/face",
        token=TOKEN,
        total_seconds=0.5,
    ) as providers:
        yield providers


@pytest.fixture
def closed_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Nudges = Callable[[], list[str]]


@pytest.fixture
def nudges() -> Nudges:
    """Takes the names of the tasks that wait for a worker of the real-name checks; each must carry nothing."""
    broker.take_all("realname")

    def take() -> list[str]:
        messages = broker.take_all("realname")
        assert [message.kwargs for message in messages] == [{}] * len(messages)
        return [message.task for message in messages]

    return take
