"""The form of the hash chains: what of a row is hashed, and how one seal leads to the next.

Each operator has a chain, and so has the platform for the rows of no operator. The hash of a seal is
SHA-256(SHA-256(row) + previous hash + sequence as 8 bytes, big-endian). The first previous hash is 32 zero bytes. The
row is every column of the audit row in PostgreSQL's own binary form of a composite value: number of columns, then for
each its type, its length and its bytes. So no two different rows have the same bytes, and whoever has the database can
compute them without this program.

The hashes have no key, on purpose. Who can rewrite the table has the machine, and with it any key that the sealer uses;
and an auditor could not recompute a keyed chain without being trusted with that key. What protects against somebody who
recomputes a whole chain is its head, noted outside of this system: `manage.py verify_audit --expect-head`.
"""

from __future__ import annotations

import hashlib

GENESIS = bytes(32)

# The types are part of the bytes and therefore written out: a migration may widen a column and not break the chains.
# A column that is added later is not in the seals from before: it needs a second form, for rows from some id on.
DIGEST = """
sha256(record_send(ROW(
    event.id::bigint, event.at::timestamptz, event.operator_id::bigint, event.actor_kind::text, event.actor_id::text,
    event.actor_label::text, event.request_id::text, event.trace_id::text, event.ip::inet, event.action::text,
    event.target_type::text, event.target_id::text, event.before::jsonb, event.after::jsonb, event.reason::text
)))
"""


def link(*, digest: bytes, previous: bytes, sequence: int) -> bytes:
    """The hash of the seal."""
    return hashlib.sha256(digest + previous + sequence.to_bytes(8, "big")).digest()
