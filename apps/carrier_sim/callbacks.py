"""Tells resellers what became of their orders: signed POSTs, sent again a few times until somebody says 2xx."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from apps.carrier_sim import signing
from apps.carrier_sim.carrier import DONE, REFUSED, Carrier, Refusal
from apps.carrier_sim.knobs import Callbacks
from apps.carrier_sim.ledger import Entry

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = (0.5, 1, 2, 4, 8)
AT_ONCE = 100
TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one dialect words a callback: its body, and the headers that carry timestamp and signature."""

    body: Callable[..., dict[str, Any]]
    timestamp_header: str
    signature_header: str


class Notifier:
    """One asyncio task per callback; whatever is not confirmed in the ledger is sent again after a restart."""

    def __init__(self, *, carrier: Carrier, master_secret: str, dialects: dict[str, Dialect]) -> None:
        self._carrier = carrier
        self._master_secret = master_secret
        self._dialects = dialects
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._client = httpx2.AsyncClient(
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            limits=httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE),
        )

    def resume(self) -> None:
        for entry in self._carrier.ledger.untold():
            self.schedule(entry)

    def schedule(self, entry: Entry) -> None:
        if entry.callbacks == Callbacks.NONE:
            return
        task = asyncio.get_running_loop().create_task(self._tell(entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        self.cancel_all()
        await self._client.aclose()

    async def _tell(self, entry: Entry) -> None:
        await asyncio.sleep(max(0, entry.tells_at - time.time()))
        if entry.callbacks == Callbacks.FORGED:
            await self._send_forged(entry)
        if not await self._send_until_heard(entry):
            self._carrier.counts["callbacks_given_up"] += 1
        self._carrier.ledger.mark_told(entry.order_no)
        if entry.callbacks == Callbacks.DUPLICATE:
            for _ in range(2):
                await self._send(entry, self._body(entry), self._secret(entry))

    async def _send_until_heard(self, entry: Entry) -> bool:
        for wait in (*RETRY_AFTER_SECONDS, None):
            if await self._send(entry, self._body(entry), self._secret(entry)):
                return True
            if wait is not None:
                await asyncio.sleep(wait)
        return False

    async def _send_forged(self, entry: Entry) -> None:
        """What somebody without the secret would send: the opposite result under a signature of his own."""
        opposite = DONE if entry.result == REFUSED else REFUSED
        reason = "" if opposite == DONE else Refusal.IDENTITY_REFUSED.value
        body = self._dialects[entry.dialect].body(
            entry, event_id=f"EX{entry.order_no}", result=opposite, reason=reason
        )
        self._carrier.counts["callbacks_forged"] += 1
        await self._send(entry, body, "not-the-secret")

    def _body(self, entry: Entry) -> dict[str, Any]:
        return self._dialects[entry.dialect].body(
            entry, event_id=f"EV{entry.order_no}", result=entry.result, reason=entry.reason
        )

    def _secret(self, entry: Entry) -> str:
        return signing.callback_secret_of(self._master_secret, entry.app_key)

    async def _send(self, entry: Entry, content: dict[str, Any], secret: str) -> bool:
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        timestamp = str(int(time.time()))
        dialect = self._dialects[entry.dialect]
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            dialect.timestamp_header: timestamp,
            dialect.signature_header: signing.sign(secret, timestamp, body),
        }
        self._carrier.counts["callbacks_sent"] += 1
        try:
            async with self._slots:
                reply = await self._client.post(entry.notify_url, content=body, headers=headers)
        except httpx2.HTTPError as error:
            logger.info("callback not delivered: %s", type(error).__name__)
            return False
        return reply.is_success
