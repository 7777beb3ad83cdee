"""A name and a number that exist nowhere else are pushed through every path, then searched for everywhere."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import redis
from celery import current_app
from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import reverse
from psycopg import sql

from apps.accounts.states import Role
from apps.core import clock
from apps.operators.models import VirtualOperator
from apps.subscribers import services, tasks
from apps.subscribers.models import IdentityDocument, ReviewCase, Subscriber, Verification
from apps.subscribers.realname.providers.base import Providers
from tests.factories.accounts import ApiClient, given_user
from tests.factories.subscribers import fifteen_digits, registration, resident_number
from tests.subscribers.conftest import ProviderServer, says

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "皇甫探鸟"
NUMBER = resident_number("659099")
ADDRESS = "探鸟县探鸟街19号"
PHONE = "17990417311"
CANARIES = [NAME, NUMBER, NUMBER[:17], fifteen_digits(NUMBER), ADDRESS, PHONE]

_COLUMNS = """
    SELECT table_name, column_name, data_type FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public')
"""
# Whatever the type of a column, what it holds is compared as it prints; bytes are compared as bytes.
_IN_TEXT = sql.SQL("SELECT count(*) FROM {table} WHERE position(%s in {column}::text) > 0")
_IN_BYTES = sql.SQL("SELECT count(*) FROM {table} WHERE position(convert_to(%s, 'UTF8') in {column}) > 0")


def _where_it_stands(canary: str) -> list[str]:
    """Every table.column whose rows hold the text."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS)
        for table, column, kind in cursor.fetchall():
            query = (_IN_BYTES if kind == "bytea" else _IN_TEXT).format(
                table=sql.Identifier(table), column=sql.Identifier(column)
            )
            cursor.execute(query.as_string(cursor.connection), [canary])
            if cursor.fetchone()[0]:
                found.append(f"{table}.{column}")
    return found


def _everything_in_redis() -> bytes:
    """Every key and value, the packed bodies of messages unpacked (DUMP would compress them)."""
    read: dict[bytes, Callable[[redis.Redis, bytes], Any]] = {
        b"string": lambda client, key: [client.get(key)],
        b"list": lambda client, key: client.lrange(key, 0, -1),
        b"set": lambda client, key: client.smembers(key),
        b"zset": lambda client, key: client.zrange(key, 0, -1),
        b"hash": lambda client, key: [part for pair in client.hgetall(key).items() for part in pair],
    }
    parts: list[bytes] = []
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        for key in client.scan_iter(count=1000):
            parts += [key, *read[client.type(key)](client, key)]
    bodies = [json.loads(part)["body"] for part in parts if part.startswith(b'{"body"')]
    return b"\n".join(parts + [base64.b64decode(body) for body in bodies])


class Everything(logging.Handler):
    """Keeps every record of every logger as it would be printed, and its fields."""

    def __init__(self) -> None:
        super().__init__(level=logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{logging.Formatter().format(record)} {record.__dict__!r}")


@pytest.fixture
def logged() -> Iterator[list[str]]:
    # The first message of a process loads all tasks, and with them sets logging up anew: not in the middle of this.
    current_app.loader.import_default_modules()
    handler = Everything()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.lines
    root.setLevel(level)
    root.removeHandler(handler)


def _refusals(api: ApiClient, other_api: ApiClient) -> list[Any]:
    """Requests that are refused in every way there is, each with the canaries in it."""
    wrong = NUMBER[:-1] + ("0" if NUMBER[-1] != "0" else "1")
    path = "/api/v1/subscribers"
    body = registration(name=NAME, number=NUMBER)
    return [
        api.post(path, registration(name=NAME, number=wrong)),
        api.post(path, registration(name=NAME, number=f"{NUMBER}{NUMBER}{NUMBER}")),
        api.post(path, registration(name=NAME + "\u202e", number=NUMBER)),
        api.post(path, registration(name=NAME * 50, number=NUMBER)),
        api.post(path, body | {"kind": NUMBER}),
        api.post(path, body | {"document": {"type": NUMBER, "number": NUMBER}}),
        api.post(path, body | {"document": {"type": "passport", "number": NUMBER}}),
        api.post(path, body | {"document": {"type": "resident_id", "number": NUMBER, "valid_from": NUMBER}}),
        api.post(path, body | {"external_id": f"c-{NUMBER}"}),
        api.post(path, body | {"external_id": NAME}),
        api.post(path, body | {"contact_phone": NAME}),
        api.post(path, registration(name="李四", number=NUMBER)),
        api.post(path, body, key=None),
        api.post(path, json.dumps(body, ensure_ascii=False)[:-5]),
        api.get(f"{path}?name={NAME}"),
        api.get(f"{path}?document={NUMBER}"),
        api.get(f"{path}/{NUMBER}"),
        api.get(f"/api/v1/verifications/{NUMBER}"),
        api.post(f"{path}/{NUMBER}/verifications", {"channel": NUMBER}),
        other_api.get(f"{path}?document=resident_id:{NUMBER}&limit={NUMBER}"),
        ApiClient(None).post(path, body),
    ]


def test_no_table_no_redis_key_no_log_line_and_no_error_holds_them(
    api: ApiClient,
    other_api: ApiClient,
    operator: VirtualOperator,
    provider: ProviderServer,
    http_providers: Providers,
    now: datetime,
    logged: list[str],
) -> None:
    seen_by_partners: list[str] = []

    # Registered, twice, and looked up in every way.
    body = registration(name=NAME, number=NUMBER, address=ADDRESS, contact_phone=PHONE, external_id="canary")
    created = api.post("/api/v1/subscribers", body)
    assert created.status_code == 201
    for response in (
        created,
        api.post("/api/v1/subscribers", body),
        api.get("/api/v1/subscribers?external_id=canary&limit=1"),
        api.get(f"/api/v1/subscribers?document=resident_id:{NUMBER}&limit=1"),
        api.get(f"/api/v1/subscribers/{created.json()['id']}"),
    ):
        assert response.status_code in (200, 201)
        seen_by_partners.append(response.content.decode())

    # Refused in every way; a refused name keeps its error to itself.
    problems = _refusals(api, other_api)
    assert {response.status_code for response in problems} <= {400, 401, 404, 409, 422}
    seen_by_partners += [response.content.decode() for response in problems]
    seen_by_partners += [str(dict(response.items())) for response in problems]

    # Verified: first nobody answers, then one in doubt; decided by a person, who also looks at it in clear.
    requested = api.post(f"{created['Location']}/verifications", {"channel": "in_store"})
    assert requested.status_code == 202
    provider.reply = says("match", status=503)
    services.run_due_verifications(clock=clock.now, providers=http_providers)
    tasks.sweep()
    provider.reply = lambda handler: says("uncertain" if handler.path == "/face" else "match")(handler)
    verification = Verification.objects.get()
    assert verification.next_attempt_at is not None
    later = verification.next_attempt_at
    services.run_due_verifications(clock=lambda: later, providers=http_providers)
    seen_by_partners.append(api.get(requested["Location"]).content.decode())

    staff = Client()
    staff.force_login(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
    reason = {"reason": f"compared with the card {NUMBER}"}
    case = ReviewCase.objects.get().pk
    staff.post(reverse("admin:subscribers_reviewcase_press", args=(case, "claim")))
    decided = staff.post(reverse("admin:subscribers_reviewcase_press", args=(case, "pass")), reason)
    revealed = staff.post(
        reverse("admin:subscribers_identitydocument_press", args=(verification.document_id, "reveal")), reason
    )
    assert decided.status_code == 302
    assert Verification.objects.get().status == "PASSED"

    # It did go through: the providers were asked about it, staff saw it, the rows hold it in seal.
    assert [question["document_number"] for _, question, _ in provider.asked] == [NUMBER] * 3
    assert NAME in revealed.content.decode()
    assert Subscriber.objects.get().open_name() == NAME
    assert IdentityDocument.objects.get().open_number() == NUMBER
    logging.getLogger("a.library").debug("the end")
    assert "the end" in logged[-1], "the log was captured, down to the least of it"

    in_redis = _everything_in_redis()
    assert b"subscribers.run_verifications" in in_redis, "Redis was looked at"
    everything_logged = "\n".join(logged)
    for canary in CANARIES:
        assert _where_it_stands(canary) == [], canary
        assert canary.encode() not in in_redis
        assert json.dumps(canary).encode() not in in_redis
        assert canary not in everything_logged
    for text in seen_by_partners:
        assert not [canary for canary in CANARIES if canary in text or json.dumps(canary)[1:-1] in text], text


def test_the_search_would_find_them(operator: VirtualOperator, now: datetime) -> None:
    """The control: written in clear anywhere, they are found."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE operators_virtualoperator SET name_zh = %s WHERE id = %s", [f"x{NAME}x", operator.pk]
        )
        cursor.execute(
            "INSERT INTO audit_auditevent (at, actor_kind, actor_id, actor_label, request_id, trace_id, action,"
            " target_type, target_id, after, reason)"
            " VALUES (now(), 'SYSTEM', 'x', 'x', '', '', 'x', 'x', 'x', %s::jsonb, '')",
            [json.dumps({"number": NUMBER})],
        )

    assert _where_it_stands(NAME) == ["operators_virtualoperator.name_zh"]
    assert _where_it_stands(NUMBER) == ["audit_auditevent.after"]
