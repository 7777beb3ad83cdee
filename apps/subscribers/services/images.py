"""Pictures of documents and people: encrypted files in the storage, a row for each, shown to staff with a reason only.

Every file has a random key of its own, which is sealed in the row. So rotating keys touches no file, and taking the key
away erases the file in every copy of it. A file whose row was never written is noise that nobody can open.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from apps.audit import services as audit
from apps.core import sealing
from apps.core.actor import Actor
from apps.core.db import operation, outside_transaction
from apps.core.public_ids import get_by_uid
from apps.core.sealing import SealBroken
from apps.operators.calendar import china_date
from apps.subscribers import errors
from apps.subscribers.models import IdentityImage, Subscriber
from apps.subscribers.realname import images
from apps.subscribers.services.reasons import checked_reason
from apps.subscribers.services.representatives import require_register
from apps.subscribers.services.reveal import require_reveal
from apps.subscribers.states import ImageKind

logger = logging.getLogger(__name__)

_NONCE_BYTES = 12
_REFUSALS = {
    fault.code: fault for fault in (errors.ImageTooLarge, errors.ImageTypeNotAccepted, errors.ImageUnreadable)
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An encrypted picture in the storage that no row speaks of yet."""

    name: str
    key: bytes = field(repr=False)
    sha256: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ShownImage:
    """A watermarked JPEG for one pair of eyes."""

    kind: ImageKind
    jpeg: bytes = field(repr=False)
    created_at: datetime


@outside_transaction
def store_image_file(*, content: bytes) -> StoredFile:
    """Checks an uploaded file, and puts its pixels, encrypted, under a random name into the storage.

    :raises ImageTooLarge: more than 5 MB, or too many pixels. :raises ImageTypeNotAccepted: neither JPEG nor PNG.
    :raises ImageUnreadable: broken.
    """
    try:
        picture = images.read(content)
    except images.ImageFault as fault:
        raise _REFUSALS[fault.code] from None
    key, nonce, name = os.urandom(32), os.urandom(_NONCE_BYTES), secrets.token_hex(20)
    name = f"{name[:2]}/{name}"
    sealed = nonce + AESGCM(key).encrypt(nonce, picture.jpeg, _file_context(name))
    stored = _storage().save(name, ContentFile(sealed))
    if stored != name:
        raise RuntimeError("the storage gave a random name to somebody else before")
    return StoredFile(name, key, hashlib.sha256(sealed).digest(), picture.width, picture.height)


def discard_image_file(*, stored: StoredFile) -> None:
    """Takes back a file that no row came to speak of."""
    _storage().delete(stored.name)


@operation
def add_image(
    *, actor: Actor, subscriber_uid: str, kind: ImageKind, stored: StoredFile, now: datetime
) -> IdentityImage:
    """Gives a stored file to a subscriber.

    :raises NotFound: the subscriber is unknown or another operator's. :raises SubscriberErased:
    :raises Forbidden: staff without `subscribers.register`.
    """
    require_register(actor)
    subscriber = get_by_uid(
        Subscriber.objects.visible_to(actor).select_for_update(no_key=True), subscriber_uid
    )
    if subscriber.erased_at is not None:
        raise errors.SubscriberErased
    image = IdentityImage(
        operator_id=subscriber.operator_id,
        subscriber=subscriber,
        kind=kind,
        storage_name=stored.name,
        sha256=stored.sha256,
        width=stored.width,
        height=stored.height,
        uploaded_by=f"{actor.kind}:{actor.id}",
        created_at=now,
    )
    image.key_sealed = sealing.seal_bytes(stored.key, context=image.key_context)
    image.save(force_insert=True)
    audit.record(
        actor=actor,
        action="image.add",
        target_type="subscriber",
        target_id=subscriber.uid,
        operator_id=subscriber.operator_id,
        after={"image": image.uid, "kind": kind, "sha256": stored.sha256.hex()},
        now=now,
    )
    return image


def reveal_images(*, actor: Actor, subscriber_uid: str, reason: str, now: datetime) -> list[ShownImage]:
    """All pictures of one subscriber, each marked with operator, purpose, viewer and date; audited first.

    A picture that cannot be opened is left out, and the log names it.

    :raises Forbidden: without the right `identity.reveal`. :raises TooManyReveals: see policy.
    :raises ReasonMissing: no reason. :raises NotFound: unknown or another operator's.
    """
    written = checked_reason(reason)
    require_reveal(actor, now)
    rows, subscriber = _note_reveal(actor=actor, subscriber_uid=subscriber_uid, reason=written, now=now)
    lines = [subscriber.operator.code, written[:40], f"{actor.label} {china_date(now)}"]
    shown = []
    for row in rows:
        try:
            jpeg = images.watermark(
                open_image(image=row), lines=lines, font_path=settings.KAIHU_WATERMARK_FONT
            )
        except (SealBroken, FileNotFoundError):
            logger.error("image does not open", extra={"image": row.uid})
            continue
        shown.append(ShownImage(ImageKind(row.kind), jpeg, row.created_at))
    return shown


def open_image(*, image: IdentityImage) -> bytes:
    """The JPEG in clear. :raises SealBroken: key or file are not this row's. :raises FileNotFoundError: it is gone."""
    if image.key_sealed is None:
        raise SealBroken("erased")
    key = sealing.unseal_bytes(image.key_sealed, context=image.key_context)
    with _storage().open(image.storage_name) as file:
        sealed = file.read()
    try:
        return AESGCM(key).decrypt(
            sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _file_context(image.storage_name)
        )
    except (InvalidTag, ValueError):
        raise SealBroken("the file is not this image's") from None


@outside_transaction
def remove_erased_files(*, actor: Actor, now: datetime, limit: int = 500) -> int:
    """Deletes the files whose keys are gone already; returns how many. Safe to kill and to run twice."""
    rows = list(
        IdentityImage.objects.visible_to(actor)
        .filter(key_sealed__isnull=True, file_removed_at__isnull=True)
        .order_by("id")[:limit]
    )
    for row in rows:
        _storage().delete(row.storage_name)
        row.note_file_removed(now=now)
    return len(rows)


@operation
def _note_reveal(
    *, actor: Actor, subscriber_uid: str, reason: str, now: datetime
) -> tuple[Sequence[IdentityImage], Subscriber]:
    subscriber = get_by_uid(Subscriber.objects.visible_to(actor).select_related("operator"), subscriber_uid)
    rows = list(subscriber.images.filter(key_sealed__isnull=False).order_by("id"))
    audit.record(
        actor=actor,
        action="image.reveal",
        target_type="subscriber",
        target_id=subscriber.uid,
        operator_id=subscriber.operator_id,
        after={"images": [row.uid for row in rows]},
        reason=reason,
        now=now,
    )
    return rows, subscriber


def _file_context(name: str) -> bytes:
    return f"subscribers.identityimage.file:{name}".encode()


def _storage() -> Storage:
    return storages["images"]
