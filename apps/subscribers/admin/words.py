"""Checks and what came of them, in words for the person who has to decide."""

from __future__ import annotations

# What each check of the list asks.
CHECKS = {
    "age": "Is the person old enough?",
    "authority_match": "Does the authority know this name with this number?",
    "dealer_allowed": "May this dealer still act for us?",
    "document_number": "Are length, letters, birth date and check digit of the number right?",
    "document_type": "Do we accept this type of document, in this channel?",
    "document_validity": "Is the document valid today?",
    "face_match": "Is the person before us the one on the document?",
    "holder_limit": "Has the person a free place for another line?",
    "identity": "Can our own record of the person be opened?",
    "liveness": "Was a living person before the camera?",
    "minimum_age": "Is the person old enough to register alone?",
    "run": "Did the checks run to their end?",
    "watch_list": "Is the person on no watch-list?",
}

# What an answer means, and what to look at.
CODES = {
    "age_unknown": "This number does not tell when the person was born. Read the date on the picture of the document.",
    "authority_unavailable": "The authority did not answer. Without its answer nothing can pass.",
    "dealer_not_allowed": "The dealer's contract is not valid today.",
    "document_expired": "The document's last day is over.",
    "document_invalid": "The number or its dates cannot be right.",
    "document_type_not_accepted": "Policy does not accept this document here.",
    "document_unknown": "The authority has no such document. Its register may be behind for a new one.",
    "document_void": "The authority says that the document is void: lost, stolen or replaced.",
    "evidence_missing": "Policy wants a face session, and there is none.",
    "face_mismatch": "The face is not that of the document.",
    "face_uncertain": "The faces are alike, but not enough for a yes. Compare the pictures yourself.",
    "face_unavailable": "The face match did not answer. Without its answer nothing can pass.",
    "liveness_failed": "What was before the camera may have been a picture or a mask.",
    "name_mismatch": "The authority has the number under another name. Compare the name letter by letter.",
    "ok": "Yes.",
    "overruled": "It failed before, and two people have overruled that.",
    "subscriber_under_age": "Younger than policy allows.",
    "watchlisted": "The person is on a watch-list.",
}


def question(name: str) -> str:
    """What a check asks; of one that nobody has described yet, its name."""
    return CHECKS.get(name, _plain(name))


def answer(code: str) -> str:
    """What its code means."""
    return CODES.get(code, _plain(code))


def _plain(word: str) -> str:
    return f"{word.replace('_', ' ').capitalize()}." if word else "-"
