"""What a run prints and leaves behind, and when it counts as green."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from config.run.home import VAR

FOLDER = VAR / "faults"
GREEN, RED, INVALID = 0, 1, 2


@dataclass(frozen=True)
class Finding:
    """What one invariant's check came to."""

    invariant: str
    sentence: str
    broken: int
    examples: list[str]


@dataclass
class Run:
    """One scenario: what was done, what bit, and what broke. `measured` are promises of its own: (sentence, kept)."""

    name: str
    seed: int
    settings: dict[str, Any]
    counts: dict[str, int] = field(default_factory=dict)
    # A run in which less than this bit proves nothing.
    minima: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    measured: list[tuple[str, bool]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def broken(self) -> list[str]:
        return [finding.invariant for finding in self.findings if finding.broken]

    @property
    def too_few(self) -> list[str]:
        return [
            f"{name}: {self.counts.get(name, 0)} of {least}"
            for name, least in self.minima.items()
            if self.counts.get(name, 0) < least
        ]

    @property
    def verdict(self) -> int:
        """Red before invalid: what broke is broken however little bit."""
        if self.broken or not all(kept for _, kept in self.measured):
            return RED
        return INVALID if self.too_few else GREEN


def show(run: Run, *, sha: str) -> None:
    """A table of the invariants, the faults that bit, and the bound that so many trials without a failure give."""
    console = Console(highlight=False)
    table = Table(title=f"{run.name}  seed {run.seed}  git {sha}", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("Invariant")
    table.add_column("Broken", justify="right")
    for finding in run.findings:
        table.add_row(
            finding.invariant, finding.sentence, f"[bold red]{finding.broken}[/]" if finding.broken else "0"
        )
    console.print()
    console.print(table)
    for finding in run.findings:
        for example in finding.examples:
            console.print(f"  [red]{finding.invariant}[/] {example}", markup=True, soft_wrap=True)
    counts = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in run.counts.items():
        least = run.minima.get(name)
        counts.add_row(name, str(value), f"at least {least}" if least is not None else "")
    console.print(counts)
    console.print(f"  Settings: {json.dumps(run.settings, ensure_ascii=False)}", soft_wrap=True)
    for sentence, kept in run.measured:
        console.print(
            f"  {'[green]kept[/]' if kept else '[bold red]not kept[/]'}: {sentence}", soft_wrap=True
        )
    console.print(f"  {bound(run.counts)}", soft_wrap=True)
    word = {
        GREEN: "[bold green]green",
        RED: "[bold red]RED",
        INVALID: "[bold yellow]INVALID: too few faults bit",
    }
    console.print(f"  {word[run.verdict]}[/] after {run.seconds:.0f} s")
    for missing in run.too_few:
        console.print(f"  [yellow]{missing}[/]")


def bound(counts: Mapping[str, int]) -> str:
    """Zero failures in N trials bound the rate at 3/N (95 %)."""
    parts = []
    for what, name in (
        ("an order", "orders"),
        ("a kill", "kills"),
        ("a call in doubt", "jobs that were in doubt"),
    ):
        if counts.get(name):
            parts.append(f"{3 / counts[name]:.2%} for {what} (N = {counts[name]})")
    return f"Without a failure the true rate is, at 95 %, below {', '.join(parts) or 'anything'}."


def write(runs: list[Run], *, form: str, sha: str) -> str:
    """One JSON file for the whole command; answers its path."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    at = time.gmtime()
    path = FOLDER / f"{time.strftime('%Y%m%dT%H%M%SZ', at)}-{form}-{runs[0].seed if runs else 0}.json"
    path.write_text(
        json.dumps(
            {
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", at),
                "form": form,
                "git": sha,
                "runs": [{**asdict(run), "broken": run.broken, "verdict": run.verdict} for run in runs],
            },
            ensure_ascii=False,
            indent=1,
        )
        + "\n",
        encoding="utf-8",
    )
    return str(path.relative_to(VAR.parent))
