"""CSV as people send it: UTF-8 or GB18030, headers as they write them. What the columns mean, the readers know."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

_IGNORED_IN_HEADER = re.compile(r"[\s_\-]")


def decode(content: bytes) -> str | None:
    """The text, without a byte order mark; None when it is neither UTF-8 nor GB18030, or holds NUL."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    return None


def rows(text: str) -> Iterator[tuple[int, list[str] | None]]:
    """(line of the file on which the row begins, stripped cells) of every row that is not blank.

    None in the place of the cells where it stops being CSV, which ends it: what follows cannot be told apart.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield begins, stripped
            begins = reader.line_num + 1
    except csv.Error:
        yield begins, None


def header_name(cell: str) -> str:
    """A cell of the header in lower case, without blanks, hyphens and underscores."""
    return _IGNORED_IN_HEADER.sub("", cell).lower()
