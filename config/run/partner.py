"""A partner's program: the REST API as an outside client uses it, with tokens, idempotency keys and retries."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from config.run.console import Problem

TRIES = 6


class Refused(Exception):
    """The API said no: its status and code."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code


class Partner:
    """One partner app of one operator; safe to use for many calls at once."""

    def __init__(self, http: httpx2.AsyncClient, *, client_id: str, client_secret: str) -> None:
        self.http = http
        self.client_id = client_id
        self.client_secret = client_secret
        self.token = ""

    async def login(self) -> None:
        answer = await self.http.post(
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(self.client_id, self.client_secret),
        )
        if answer.status_code != 200:
            raise Problem(
                f"no token for {self.client_id}: {answer.status_code} {answer.text[:200]}", exit_code=1
            )
        self.token = answer.json()["access_token"]

    async def get(self, path: str, **parameters: str) -> Any:
        return await self._call("GET", path, params=parameters)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The key is made once per intent, so that a repetition after a lost answer is not a second order."""
        return await self._call("POST", path, json=body, headers={"Idempotency-Key": str(uuid.uuid4())})

    async def items(self, path: str, **parameters: str) -> AsyncIterator[dict[str, Any]]:
        """Every item of a list, page by page."""
        after: dict[str, str] = {}
        while True:
            body = await self.get(path, **parameters, **after, limit="200")
            for item in body["items"]:
                yield item
            if body["next"] is None:
                return
            after = {"after": body["next"]}

    async def _call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **rest: Any
    ) -> Any:
        answer = None
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(0.2 * 2**attempt)
            try:
                answer = await self.http.request(
                    method,
                    f"/api/v1{path}",
                    headers={"Authorization": f"Bearer {self.token}", **(headers or {})},
                    **rest,
                )
            except httpx2.TransportError:
                continue
            if answer.status_code == 401:
                await self.login()
            elif answer.status_code not in (429, 502, 503) and not _in_progress(answer):
                break
        if answer is None:
            raise Problem(f"{method} {path}: no answer", exit_code=1)
        if answer.status_code >= 400:
            problem = _json(answer)
            raise Refused(
                answer.status_code, problem.get("code", "?"), problem.get("detail", answer.text[:200])
            )
        return _json(answer)


def _in_progress(answer: httpx2.Response) -> bool:
    return answer.status_code == 409 and _json(answer).get("code") == "idempotency_in_progress"


def _json(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return {}
