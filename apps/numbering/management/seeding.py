"""Loads this app's part of a seeds folder through the services; what is there already is left alone."""

from __future__ import annotations

import csv
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from apps.core.actor import Actor
from apps.numbering import selectors, services
from apps.numbering.states import NumberGrade
from apps.operators import selectors as operators
from apps.operators.management.seeding import Row, SeedInvalid

_GRADES = {grade.label: grade for grade in NumberGrade}


def load(*, folder: Path, actor: Actor, now: datetime) -> dict[str, int]:
    """The catalogue of pretty numbers, and what operators ask for grades, as far as the folder has them.

    Answers how many rows each file added. Rules that were retired and terms that were set again stay as they are.

    :raises SeedInvalid: naming file and line; what came before stays.
    """
    added: dict[str, int] = {}
    for name, take in _FILES.items():
        if not (folder / name).exists():
            continue
        with (folder / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        known = _Known(actor)
        added[name] = 0
        for line, row in enumerate(rows, start=2):
            try:
                added[name] += take(row, known, actor, now)
            except Exception as error:
                raise SeedInvalid(f"{name}, line {line}: {type(error).__name__}: {error}") from error
    return added


class _Known:
    """What the database holds before a file is read, by natural key."""

    def __init__(self, actor: Actor) -> None:
        self.operators = {operator.code: operator for operator in operators.list_operators(actor=actor)}
        catalogue = selectors.list_grade_rules(actor=actor).filter(operator=None)
        self.rules = set(catalogue.values_list("name", flat=True))
        self.policies = set(selectors.list_grade_policies(actor=actor).values_list("operator__code", "grade"))


def _rule(row: Row, known: _Known, actor: Actor, now: datetime) -> bool:
    if row["name"] in known.rules:
        return False
    services.add_grade_rule(
        actor=actor,
        operator=None,
        name=row["name"],
        pattern=row["pattern"],
        without=row["without"],
        priority=int(row["priority"]),
        grade=_GRADES[row["grade"]],
        source_note=row["source_note"],
        now=now,
    )
    return True


def _policy(row: Row, known: _Known, actor: Actor, now: datetime) -> bool:
    grade = _GRADES[row["grade"]]
    if (row["operator"], grade) in known.policies:
        return False
    services.set_grade_policy(
        actor=actor,
        operator=known.operators[row["operator"]],
        grade=grade,
        deposit=Decimal(row["deposit"]),
        min_monthly_spend=Decimal(row["min_monthly_spend"]),
        months=int(row["months"]),
        now=now,
    )
    return True


_FILES = {"grade_rules.csv": _rule, "grade_policies.csv": _policy}
