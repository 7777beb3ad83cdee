"""The search of test_personal_data over pictures, exports, holds, consents, a rotation, and the erasing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.states import Role
from apps.core import keyring
from apps.core.db import database_now
from apps.lines import services as lines
from apps.operators.models import VirtualOperator
from apps.provisioning.services import rotation
from apps.subscribers import services
from apps.subscribers.models import IdentityDocument, Subscriber
from tests.factories.accounts import ApiClient, given_user
from tests.factories.subscribers import SYSTEM, registration, resident_number
from tests.subscribers import pictures
from tests.subscribers.pictures import upload
from tests.subscribers.test_personal_data import _everything_in_redis, _where_it_stands, logged

__all__ = ["logged"]

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "慕容隼雀"
NUMBER = resident_number("659098")
ADDRESS = "隼雀镇隼雀里7号"
PHONE = "17990417322"
CANARIES = [NAME, NUMBER, NUMBER[:17], ADDRESS, PHONE, pictures.SECRET]


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Iterator[Path]:
    storage = {**settings.STORAGES["images"], "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "images": storage}
    settings.KAIHU_KEYRING_SECONDS = 0
    keyring.forget()
    yield tmp_path
    keyring.assume_no_keys()


def _search(logged: list[str], folder: Path, answers: list[str]) -> None:
    in_redis = _everything_in_redis()
    everything_logged = "\n".join(logged)
    files = [path for path in folder.rglob("*") if path.is_file()]
    in_files = b"\n".join(path.read_bytes() + str(path).encode() for path in files)
    for canary in CANARIES:
        assert _where_it_stands(canary) == [], canary
        for found in (canary.encode(), json.dumps(canary)[1:-1].encode()):
            assert found not in in_redis
            assert found not in in_files
        assert canary not in everything_logged
        assert not [text for text in answers if canary in text], canary


def test_nothing_holds_them_before_during_and_after(
    api: ApiClient, operator: VirtualOperator, now: datetime, logged: list[str], folder: Path
) -> None:
    body = registration(
        name=NAME,
        number=NUMBER,
        address=ADDRESS,
        contact_phone=PHONE,
        consents=[{"purpose": "real_name", "text_version": "v1", "channel": "in_store"}],
    )
    created = api.post("/api/v1/subscribers", body)
    uid = created.json()["id"]
    answers = [
        created,
        upload(api, uid, pictures.jpeg(), name=f"{NAME}{NUMBER}.jpg"),
        upload(api, uid, pictures.png(), name=f"{NUMBER}.png", kind="person"),
        # Refused, with the canaries in every place there is.
        upload(api, uid, NAME.encode(), name=NUMBER),
        upload(api, uid, pictures.jpeg(), kind=NUMBER),
        upload(api, uid, pictures.jpeg(), **{NUMBER: NAME}),
        upload(api, NUMBER, pictures.jpeg()),
        api.post(
            "/api/v1/subscribers",
            registration(consents=[{"purpose": NUMBER, "text_version": NAME, "channel": PHONE}]),
        ),
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 422, 400, 400, 404, 400]

    staff = Client()
    staff.force_login(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
    subscriber = Subscriber.objects.get()
    shown = {}
    for button in ("images", "export", "hold", "lift"):
        path = reverse("admin:subscribers_subscriber_press", args=(subscriber.pk, button))
        shown[button] = staff.post(path, {"reason": f"asked by the holder of {NUMBER}, phone {PHONE}"})
    assert NAME in shown["export"].content.decode(), "it did go through"
    assert NUMBER in shown["export"].content.decode()
    page = staff.get(reverse("admin:subscribers_subscriber_change", args=(subscriber.pk,)))
    seen = [answer.content.decode() for answer in (*answers, page)]
    _search(logged, folder, seen)

    rotation.rotate_keys(actor=SYSTEM, clock=database_now, pause=time.sleep, tell=seen.append)
    assert Subscriber.objects.get().open_name() == NAME
    assert IdentityDocument.objects.get().open_number() == NUMBER
    _search(logged, folder, seen)

    later = now + timedelta(days=800)
    assert lines.erase_former_holders(actor=SYSTEM, now=later) == 1
    assert services.remove_erased_files(actor=SYSTEM, now=later) == 2
    _search(logged, folder, seen)
    assert logged, "the log was captured"
