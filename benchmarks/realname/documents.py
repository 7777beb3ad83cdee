"""How many documents of each type one core reads in a second.

Counted in processor time, so that a busy machine does not blur it; best of some rounds over documents that all differ.
Beside it python-stdnum over the same numbers: MOD 11-2 alone (its validator of resident numbers looks up areas, and
falls over some) and credit codes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta

from stdnum.cn import uscc
from stdnum.iso7064 import mod_11_2

from apps.subscribers.realname import documents, names
from apps.subscribers.realname.documents import DocumentType, NumberFault
from apps.subscribers.realname.documents.countries import ALPHA_3, NUMERIC
from benchmarks.report import Report

GOAL = 100_000
MANY = 20_000
ROUNDS = 5
TODAY = date(2026, 11, 24)


def _born(index: int) -> date:
    return date(1900, 1, 1) + timedelta(days=index % 36_000)


def _eighteen(area: str, index: int) -> str:
    body = f"{area}{_born(index):%Y%m%d}{index % 1000:03}"
    return body + str(mod_11_2.calc_check_digit(body))


def _card_of_2017(index: int) -> str:
    body = f"{sorted(NUMERIC)[index % 249]}{1101 + index % 5000}{_born(index):%y%m%d}{index % 10}"
    return f"{body}{sum(int(one, 36) * (7, 3, 1)[place % 3] for place, one in enumerate(body)) % 10}"


def _credit_code(index: int) -> str:
    body = f"91{110000 + index % 500_000}MA{index:07}"
    return body + str(uscc.calc_check_digit(body))


SAMPLES: dict[str, tuple[DocumentType, Callable[[int], str]]] = {
    "resident_id": (DocumentType.RESIDENT_ID, lambda index: _eighteen(str(110101 + index), index)),
    "resident_id, 15 digits": (
        DocumentType.RESIDENT_ID,
        lambda index: f"{110101 + index}{_born(index):%y%m%d}{index % 1000:03}",
    ),
    "resident_id, full width": (
        DocumentType.RESIDENT_ID,
        lambda index: "".join(chr(ord(one) + 0xFEE0) for one in _eighteen(str(110101 + index), index)),
    ),
    "temporary_resident_id": (
        DocumentType.TEMPORARY_RESIDENT_ID,
        lambda index: _eighteen(str(110101 + index), index),
    ),
    "household_register": (
        DocumentType.HOUSEHOLD_REGISTER,
        lambda index: _eighteen(str(110101 + index), index),
    ),
    "hk_macao_permit": (DocumentType.HK_MACAO_PERMIT, lambda index: f"{'HM'[index % 2]}{index:08}01"),
    "taiwan_permit": (DocumentType.TAIWAN_PERMIT, lambda index: f"{index:08}01(B)"),
    "hkmt_residence_permit": (
        DocumentType.HKMT_RESIDENCE_PERMIT,
        lambda index: _eighteen(("810000", "820000", "830000")[index % 3], index),
    ),
    "foreign_permanent_resident": (
        DocumentType.FOREIGN_PERMANENT_RESIDENT,
        lambda index: _eighteen(f"911{sorted(ALPHA_3)[index % 249]}", index),
    ),
    "foreign_permanent_resident, 2017": (DocumentType.FOREIGN_PERMANENT_RESIDENT, _card_of_2017),
    "passport": (DocumentType.PASSPORT, lambda index: f"X{index:07}"),
    "military_id": (DocumentType.MILITARY_ID, lambda index: f"军字第{index:07}号"),
    "uscc": (DocumentType.USCC, _credit_code),
}
THEIRS: dict[str, Callable[[str], bool]] = {
    "resident_id": mod_11_2.is_valid,
    "hkmt_residence_permit": mod_11_2.is_valid,
    "foreign_permanent_resident": mod_11_2.is_valid,
    "uscc": uscc.is_valid,
}


def _another(character: str) -> str:
    return "1" if character != "1" else "2"


def per_second(read: Callable[[str], object], texts: Sequence[str]) -> int:
    """The best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for text in texts:
            read(text)
        best = min(best, time.process_time() - started)
    return round(len(texts) / best)


def _reader(kind: DocumentType) -> Callable[[str], bool]:
    def read(number: str) -> bool:
        try:
            documents.parse(type=kind, number=number, today=TODAY, accept_fifteen=True)
        except NumberFault:
            return False
        return True

    return read


def measure(report: Report) -> None:
    """A line for each type of right numbers (beside python-stdnum's, where it has any) and one of broken ones."""
    for name, (kind, make) in SAMPLES.items():
        right = [make(index) for index in range(MANY)]
        # In turn a last character that is wrong (only a check digit sees it) and one that no document has.
        broken = [
            number[:-1] + ("?" if index % 2 else _another(number[-1])) for index, number in enumerate(right)
        ]
        read = _reader(kind)
        refused = [number for number in right if not read(number)]
        if refused:
            raise SystemExit(f"{name}: {len(refused)} of {MANY} right numbers were refused")
        report.add(f"{name}: right", per_second(read, right), "documents/s", goal=GOAL)
        report.add(f"{name}: broken", per_second(read, broken), "documents/s", goal=GOAL)
        if theirs := THEIRS.get(name):
            report.add(f"{name}: python-stdnum", per_second(theirs, right), "documents/s")
    # Not part of the goal, beside it for the whole.
    texts = [f"阿卜杜拉{dot}买买提{chr(0x4E00 + index)}" for index in range(5_000) for dot in "·•・"]
    report.add("a name", per_second(names.check, texts), "names/s")
