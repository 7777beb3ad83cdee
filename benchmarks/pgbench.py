"""PostgreSQL's own load generator, running the same statements as a service of ours."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from psycopg import sql

from benchmarks.database import Database


@dataclass(frozen=True)
class Outcome:
    transactions: int
    per_second: float


def run(
    database: Database,
    script: str,
    *,
    clients: int,
    seconds: int | None = None,
    transactions: int | None = None,
    durable: bool = True,
) -> Outcome:
    """For so many seconds, or until each client has done its share of so many transactions."""
    parts = urlsplit(database.url)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.sql"
        path.write_text(script)
        amount = ["-T", str(seconds)] if seconds else ["-t", str(-(-(transactions or 1) // clients))]
        done = subprocess.run(
            [
                str(database.pgbench),
                "--no-vacuum",
                "--protocol=prepared",
                f"--client={clients}",
                f"--jobs={min(clients, 2)}",
                f"--file={path}",
                *amount,
            ],
            env={
                "PATH": os.environ["PATH"],
                "LC_ALL": "C",
                "PGHOST": str(parts.hostname),
                "PGPORT": str(parts.port),
                "PGUSER": str(parts.username),
                "PGPASSWORD": str(parts.password),
                "PGDATABASE": parts.path.lstrip("/"),
                "PGOPTIONS": "-c jit=off" + ("" if durable else " -c synchronous_commit=off"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"transactions actually processed: (\d+)", done.stdout)
    speed = re.search(r"tps = ([0-9.]+)", done.stdout)
    if done.returncode != 0 or found is None or speed is None:
        raise RuntimeError(f"pgbench failed: {done.stderr[-2000:]}{done.stdout[-500:]}")
    return Outcome(transactions=int(found[1]), per_second=float(speed[1]))


def statement(text: str, parameters: Mapping[str, Any] | Sequence[Any], variables: Mapping[str, str]) -> str:
    """A statement as Django sends it, for a script: `variables` says what stands for which parameter, or for which
    value among positional ones; all others are written out."""

    def written(value: Any) -> str:
        return sql.Literal(value).as_string(None)

    if isinstance(parameters, Mapping):
        filled = re.sub(
            r"%\((\w+)\)s",
            lambda m: variables.get(m[1]) or written(parameters[m[1]]),
            text,
        )
    else:
        values = iter(parameters)

        def one(_: re.Match[str]) -> str:
            value = next(values)
            return variables.get(str(value)) or written(value)

        filled = re.sub(r"%s", one, text)
    return filled.replace("%%", "%").strip()
