"""Loads the operators' part of a seeds folder through the services; what is there already is left alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path

from apps.core.actor import Actor
from apps.operators import selectors, services
from apps.operators.calendar import CHINA
from apps.operators.models import HostCarrier, VirtualOperator
from apps.operators.policies import PolicyKey
from apps.operators.states import LicenceKind

Row = dict[str, str]


class SeedInvalid(Exception):
    """A seed file does not hold what it should; says which file and line."""


def load(*, folder: Path, actor: Actor, now: datetime) -> dict[str, int]:
    """Reads those CSV files that the folder has (host carriers first, papers last) and adds what is missing.

    Safe to run again: answers how many rows each file added, zero the second time.

    :raises SeedInvalid: naming file and line; what came before stays.
    """
    added: dict[str, int] = {}
    for name, take in _FILES.items():
        if not (folder / name).exists():
            continue
        rows = list(_read(folder / name))
        count = 0
        known = _Known(actor)
        for line, row in enumerate(rows, start=2):
            try:
                count += take(row, known, actor, now)
            except Exception as error:
                raise SeedInvalid(f"{name}, line {line}: {type(error).__name__}: {error}") from error
        added[name] = count
    return added


def _read(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, strict=True)


class _Known:
    """What the database holds before a file is read, by natural key."""

    def __init__(self, actor: Actor) -> None:
        self.operators: dict[str, VirtualOperator] = {
            o.code: o for o in selectors.list_operators(actor=actor)
        }
        self.carriers: dict[str, HostCarrier] = {c.code: c for c in selectors.list_host_carriers()}
        self.licences = set(
            selectors.list_licences(actor=actor).values_list("operator__code", "number", "valid_from")
        )
        self.agreements = set(
            selectors.list_agreements(actor=actor).values_list("operator__code", "contract_no")
        )
        self.dealers = set(selectors.list_dealers(actor=actor).values_list("operator__code", "code"))
        self.policies = set(selectors.list_policies(actor=actor).values_list("operator__code", "key"))
        self.sandboxed = {o.sandbox_of_id for o in self.operators.values()}


def _host_carrier(row: Row, known: _Known, actor: Actor, now: datetime) -> bool:
    services.register_host_carrier(
        actor=actor, code=row["code"], name=row["name"], name_zh=row["name_zh"], now=now
    )
    return row["code"] not in known.carriers


def _access_code(row: Row, known: _Known, actor: Actor, now: datetime) -> bool:
    found = selectors.get_access_code(digits=row["prefix"])
    services.register_access_code(
        actor=actor,
        prefix=row["prefix"],
        host_carrier=known.carriers[row["host_carrier"]],
        digits=int(row["digits"]),
        resale_only=row["resale_only"] == "yes",
        source_note=row["source_note"],
        now=now,
    )
    return found is None or found.prefix != row["prefix"]


def _document_type(row: Row, known: _Known, actor: Actor, now: datetime) -> bool:
    missing = not selectors.list_document_types().filter(code=row["code"]).exists()
    services.register_document_type(
        actor=actor,
        code=row["code"],
        name=row["name"],
        name_zh=row["name_zh"],
        holder_kind=row["holder_kind"],
        number_format=row["number_format"],
        check_rule=row["check_rule"],
        source_note=row["source_note"],
        now=now,
    )
    return missing


def _operator(row: Row, known: _Known, actor: Actor, now: datetime) -> bool:
    if row["code"] in known.operators:
        return False
    services.register_operator(
        actor=actor,
        code=row["code"],
        name=row["name"],
        name_zh=row["name_zh"],
        first_host=known.carriers[row["first_host"]],
        source_note=row["source_note"],
        now=now,
    )
    return True


def _sandbox(row: Row, known: _Known, actor: Actor, now: datetime) -> bool:
    operator = known.operators[row["operator"]]
    if operator.pk in known.sandboxed:
        return False
    services.open_sandbox(actor=actor, operator=operator, now=now)
    return True


def _licence(row: Row, known: _Known, actor: Actor, now: datetime) -> bool:
    valid_from = date.fromisoformat(row["valid_from"])
    if (row["operator"], row["number"], valid_from) in known.licences:
        return False
    services.grant_licence(
        actor=actor,
        operator=known.operators[row["operator"]],
        number=row["number"],
        kind=LicenceKind(row["kind"]),
        valid_from=valid_from,
        valid_until=date.fromisoformat(row["valid_until"]),
        areas=row["areas"].split(),
        source_note=row["source_note"],
        now=now,
    )
    return True


def _agreement(row: Row, known: _Known, actor: Actor, now: datetime) -> bool:
    if (row["operator"], row["contract_no"]) in known.agreements:
        return False
    services.sign_agreement(
        actor=actor,
        operator=known.operators[row["operator"]],
        host_carrier=known.carriers[row["host_carrier"]],
        contract_no=row["contract_no"],
        valid_from=date.fromisoformat(row["valid_from"]),
        valid_until=date.fromisoformat(row["valid_until"]),
        areas=row["areas"].split(),
        source_note=row["source_note"],
        now=now,
    )
    return True


def _policy(row: Row, known: _Known, actor: Actor, now: datetime) -> bool:
    """The first version only: a policy that staff have changed since stays as they set it."""
    if (row["operator"] or None, row["key"]) in known.policies:
        return False
    starts = None
    if row["valid_from"]:
        starts = datetime.combine(date.fromisoformat(row["valid_from"]), time.min, tzinfo=CHINA)
    services.set_policy(
        actor=actor,
        operator=known.operators[row["operator"]] if row["operator"] else None,
        key=PolicyKey(row["key"]),
        value=json.loads(row["value"]),
        source_note=row["source_note"],
        valid_from=starts,
        now=now,
    )
    return True


def _dealer(row: Row, known: _Known, actor: Actor, now: datetime) -> bool:
    if (row["operator"], row["code"]) in known.dealers:
        return False
    services.register_dealer(
        actor=actor,
        operator=known.operators[row["operator"]],
        code=row["code"],
        name=row["name"],
        valid_from=date.fromisoformat(row["valid_from"]),
        valid_until=date.fromisoformat(row["valid_until"]) if row["valid_until"] else None,
        now=now,
    )
    return True


# In this order: later files speak of what earlier ones brought.
_FILES = {
    "host_carriers.csv": _host_carrier,
    "access_codes.csv": _access_code,
    "document_types.csv": _document_type,
    "licensees_2018.csv": _operator,
    "sandboxes.csv": _sandbox,
    "licences.csv": _licence,
    "agreements.csv": _agreement,
    "policies.csv": _policy,
    "dealers.csv": _dealer,
}
