"""What a demonstration needs beyond reference data: plans, ranges, SIMs, connections to the simulator, logins.

Everything goes through the services, and everything is safe to run again.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import itertools
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from django.conf import settings

from apps.accounts import selectors as account_selectors
from apps.accounts import services as accounts
from apps.accounts.states import Role
from apps.carriers import selectors as carrier_selectors
from apps.carriers import services as carriers
from apps.carriers.errors import CarrierNotConnected
from apps.carriers.registry import ADAPTERS
from apps.core.actor import Actor
from apps.lines import services as lines
from apps.numbering import selectors as number_selectors
from apps.numbering import services as numbering
from apps.operators import selectors as operators
from apps.sims import selectors as sim_selectors
from apps.sims import services as sims
from apps.sims.magic import ENDINGS

# Letter of a demo operator in the environment file; the sandbox of the first is the test-mode app.
LETTERS = {"A": "alibaba", "B": "xiaomi", "C": "jd"}
TEST = "alibaba-test"
STAFF_ROLES = (Role.OPERATOR_ADMIN, Role.COMPLIANCE, Role.SUPPORT, Role.ENGINEER)
APP_NAME = "demo"


def stock(*, folder: Path, actor: Actor, now: datetime) -> None:
    """Plans, leased ranges and SIM stock of the demo tenants; what is there already is left alone."""
    tenants = {operator.code: operator for operator in operators.list_operators(actor=actor)}
    hosts = {carrier.code: carrier for carrier in operators.list_host_carriers()}
    for row in _rows(folder / "plans.csv"):
        for code in (row["operator"], f"{row['operator']}-test"):
            lines.offer_plan(
                actor=actor,
                operator=tenants[code],
                host_carrier=hosts[row["carrier"]],
                code=row["code"],
                name=row["name"],
                monthly_fee=Decimal(row["monthly_fee"]),
                now=now,
            )
    for row in _rows(folder / "ranges.csv"):
        operator = tenants[row["operator"]]
        if not number_selectors.has_range(actor=actor, operator_id=operator.pk, prefix=row["prefix"]):
            numbering.lease_range(
                actor=actor,
                operator=operator,
                agreement=operators.require_valid_agreement(
                    operator_id=operator.pk, host_carrier_id=hosts[row["carrier"]].pk, now=now
                ),
                prefix=row["prefix"],
                home_province=row["home_province"],
                home_city=row["home_city"],
                leased_from=date.fromisoformat(row["leased_from"]),
                leased_until=date.fromisoformat(row["leased_until"]),
                now=now,
            )
    for row in _rows(folder / "sims.csv"):
        operator, filename = tenants[row["operator"]], f"demo-{row['operator']}-{row['carrier']}.csv"
        if not sim_selectors.has_batch(actor=actor, operator_id=operator.pk, filename=filename):
            sims.import_batch(
                actor=actor,
                operator=operator,
                host_carrier=hosts[row["carrier"]],
                filename=filename,
                content=card_file(row),
                now=now,
            )


# Issuer digits of an ICCID and a network code of an IMSI, per host carrier.
_ISSUERS = {"unicom": ("898601", "46001"), "mobile": ("898600", "46000"), "telecom": ("898603", "46003")}


def card_file(row: Mapping[str, str]) -> bytes:
    """The card maker's CSV of one line of sims.csv: plain cards, then as many of every magic ending as it says."""
    issuer, network = _ISSUERS[row["carrier"]]
    serials = itertools.count(1)
    # 20 characters: issuer 6, year 2, block 2, serial 6, ending 4. Plain endings begin with 0.
    endings = ["0000"] * int(row["plain"]) + sorted(ENDINGS) * int(row["each_magic"])
    cells = [
        f"{issuer}26{row['block']}{serial:06d}{ending},{network}{row['block']}{serial:08d}"
        for ending, serial in zip(endings, serials, strict=False)
    ]
    return "\n".join(["iccid,imsi", *cells]).encode()


def connect(*, actor: Actor, now: datetime, url: str, master_secret: str) -> None:
    """One connection of every demo tenant to every host carrier whose dialect we speak, at the simulator's address."""
    for operator in operators.list_operators(actor=actor):
        for carrier in operators.list_host_carriers():
            if carrier.code not in ADAPTERS or not _has_agreement(operator.pk, carrier.code, now):
                continue
            app_key = f"{operator.code}.{carrier.code}"
            base_url = f"{url}/{carrier.code}"
            secret = _derive(master_secret, app_key)
            callback_secret = _derive(master_secret, f"callback:{app_key}")
            try:
                connection = carrier_selectors.get_connection(
                    operator_id=operator.pk, host_carrier_id=carrier.pk
                )
            except CarrierNotConnected:
                carriers.connect(
                    actor=actor,
                    operator=operator,
                    host_carrier=carrier,
                    dialect=carrier.code,
                    base_url=base_url,
                    app_key=app_key,
                    secret=secret,
                    callback_secret=callback_secret,
                    # The simulator is quick, so a demonstration need not be patient.
                    timeout_seconds=3.0,
                    settle_seconds=2.0,
                    callback_wait_seconds=5.0,
                    max_in_flight=64,
                    now=now,
                )
            else:
                carriers.reconfigure(
                    actor=actor,
                    connection_uid=connection.uid,
                    base_url=base_url,
                    secret=secret,
                    callback_secret=callback_secret,
                    now=now,
                )


def access(*, actor: Actor, now: datetime, known: Mapping[str, str]) -> dict[str, str]:
    """Partner apps and staff logins; secrets that `known` still has are kept, others are made anew."""
    values: dict[str, str] = {}
    for letter, code in {**LETTERS, "TEST": TEST}.items():
        values |= _partner(actor, now, known, prefix=f"KAIHU_{letter}", operator_code=code)
    values |= _staff(
        actor, now, known, prefix="KAIHU_ADMIN", username="platform", role=Role.PLATFORM, operator_code=None
    )
    for letter, code in LETTERS.items():
        for role in STAFF_ROLES:
            short = "ADMIN" if role is Role.OPERATOR_ADMIN else role.value
            values |= _staff(
                actor,
                now,
                known,
                prefix=f"KAIHU_{letter}_{short}",
                username=f"{code}-{short.lower()}",
                role=role,
                operator_code=code,
            )
    return values


def _partner(
    actor: Actor, now: datetime, known: Mapping[str, str], *, prefix: str, operator_code: str
) -> dict[str, str]:
    names = (f"{prefix}_CLIENT_ID", f"{prefix}_CLIENT_SECRET")
    operator = operators.get_operator_by_code(actor=actor, code=operator_code)
    app = account_selectors.list_partner_apps(actor=actor).filter(operator=operator, name=APP_NAME).first()
    if app is None:
        app, secret = accounts.create_partner_app(
            actor=actor,
            operator=operator,
            name=APP_NAME,
            scopes=list(settings.OAUTH2_PROVIDER["SCOPES"]),
            rate_per_second=1000,
            rate_burst=2000,
            now=now,
        )
    elif known.get(names[0]) == app.client_id and known.get(names[1]):
        secret = known[names[1]]
    else:
        app, secret = accounts.rotate_client_secret(actor=actor, app_uid=app.uid, now=now)
    return {names[0]: app.client_id, names[1]: secret}


def _staff(
    actor: Actor,
    now: datetime,
    known: Mapping[str, str],
    *,
    prefix: str,
    username: str,
    role: Role,
    operator_code: str | None,
) -> dict[str, str]:
    names = (f"{prefix}_USER", f"{prefix}_PASSWORD")
    user = account_selectors.list_users(actor=actor).filter(username=username).first()
    password = known.get(names[1]) or secrets.token_urlsafe(12)
    if user is None:
        operator = operators.get_operator_by_code(actor=actor, code=operator_code) if operator_code else None
        accounts.create_user(
            actor=actor, operator=operator, username=username, password=password, role=role, now=now
        )
    elif not known.get(names[1]):
        accounts.set_password(actor=actor, user_uid=user.uid, password=password, now=now)
    return {names[0]: username, names[1]: password}


def read_env(path: Path) -> dict[str, str]:
    """The file's values; empty when there is none."""
    if not path.is_file():
        return {}
    words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)


def write_env(path: Path, values: Mapping[str, str]) -> None:
    """Shell-readable, readable for its owner only, and replaced as a whole."""
    text = "# Written by `make run`: addresses and secrets of this machine's demo.\n"
    text += "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    draft = path.with_suffix(".new")
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    draft.replace(path)


def _has_agreement(operator_id: int, carrier_code: str, now: datetime) -> bool:
    states = operators.list_agreement_states(operator_id=operator_id, now=now)
    return any(state.carrier == carrier_code for state in states)


def _derive(master_secret: str, label: str) -> str:
    """As the simulator derives a reseller's secrets from its master secret."""
    return hmac.new(master_secret.encode(), label.encode(), hashlib.sha256).hexdigest()


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
