"""The least that can be done: signed calls from a bare asyncio loop with httpx2, and nothing kept of them."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

import httpx2

from apps.carriers.adapters.unicom import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from apps.carriers.base import Account

_serials = itertools.count(1)


def run(*, account: Account, in_flight: int, seconds: float) -> float:
    """Calls per second that the carrier accepted."""
    return asyncio.run(_run(account, in_flight, seconds))


async def _run(account: Account, in_flight: int, seconds: float) -> float:
    accepted = 0
    started = time.monotonic()
    limits = httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx2.AsyncClient(limits=limits, timeout=30, trust_env=False) as http:

        async def caller() -> None:
            nonlocal accepted
            while time.monotonic() < started + seconds:
                body, headers = _request(account)
                reply = await http.post(f"{account.base_url}/gateway", content=body, headers=headers)
                if reply.json()["code"] != "UC-0000":
                    raise RuntimeError(reply.text)
                accepted += 1

        await asyncio.gather(*(caller() for _ in range(in_flight)))
    return accepted / (time.monotonic() - started)


def _request(account: Account) -> tuple[bytes, dict[str, str]]:
    serial, timestamp = next(_serials), str(int(time.time()))
    envelope = {
        "app_key": account.app_key,
        "serial": f"bare-{time.time_ns()}-{serial}",
        "timestamp": int(timestamp),
        "api": "line.open",
        "notify_url": account.notify_url,
        "data": {
            "number": str(17091_000000 + serial),
            "iccid": f"898601999{serial:010d}B",
            "plan": "PLAN-19",
            "customer": {"name": "张三丰", "paper_type": "P1", "paper_no": "110101190001010000"},
        },
    }
    body = json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()
    signature = sign(secret=account.secret, timestamp=timestamp, body=body)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: signature,
    }
    return body, headers
