"""What the person at the terminal sees: one line a step, one line a problem."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TAIL_LINES = 20


class Problem(Exception):
    """Why we cannot go on, in one line.

    `exit_code` is 2 for what the person must change and 1 for a step that failed; `log` is the file whose
    last lines explain it.
    """

    def __init__(self, message: str, *, log: Path | None = None, exit_code: int = 2) -> None:
        super().__init__(message)
        self.log = log
        self.exit_code = exit_code


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def report(problem: Problem) -> int:
    """Writes the problem and the tail of its log to standard error; answers the exit code."""
    sys.stdout.flush()
    for line in tail(problem.log):
        sys.stderr.write(f"  | {line}\n")
    sys.stderr.write(f"kaihu: {problem}\n")
    if problem.log is not None:
        sys.stderr.write(f"kaihu: the whole log is in {problem.log}\n")
    return problem.exit_code


def tail(log: Path | None) -> list[str]:
    """The last lines of a log, if there is one."""
    if log is None:
        return []
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        return []


class Step:
    """A step in progress; its label may be made more exact before it ends."""

    def __init__(self, label: str) -> None:
        self.label = label


@contextmanager
def step(label: str) -> Iterator[Step]:
    """Prints one line with the seconds it took when the body ends, well or not."""
    started, current = time.monotonic(), Step(label)
    try:
        yield current
    except BaseException as error:
        ending = "FAILED" if isinstance(error, Exception) else "stopped"
        say(f"  {current.label:<56} {ending} after {time.monotonic() - started:.1f} s")
        raise
    say(f"  {current.label:<56} {time.monotonic() - started:6.1f} s")
