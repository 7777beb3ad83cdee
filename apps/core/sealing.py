"""Personal data at rest: authenticated encryption bound to its row, and keyed blind indexes to find it again.

A blob is `key id (4 bytes) | nonce (12) | AES-256-GCM ciphertext and tag`. The context (table, column, operator, row)
is associated data, so a ciphertext copied to another row, column or operator does not open. A blind index is an
HMAC-SHA256 under its own key, behind the key's name: an identity number has too few digits for a bare hash (domain
rule: PIPL art. 51, keyed index). Which keys there are, and how they change: keyring.py and services.py.
"""

from __future__ import annotations

import hmac

from django.conf import settings

from apps.core import keyring
from apps.core.keyring import KEY_ID_BYTES, SealBroken, parse_key

__all__ = [
    "SealBroken",
    "blind_index",
    "blind_indexes",
    "keyed_hash",
    "seal",
    "seal_bytes",
    "unseal",
    "unseal_bytes",
]


def seal(plaintext: str, *, context: str) -> bytes:
    """Encrypts under the current data key; opens only with the same context."""
    return seal_bytes(plaintext.encode(), context=context)


def unseal(blob: bytes | memoryview, *, context: str) -> str:
    """:raises SealBroken: when key, context or bytes are not those it was sealed with."""
    return unseal_bytes(blob, context=context).decode()


def seal_bytes(plaintext: bytes, *, context: str) -> bytes:
    """`seal` of what is no text."""
    ring = keyring.ring()
    return keyring.encrypt(ring.seals_with, ring.ciphers[ring.seals_with], plaintext, context)


def unseal_bytes(blob: bytes | memoryview, *, context: str) -> bytes:
    """:raises SealBroken: when key, context or bytes are not those it was sealed with."""
    blob = bytes(blob)
    key_id = blob[:KEY_ID_BYTES]
    cipher = keyring.ring(knowing=key_id).ciphers.get(key_id)
    if cipher is None:
        raise SealBroken("sealed with a key that is not configured")
    return keyring.decrypt(cipher, blob, context)


def blind_index(value: str, *, purpose: str) -> bytes:
    """Bytes that are equal for equal values of one purpose and say nothing without the key; to be stored."""
    [name, key], *_ = keyring.ring().index
    return name + _mac(key, value, purpose)


def blind_indexes(value: str, *, purpose: str) -> tuple[bytes, ...]:
    """Every index the value may be stored under while keys are rotated, the current one first; to be searched by."""
    return tuple(name + _mac(key, value, purpose) for name, key in keyring.ring().index)


def keyed_hash(value: str, *, purpose: str) -> bytes:
    """32 bytes under the environment's KAIHU_INDEX_KEY, which no rotation changes: for what is kept for days only."""
    return _mac(parse_key(settings.KAIHU_INDEX_KEY), value, purpose)


def _mac(key: bytes, value: str, purpose: str) -> bytes:
    return hmac.digest(key, b"%b\0%b" % (purpose.encode(), value.encode()), "sha256")
