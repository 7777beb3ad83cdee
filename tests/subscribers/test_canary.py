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
from apps.core import clock, keyring
from apps.core.db import database_now
from apps.lines import services as lines
from apps.operators.models import VirtualOperator
from apps.provisioning.services import rotation
from apps.subscribers import services
from apps.subscribers.models import Representative, Subscriber
from tests.factories.accounts import ApiClient, given_user
from tests.factories.subscribers import SYSTEM, minor_number, registration, resident_number, uscc
from tests.subscribers import pictures
from tests.subscribers.pictures import upload
from tests.subscribers.test_personal_data import _everything_in_redis, _where_it_stands, logged

__all__ = ["logged"]

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "慕容隼雀"
# A minor's, who has a guardian.
NUMBER = minor_number(clock.now(), area="659098")
ADDRESS = "隼雀镇隼雀里7号"
PHONE = "17990417322"
# Of whoever stands for somebody, and of an organization.
OTHER_NAME = "司徒隼鹂"
OTHER_NUMBER = resident_number("659097")
UNIT_NAME = "隼雀隼鹂贸易有限公司"
UNIT_CODE = uscc("7F7F7F7F7")
CANARIES = [
    NAME,
    NUMBER,
    NUMBER[:17],
    ADDRESS,
    PHONE,
    pictures.SECRET,
    OTHER_NAME,
    OTHER_NUMBER,
    OTHER_NUMBER[:17],
    UNIT_NAME,
    UNIT_CODE,
]


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
    other: dict[str, Any] = {"name": OTHER_NAME, "document": {"type": "resident_id", "number": OTHER_NUMBER}}
    body = registration(
        name=NAME,
        number=NUMBER,
        guardian=other,
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
    unit = {
        "kind": "organization",
        "name": UNIT_NAME,
        "document": {"type": "uscc", "number": UNIT_CODE},
        "responsible_person": other,
    }
    organization = api.post("/api/v1/subscribers", unit)
    verifications = f"/api/v1/subscribers/{uid}/verifications"
    more = [
        organization,
        api.post("/api/v1/subscribers", unit | {"name": f"{UNIT_NAME}分公司"}),
        api.post(
            "/api/v1/subscribers", unit | {"external_id": OTHER_NUMBER, "authorisation_letter": OTHER_NUMBER}
        ),
        api.post(
            f"/api/v1/subscribers/{organization.json()['id']}/representatives",
            {"role": "responsible", **other, "document": other["document"] | {"valid_until": "2040-01-01"}},
        ),
        api.post(f"/api/v1/subscribers/{uid}/consents", {"purpose": OTHER_NAME}),
        api.delete(f"/api/v1/subscribers/{uid}/consents/{OTHER_NAME}"),
        # Beside a guardian.
        api.post(verifications, {"channel": "in_store", "proxy": other}),
        api.post(verifications, {"channel": "in_store", "evidence": {"face_session": f"s-{OTHER_NUMBER}"}}),
    ]
    assert [answer.status_code for answer in more] == [201, 409, 422, 201, 400, 404, 422, 422]
    answers += more

    staff = Client()
    staff.force_login(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
    subscriber = Subscriber.objects.get(uid=uid)
    shown = {}
    for button in ("images", "export", "hold", "lift"):
        path = reverse("admin:subscribers_subscriber_press", args=(subscriber.pk, button))
        shown[button] = staff.post(path, {"reason": f"asked by the holder of {NUMBER}, phone {PHONE}"})
    assert NAME in shown["export"].content.decode(), "it did go through"
    assert NUMBER in shown["export"].content.decode()
    pages = [
        staff.get(reverse(f"admin:subscribers_{model}_change", args=(row.pk,)))
        for model, row in (
            ("subscriber", subscriber),
            ("subscriber", Subscriber.objects.get(kind="ORGANIZATION")),
            ("representative", Representative.objects.latest("id")),
        )
    ]
    assert [page.status_code for page in pages] == [200, 200, 200]
    seen = [answer.content.decode() for answer in (*answers, *pages)]
    _search(logged, folder, seen)

    rotation.rotate_keys(actor=SYSTEM, clock=database_now, pause=time.sleep, tell=seen.append)
    subscriber.refresh_from_db()
    assert subscriber.open_name() == NAME
    assert subscriber.documents.get().open_number() == NUMBER
    assert {row.open_number() for row in Representative.objects.all()} == {OTHER_NUMBER}
    assert len({bytes(row.fingerprint) for row in Representative.objects.all()}) == 1
    _search(logged, folder, seen)

    later = now + timedelta(days=800)
    assert lines.erase_former_holders(actor=SYSTEM, now=later) == 2
    assert services.remove_erased_files(actor=SYSTEM, now=later) == 2
    assert {bytes(row.number_sealed) for row in Representative.objects.all()} == {b""}
    _search(logged, folder, seen)
    assert logged, "the log was captured"
