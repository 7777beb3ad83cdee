"""ICCID endings that steer the mocked carrier in test mode. They are never given out unless asked for by their ICCID.

The simulator has the same list of its own, since it imports nothing of ours; a test compares the two.
"""

from __future__ import annotations

# The last four characters of the ICCID, and what the carrier does with an order that names such a card.
ENDINGS: dict[str, str] = {
    "9000": "OK",
    "9001": "REJECTED",
    "9002": "TIMEOUT_THEN_SUCCESS",
    "9003": "NEVER_ANSWERS",
    "9004": "DUPLICATE_CALLBACK",
    "9005": "RATE_LIMITED_FIRST",
    "9006": "LATE_CALLBACK",
    "9007": "FORGED_CALLBACK_FIRST",
}


def is_magic(iccid: str) -> bool:
    return iccid[-4:] in ENDINGS
