"""Reading a CSV of work on many ranges or numbers: UTF-8 or GB18030, headers as people write them, row by row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from apps.core.errors import FieldError
from apps.numbering.errors import BulkFileInvalid, BulkFileTooLarge

MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 100_000

_IGNORED_IN_HEADER = re.compile(r"[\s_\-]")


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a kind of file are called in the header (lower case, without blanks, hyphens, underscores),
    and sets of columns of which each needs one at least."""

    names: Mapping[str, str]
    needed: tuple[frozenset[str], ...]


@dataclass(slots=True)
class FileRow:
    """One row: `line` as a person counts them (the header is line 1), its cells by column, what is wrong with it."""

    line: int
    fields: dict[str, str]
    errors: list[FieldError] = field(default_factory=list)

    def refuse(self, column: str, code: str, detail: str) -> None:
        self.errors.append(FieldError(f"/{column}" if column else "", code, detail))


def read(content: bytes, columns: Columns) -> list[FileRow]:
    """All rows that are not blank.

    :raises BulkFileTooLarge: over MAX_BYTES or MAX_ROWS.
    :raises BulkFileInvalid: not text, not CSV to its end, unknown or missing columns, or no rows.
    """
    if len(content) > MAX_BYTES:
        raise BulkFileTooLarge(f"At most {MAX_BYTES // 1024 // 1024} MB.")
    lines = _lines(_decode(content))
    header = _header(next(lines, (1, []))[1], columns)
    rows: list[FileRow] = []
    for line, cells in lines:
        if len(rows) == MAX_ROWS:
            raise BulkFileTooLarge(f"At most {MAX_ROWS} rows.")
        row = FileRow(line, dict(zip(header, cells, strict=False)))
        if len(cells) > len(header):
            row.refuse("", "too_many_cells", "More cells than the header has columns.")
        rows.append(row)
    if not rows:
        raise BulkFileInvalid("The file has no rows.", errors=[FieldError("/rows", "empty", "No rows.")])
    return rows


def _decode(content: bytes) -> str:
    """:raises BulkFileInvalid: no text."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise BulkFileInvalid(
        "The file is neither UTF-8 nor GB18030 text.",
        errors=[FieldError("", "encoding", "Not UTF-8 or GB18030.")],
    )


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line of the file on which the row begins, stripped cells).

    :raises BulkFileInvalid: where it stops being CSV; what follows cannot be told apart.
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
        error = FieldError(f"/rows/{begins}", "malformed_csv", "From here on the file is not valid CSV.")
        raise BulkFileInvalid(errors=[error]) from None


def _header(cells: list[str], columns: Columns) -> list[str]:
    """:raises BulkFileInvalid: unknown, repeated or missing columns."""
    found = []
    header: list[str] = []
    for position, cell in enumerate(cells, start=1):
        name = columns.names.get(_IGNORED_IN_HEADER.sub("", cell).lower(), "")
        if not name:
            found.append(
                FieldError(f"/header/{position}", "unknown_column", f"No column is called {cell!r:.40}.")
            )
        elif name in header:
            found.append(FieldError(f"/header/{position}", "repeated_column", f"{name} stands there twice."))
        header.append(name)
    for choice in columns.needed:
        if not choice & set(header):
            names = " or ".join(sorted(choice))
            found.append(FieldError("/header", "missing_column", f"There is no column {names}."))
    if found:
        raise BulkFileInvalid("The header is not as it should be.", errors=found)
    return header
