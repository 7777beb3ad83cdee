"""Rows to seal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from apps.audit import services as audit
from apps.core.actor import Actor

Record = Callable[..., None]


@pytest.fixture
def record(now: datetime) -> Record:
    """Adds one row about `target_id` for the operator."""

    def add(target_id: str, *, operator_id: int | None = 7) -> None:
        audit.record(
            actor=Actor.system("tests"),
            action="line.activate",
            target_type="line",
            target_id=target_id,
            operator_id=operator_id,
            now=now,
            before={"status": "PENDING"},
            after={"status": "ACTIVE"},
        )

    return add


def seal_all(*, limit: int = 5_000) -> int:
    """Until nothing is due; how many rows that were."""
    return sum(iter(lambda: audit.seal(limit=limit), 0))
