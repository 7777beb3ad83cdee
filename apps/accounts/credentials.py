"""Client secrets and bearer tokens: 256 random bits each, kept only as digests.

They are not passwords: nobody can guess 256 bits, so one round of SHA-256 is enough and a slow hash would only let a
flood of token requests eat the machine. The prefix lets secret scanners find a leaked one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

SECRET_PREFIX = "khs_"  # noqa: S105 - a prefix, no secret
TOKEN_PREFIX = "kht_"  # noqa: S105 - a prefix, no token
_RANDOM_BYTES = 32


def new_client_secret() -> str:
    return SECRET_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def new_token() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def client_secret_digest(secret: str) -> str:
    """ "sha256$salt$hex"; another salt each time."""
    salt = secrets.token_hex(16)
    return f"sha256${salt}${_salted(secret, salt)}"


def client_secret_matches(secret: str, digest: str) -> bool:
    """Compares in constant time; a malformed digest matches nothing."""
    scheme, _, rest = digest.partition("$")
    salt, _, expected = rest.partition("$")
    return hmac.compare_digest(_salted(secret, salt), expected) and scheme == "sha256"


def token_checksum(token: str) -> str:
    """What tokens are found by; unsalted, since the token itself is random."""
    return hashlib.sha256(token.encode()).hexdigest()


def _salted(secret: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}${secret}".encode()).hexdigest()
