"""Reasons that people write into the audit trail."""

from __future__ import annotations

from apps.core.logging import scrub
from apps.subscribers import errors
from apps.subscribers.realname import text

_SHORTEST = 5
_LONGEST = 500


def checked_reason(reason: str) -> str:
    """The reason as the audit may keep it: trimmed, identity and phone numbers blotted out.

    :raises ReasonMissing: when nothing worth reading is left, or it is longer than 500 characters.
    """
    written = " ".join(reason.split())
    if not _SHORTEST <= len(written) <= _LONGEST or text.has_refused(written):
        raise errors.ReasonMissing
    return str(scrub(written))
