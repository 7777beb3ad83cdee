"""Keys in the table: how they come into force, who sees them when, and that only the master key opens them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.core import keyring, services
from apps.core.db import database_now
from apps.core.errors import InvalidTransition
from apps.core.models import KeyPurpose, KeyStatus, SealingKey
from apps.core.sealing import SealBroken, blind_index, blind_indexes, seal, unseal

pytestmark = pytest.mark.django_db

CONTEXT = "table.column:1:row"
DATA, INDEX = KeyPurpose.DATA, KeyPurpose.INDEX


@pytest.fixture(autouse=True)
def read_anew() -> Iterator[None]:
    keyring.forget()
    yield
    keyring.assume_no_keys()


def _rotate(purpose: KeyPurpose, now: datetime) -> SealingKey:
    services.make_next_key(purpose=purpose, now=now)
    key = services.promote_next_key(purpose=purpose, now=now)
    assert key is not None
    keyring.forget()
    return key


def test_without_a_row_the_environments_key_seals() -> None:
    assert seal("x", context=CONTEXT)[:4] == b"t1\0\0"


def test_a_next_key_seals_nothing_and_is_searched_by(now: datetime) -> None:
    services.make_next_key(purpose=DATA, now=now)
    services.make_next_key(purpose=INDEX, now=now)
    keyring.forget()

    assert seal("x", context=CONTEXT)[:4] == b"t1\0\0"
    assert len(blind_index("x", purpose="p")) == 32
    assert [index[:4] for index in blind_indexes("x", purpose="p")][1] == b"i001"


def test_the_current_key_seals_and_all_older_ones_open(now: datetime) -> None:
    blobs = [seal("x", context=CONTEXT)]
    for _ in range(3):
        _rotate(DATA, now)
        blobs.append(seal("x", context=CONTEXT))

    assert [blob[:4] for blob in blobs] == [b"t1\0\0", b"d001", b"d002", b"d003"]
    assert [unseal(blob, context=CONTEXT) for blob in blobs] == ["x"] * 4
    for blob in blobs:
        with pytest.raises(SealBroken):
            unseal(blob, context=CONTEXT + "x")


def test_everything_is_found_under_every_index_key_in_use(now: datetime) -> None:
    stored = [blind_index("x", purpose="p")]
    for _ in range(2):
        _rotate(INDEX, now)
        stored.append(blind_index("x", purpose="p"))

    assert len(set(stored)) == 3
    assert set(blind_indexes("x", purpose="p")) == set(stored)
    assert blind_indexes("x", purpose="p")[0] == stored[-1], "the current one first"

    services.retire_old_keys(names=["i001"], now=now)
    keyring.forget()
    assert set(blind_indexes("x", purpose="p")) == {stored[0], stored[2]}


def test_a_process_meets_a_key_it_does_not_know_and_looks_again(now: datetime, settings: Any) -> None:
    settings.KAIHU_KEYRING_SECONDS = 3600
    keyring.ring()
    services.make_next_key(purpose=DATA, now=now)
    key = services.promote_next_key(purpose=DATA, now=now)
    assert key is not None
    assert seal("x", context=CONTEXT)[:4] == b"t1\0\0", "it does not know yet"

    by_another = keyring._ring(settings.KAIHU_DATA_KEYS, settings.KAIHU_INDEX_KEY, keyring._read())
    blob = keyring.encrypt(b"d001", by_another.ciphers[b"d001"], b"x", CONTEXT)
    assert unseal(blob, context=CONTEXT) == "x"
    assert seal("x", context=CONTEXT)[:4] == b"d001"


def test_a_wrapped_key_opens_only_in_its_own_row_and_under_its_master(now: datetime, settings: Any) -> None:
    key = _rotate(DATA, now)
    wrapped = bytes(key.wrapped)

    assert len(keyring.unwrap(wrapped, name="d001", purpose="DATA")) == 32
    for name, purpose in (("d002", "DATA"), ("d001", "INDEX")):
        with pytest.raises(SealBroken):
            keyring.unwrap(wrapped, name=name, purpose=purpose)
    settings.KAIHU_DATA_KEYS = "t2:" + base64.b64encode(b"\x05" * 32).decode()
    with pytest.raises(SealBroken, match="master key"):
        keyring.unwrap(wrapped, name="d001", purpose="DATA")


def test_a_new_master_key_takes_over_without_touching_data(now: datetime, settings: Any) -> None:
    _rotate(DATA, now)
    blob = seal("x", context=CONTEXT)
    new = "t2:" + base64.b64encode(b"\x05" * 32).decode()
    settings.KAIHU_DATA_KEYS = f"{new},{settings.KAIHU_DATA_KEYS}"

    assert services.rewrap_keys() == 1
    assert services.rewrap_keys() == 0
    settings.KAIHU_DATA_KEYS = new
    keyring.forget()

    assert unseal(blob, context=CONTEXT) == "x"


def test_making_and_promoting_again_changes_nothing(now: datetime) -> None:
    first = services.make_next_key(purpose=DATA, now=now)
    assert services.make_next_key(purpose=DATA, now=now).pk == first.pk
    assert services.promote_next_key(purpose=DATA, now=now) is not None
    assert services.promote_next_key(purpose=DATA, now=now) is None
    assert services.retire_old_keys(names=["d001"], now=now) == [], "only OLD ones retire"
    assert [row.status for row in SealingKey.objects.all()] == [KeyStatus.CURRENT]


def test_the_database_refuses_a_second_current_key_and_the_model_a_step_back(now: datetime) -> None:
    key = _rotate(DATA, now)
    with pytest.raises(IntegrityError), transaction.atomic():
        SealingKey.objects.create(
            name="d009", purpose=DATA, status=KeyStatus.CURRENT, wrapped=b"", created_at=now, changed_at=now
        )
    with pytest.raises(InvalidTransition):
        key.retire(now=now)


def test_nothing_is_settled_before_every_ring_is_newer(now: datetime, settings: Any) -> None:
    settings.KAIHU_KEYRING_SECONDS = 10
    assert not services.settled(since=database_now() - timedelta(seconds=9))
