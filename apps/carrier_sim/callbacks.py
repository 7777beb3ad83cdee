"""Tells resellers what became of their orders: signed POSTs, sent again a few times until somebody says 2xx."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

import httpx2

from apps.carrier_sim import signing
from apps.carrier_sim.knobs import Callbacks
from apps.carrier_sim.ledger import Entry, Ledger
from apps.carrier_sim.orders import DONE, REFUSED, Problem

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = (0.5, 1, 2, 4, 8)
AT_ONCE = 100
TIMEOUT_SECONDS = 10
# What a stale callback is too old by.
STALE_SECONDS = 600


class Speaker(Protocol):
    """How a dialect that calls back words it."""

    def callback(self, entry: Entry, *, event_id: str, result: str, reason: str, reference: str) -> bytes: ...

    def callback_headers(self, *, secret: str, timestamp: str, body: bytes) -> dict[str, str]: ...


class Notifier:
    """One asyncio task per callback; whatever is not confirmed in the ledger is sent again after a restart."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        counts: dict[str, Counter[str]],
        master_secret: str,
        speakers: dict[str, Speaker],
    ) -> None:
        self._ledger = ledger
        self._counts = counts
        self._master_secret = master_secret
        self._speakers = speakers
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._client = httpx2.AsyncClient(
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            limits=httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE),
        )

    def resume(self) -> None:
        for entry in self._ledger.untold():
            self.schedule(entry)

    def schedule(self, entry: Entry) -> asyncio.Task[None] | None:
        if entry.callbacks == Callbacks.NONE or entry.dialect not in self._speakers:
            return None
        task = asyncio.get_running_loop().create_task(self._tell(entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        self.cancel_all()
        await self._client.aclose()

    async def _tell(self, entry: Entry) -> None:
        await asyncio.sleep(max(0, entry.tells_at - time.time()))
        counts = self._counts[entry.dialect]
        match entry.callbacks:
            case Callbacks.FORGED:
                # What somebody without the secret would send: the opposite result under a signature of his own.
                counts["callbacks_forged"] += 1
                await self._send(entry, self._opposite(entry, entry.reference), secret="not-the-secret")  # noqa: S106
            case Callbacks.STALE:
                counts["callbacks_stale"] += 1
                await self._send(entry, self._opposite(entry, entry.reference), old_by=STALE_SECONDS)
            case Callbacks.FOREIGN:
                counts["callbacks_foreign"] += 1
                await self._send(entry, self._opposite(entry, self._somebody_elses(entry)))
        if not await self._send_until_heard(entry):
            counts["callbacks_given_up"] += 1
        self._ledger.mark_told(entry.order_no)
        if entry.callbacks == Callbacks.DUPLICATE:
            for _ in range(2):
                await self._send(entry, self._true(entry))

    async def _send_until_heard(self, entry: Entry) -> bool:
        for wait in (*RETRY_AFTER_SECONDS, None):
            if await self._send(entry, self._true(entry)):
                return True
            if wait is not None:
                await asyncio.sleep(wait)
        return False

    def _true(self, entry: Entry) -> bytes:
        return self._speakers[entry.dialect].callback(
            entry,
            event_id=f"EV{entry.order_no}",
            result=entry.result,
            reason=entry.reason,
            reference=entry.reference,
        )

    def _opposite(self, entry: Entry, reference: str) -> bytes:
        result = DONE if entry.result == REFUSED else REFUSED
        reason = Problem.IDENTITY_REFUSED.value if result == REFUSED else ""
        return self._speakers[entry.dialect].callback(
            entry, event_id=f"EX{entry.order_no}", result=result, reason=reason, reference=reference
        )

    def _somebody_elses(self, entry: Entry) -> str:
        """The reference of another reseller's latest order; of nobody's when there is none."""
        others: Iterator[Entry] = reversed(self._ledger.entries)
        return next((other.reference for other in others if other.app_key != entry.app_key), "nobodys-order")

    async def _send(self, entry: Entry, body: bytes, *, secret: str | None = None, old_by: int = 0) -> bool:
        headers = self._speakers[entry.dialect].callback_headers(
            secret=secret or signing.callback_secret_of(self._master_secret, entry.app_key),
            timestamp=str(int(time.time()) - old_by),
            body=body,
        )
        self._counts[entry.dialect]["callbacks_sent"] += 1
        try:
            async with self._slots:
                reply = await self._client.post(entry.notify_url, content=body, headers=headers)
        except httpx2.HTTPError as error:
            logger.info("callback not delivered: %s", type(error).__name__)
            return False
        return reply.is_success
