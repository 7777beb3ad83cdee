"""`make bench-provisioning [ROWS=20000]`: speed, waiting times and memory of the carrier worker."""

from __future__ import annotations

import argparse
import os

from benchmarks.database import fresh_database
from benchmarks.report import Report
from tests.simulator import REALNAME_TOKEN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="jobs of the operator that has a backlog")
    parser.add_argument(
        "--ways",
        action="store_true",
        help="threads, gevent (if installed) and asyncio beside each other instead",
    )
    options = parser.parse_args()
    os.environ["REALNAME_TOKEN"] = REALNAME_TOKEN
    with fresh_database("provisioning") as database:
        from benchmarks.provisioning import scenario

        report = Report("provisioning", settings=database.settings)
        is_small = options.rows < 10_000
        if options.ways:
            scenario.compare_ways(report, jobs=min(3_000, options.rows))
        else:
            scenario.run(
                report,
                jobs=max(600, min(6_000, options.rows)),
                burst=options.rows,
                seconds=5 if is_small else 10,
            )
        report.write()


if __name__ == "__main__":
    main()
