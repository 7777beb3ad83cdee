"""Running the same thing in several threads that start together, each with a database connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import connection

R = TypeVar("R")


def at_once(*calls: Callable[[], R], seconds: float = 60) -> Sequence[R | Exception]:
    """What each call returned or raised, in the order given; they all pass a barrier first."""
    barrier = threading.Barrier(len(calls))
    results: list[R | Exception] = [RuntimeError("did not run")] * len(calls)

    def run(index: int, call: Callable[[], R]) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            results[index] = call()
        except Exception as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=seconds)
    return results
