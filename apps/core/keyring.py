"""The keys that this process seals and opens with: master keys of the environment, and those in the table under them.

A ring is read from the table at most every KAIHU_KEYRING_SECONDS, and at once when something was sealed with a key that
it does not know. Whoever rotates keys waits that long before it relies on all processes knowing a new one.

Until the table has a key of a purpose, the environment's own is used: the first of KAIHU_DATA_KEYS seals, and
KAIHU_INDEX_KEY makes the blind indexes (which then carry no name). Later KAIHU_DATA_KEYS only wraps the keys of the
table, and opens what is still sealed with it; the first `manage.py rotate_keys` moves everything over.
"""

from __future__ import annotations

import base64
import functools
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import connection

KEY_ID_BYTES = 4
NONCE_BYTES = 12

# name, purpose, status and wrapped key of each row.
Rows = tuple[tuple[str, str, str, bytes], ...]


class SealBroken(Exception):
    """The blob does not open here: another context, another key, or somebody changed it."""


@dataclass(frozen=True, slots=True)
class Ring:
    """`index` are the keys of blind indexes with the names they write in front: the first writes, all are looked up."""

    seals_with: bytes
    ciphers: Mapping[bytes, AESGCM]
    index: tuple[tuple[bytes, bytes], ...]


def parse_keys(text: str) -> dict[bytes, bytes]:
    """Reads "k1:<base64>,k0:<base64>" into {key id: 32 bytes}; the first is the one new data is sealed with.

    :raises ValueError: naming what is wrong, never the key.
    """
    keys: dict[bytes, bytes] = {}
    for part in text.split(","):
        key_id, separator, encoded = part.strip().partition(":")
        if not separator or not 1 <= len(key_id) <= KEY_ID_BYTES or not key_id.isascii():
            raise ValueError("expected 'id:base64' pairs, the id 1 to 4 ASCII characters")
        padded = key_id.encode().ljust(KEY_ID_BYTES, b"\0")
        if padded in keys:
            raise ValueError(f"the id {key_id} is there twice")
        keys[padded] = parse_key(encoded)
    return keys


def parse_key(encoded: str) -> bytes:
    """:raises ValueError: when it is not the base64 of 32 bytes."""
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:  # binascii.Error is one
        raise ValueError("not base64") from None
    if len(key) != 32:
        raise ValueError(f"a key has 32 bytes, this one has {len(key)}")
    return key


_held: tuple[float, Rows] | None = None


def ring(*, knowing: bytes | None = None) -> Ring:
    """The keys in force; read anew when they are too old or do not have the key `knowing`."""
    global _held
    held = _held
    if held is None or time.monotonic() - held[0] > settings.KAIHU_KEYRING_SECONDS:
        held = _held = (time.monotonic(), _read())
    found = _ring(settings.KAIHU_DATA_KEYS, settings.KAIHU_INDEX_KEY, held[1])
    if knowing is None or knowing in found.ciphers:
        return found
    held = _held = (time.monotonic(), _read())
    return _ring(settings.KAIHU_DATA_KEYS, settings.KAIHU_INDEX_KEY, held[1])


def forget() -> None:
    """The next `ring` reads the table."""
    global _held
    _held = None


def assume_no_keys() -> None:
    """As after reading an empty table; for programs without a database."""
    global _held
    _held = (time.monotonic(), ())


def wrap(key: bytes, *, name: str, purpose: str) -> bytes:
    """The key under the first master key, bound to its name and purpose."""
    master, cipher = next(iter(_masters(settings.KAIHU_DATA_KEYS).items()))
    return encrypt(master, cipher, key, _wrapping(name, purpose))


def unwrap(wrapped: bytes, *, name: str, purpose: str) -> bytes:
    """:raises SealBroken: its master key is not configured, or it is not this row's."""
    cipher = _masters(settings.KAIHU_DATA_KEYS).get(wrapped[:KEY_ID_BYTES])
    if cipher is None:
        raise SealBroken(f"the master key of the sealing key {name} is not configured")
    return decrypt(cipher, wrapped, _wrapping(name, purpose))


def is_wrapped_by_first_master(wrapped: bytes) -> bool:
    return wrapped[:KEY_ID_BYTES] == next(iter(_masters(settings.KAIHU_DATA_KEYS)))


def encrypt(key_id: bytes, cipher: AESGCM, plaintext: bytes, context: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return key_id + nonce + cipher.encrypt(nonce, plaintext, context.encode())


def decrypt(cipher: AESGCM, blob: bytes, context: str) -> bytes:
    start = KEY_ID_BYTES + NONCE_BYTES
    if len(blob) < start:
        raise SealBroken("too short")
    try:
        return cipher.decrypt(blob[KEY_ID_BYTES:start], blob[start:], context.encode())
    except InvalidTag:
        raise SealBroken("does not open in this context") from None


def _wrapping(name: str, purpose: str) -> str:
    return f"core.sealingkey.wrapped:{purpose}:{name}"


def _read() -> Rows:
    """By hand: the settings import this module, before there are any models."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, purpose, status, wrapped FROM core_sealingkey ORDER BY id")
        return tuple((name, purpose, status, bytes(key)) for name, purpose, status, key in cursor.fetchall())


@functools.lru_cache(maxsize=4)
def _masters(text: str) -> dict[bytes, AESGCM]:
    return {key_id: AESGCM(key) for key_id, key in parse_keys(text).items()}


@functools.lru_cache(maxsize=4)
def _ring(masters: str, index_key: str, rows: Rows) -> Ring:
    ciphers = dict(_masters(masters))
    seals_with = next(iter(ciphers))
    # The environment's key comes first until the table has a current one, and is looked up ever after.
    index = [(b"", parse_key(index_key))]
    for name, purpose, status, wrapped in rows:
        key = unwrap(wrapped, name=name, purpose=purpose)
        if purpose == "DATA":
            ciphers[name.encode()] = AESGCM(key)
            if status == "CURRENT":
                seals_with = name.encode()
        elif status == "CURRENT":
            index.insert(0, (name.encode(), key))
        elif status != "RETIRED":
            index.append((name.encode(), key))
    return Ring(seals_with, MappingProxyType(ciphers), tuple(index))
