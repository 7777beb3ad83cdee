"""Other ways to make the same calls, for the table in docs/adr/0007. Everything but the waiting is the engine's own."""

from __future__ import annotations

import functools
import queue
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore2

from apps.carriers import services as carriers
from apps.carriers.base import Reply
from apps.core import clock
from apps.core.actor import Actor
from apps.provisioning import selectors
from apps.provisioning.services import calling
from apps.provisioning.services.calling import Work
from apps.provisioning.services.drain import Roads, _work, drain
from apps.provisioning.services.recording import Result


class BlockingExchange:
    """The transport of a thread: what is awaited has happened."""

    def __init__(self, slots: int) -> None:
        self._pool = httpcore2.ConnectionPool(max_connections=slots, max_keepalive_connections=slots)

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Reply:
        reply = self._pool.request(
            "POST",
            url,
            headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            content=content,
            extensions={"timeout": {"connect": 5.0, "read": 20.0, "write": 5.0, "pool": 20.0}},
        )
        return Reply(
            reply.status,
            {name.decode().lower(): value.decode() for name, value in reply.headers},
            reply.content,
        )


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits for something")


class ThreadCalls:
    """`calling.Calls` with a thread (or with gevent, a greenlet) per call."""

    was_woken = False

    def __init__(self, slots: int) -> None:
        self.out = 0
        self._threads = ThreadPoolExecutor(slots)
        self._answers: queue.Queue[Result] = queue.Queue()

    def begin(self, work: Sequence[Work]) -> None:
        self.out += len(work)
        for piece in work:
            self._threads.submit(self._make, piece)

    def _make(self, work: Work) -> None:
        self._answers.put(Result(work.claim, work.carrier, finish(calling._carry_out(work))))

    def collect(self, seconds: float) -> list[Result]:
        results = []
        try:
            results.append(self._answers.get(timeout=seconds))
            while True:
                results.append(self._answers.get_nowait())
        except queue.Empty:
            pass
        self.out -= len(results)
        return results

    def wake(self) -> None:
        pass


@functools.cache
def _exchange(slots: int) -> BlockingExchange:
    return BlockingExchange(slots)


class BlockingRoads(Roads):
    slots = 0

    def adapter(self, connection_id: int) -> Any:
        adapter = carriers.adapter_for(self.connections[connection_id])
        adapter.exchange = _exchange(self.slots)
        return adapter


def drain_once(*, way: str, connection_id: int, slots: int) -> None:
    """Works off what is due: with the engine as it is, or with a thread per call (a greenlet, under gevent)."""
    actor = Actor.system("benchmark")
    if way == "asyncio":
        drain(actor=actor, connection_id=connection_id, clock=clock.now, slots=slots)
        return
    host_carrier_id = selectors.get_host_carrier_id(connection_id=connection_id)
    assert host_carrier_id is not None
    calls: Any = ThreadCalls(slots)
    BlockingRoads.slots = slots
    calling.take_up(host_carrier_id, calls)
    _work(actor, BlockingRoads(host_carrier_id), calls, slots, 0.0, clock.now)
