"""Checks and what came of them, in words for the person who has to decide."""

from __future__ import annotations

from apps.subscribers.realname import words

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
    "representative": "May whoever stands for the person do so, with a document that holds?",
    "representative_authority_match": "Does the authority know whoever stands for the person?",
    "run": "Did the checks run to their end?",
    "watch_list": "Is nobody here on a watch-list?",
}

# What an answer means, and what to look at; of other codes what everybody is told.
CODES = {
    "age_unknown": "This number does not tell when the person was born. Read the date on the picture of the document.",
    "dealer_not_allowed": "The dealer's contract is not valid today.",
    "document_expired": "The document's last day is over.",
    "document_invalid": "The number or its dates cannot be right.",
    "document_type_not_accepted": "Policy does not accept this document here.",
    "document_unknown": "The authority has no such document. Its register may be behind for a new one.",
    "document_void": "The authority says that the document is void: lost, stolen or replaced.",
    "evidence_missing": "Policy wants a face session, or reader and photo of a store, and there is neither.",
    "face_mismatch": "The face is not that of the document.",
    "face_uncertain": "The faces are alike, but not enough for a yes. Compare the pictures yourself.",
    "holder_limit_exceeded": "More lines than policy allows: old stock, or a limit that was lowered. See what is kept.",
    "holder_limit_full": "Yes, to keep what there is: all places are taken, and another line will be refused.",
    "liveness_uncertain": "It may have been a picture or a mask before the camera. Look at the pictures yourself.",
    "name_mismatch": "The authority has the number under another name. Compare the name letter by letter.",
    "not_live": "What was before the camera may have been a picture or a mask.",
    "ok": "Yes.",
    "overruled": "It failed before, and two people have overruled that.",
    "representative_age_unknown": "This number does not tell the age of whoever stands for the person. Read the date.",
    "representative_document_unknown": "The authority has no such document of whoever stands for the person.",
    "representative_document_void": "The authority says that the document of whoever stands for the person is void.",
    "representative_name_mismatch": "The authority has the number of whoever stands for the person under another name.",
    "representative_watchlisted": "Whoever stands for the person is on a watch-list.",
    "subscriber_under_age": "Younger than policy allows.",
    "watchlisted": "The person is on a watch-list.",
}


def question(name: str) -> str:
    """What a check asks; of one that nobody has described yet, its name."""
    return CHECKS.get(name, _plain(name))


def answer(code: str) -> str:
    """What its code means."""
    found = CODES.get(code) or words.of(code)
    return _plain(code) if found == code else found


def _plain(word: str) -> str:
    return f"{word.replace('_', ' ').capitalize()}." if word else "-"
