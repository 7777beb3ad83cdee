"""Personal data at rest: authenticated encryption bound to its row, and keyed blind indexes to find it again.

A blob is `key id (4 bytes) | nonce (12) | AES-256-GCM ciphertext and tag`. The context (table, column, operator, row)
is associated data, so a ciphertext copied to another row, column or operator does not open. A blind index is an
HMAC-SHA256 under its own key: an identity number has too few digits for a bare hash (domain rule: PIPL art. 51, keyed
index).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

_KEY_ID_BYTES = 4
_NONCE_BYTES = 12


class SealBroken(Exception):
    """The blob does not open here: another context, another key, or somebody changed it."""


def parse_keys(text: str) -> dict[bytes, bytes]:
    """Reads "k1:<base64>,k0:<base64>" into {key id: 32 bytes}; the first is the one new data is sealed with.

    :raises ValueError: naming what is wrong, never the key.
    """
    keys: dict[bytes, bytes] = {}
    for part in text.split(","):
        key_id, separator, encoded = part.strip().partition(":")
        if not separator or not 1 <= len(key_id) <= _KEY_ID_BYTES or not key_id.isascii():
            raise ValueError("expected 'id:base64' pairs, the id 1 to 4 ASCII characters")
        padded = key_id.encode().ljust(_KEY_ID_BYTES, b"\0")
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


@functools.lru_cache(maxsize=4)
def _ciphers(text: str) -> dict[bytes, AESGCM]:
    return {key_id: AESGCM(key) for key_id, key in parse_keys(text).items()}


@functools.lru_cache(maxsize=4)
def _index_key(encoded: str) -> bytes:
    return parse_key(encoded)


def seal(plaintext: str, *, context: str) -> bytes:
    """Encrypts under the current data key; opens only with the same context."""
    ciphers = _ciphers(settings.KAIHU_DATA_KEYS)
    key_id, cipher = next(iter(ciphers.items()))
    nonce = os.urandom(_NONCE_BYTES)
    return key_id + nonce + cipher.encrypt(nonce, plaintext.encode(), context.encode())


def unseal(blob: bytes | memoryview, *, context: str) -> str:
    """:raises SealBroken: when key, context or bytes are not those it was sealed with."""
    blob = bytes(blob)
    cipher = _ciphers(settings.KAIHU_DATA_KEYS).get(blob[:_KEY_ID_BYTES])
    if cipher is None:
        raise SealBroken("sealed with a key that is not configured")
    start = _KEY_ID_BYTES + _NONCE_BYTES
    if len(blob) < start:
        raise SealBroken("too short")
    try:
        return cipher.decrypt(blob[_KEY_ID_BYTES:start], blob[start:], context.encode()).decode()
    except InvalidTag:
        raise SealBroken("does not open in this context") from None


def blind_index(value: str, *, purpose: str) -> bytes:
    """32 bytes that are equal for equal values of one purpose and say nothing without the key."""
    message = purpose.encode() + b"\0" + value.encode()
    return hmac.new(_index_key(settings.KAIHU_INDEX_KEY), message, hashlib.sha256).digest()
