"""What the carriers accepted: append-only, one JSON line per effect, never a name or an identity number.

Entries of all carriers stand in one file, numbered through; what changed in a line table behind the resellers' backs
stands among them, so that a restart finds the same lines.

Every line goes to the operating system in one unbuffered write before the caller hears "accepted", so that
killing the process at any moment loses nothing that was promised. (A power cut may: nobody asks a mock for
fsync.)
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One accepted order. `result` is decided on acceptance and comes true at `finishes_at` (Unix seconds).

    `change`: what the order puts in place of the old: kind of stop, ICCID, number or plan.
    `duplicate`: the same reference was accepted before (possible only while deduplication is off).
    """

    n: int
    at: float
    dialect: str
    app_key: str
    operation: str
    reference: str
    order_no: str
    number: str
    iccid: str
    plan: str
    change: str = ""
    result: str
    reason: str
    duplicate: bool
    finishes_at: float
    callbacks: str
    tells_at: float
    notify_url: str


def result_of(entry: Entry) -> str:
    """DONE or REFUSED once the order is through, PENDING until then."""
    return entry.result if time.time() >= entry.finishes_at else "PENDING"


class LedgerBroken(Exception):
    """The file holds something other than what this program wrote."""


class Ledger:
    """The entries in memory and, when a path is given, in a file that a later process reads back."""

    def __init__(self, path: Path | None) -> None:
        self.entries: list[Entry] = []
        # Everything that makes the line tables, in order: entries, and drifts as they were asked for.
        self.history: list[Entry | dict[str, Any]] = []
        self.told: set[str] = set()
        self._path = path
        self._descriptor: int | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._load(path)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        whole = 0
        with path.open("rb") as file:
            for position, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break  # the write that a kill tore apart: its caller was never told "accepted"
                whole += len(line)
                try:
                    self._remember(json.loads(line))
                except (ValueError, TypeError, KeyError):
                    raise LedgerBroken(f"{path}, line {position}: not an entry of this ledger") from None
        os.truncate(path, whole)

    def _remember(self, record: dict[str, Any]) -> None:
        match record.pop("kind"):
            case "told":
                self.told.add(record["order_no"])
            case "drift":
                self.history.append(record)
            case "order":
                entry = Entry(**record)
                self.entries.append(entry)
                self.history.append(entry)
            case _:
                raise ValueError("another kind of line")

    def _write(self, record: dict[str, Any]) -> None:
        if self._descriptor is not None:
            line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            written = os.write(self._descriptor, line)
            if written != len(line):  # a full disk: leave no torn line in the middle of the file
                os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
                raise OSError("the ledger could not be written whole")

    def append(self, entry: Entry) -> None:
        self._write({"kind": "order", **asdict(entry)})
        self.entries.append(entry)

    def append_drift(self, drift: dict[str, Any]) -> None:
        """A change of a line table that no order made."""
        self._write({"kind": "drift", **drift})

    def mark_told(self, order_no: str) -> None:
        """The reseller has confirmed the callback, or we gave up: a restart does not send it again."""
        self._write({"kind": "told", "order_no": order_no})
        self.told.add(order_no)

    def untold(self) -> Iterator[Entry]:
        return (entry for entry in self.entries if entry.order_no not in self.told)

    def forget(self) -> None:
        """Empties memory and file. For tests between runs; a real carrier has no such button."""
        self.entries.clear()
        self.history.clear()
        self.told.clear()
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
