"""Reading a CSV of work on many ranges or numbers: UTF-8 or GB18030, headers as people write them, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from apps.core import csv_text
from apps.core.errors import FieldError
from apps.numbering.errors import BulkFileInvalid, BulkFileTooLarge

MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 100_000
MAX_COLUMNS = 64


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
    text = csv_text.decode(content)
    if text is None:
        error = FieldError("", "encoding", "Not UTF-8 or GB18030.")
        raise BulkFileInvalid("The file is neither UTF-8 nor GB18030 text.", errors=[error])
    lines = csv_text.rows(text)
    line, cells = next(lines, (1, []))
    header = _header(_whole(line, cells), columns)
    rows: list[FileRow] = []
    for line, found in lines:
        cells = _whole(line, found)
        if len(rows) == MAX_ROWS:
            raise BulkFileTooLarge(f"At most {MAX_ROWS} rows.")
        row = FileRow(line, dict(zip(header, cells, strict=False)))
        if len(cells) > len(header):
            row.refuse("", "too_many_cells", "More cells than the header has columns.")
        rows.append(row)
    if not rows:
        raise BulkFileInvalid("The file has no rows.", errors=[FieldError("/rows", "empty", "No rows.")])
    return rows


def _whole(line: int, cells: list[str] | None) -> list[str]:
    """:raises BulkFileInvalid: the file stops being CSV there."""
    if cells is None:
        error = FieldError(f"/rows/{line}", "malformed_csv", "From here on the file is not valid CSV.")
        raise BulkFileInvalid(errors=[error])
    return cells


def _header(cells: list[str], columns: Columns) -> list[str]:
    """:raises BulkFileInvalid: unknown, repeated or missing columns, or more than any file has."""
    if len(cells) > MAX_COLUMNS:
        error = FieldError("/header", "too_many_cells", f"At most {MAX_COLUMNS} columns.")
        raise BulkFileInvalid("The header is not as it should be.", errors=[error])
    found = []
    header: list[str] = []
    for position, cell in enumerate(cells, start=1):
        name = columns.names.get(csv_text.header_name(cell), "")
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
