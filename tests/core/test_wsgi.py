"""Chunked bodies, as gunicorn hands them over."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.conf import settings

from config.wsgi import with_whole_bodies


def read_by_the_application(body: bytes, **environ: Any) -> tuple[str, bytes]:
    seen: dict[str, Any] = {}

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        length = environ.get("CONTENT_LENGTH", "")
        seen.update(length=length, body=environ["wsgi.input"].read(int(length or 0)))
        return []

    with_whole_bodies(application)({"wsgi.input": io.BytesIO(body), **environ}, lambda *_: None)
    return seen["length"], seen["body"]


CHUNKED = {
    "HTTP_TRANSFER_ENCODING": "chunked",
    "wsgi.input_terminated": True,
    "PATH_INFO": "/api/v1/reservations",
}


@pytest.mark.parametrize("body", [b"", b'{"quantity":3}'])
def test_a_chunked_body_has_its_length(body: bytes) -> None:
    assert read_by_the_application(body, **CHUNKED) == (str(len(body)), body)


def test_of_an_oversized_one_no_more_is_read_than_is_needed_to_refuse_it() -> None:
    length, _ = read_by_the_application(b"x" * (settings.KAIHU_MAX_BODY_BYTES + 1000), **CHUNKED)
    assert int(length) == settings.KAIHU_MAX_BODY_BYTES + 1


def test_other_bodies_are_left_alone() -> None:
    assert read_by_the_application(b"abc", CONTENT_LENGTH="3") == ("3", b"abc")
    assert read_by_the_application(b"abc", HTTP_TRANSFER_ENCODING="chunked") == ("", b"")
