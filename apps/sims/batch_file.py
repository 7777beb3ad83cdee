"""Reading a card maker's CSV: header variants, UTF-8 or GB18030, every bad row reported, no keys of cards accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from apps.core import csv_text
from apps.core.errors import FieldError
from apps.sims.errors import SimBatchInvalid, SimBatchTooLarge
from apps.sims.iccids import IDENTIFYING, MalformedIccid, normalise
from apps.sims.states import FormFactor

MAX_BYTES = 32 * 1024 * 1024
MAX_ROWS = 100_000
# More than anybody reads; the detail says how many there are.
MAX_ERRORS_LISTED = 1_000

# Header cells as they come, lower case, without blanks, hyphens and underscores. Any other column is refused: it may be
# a misspelt one, or hold keys (KI, OPC) and PINs that must not come near us.
_COLUMNS = {
    "iccid": "iccid",
    "iccid号": "iccid",
    "iccid号码": "iccid",
    "iccid卡号": "iccid",
    "sim卡号": "iccid",
    "卡号": "iccid",
    "imsi": "imsi",
    "imsi号": "imsi",
    "imsi号码": "imsi",
    "formfactor": "form_factor",
    "cardtype": "form_factor",
    "卡类型": "form_factor",
}
_FORM_FACTORS = {
    "": FormFactor.PHYSICAL,
    "physical": FormFactor.PHYSICAL,
    "实体卡": FormFactor.PHYSICAL,
    "esim": FormFactor.ESIM,
}
# Mainland China is 460; network codes are not tied to a host, since hosts get new ones.
_IMSI = re.compile(r"460[0-9]{12}")


@dataclass(frozen=True, slots=True)
class CardRow:
    """`row` is the line of the file, the header being row 1."""

    row: int
    iccid: str
    imsi: str | None
    form_factor: FormFactor


def parse(content: bytes) -> list[CardRow]:
    """All cards of the file.

    :raises SimBatchTooLarge: over MAX_BYTES or MAX_ROWS.
    :raises SimBatchInvalid: not a CSV with a column iccid, no rows, or bad rows; every one of them is named.
    """
    if len(content) > MAX_BYTES:
        raise SimBatchTooLarge(f"At most {MAX_BYTES} bytes.")
    text = csv_text.decode(content)
    if text is None:
        error = FieldError("", "encoding", "Not UTF-8 or GB18030.")
        raise SimBatchInvalid("The file is neither UTF-8 nor GB18030 text.", errors=[error])
    lines = csv_text.rows(text)
    columns = _columns(next(lines, (1, None))[1] or [])
    cards: list[CardRow] = []
    found: list[FieldError] = []
    first_seen: dict[str, int] = {}
    for count, (row, cells) in enumerate(lines, start=1):
        if count > MAX_ROWS:
            raise SimBatchTooLarge(f"At most {MAX_ROWS} rows.")
        if cells is None:
            found.append(error_at(row, "", "malformed_csv", "This line is not valid CSV."))
        elif len(cells) > len(columns):
            found.append(error_at(row, "", "too_many_cells", "More cells than the header has columns."))
        else:
            card = _card(row, dict(zip(columns, cells, strict=False)), found)
            found.extend(_check_repetition(card, first_seen))
            cards.append(card)
    if found:
        raise refusal(found)
    if not cards:
        raise SimBatchInvalid("The file has no rows.", errors=[FieldError("/rows", "empty", "No rows.")])
    return cards


def refusal(found: list[FieldError]) -> SimBatchInvalid:
    """The error that names them; beyond MAX_ERRORS_LISTED only their number is told."""
    return SimBatchInvalid(
        f"The file was not imported: {len(found)} problem(s).",
        errors=found[:MAX_ERRORS_LISTED],
        total=len(found),
    )


def error_at(row: int, column: str, code: str, detail: str) -> FieldError:
    return FieldError(f"/rows/{row}/{column}" if column else f"/rows/{row}", code, detail)


def _columns(header: list[str]) -> list[str]:
    found = []
    columns: list[str] = []
    for position, cell in enumerate(header, start=1):
        column = _COLUMNS.get(csv_text.header_name(cell))
        if column is None:
            found.append(FieldError(f"/header/{position}", "unknown_column", "This column is not known."))
        elif column in columns:
            found.append(
                FieldError(f"/header/{position}", "repeated_column", "This column stands there twice.")
            )
        columns.append(column or "")
    if "iccid" not in columns:
        found.append(FieldError("/header", "missing_column", "There is no column iccid."))
    if found:
        raise SimBatchInvalid("The header is not as it should be.", errors=found)
    return columns


def _card(row: int, cells: dict[str, str], found: list[FieldError]) -> CardRow:
    """The row as far as it can be read; what cannot be is added to `found`."""
    iccid, imsi, form_factor = "", cells.get("imsi") or None, FormFactor.PHYSICAL
    try:
        iccid = normalise(cells.get("iccid", ""))
    except MalformedIccid as error:
        found.append(error_at(row, "iccid", "invalid", str(error)))
    if imsi is not None and not _IMSI.fullmatch(imsi):
        found.append(error_at(row, "imsi", "invalid", "15 digits, the first 460; or empty."))
        imsi = None
    try:
        form_factor = _FORM_FACTORS[cells.get("form_factor", "").lower()]
    except KeyError:
        found.append(error_at(row, "form_factor", "invalid", "physical or esim."))
    return CardRow(row, iccid, imsi, form_factor)


def _check_repetition(card: CardRow, first_seen: dict[str, int]) -> Iterator[FieldError]:
    for column, value in (("iccid", card.iccid[:IDENTIFYING]), ("imsi", card.imsi)):
        if value:
            first = first_seen.setdefault(f"{column}:{value}", card.row)
            if first != card.row:
                yield error_at(card.row, column, "repeated", f"The same as in row {first}.")
