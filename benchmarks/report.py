"""A table on the screen and the same figures as JSON, with the machine and the server's settings at its head."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "var" / "bench"


class Report:
    """Collects lines `what | figure | beside | ratio | goal`; a goal is never asserted, only shown."""

    def __init__(self, name: str, *, settings: Mapping[str, str]) -> None:
        self.name, self.settings, self.lines = name, dict(settings), list[dict[str, Any]]()
        self.started = time.time()
        self.machine = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "load_at_start": os.getloadavg()[0],
        }
        self._say(f"{name}: {self.machine}")
        for key, value in self.settings.items():
            self._say(f"  {key} = {value}")

    def add(
        self,
        what: str,
        figure: float,
        unit: str,
        *,
        beside: float | None = None,
        beside_what: str = "",
        goal: float | None = None,
        at_most: bool = False,
    ) -> None:
        """One line: a figure, or a figure beside another of the same run and their ratio against the goal."""
        shown = figure if beside is None else figure / beside
        met = None if goal is None else (shown <= goal if at_most else shown >= goal)
        self.lines.append(
            {
                "what": what,
                "figure": figure,
                "unit": unit,
                "beside": beside,
                "beside_what": beside_what,
                "ratio": None if beside is None else shown,
                "goal": goal,
                "met": met,
            }
        )
        text = f"{what:<58} {figure:>12,.1f} {unit:<12}"
        if beside is not None:
            text += f" / {beside:>11,.1f} {beside_what:<24} = {shown:.2f}"
        if goal is not None:
            sign = "<=" if at_most else ">="
            text += f"   goal {sign} {goal:g}: {'met' if met else 'MISSED'}"
        self._say(text)

    def say(self, text: str) -> None:
        self._say(text)

    def write(self) -> Path:
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        path.write_text(
            json.dumps(
                {
                    "name": self.name,
                    "started": self.started,
                    "seconds": time.time() - self.started,
                    "machine": self.machine,
                    "settings": self.settings,
                    "lines": self.lines,
                },
                indent=1,
                ensure_ascii=False,
            )
            + "\n"
        )
        self._say(f"written to {path.relative_to(RESULTS.parent.parent)}")
        return path

    @staticmethod
    def _say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
