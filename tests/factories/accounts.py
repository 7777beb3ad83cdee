"""Staff, partner apps, tokens, and a client that speaks as one of them."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.test import Client

from apps.accounts import credentials
from apps.accounts import services as accounts
from apps.accounts.models import PartnerApp, User
from apps.accounts.states import Role
from apps.core.actor import Actor
from apps.operators.models import VirtualOperator

SYSTEM = Actor.system("tests")
PASSWORD = "correct horse battery staple"
ALL_SCOPES = tuple(settings.OAUTH2_PROVIDER["SCOPES"])
_numbers = itertools.count(1)


def given_user(
    *, role: Role, now: datetime, operator: VirtualOperator | None = None, username: str = ""
) -> User:
    """Somebody who can log in with PASSWORD."""
    return accounts.create_user(
        actor=SYSTEM,
        operator=operator,
        username=username or f"{role.lower()}-{next(_numbers)}",
        password=PASSWORD,
        role=role,
        now=now,
    )


def given_partner_app(
    *,
    operator: VirtualOperator,
    now: datetime,
    scopes: Collection[str] = ALL_SCOPES,
    rate_per_second: int = 10_000,
    rate_burst: int = 10_000,
) -> tuple[PartnerApp, str]:
    """An app and its client secret."""
    return accounts.create_partner_app(
        actor=SYSTEM,
        operator=operator,
        name=f"app {next(_numbers)}",
        scopes=scopes,
        now=now,
        rate_per_second=rate_per_second,
        rate_burst=rate_burst,
    )


def given_token(
    *,
    app: PartnerApp,
    now: datetime,
    scopes: Collection[str] | None = None,
    lifetime: timedelta = timedelta(hours=1),
) -> str:
    token = credentials.new_token()
    accounts.store_token(
        app=app, token=token, scopes=app.scopes if scopes is None else scopes, expires_at=now + lifetime
    )
    return token


class ApiClient:
    """Calls the partner API as one token; a POST gets a fresh Idempotency-Key unless one is given (None: no header)."""

    def __init__(self, token: str | None, client: Client | None = None) -> None:
        self.token = token
        self.client = client or Client(raise_request_exception=False)

    def request(
        self,
        method: str,
        path: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        sent = dict(headers or {})
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if isinstance(data, (bytes, str)):
            body: bytes | str = data
        else:
            body = b"" if data is None else json.dumps(data).encode()
        return self.client.generic(method, path, body, content_type=content_type, headers=sent)

    def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Any:
        return self.request("GET", path, headers=headers)

    def delete(self, path: str, *, headers: Mapping[str, str] | None = None) -> Any:
        return self.request("DELETE", path, headers=headers)

    def post(
        self, path: str, data: Any = None, *, key: str | None = "", headers: Mapping[str, str] | None = None
    ) -> Any:
        sent = dict(headers or {})
        if key is not None:
            sent["Idempotency-Key"] = key or uuid.uuid4().hex
        return self.request("POST", path, data, headers=sent)
