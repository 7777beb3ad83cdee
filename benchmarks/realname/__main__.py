"""`make bench-realname [ROWS=100000]`: documents, sealing, rotation of so many people, the local part of a check."""

from __future__ import annotations

import argparse
import io
import os

from benchmarks.database import fresh_database
from benchmarks.report import Report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="people in the table")
    people = max(parser.parse_args().rows, 100)
    # Rotations wait that long for other processes; here are none.
    os.environ["KAIHU_KEYRING_SECONDS"] = "1"
    with fresh_database("realname") as database:
        from django.core.management import call_command

        from apps.core.actor import Actor
        from apps.core.db import database_now
        from apps.operators import services as operators
        from benchmarks.realname import crypto, documents, verification

        report = Report("realname", settings={**database.settings, "people": f"{people:,}"})
        documents.measure(report)
        crypto.measure_sealing(report)
        call_command("seed", verbosity=0, stdout=io.StringIO())
        now = database_now()
        operator = operators.register_operator(
            actor=Actor.system("benchmark"), code="benchmark", name="Benchmark", name_zh="测试虚商", now=now
        )
        crypto.fill(operator=operator, people=people, now=now)
        crypto.measure_rotation(report, people=people)
        verification.list_many(now=now)
        verification.measure(report, operator=operator, many=min(people, 1_100))
        report.write()


if __name__ == "__main__":
    main()
