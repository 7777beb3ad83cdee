"""A partner's program that trusts nobody: keys, repetitions, double submits, and a log of every request and answer.

An answer that did not come means "maybe": it may have been carried out, and the same key is sent again until somebody
says yes or no. Runs in a thread of its own and knows the system by its REST interface only.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.faults.stock import CARDS_A_PERSON, Shop

TIMEOUT_SECONDS = 5.0
# How long one intent is sent again before it is left at "maybe".
PATIENCE_SECONDS = 90.0
FOLLOW_UPS = ("suspend", "suspend", "change_plan", "terminate")


@dataclass(frozen=True, slots=True)
class Record:
    """One request and its answer; `status` is 0 when none came."""

    at: float
    seconds: float
    app: int
    key: str
    type: str
    status: int
    code: str = ""
    order: str = ""
    digest: str = ""
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Intent:
    """Something a partner wants once, under one key."""

    shop: Shop
    key: str
    body: dict[str, Any]
    twice: bool = False
    path: str = "/orders"
    # Wanted as soon as this one is acknowledged.
    then: Intent | None = None

    @property
    def type(self) -> str:
        return str(self.body.get("type", "verification"))


def activations(
    shops: Sequence[Shop], *, count: int, rng: random.Random, twice_rate: float, carriers: Sequence[str] = ()
) -> list[Intent]:
    """Orders for new lines, in turn over shops and carriers; never more cards than a person may have.

    Those for a shop's strangers, if it has any, wait for the check that is asked for once they are acknowledged.
    """
    intents = []
    strangers = [(shop, person) for shop in shops for person in shop.strangers]
    every = count // len(strangers) if strangers else count + 1
    for number in range(count):
        shop = shops[number % len(shops)]
        mine = number // len(shops)
        person, then = shop.people[mine // CARDS_A_PERSON], None
        if strangers and number % every == every - 1:
            shop, person = strangers.pop()
            then = Intent(
                shop, _key(rng), {"channel": "online_video"}, path=f"/subscribers/{person}/verifications"
            )
        offered = carriers or list(shop.plans)
        body = {
            "type": "activate",
            "subscriber": person,
            "plan": shop.plans[offered[mine % len(offered)]][0],
        }
        intents.append(wish(shop, body, rng=rng, twice_rate=twice_rate, then=then))
    return intents


def wish(
    shop: Shop,
    body: dict[str, Any],
    *,
    rng: random.Random,
    twice_rate: float = 0.0,
    then: Intent | None = None,
) -> Intent:
    """An order under a key of its own, which is also its external id where it can have one."""
    key = _key(rng)
    own = {"external_id": key} if body["type"] == "activate" else {}
    return Intent(shop, key, body | own, twice=rng.random() < twice_rate, then=then)


def _key(rng: random.Random) -> str:
    return f"{rng.getrandbits(128):032x}"


@dataclass
class Client:
    """Places intents at a steady rate; `follow_ups` more orders go to lines that have come up meanwhile."""

    base_url: str
    intents: Sequence[Intent]
    per_second: float
    rng: random.Random
    follow_ups: int = 0
    at_once: int = 24
    history: list[Record] = field(default_factory=list)
    decided: int = 0
    abandoned: int = 0
    error: BaseException | None = None
    # Set it to have no more placed.
    enough: bool = False
    _seen: set[str] = field(default_factory=set)
    _thread: threading.Thread | None = None
    _placed: int = 0
    _followed: int = 0

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """:raises Exception: what ended the client, if it did not end by itself."""
        if self.error is not None:
            raise self.error
        return self._thread is not None and not self._thread.is_alive()

    @property
    def progress(self) -> float:
        return self.decided / max(1, len(self.intents) + self.follow_ups)

    @property
    def counts(self) -> Counter[str]:
        counts = Counter(
            {
                "requests": len(self.history),
                "no answer": sum(record.status == 0 for record in self.history),
                "answers 503": sum(record.status == 503 for record in self.history),
                "other answers 5xx": sum(
                    record.status >= 500 and record.status != 503 for record in self.history
                ),
                "answers in progress": sum(
                    record.code == "idempotency_in_progress" for record in self.history
                ),
                "replayed answers": sum(record.replayed for record in self.history),
                "left at maybe": self.abandoned,
            }
        )
        for record in self.history:
            if record.status == 202 and not record.replayed:
                counts[f"acknowledged {record.type}"] += 1
        return counts

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:
            self.error = error

    async def _work(self) -> None:
        limits = httpx2.Limits(max_connections=self.at_once * 2, max_keepalive_connections=self.at_once)
        async with httpx2.AsyncClient(
            base_url=self.base_url, timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False
        ) as http:
            gate = asyncio.Semaphore(self.at_once)
            tasks: set[asyncio.Task[None]] = set()
            for intent in self.intents:
                if self.enough:
                    break
                await asyncio.sleep(self.rng.expovariate(self.per_second))
                await self._spawn(tasks, gate, http, intent)
                if self.follow_ups and self._placed % 20 == 0:
                    await self._follow_up(tasks, gate, http)
            until = time.monotonic() + PATIENCE_SECONDS
            while self._followed < self.follow_ups and not self.enough and time.monotonic() < until:
                if not await self._follow_up(tasks, gate, http):
                    await asyncio.sleep(1)
            self.follow_ups = self._followed
            await asyncio.gather(*tasks)

    async def _spawn(
        self,
        tasks: set[asyncio.Task[None]],
        gate: asyncio.Semaphore,
        http: httpx2.AsyncClient,
        intent: Intent,
    ) -> None:
        await gate.acquire()
        self._placed += 1

        async def pursue() -> None:
            try:
                if intent.twice:
                    await asyncio.gather(self._pursue(http, intent), self._pursue(http, intent))
                else:
                    await self._pursue(http, intent)
                if intent.then is not None:
                    await self._pursue(http, intent.then)
                self.decided += 1
            finally:
                gate.release()

        task = asyncio.create_task(pursue())
        tasks.add(task)

    async def _pursue(self, http: httpx2.AsyncClient, intent: Intent) -> None:
        """Until somebody has said yes or no."""
        until, pause = time.monotonic() + PATIENCE_SECONDS, 0.1
        while time.monotonic() < until:
            record = await self._send(http, intent)
            self.history.append(record)
            if record.status and record.status < 500 and record.status != 429 and not _in_progress(record):
                return
            await asyncio.sleep(pause * (0.5 + self.rng.random()))
            pause = min(pause * 2, 2.0)
        self.abandoned += 1

    async def _send(self, http: httpx2.AsyncClient, intent: Intent) -> Record:
        at = time.time()

        def record(status: int, **found: Any) -> Record:
            return Record(
                at, time.time() - at, intent.shop.operator_id, intent.key, intent.type, status, **found
            )

        try:
            answer = await http.post(f"/api/v1{intent.path}", json=intent.body, headers=self._headers(intent))
        except httpx2.TransportError as error:
            return record(0, code=type(error).__name__)
        try:
            body = answer.json()
        except ValueError:
            body = {}
        return record(
            answer.status_code,
            code=str(body.get("code", "")) if answer.status_code >= 400 else "",
            order=str(body.get("id", "")) if answer.status_code == 202 and intent.path == "/orders" else "",
            digest=hashlib.sha256(answer.content).hexdigest()[:16],
            replayed=answer.headers.get("Idempotent-Replayed") == "true",
        )

    async def _follow_up(
        self, tasks: set[asyncio.Task[None]], gate: asyncio.Semaphore, http: httpx2.AsyncClient
    ) -> bool:
        """Some orders for lines of a random shop that run or stand still; whether there were any."""
        shop = self.rng.choice([intent.shop for intent in self.intents[:50]])
        found = False
        for status in ("ACTIVE", "SUSPENDED"):
            for line in await self._lines(http, shop, status):
                if self._followed >= self.follow_ups or line["id"] + status in self._seen:
                    continue
                self._seen.add(line["id"] + status)
                found = True
                self._followed += 1
                await self._spawn(
                    tasks, gate, http, wish(shop, self._follow(shop, line), rng=self.rng, twice_rate=0.1)
                )
                if self._followed % 5 == 0:
                    return True
        return found

    async def _lines(self, http: httpx2.AsyncClient, shop: Shop, status: str) -> list[dict[str, Any]]:
        try:
            answer = await http.get(
                "/api/v1/lines",
                params={"status": status, "limit": "200"},
                headers={"Authorization": f"Bearer {shop.token}"},
            )
        except httpx2.TransportError:
            return []
        return answer.json()["items"] if answer.status_code == 200 else []

    def _follow(self, shop: Shop, line: dict[str, Any]) -> dict[str, Any]:
        if line["status"] == "SUSPENDED":
            return {"type": "resume", "line": line["id"], "reason": "lost"}
        match self.rng.choice(FOLLOW_UPS):
            case "suspend":
                kind = self.rng.choice(["one_way", "two_way"])
                return {"type": "suspend", "line": line["id"], "kind": kind, "reason": "lost"}
            case "change_plan":
                other = shop.plans[line["carrier"]][1]
                return {"type": "change_plan", "line": line["id"], "plan": other, "effective": "now"}
            case _:
                return {"type": "terminate", "line": line["id"], "reason": "user_request"}

    def _headers(self, intent: Intent) -> dict[str, str]:
        return {"Authorization": f"Bearer {intent.shop.token}", "Idempotency-Key": intent.key}


def _in_progress(record: Record) -> bool:
    return record.status == 409 and record.code == "idempotency_in_progress"
