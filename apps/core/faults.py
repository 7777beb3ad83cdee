"""Where the fault suite breaks us on purpose. Nothing of this exists outside `config.settings.faults`.

`faultpoint("name")` marks a place where a crash would hurt; `KAIHU_FAULTS="name:what:when,..."` says what is done:
the whole program is killed or stopped, or an error is raised, on the n-th visit or on every visit about one subject
("=4711": it ends in these digits). `sabotage("name")` asks whether one of our protections is to be left out; a checker
that does not notice is no checker. Without the settings both are functions that do nothing, chosen once at import.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from django.conf import settings

# Around every commit of a job's life, every byte of a call, and whatever only a sweeper makes good.
POINTS = (
    "place.before_commit",
    "place.after_commit",
    "nudge.before_publish",
    "claim.before_commit",
    "claim.after_commit",
    "send.before",
    "send.written",
    "send.answered",
    "record.before_commit",
    "record.before_commit_of_many",
    "record.after_commit",
    "expire.before_commit",
    "sweep.after_expiry",
    "callback.before_commit",
    "callback.after_commit",
    "apply.before_commit",
    "apply.after_commit",
    "relay.before_commit",
    "relay.after_commit",
    "seal.before_commit",
)
SABOTAGES = (
    "new_reference_per_attempt",
    "in_doubt_is_ready",
    "no_fence",
    "no_sweeper",
    "no_callback_dedupe",
)
ACTIONS = ("kill", "stop", "raise")


class Broken(Exception):
    """What an armed point raises."""


@dataclass
class _Point:
    action: str
    nth: int
    subject: str
    visits: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def visit(self, subject: str) -> None:
        if self.subject:
            hit = subject.endswith(self.subject)
        else:
            with self.lock:
                self.visits += 1
                hit = self.visits == self.nth
        if not hit:
            return
        match self.action:
            case "kill":
                # The suite starts every program in a group of its own.
                os.killpg(os.getpgrp(), signal.SIGKILL)
            case "stop":
                os.killpg(os.getpgrp(), signal.SIGSTOP)
            case _:
                raise Broken(subject)


def parse(text: str) -> dict[str, _Point]:
    """:raises ValueError: no such point or action, or no number."""
    points = {}
    for part in filter(None, text.split(",")):
        name, action, when = part.split(":")
        if name not in POINTS or action not in ACTIONS:
            raise ValueError(f"{part}: points are {', '.join(POINTS)}; what happens is {', '.join(ACTIONS)}")
        subject = when.removeprefix("=") if when.startswith("=") else ""
        points[name] = _Point(action=action, nth=0 if subject else int(when), subject=subject)
    return points


def _doors() -> tuple[Callable[..., None], Callable[[str], bool]]:
    armed = parse(getattr(settings, "KAIHU_FAULTS", ""))
    left_out = frozenset(filter(None, getattr(settings, "KAIHU_SABOTAGE", "").split(",")))
    if not left_out <= set(SABOTAGES):
        raise ValueError(f"protections that can be left out: {', '.join(SABOTAGES)}")

    def nothing(name: str, subject: str = "", /) -> None:
        return

    def never(name: str, /) -> bool:
        return False

    def faultpoint(name: str, subject: str = "", /) -> None:
        if point := armed.get(name):
            point.visit(subject)

    def sabotage(name: str, /) -> bool:
        return name in left_out

    return (faultpoint if armed else nothing), (sabotage if left_out else never)


faultpoint, sabotage = _doors()
