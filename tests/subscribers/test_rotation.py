"""Rotation of the keys of personal data: killed in the middle, with orders and registrations going on beside it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from django.db import connection, transaction

from apps.audit.models import AuditEvent
from apps.carriers import services as carriers
from apps.carriers.models import CarrierConnection
from apps.core import keyring, sealing
from apps.core import services as keys
from apps.core.db import database_now
from apps.core.models import KeyPurpose, KeyStatus, SealingKey
from apps.lines import services as lines
from apps.lines.errors import HolderLimitReached
from apps.lines.models import HolderSlot
from apps.operators.models import VirtualOperator
from apps.provisioning.services import rotation
from apps.subscribers import selectors, services
from apps.subscribers.models import Subscriber
from apps.subscribers.realname import documents
from apps.subscribers.realname.documents import DocumentType
from tests.architecture.source import ROOT
from tests.factories.provisioning import given_seller
from tests.factories.subscribers import (
    SYSTEM,
    document,
    given_subscriber,
    minor_number,
    resident_number,
    somebody,
)
from tests.long import at_length
from tests.threads import in_parallel

pytestmark = pytest.mark.django_db(transaction=True)

PEOPLE = 120
KILLS = at_length(6, 20)
ADDRESS = "测试路1号"
PHONE = "+8617000000000"
GUARDIAN = resident_number()


@pytest.fixture(autouse=True)
def read_anew(settings: Any) -> Iterator[None]:
    """This process looks at the table every time; the command's process does so by its environment."""
    settings.KAIHU_KEYRING_SECONDS = 0
    keyring.forget()
    yield
    keyring.assume_no_keys()


def _people(operator: VirtualOperator, now: datetime, count: int) -> dict[str, str]:
    """Subscriber id -> number of registered people with everything that is sealed."""
    numbers = {}
    for _ in range(count):
        number = minor_number(now)
        subscriber, _ = services.register_individual(
            actor=SYSTEM,
            operator_id=operator.pk,
            name="张三丰",
            document=document(number),
            address=ADDRESS,
            contact_phone=PHONE,
            guardian=somebody(number=GUARDIAN),
            now=now,
        )
        numbers[subscriber.uid] = number
    return numbers


def _command() -> subprocess.Popen[bytes]:
    database = connection.settings_dict
    password = f":{database['PASSWORD']}" if database["PASSWORD"] else ""
    host = f"{database['HOST'] or '127.0.0.1'}:{database['PORT'] or 5432}"
    return subprocess.Popen(
        [sys.executable, "manage.py", "rotate_keys", "--batch", "5"],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings.test",
            "KAIHU_KEYRING_SECONDS": "0",
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": f"postgresql://{database['USER']}{password}@{host}/{database['NAME']}",
        },
        stdout=subprocess.PIPE,
    )


def _rotate() -> list[str]:
    told: list[str] = []
    return rotation.rotate_keys(
        actor=SYSTEM, clock=database_now, pause=time.sleep, tell=told.append, batch=50
    )


def _found(number: str) -> list[int]:
    fingerprints = documents.search_fingerprints(type=DocumentType.RESIDENT_ID, number=number)
    found = selectors.list_subscribers(actor=SYSTEM, fingerprints=fingerprints)
    return list(found.values_list("pk", flat=True))


def _check_all(numbers: dict[str, str]) -> None:
    for subscriber in Subscriber.objects.all():
        assert subscriber.open_name() == "张三丰"
        assert (subscriber.open_address(), subscriber.open_contact_phone()) == (ADDRESS, PHONE)
        assert subscriber.documents.get().open_number() == numbers[subscriber.uid]
        guardian = subscriber.representatives.get()
        assert (guardian.open_name(), guardian.open_number()) == ("钱七星", GUARDIAN)
        assert bytes(guardian.fingerprint) in documents.fingerprints(
            type=DocumentType.RESIDENT_ID, number=GUARDIAN, issuing_country="CHN"
        )
        assert _found(numbers[subscriber.uid]) == [subscriber.pk]


def _names_in_use() -> set[bytes]:
    """The key named by every sealed value there is, and by every blind index."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT substr(name_sealed, 1, 4) FROM subscribers_subscriber"
            " UNION SELECT substr(address_sealed, 1, 4) FROM subscribers_subscriber"
            " UNION SELECT substr(contact_phone_sealed, 1, 4) FROM subscribers_subscriber"
            " UNION SELECT substr(number_sealed, 1, 4) FROM subscribers_identitydocument"
            " UNION SELECT substr(fingerprint, 1, 4) FROM subscribers_identitydocument"
            " UNION SELECT substr(fingerprint, 1, 4) FROM lines_holderslot"
            " UNION SELECT substr(secret_sealed, 1, 4) FROM carriers_carrierconnection"
            " UNION SELECT substr(callback_secret_sealed, 1, 4) FROM carriers_carrierconnection"
        )
        return {bytes(name) for (name,) in cursor.fetchall()}


def test_killed_again_and_again_and_resumed(operator: VirtualOperator, now: datetime) -> None:
    """SIGKILL to a real process, each time somewhere else; half of the people arrive while it goes on."""
    seller = given_seller(operator=operator, now=now)
    numbers = _people(operator, now, PEOPLE // 2)
    for pk in Subscriber.objects.values_list("pk", flat=True)[:10]:
        fingerprints = selectors.get_holder_fingerprints(subscriber_id=pk)
        lines.take_holder_slot(operator_id=operator.pk, fingerprints=fingerprints, limit=5)
    before = _names_in_use()
    chance = random.Random(20)  # noqa: S311
    kills = 0
    while kills < KILLS:
        with _command() as running:
            # Each line is a step or a batch: the next one is under way when the process dies. One that was near its end
            # ends before, and the next one makes new keys again.
            for _ in range(chance.randint(1, 14)):
                running.stdout.readline()
            running.kill()
            kills += running.wait() == -9
        numbers |= _people(operator, now, PEOPLE // 2 // KILLS)
        assert all(len(_found(number)) == 1 for number in numbers.values()), "found in the middle of it"

    with _command() as running:
        assert b"everything is under" in running.stdout.read()

    _check_all(numbers)
    current = {key.name.encode() for key in SealingKey.objects.filter(status=KeyStatus.CURRENT)}
    assert len(current) == 2
    assert _names_in_use() == current
    assert not before & current
    assert set(SealingKey.objects.values_list("status", flat=True)) <= {KeyStatus.CURRENT, KeyStatus.RETIRED}
    assert rotation.count_rows_to_move() == {}
    assert HolderSlot.objects.count() == 10
    # Opens both secrets of the connection.
    carriers.adapter_for(CarrierConnection.objects.get(pk=seller.connection.pk))


def test_a_second_rotation_retires_the_keys_of_the_first_and_is_audited(
    operator: VirtualOperator, now: datetime
) -> None:
    numbers = _people(operator, now, 12)
    first = _rotate()
    second = _rotate()

    assert (first, second) == (["d001", "i001"], ["d002", "i002"])
    assert set(SealingKey.objects.filter(name__in=first).values_list("status", flat=True)) == {"RETIRED"}
    _check_all(numbers)
    assert _names_in_use() == {name.encode() for name in second}
    steps = AuditEvent.objects.filter(target_type="sealing_key").values_list("action", flat=True)
    assert (
        sorted(steps) == ["sealing_key.make"] * 4 + ["sealing_key.promote"] * 4 + ["sealing_key.retire"] * 2
    )


def test_a_row_that_does_not_open_keeps_its_key_in_use(operator: VirtualOperator, now: datetime) -> None:
    _people(operator, now, 3)
    broken = Subscriber.objects.first()
    assert broken is not None
    Subscriber.objects.filter(pk=broken.pk).update(name_sealed=sealing.seal("x", context="another row"))

    with pytest.raises(rotation.RotationStuck, match="1 subscribers"):
        rotation.rotate_keys(
            actor=SYSTEM, clock=database_now, pause=lambda seconds: None, tell=lambda text: None
        )
    assert list(rotation.count_rows_to_move()) == ["subscribers"]


def _promoted(now: datetime) -> None:
    for purpose in KeyPurpose:
        keys.make_next_key(purpose=purpose, now=now)
        keys.promote_next_key(purpose=purpose, now=now)
    keyring.forget()


def test_the_same_person_under_two_keys_at_once_is_one_subscriber(
    operator: VirtualOperator, now: datetime
) -> None:
    """Stored under the old index, asked for by twelve under the new one: found, never registered again."""
    number = resident_number()
    known = given_subscriber(operator=operator, now=now, number=number)
    _promoted(now)

    found = in_parallel(12, lambda _: given_subscriber(operator=operator, now=now, number=number).pk)

    assert set(found) == {known.pk}
    assert len(selectors.get_holder_fingerprints(subscriber_id=known.pk)[0]) == 32, "not moved yet"


def test_the_holder_limit_counts_over_both_keys(operator: VirtualOperator, now: datetime) -> None:
    subscriber = given_subscriber(operator=operator, now=now)

    def take() -> int:
        with transaction.atomic():
            fingerprints = selectors.get_holder_fingerprints(subscriber_id=subscriber.pk)
            return lines.take_holder_slot(operator_id=operator.pk, fingerprints=fingerprints, limit=3)

    take()
    take()
    _promoted(now)
    batch = lines.reindex_holders(after=0, limit=10)
    take()

    assert batch.moved == 1
    with pytest.raises(HolderLimitReached):
        take()
    assert {bytes(slot.fingerprint)[:4] for slot in HolderSlot.objects.all()} == {b"i001"}


def test_an_order_that_has_read_a_fingerprint_keeps_the_rotation_from_it(
    operator: VirtualOperator, now: datetime
) -> None:
    subscriber = given_subscriber(operator=operator, now=now)
    _promoted(now)
    with transaction.atomic():
        fingerprints = selectors.get_holder_fingerprints(subscriber_id=subscriber.pk)
        [moved] = in_parallel(1, lambda _: lines.reindex_holders(after=0, limit=10).moved)
        lines.take_holder_slot(operator_id=operator.pk, fingerprints=fingerprints, limit=5)
    assert moved == 0

    assert lines.reindex_holders(after=0, limit=10).moved == 1
    assert bytes(HolderSlot.objects.get().fingerprint)[:4] == b"i001"
