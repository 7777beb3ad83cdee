"""Loads this app's part of a seeds folder through the services; what is there already is left alone."""

from __future__ import annotations

import csv
from datetime import date, datetime, time
from pathlib import Path

from apps.core.actor import Actor
from apps.operators import selectors as operators
from apps.operators.calendar import CHINA
from apps.operators.management.seeding import SeedInvalid
from apps.subscribers import selectors, services
from apps.subscribers.services.notices import WORDS
from apps.subscribers.states import DemandReason, DemandStatus

NOTICES = "reverification_notices.csv"


def load(*, folder: Path, actor: Actor, now: datetime) -> dict[str, int]:
    """The words of re-verifications, if the folder has them: the first version only.

    Answers how many rows were added. :raises SeedInvalid: naming file and line; what came before stays.
    """
    if not (folder / NOTICES).exists():
        return {}
    with (folder / NOTICES).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    by_code = {operator.code: operator for operator in operators.list_operators(actor=actor)}
    known = set(
        selectors.list_notice_templates(actor=actor).values_list("operator__code", "reason", "status")
    )
    added = 0
    for line, row in enumerate(rows, start=2):
        if (row["operator"] or None, row["reason"], row["status"]) in known:
            continue
        try:
            services.set_notice_template(
                actor=actor,
                operator=by_code[row["operator"]] if row["operator"] else None,
                reason=DemandReason(row["reason"]) if row["reason"] else None,
                status=DemandStatus(row["status"]),
                words={name: row[name] for name in WORDS},
                source_note=row["source_note"],
                valid_from=datetime.combine(date.fromisoformat(row["valid_from"]), time.min, tzinfo=CHINA),
                now=now,
            )
        except Exception as error:
            raise SeedInvalid(f"{NOTICES}, line {line}: {type(error).__name__}: {error}") from error
        added += 1
    return {NOTICES: added}
