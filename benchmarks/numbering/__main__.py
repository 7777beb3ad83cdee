"""`make bench-numbering [ROWS=60000000]`: loading, claims, dead entries, searches, expiry at the size of a country."""

from __future__ import annotations

import argparse

from benchmarks.database import fresh_database
from benchmarks.report import Report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000_000)
    parser.add_argument("--seconds", type=int, default=0, help="of each measurement of claims; 0: by size")
    parser.add_argument(
        "--ways", action="store_true", help="compare ways of claiming as well (docs/adr/0005)"
    )
    options = parser.parse_args()
    with fresh_database("numbering") as database:
        from benchmarks.numbering import scenario

        report = Report("numbering", settings=database.settings)
        seconds = options.seconds or (6 if options.rows >= 10_000_000 else 2)
        scenario.run(database, report, rows=options.rows, seconds=seconds, ways=options.ways)
        report.write()


if __name__ == "__main__":
    main()
