"""Reading a CSV of people to be listed: UTF-8 or GB18030, every bad row named, no cell ever repeated in an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from apps.core import csv_text
from apps.core.errors import FieldError
from apps.core.logging import scrub
from apps.subscribers.errors import WatchListInvalid
from apps.subscribers.realname import documents, text
from apps.subscribers.realname.documents import DocumentType

MAX_BYTES = 8 * 1024 * 1024
MAX_ROWS = 50_000
# More than anybody reads; the detail says how many there are.
MAX_ERRORS_LISTED = 50
SOURCE_CHARACTERS = 100
REASON_CHARACTERS = 200

# Header cells, lower case, without blanks, hyphens and underscores.
_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "documenttype": "document_type",
        "证件类型": "document_type",
        "number": "number",
        "documentnumber": "number",
        "证件号码": "number",
        "issuingcountry": "issuing_country",
        "签发国": "issuing_country",
        "reason": "reason",
        "原因": "reason",
        "source": "source",
        "来源": "source",
        "validuntil": "valid_until",
        "有效期至": "valid_until",
    }
)
_NEEDED = ("document_type", "number", "reason", "source", "valid_until")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class ListedPerson:
    """Somebody to be listed; `number` in normal form, `reason` and `source` without numbers of people."""

    type: DocumentType
    number: str = field(repr=False)
    issuing_country: str
    reason: str
    source: str
    valid_until: date


def read(content: bytes, *, today: date) -> list[ListedPerson]:
    """Everybody in the file, each once.

    :raises WatchListInvalid: too large, no CSV of that kind, no rows, or bad rows; `errors` names them as
        /rows/<line>/<column>.
    """
    if len(content) > MAX_BYTES:
        raise _refusal([FieldError("/rows", "too_large", f"At most {MAX_BYTES // 1024 // 1024} MB.")])
    written = csv_text.decode(content)
    if written is None:
        raise _refusal([FieldError("/rows", "encoding", "The file is neither UTF-8 nor GB18030 text.")])
    lines = csv_text.rows(written)
    columns = _header(next(lines, (1, []))[1] or [])
    people: list[ListedPerson] = []
    found: list[FieldError] = []
    seen: dict[tuple[str, str], int] = {}
    for line, cells in lines:
        if len(people) + len(found) >= MAX_ROWS:
            raise _refusal([FieldError("/rows", "too_many_rows", f"At most {MAX_ROWS} rows.")])
        if cells is None:
            found.append(
                FieldError(f"/rows/{line}", "malformed_csv", "From here on the file is not valid CSV.")
            )
        elif len(cells) > len(columns):
            found.append(
                FieldError(f"/rows/{line}", "too_many_cells", "More cells than the header has columns.")
            )
        else:
            row = person(dict(zip(columns, cells, strict=False)), f"/rows/{line}", found, today=today)
            if row is None:
                continue
            key = documents.person_key(type=row.type, number=row.number, issuing_country=row.issuing_country)
            first = seen.setdefault((key, row.source), line)
            if first != line:
                detail = f"The same person from the same source as in line {first}."
                found.append(FieldError(f"/rows/{line}", "repeated", detail))
            people.append(row)
    if not people and not found:
        found.append(FieldError("/rows", "empty", "The file has no rows."))
    if found:
        raise _refusal(found)
    return people


def person(
    cells: Mapping[str, str], pointer: str, found: list[FieldError], *, today: date
) -> ListedPerson | None:
    """One person; None when something is wrong, which is added to `found`."""
    before = len(found)

    def refuse(column: str, code: str, detail: str) -> None:
        found.append(FieldError(f"{pointer}/{column}", code, detail))

    number, country = "", ""
    kind = _type(cells.get("document_type", ""))
    if kind is None:
        refuse("document_type", "invalid", "One of the document types.")
    else:
        try:
            country = documents.issuer(
                type=kind, issuing_country=cells.get("issuing_country", "").strip().upper()
            )
        except documents.NumberFault as fault:
            refuse("issuing_country", fault.code, fault.detail)
        try:
            number = documents.parse(
                type=kind, number=cells.get("number", ""), today=today, accept_fifteen=True
            ).number
        except documents.NumberFault as fault:
            refuse("number", fault.code, fault.detail)
    reason = _sentence(cells.get("reason", ""), REASON_CHARACTERS)
    if not reason:
        refuse("reason", "invalid", f"At most {REASON_CHARACTERS} visible characters.")
    source = _sentence(cells.get("source", ""), SOURCE_CHARACTERS)
    if not source:
        refuse("source", "invalid", f"At most {SOURCE_CHARACTERS} visible characters.")
    until = _day(cells.get("valid_until", "").strip())
    if until is None:
        refuse("valid_until", "invalid", "A day as 2026-11-24.")
    elif until < today:
        refuse("valid_until", "past", "This day is over.")
    if len(found) > before or kind is None or until is None:
        return None
    return ListedPerson(kind, number, country, reason, source, until)


def _refusal(found: list[FieldError]) -> WatchListInvalid:
    detail = f"Nothing was listed: {len(found)} problem(s)."
    if len(found) > MAX_ERRORS_LISTED:
        detail = f"{detail[:-1]}, the first {MAX_ERRORS_LISTED} are:"
    return WatchListInvalid(detail, errors=found[:MAX_ERRORS_LISTED])


def _header(cells: list[str]) -> list[str]:
    """:raises WatchListInvalid: unknown, repeated or missing columns."""
    found: list[FieldError] = []
    columns: list[str] = []
    for position, cell in enumerate(cells, start=1):
        column = _COLUMNS.get(csv_text.header_name(cell), "")
        if not column:
            found.append(FieldError(f"/header/{position}", "unknown_column", "This column is not known."))
        elif column in columns:
            found.append(
                FieldError(f"/header/{position}", "repeated_column", f"{column} stands there twice.")
            )
        columns.append(column)
    for column in _NEEDED:
        if column not in columns:
            found.append(FieldError("/header", "missing_column", f"There is no column {column}."))
    if found:
        raise _refusal(found)
    return columns


def _type(value: str) -> DocumentType | None:
    try:
        return DocumentType(value.strip().lower())
    except ValueError:
        return None


def _sentence(value: str, most: int) -> str:
    """Trimmed, numbers of people blotted out; empty when it is not worth keeping."""
    written = " ".join(value.split())
    if not written or len(written) > most or text.has_refused(written):
        return ""
    return str(scrub(written))[:most]


def _day(value: str) -> date | None:
    if not _DAY.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None
