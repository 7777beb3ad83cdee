"""What personal data costs at rest: sealing one subscriber beside the bare library, and moving all to new keys."""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable
from datetime import datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from stdnum.iso7064 import mod_11_2

from apps.core import keyring
from apps.core.actor import Actor
from apps.core.db import database_now
from apps.operators.models import VirtualOperator
from apps.provisioning.services import rotation
from apps.subscribers.models import IdentityDocument, Subscriber
from apps.subscribers.realname import documents
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.states import SubscriberKind
from benchmarks.report import Report

GOAL = 3.0
MANY = 5_000
ROUNDS = 7
# What sealing needs of the environment: `settings` says how long a ring of keys is held.
HELD_SECONDS = 3600
ROTATING_SECONDS = 1

NAME, ADDRESS, PHONE = "测试张三丰", "北京市测试区测试路一百号测试小区二号楼三单元四零一室", "+8617000000000"


def number(index: int) -> str:
    body = f"{100_000 + index:06}19000101000"
    return body + str(mod_11_2.calc_check_digit(body))


def subscriber() -> Subscriber:
    """As services.register makes one: with everything that is sealed."""
    row = Subscriber(
        operator_id=1,
        kind=SubscriberKind.INDIVIDUAL,
        name_masked="测****",
        entered_by="SYSTEM:benchmark",
    )
    row.seal_name(NAME)
    row.seal_contact(address=ADDRESS, contact_phone=PHONE)
    return row


def document(row: Subscriber, index: int) -> IdentityDocument:
    text = number(index)
    found = IdentityDocument(
        operator_id=row.operator_id,
        subscriber_id=row.pk,
        type=DocumentType.RESIDENT_ID,
        number_masked="110*************10",
        fingerprint=documents.fingerprint(type=DocumentType.RESIDENT_ID, number=text),
    )
    found.seal_number(text)
    return found


def _best(measured: Callable[[int], object]) -> float:
    """Microseconds of processor time for one."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for index in range(MANY):
            measured(index)
        best = min(best, time.process_time() - started)
    return best / MANY * 1e6


def measure_sealing(report: Report) -> None:
    """Sealing and indexing one subscriber (name, address, phone, number, fingerprint) beside AES-GCM and HMAC of the
    same bytes by the bare library, in turn, best of some rounds, in processor time.
    """
    keyring.assume_no_keys()
    settings.KAIHU_KEYRING_SECONDS = HELD_SECONDS
    rows = [(subscriber(), number(index)) for index in range(MANY)]
    papers = [IdentityDocument(operator_id=1, type=DocumentType.RESIDENT_ID) for _ in range(MANY)]

    def ours(index: int) -> None:
        row, text = rows[index]
        row.seal_name(NAME)
        row.seal_contact(address=ADDRESS, contact_phone=PHONE)
        papers[index].seal_number(text)
        documents.fingerprint(type=DocumentType.RESIDENT_ID, number=text)

    cipher, key = AESGCM(bytes(32)), bytes(32)
    contexts = [b"subscribers.subscriber.contact_phone:1:sub_01h455vb4pex5vsknk084sn02q"] * 4
    texts = [NAME.encode(), ADDRESS.encode(), PHONE.encode()]

    def raw(index: int) -> None:
        for plain, context in zip((*texts, rows[index][1].encode()), contexts, strict=True):
            nonce = os.urandom(12)
            cipher.encrypt(nonce, plain, context)
        hmac.digest(key, rows[index][1].encode(), "sha256")

    # In turn, so that a busy machine meets both.
    pairs = [(_best(ours), _best(raw)) for _ in range(2)]
    mine, bare = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    report.add(
        "seal and index one subscriber",
        mine,
        "us",
        beside=bare,
        beside_what="raw AES-GCM + HMAC",
        goal=GOAL,
        at_most=True,
    )


def fill(*, operator: VirtualOperator, people: int, now: datetime) -> None:
    """So many registered people, in bulk; their numbers begin with area codes from 100000 on."""
    for start in range(0, people, 2_000):
        rows = []
        for _ in range(start, min(start + 2_000, people)):
            row = subscriber()
            row.operator_id = operator.pk
            row.created_at = now
            row.seal_name(NAME)
            row.seal_contact(address=ADDRESS, contact_phone=PHONE)
            rows.append(row)
        Subscriber.objects.bulk_create(rows)
        papers = [document(row, start + place) for place, row in enumerate(rows)]
        for paper in papers:
            paper.created_at = now
        IdentityDocument.objects.bulk_create(papers)


def measure_rotation(report: Report, *, people: int) -> None:
    """All of them to new data and index keys, while nobody else works; the waits for other processes do not count."""
    settings.KAIHU_KEYRING_SECONDS = ROTATING_SECONDS
    keyring.forget()
    rotation.rotate_keys(
        actor=Actor.system("benchmark"), clock=database_now, pause=time.sleep, tell=lambda text: None
    )
    paused = 0.0
    moved = 0

    def pause(seconds: float) -> None:
        nonlocal paused
        paused += seconds
        time.sleep(seconds)

    def tell(text: str) -> None:
        nonlocal moved
        if text.startswith("to move: ") and not moved:
            moved = sum(int(part.split()[0].replace(",", "")) for part in text[9:].split(", "))

    started = time.monotonic()
    rotation.rotate_keys(actor=Actor.system("benchmark"), clock=database_now, pause=pause, tell=tell)
    seconds = time.monotonic() - started - paused
    if rotation.count_rows_to_move():
        raise SystemExit("rows are left under old keys")
    report.add(f"rotation of {people:,} people: {moved:,} values", moved / seconds, "values/s")
    report.add(f"rotation of {people:,} people", people / seconds, "people/s")
    settings.KAIHU_KEYRING_SECONDS = HELD_SECONDS
    keyring.forget()
