"""Pictures of documents and people: what is taken in, what is kept of it, and who sees it."""

from __future__ import annotations

import io
import re
import resource
import time
from base64 import b64decode
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from PIL import Image, ImageChops

from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.sealing import SealBroken
from apps.operators.models import VirtualOperator
from apps.subscribers import services
from apps.subscribers.models import IdentityImage, Subscriber
from apps.subscribers.realname import images
from apps.subscribers.realname.images import ImageFault
from tests.factories.accounts import ApiClient, given_user
from tests.factories.subscribers import SYSTEM, given_subscriber
from tests.subscribers import pictures
from tests.subscribers.pictures import SECRET, upload

pytestmark = pytest.mark.django_db

REASON = "compared at the counter"


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    storage = {**settings.STORAGES["images"], "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "images": storage}
    return tmp_path


@pytest.fixture
def subscriber(operator: VirtualOperator, now: datetime) -> Subscriber:
    return given_subscriber(operator=operator, now=now)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# --- What is taken in -----------------------------------------------------------------------------------------------
ACCEPTED = {
    "jpeg": pictures.jpeg(),
    "png with alpha": pictures.png(),
    "png with a palette": pictures.png(mode="P"),
    "grey png": pictures.png(mode="L"),
    "black and white": pictures.png(mode="1"),
    "jpeg with a zip behind it": pictures.jpeg() + b"PK\x03\x04" + SECRET.encode(),
    "png with a page behind it": pictures.png() + pictures.HTML + SECRET.encode(),
}


@pytest.mark.parametrize("content", ACCEPTED.values(), ids=ACCEPTED)
def test_only_pixels_are_kept(content: bytes) -> None:
    assert SECRET.encode() in content
    kept = images.read(content)

    assert SECRET.encode() not in kept.jpeg
    assert b"PK\x03\x04" not in kept.jpeg
    assert b"script" not in kept.jpeg
    assert kept.jpeg.startswith(b"\xff\xd8\xff")
    assert kept.jpeg.endswith(b"\xff\xd9")
    with Image.open(io.BytesIO(kept.jpeg)) as image:
        assert (image.size, len(image.getexif()), image.info.get("comment")) == ((320, 200), 0, None)


def test_a_picture_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (300, 100)).save(out, "JPEG", exif=exif)
    kept = images.read(out.getvalue())
    assert (kept.width, kept.height) == (100, 300)


def test_a_large_picture_is_made_smaller() -> None:
    kept = images.read(pictures.jpeg(5000, 4000))
    assert max(kept.width, kept.height) == 2600


REFUSED = {
    "nothing": (b"", "image_type_not_accepted"),
    "svg": (pictures.SVG, "image_type_not_accepted"),
    "html": (pictures.HTML, "image_type_not_accepted"),
    "gif": (pictures.gif(), "image_type_not_accepted"),
    "a page that is a jpeg further on": (pictures.HTML + pictures.jpeg(), "image_type_not_accepted"),
    "pdf": (b"%PDF-1.7\n" + pictures.jpeg(), "image_type_not_accepted"),
    "a head only": (b"\xff\xd8\xff", "image_unreadable"),
    "a jpeg that ends too early": (pictures.jpeg()[:-1500], "image_unreadable"),
    "a png that ends too early": (pictures.png()[:60], "image_unreadable"),
    "a gif called png": (b"\x89PNG\r\n\x1a\n" + pictures.gif(), "image_unreadable"),
    "too many bytes": (pictures.jpeg() + bytes(images.MAX_BYTES), "image_too_large"),
    "too many pixels": (pictures.bomb(6_000), "image_too_large"),
    "a warning of the decoder": (pictures.bomb(11_000), "image_too_large"),
    "a bomb": (pictures.bomb(), "image_too_large"),
}


@pytest.mark.parametrize(("content", "code"), REFUSED.values(), ids=REFUSED)
def test_everything_else_is_refused(content: bytes, code: str) -> None:
    with pytest.raises(ImageFault) as refused:
        images.read(content)
    assert refused.value.code == code


def test_a_bomb_of_two_and_a_half_billion_pixels_costs_nothing() -> None:
    content = pictures.bomb(50_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(ImageFault):
        images.read(content)
    assert time.process_time() - started < 0.1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "kilobytes"


# --- Over the API ---------------------------------------------------------------------------------------------------
class TestUpload:
    def test_it_is_kept_encrypted_under_a_random_name(
        self, api: ApiClient, subscriber: Subscriber, folder: Path
    ) -> None:
        response = upload(api, subscriber.uid, pictures.jpeg(), name="张三丰 110101190001010008.jpg")

        assert response.status_code == 201, response.content
        row = IdentityImage.objects.get()
        assert response.json() == {
            "id": row.uid,
            "kind": "document_front",
            "width": 320,
            "height": 200,
            "created_at": response.json()["created_at"],
        }
        [file] = _files(folder)
        assert str(file.relative_to(folder)) == row.storage_name
        assert re.fullmatch(r"[0-9a-f]{2}/[0-9a-f]{40}", row.storage_name)
        content = file.read_bytes()
        assert b"\xff\xd8\xff" not in content
        assert b"JFIF" not in content
        assert services.open_image(image=row) == images.read(pictures.jpeg()).jpeg
        assert AuditEvent.objects.get(action="image.add").after["image"] == row.uid

    def test_the_same_key_and_file_is_one_picture_and_another_file_is_refused(
        self, api: ApiClient, subscriber: Subscriber, folder: Path
    ) -> None:
        first = upload(api, subscriber.uid, pictures.jpeg(), key="k")
        again = upload(api, subscriber.uid, pictures.jpeg(), key="k", name="other name.jpg")
        other = upload(api, subscriber.uid, pictures.png(), key="k")
        kind = upload(api, subscriber.uid, pictures.jpeg(), key="k", kind="person")

        assert again.content == first.content
        assert again["Idempotent-Replayed"] == "true"
        assert other.status_code == kind.status_code == 422
        assert other.json()["code"] == kind.json()["code"] == "idempotency_key_reused"
        assert IdentityImage.objects.count() == len(_files(folder)) == 1

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (pictures.SVG, "image_type_not_accepted"),
            (b"", "image_type_not_accepted"),
            (pictures.bomb(), "image_too_large"),
            (pictures.jpeg()[:-1500], "image_unreadable"),
            (pictures.jpeg() + bytes(images.MAX_BYTES), "image_too_large"),
        ],
        ids=["svg", "empty", "bomb", "broken", "5 MB and a bit"],
    )
    def test_a_bad_file_leaves_nothing(
        self, api: ApiClient, subscriber: Subscriber, folder: Path, content: bytes, code: str
    ) -> None:
        response = upload(api, subscriber.uid, content)
        assert (response.status_code, response.json()["code"]) == (422, code)
        assert not IdentityImage.objects.exists()
        assert _files(folder) == []

    def test_the_form_is_strict(self, api: ApiClient, subscriber: Subscriber, folder: Path) -> None:
        unknown = upload(api, subscriber.uid, pictures.jpeg(), note="x")
        kind = upload(api, subscriber.uid, pictures.jpeg(), kind="passport")
        path = f"/api/v1/subscribers/{subscriber.uid}/documents"
        as_json = api.post(path, {"file": "x", "kind": "person"})
        broken = api.request(
            "POST", path, b"--x\r\n", headers={"Idempotency-Key": "b"}, content_type="multipart/form-data"
        )

        assert (unknown.status_code, unknown.json()["code"]) == (400, "unknown_field")
        assert (kind.status_code, kind.json()["errors"][0]["pointer"]) == (400, "/kind")
        assert as_json.status_code == 415
        assert (broken.status_code, broken.json()["code"]) == (400, "malformed_request")
        assert _files(folder) == []

    def test_another_operators_subscriber_does_not_exist(
        self, other_api: ApiClient, subscriber: Subscriber, folder: Path
    ) -> None:
        response = upload(other_api, subscriber.uid, pictures.jpeg())
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
        assert _files(folder) == []

    def test_fifty_megabytes_are_not_read(self, api: ApiClient, subscriber: Subscriber) -> None:
        class Unread(io.RawIOBase):
            def read(self, size: int = -1) -> bytes:
                raise AssertionError("the body was read")

        response = api.client.generic(
            "POST",
            f"/api/v1/subscribers/{subscriber.uid}/documents",
            b"",
            content_type="multipart/form-data; boundary=x",
            headers={"Authorization": f"Bearer {api.token}"},
            CONTENT_LENGTH=str(50 * 1024 * 1024),
            **{"wsgi.input": Unread()},
        )
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")

    def test_other_resources_keep_their_smaller_limit(self, api: ApiClient, subscriber: Subscriber) -> None:
        body = b" " * (settings.KAIHU_MAX_BODY_BYTES + 1)
        for path in ("subscribers", f"subscribers/{subscriber.uid}/verifications"):
            assert api.request("POST", f"/api/v1/{path}", body).status_code == 413


# --- Who sees it ----------------------------------------------------------------------------------------------------
def _keep(subscriber: Subscriber, now: datetime) -> IdentityImage:
    stored = services.store_image_file(content=pictures.jpeg(900, 600))
    return services.add_image(
        actor=SYSTEM, subscriber_uid=subscriber.uid, kind="DOCUMENT_FRONT", stored=stored, now=now
    )


def _press(subscriber: Subscriber) -> str:
    return reverse("admin:subscribers_subscriber_press", args=(subscriber.pk, "images"))


def _login(role: Role, operator: VirtualOperator, now: datetime) -> Client:
    client = Client()
    client.force_login(given_user(role=role, operator=operator, now=now))
    return client


class TestReveal:
    def test_marked_once_and_audited(
        self, subscriber: Subscriber, operator: VirtualOperator, now: datetime
    ) -> None:
        row = _keep(subscriber, now)
        response = _login(Role.COMPLIANCE, operator, now).post(_press(subscriber), {"reason": REASON})

        assert "no-store" in response["Cache-Control"]
        [shown] = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", response.content.decode())
        kept = services.open_image(image=row)
        with Image.open(io.BytesIO(b64decode(shown))) as marked, Image.open(io.BytesIO(kept)) as plain:
            assert marked.size == plain.size
            difference = ImageChops.difference(marked.convert("RGB"), plain.convert("RGB")).convert("L")
            # Every quarter of the picture bears the mark.
            for left in (0, 450):
                for top in (0, 300):
                    quarter = difference.crop((left, top, left + 450, top + 300))
                    assert sum(quarter.histogram()[64:]) > 500
        event = AuditEvent.objects.get(action="image.reveal")
        assert (event.reason, event.target_id, event.after) == (
            REASON,
            subscriber.uid,
            {"images": [row.uid]},
        )

    @pytest.mark.parametrize("role", [Role.SUPPORT, Role.ENGINEER])
    def test_not_without_the_right(
        self, subscriber: Subscriber, operator: VirtualOperator, now: datetime, role: Role
    ) -> None:
        _keep(subscriber, now)
        assert _login(role, operator, now).post(_press(subscriber), {"reason": REASON}).status_code == 403
        assert not AuditEvent.objects.filter(action="image.reveal").exists()

    def test_not_at_another_operator(
        self, subscriber: Subscriber, other_operator: VirtualOperator, now: datetime
    ) -> None:
        client = _login(Role.COMPLIANCE, other_operator, now)
        assert client.post(_press(subscriber), {"reason": REASON}).status_code == 404

    def test_never_by_a_link_and_not_through_the_api(
        self, subscriber: Subscriber, operator: VirtualOperator, api: ApiClient, now: datetime
    ) -> None:
        _keep(subscriber, now)
        assert _login(Role.COMPLIANCE, operator, now).get(_press(subscriber)).status_code == 405
        assert api.get(f"/api/v1/subscribers/{subscriber.uid}/documents").status_code == 405


def test_a_file_or_key_moved_to_another_row_does_not_open(
    subscriber: Subscriber, operator: VirtualOperator, now: datetime, folder: Path
) -> None:
    mine, other = _keep(subscriber, now), _keep(given_subscriber(operator=operator, now=now), now)
    mine_path, other_path = folder / mine.storage_name, folder / other.storage_name
    kept = mine_path.read_bytes()

    mine_path.write_bytes(other_path.read_bytes())
    with pytest.raises(SealBroken):
        services.open_image(image=mine)
    mine_path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(SealBroken):
        services.open_image(image=mine)
    mine_path.write_bytes(kept)
    assert services.open_image(image=mine)
    mine.key_sealed = other.key_sealed
    with pytest.raises(SealBroken):
        services.open_image(image=mine)


def test_a_mark_in_letters_the_font_lacks_is_drawn_all_the_same() -> None:
    jpeg = images.read(pictures.jpeg(300, 200)).jpeg
    assert images.watermark(jpeg, lines=["测试虚商", "原因", "x"]) != jpeg
