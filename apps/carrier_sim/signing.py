"""Who may talk: secrets derived from one master secret, and what is signed over the raw bytes."""

from __future__ import annotations

import hashlib
import hmac
import time

TOLERANCE_SECONDS = 300


def _derive(master: str, label: str) -> str:
    return hmac.new(master.encode(), label.encode(), hashlib.sha256).hexdigest()


def secret_of(master: str, app_key: str) -> str:
    """What the reseller with this key signs its requests with."""
    return _derive(master, app_key)


def callback_secret_of(master: str, app_key: str) -> str:
    """What the carrier signs its callbacks to that reseller with."""
    return _derive(master, f"callback:{app_key}")


def realname_token_of(master: str) -> str:
    """The bearer token of the real-name providers unless another one is configured."""
    return _derive(master, "realname")


def realname_second_secret_of(master: str) -> str:
    """What the second real-name providers sign with unless another one is configured."""
    return _derive(master, "realname-second")


def sign(secret: str, timestamp: str, body: bytes) -> str:
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def is_signed(secret: str, timestamp: str, body: bytes, signature: str) -> bool:
    return hmac.compare_digest(sign(secret, timestamp, body).encode(), signature.encode())


def is_fresh(timestamp: str) -> bool:
    """Whether Unix seconds in text lie within the tolerance of our clock."""
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return False
    return abs(time.time() - int(timestamp)) <= TOLERANCE_SECONDS
