"""Several threads at one starting line, each with a database connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection

R = TypeVar("R")


def in_parallel(count: int, work: Callable[[int], R], *, seconds: float = 30) -> list[R]:
    """The results of `work(0)` to `work(count - 1)`, all let go at the same moment; the first exception is raised.

    For tests with `transaction=True`: the threads see only what is committed.
    """
    barrier = threading.Barrier(count)

    def run(number: int) -> R:
        try:
            barrier.wait(timeout=seconds)
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count), timeout=seconds))
