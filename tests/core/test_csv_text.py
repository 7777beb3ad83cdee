"""CSV as people send it."""

from __future__ import annotations

import pytest

from apps.core import csv_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_it_is_read_as_it_was_written(encoding: str) -> None:
    assert csv_text.decode("号段,省\n1700,广东\n".encode(encoding)) == "号段,省\n1700,广东\n"


@pytest.mark.parametrize("content", [b"\xff\xff\xff", b"a,b\n\0,1\n"])
def test_what_is_no_text(content: bytes) -> None:
    assert csv_text.decode(content) is None


def test_rows_say_on_which_line_they_begin() -> None:
    text = 'a, b \r\n\r\n , \r\n"x\ny",2\nlast,3\n'
    assert list(csv_text.rows(text)) == [(1, ["a", "b"]), (4, ["x\ny", "2"]), (6, ["last", "3"])]


def test_it_ends_where_it_stops_being_csv() -> None:
    assert list(csv_text.rows('a,b\n1,2\n3,"4"5\n6,7\n')) == [(1, ["a", "b"]), (2, ["1", "2"]), (3, None)]


@pytest.mark.parametrize("cell", ["Document Type", "document_type", "document-type", "DOCUMENTTYPE"])
def test_headers_are_compared_without_how_people_write_them(cell: str) -> None:
    assert csv_text.header_name(cell) == "documenttype"
