"""Consumers that only tests know, and their queue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apps.events import consumers
from tests import broker

HEARD = "thing.happened"


@pytest.fixture(autouse=True)
def _only_our_consumers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`tests.hear` listens to HEARD and `tests.hear_too` to nothing yet; no worker runs them."""
    monkeypatch.setattr(consumers, "_consumers", {})
    broker.take_all("events")
    with broker.tasks("tests.hear", "tests.hear_too"):
        consumers.register(HEARD, "tests.hear")
        yield
    broker.take_all("events")
