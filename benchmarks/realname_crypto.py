"""What personal data costs at rest: `python -m benchmarks.realname_crypto [--people 5000]`.

(a) Sealing and indexing one subscriber (name, address, phone, number, fingerprint) beside AES-GCM and HMAC of the same
bytes by the bare library, in turn, best of some rounds, in processor time. (b) Rows a second that a rotation of all
keys moves, over that many subscribers in the database of DATABASE_URL, which must be an empty one of its own: it is
filled and left so. Without DATABASE_URL only (a) is measured. Writes var/bench/realname_crypto.json; fails when (a)
misses the goal.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOAL = 3.0
MANY = 5_000
ROUNDS = 7
RESULT = Path(__file__).resolve().parent.parent / "var" / "bench" / "realname_crypto.json"
WITH_DATABASE = "DATABASE_URL" in os.environ
PURPOSE = "subscribers.identitydocument.fingerprint"

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")
os.environ.setdefault("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:9/0")
# Rotations wait that long for other processes; here are none.
os.environ.setdefault("KAIHU_KEYRING_SECONDS", "1")

import django  # noqa: E402 - the settings need the environment

django.setup()

from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from stdnum.iso7064 import mod_11_2  # noqa: E402

from apps.core import clock, keyring  # noqa: E402
from apps.core.actor import Actor  # noqa: E402
from apps.core.db import database_now  # noqa: E402
from apps.operators import services as operators  # noqa: E402
from apps.provisioning.services import rotation  # noqa: E402
from apps.subscribers.models import IdentityDocument, Subscriber  # noqa: E402
from apps.subscribers.realname import documents  # noqa: E402
from apps.subscribers.realname.documents import DocumentType  # noqa: E402
from apps.subscribers.states import SubscriberKind  # noqa: E402

NAME, ADDRESS, PHONE = "测试张三丰", "北京市测试区测试路一百号测试小区二号楼三单元四零一室", "+8617000000000"


def number(index: int) -> str:
    body = f"{100_000 + index:06}19000101000"
    return body + str(mod_11_2.calc_check_digit(body))


def subscriber(index: int) -> Subscriber:
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


def seal_costs() -> dict[str, Any]:
    keyring.assume_no_keys()
    settings.KAIHU_KEYRING_SECONDS = 3600
    rows = [(subscriber(0), number(index)) for index in range(MANY)]
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
    return {"ours_us": round(mine, 2), "raw_us": round(bare, 2), "times": round(mine / bare, 2)}


def rotation_speed(people: int) -> dict[str, Any]:
    settings.KAIHU_KEYRING_SECONDS = int(os.environ["KAIHU_KEYRING_SECONDS"])
    keyring.forget()
    call_command("migrate", verbosity=0)
    if Subscriber.objects.exists():
        raise SystemExit("the database has people in it: give the benchmark an empty one of its own")
    now = clock.now()
    actor = Actor.system("benchmark")
    operator = operators.register_operator(
        actor=actor, code="benchmark", name="Benchmark", name_zh="测试虚商", now=now
    )
    for start in range(0, people, 2_000):
        rows = []
        for _ in range(start, min(start + 2_000, people)):
            row = Subscriber(
                operator_id=operator.pk,
                kind=SubscriberKind.INDIVIDUAL,
                name_masked="测****",
                entered_by="SYSTEM:benchmark",
                created_at=now,
            )
            row.seal_name(NAME)
            row.seal_contact(address=ADDRESS, contact_phone=PHONE)
            rows.append(row)
        Subscriber.objects.bulk_create(rows)
        papers = [document(row, start + place) for place, row in enumerate(rows)]
        for paper in papers:
            paper.created_at = now
        IdentityDocument.objects.bulk_create(papers)
    moved = sum(rotation.count_rows_to_move().values()) or 3 * people
    paused = 0.0

    def pause(seconds: float) -> None:
        nonlocal paused
        paused += seconds
        time.sleep(seconds)

    def tell(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    started = time.monotonic()
    rotation.rotate_keys(actor=actor, clock=database_now, pause=pause, tell=tell)
    seconds = time.monotonic() - started - paused
    if rotation.count_rows_to_move():
        raise SystemExit("rows are left under old keys")
    return {
        "people": people,
        "rows_moved": moved,
        "seconds": round(seconds, 1),
        "rows_per_second": round(moved / seconds),
        "people_per_second": round(people / seconds),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--people", type=int, default=5_000, help="how many a rotation moves")
    people = parser.parse_args().people
    costs = seal_costs()
    out = sys.stdout.write
    out(
        f"sealing and indexing one subscriber: {costs['ours_us']} us, by the bare library {costs['raw_us']} us:"
        f" {costs['times']} times (goal: at most {GOAL})\n"
    )
    result: dict[str, Any] = {"goal_times": GOAL, "costs": costs}
    if WITH_DATABASE:
        moved = result["rotation"] = rotation_speed(people)
        out(
            "rotation of {people:,} people: {rows_moved:,} rows in {seconds} s, {rows_per_second:,} rows/s,"
            " {people_per_second:,} people/s\n".format(**moved)
        )
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if costs["times"] <= GOAL else 1


if __name__ == "__main__":
    raise SystemExit(main())
