"""Magic values: what a caller can steer without touching a knob. No personal data is needed to use them."""

from __future__ import annotations

from enum import StrEnum


class Behaviour(StrEnum):
    """What the carrier does with an order that names a SIM or a number with a magic ending."""

    OK = "OK"
    REJECTED = "REJECTED"
    TIMEOUT_THEN_SUCCESS = "TIMEOUT_THEN_SUCCESS"
    NEVER_ANSWERS = "NEVER_ANSWERS"
    DUPLICATE_CALLBACK = "DUPLICATE_CALLBACK"
    RATE_LIMITED_FIRST = "RATE_LIMITED_FIRST"
    LATE_CALLBACK = "LATE_CALLBACK"
    FORGED_CALLBACK_FIRST = "FORGED_CALLBACK_FIRST"
    REFUSED_LATER = "REFUSED_LATER"
    WRONG_ECHO = "WRONG_ECHO"


# The last four characters of the ICCID.
ICCID_ENDINGS: dict[str, Behaviour] = {
    "9000": Behaviour.OK,
    "9001": Behaviour.REJECTED,
    "9002": Behaviour.TIMEOUT_THEN_SUCCESS,
    "9003": Behaviour.NEVER_ANSWERS,
    "9004": Behaviour.DUPLICATE_CALLBACK,
    "9005": Behaviour.RATE_LIMITED_FIRST,
    "9006": Behaviour.LATE_CALLBACK,
    "9007": Behaviour.FORGED_CALLBACK_FIRST,
}

# The last six digits of the number: the same behaviours, and two more.
NUMBER_ENDINGS: dict[str, Behaviour] = {
    **{f"99{ending}": behaviour for ending, behaviour in ICCID_ENDINGS.items()},
    "999008": Behaviour.REFUSED_LATER,
    "999009": Behaviour.WRONG_ECHO,
}

# A plan code with this ending is one that the carrier no longer sells.
WITHDRAWN_PLAN_ENDING = "-WITHDRAWN"


class Person(StrEnum):
    """What the real-name providers say about an identity number with magic first six digits."""

    PASS = "PASS"  # noqa: S105 - a verdict
    NAME_MISMATCH = "NAME_MISMATCH"
    FACE_MISMATCH = "FACE_MISMATCH"
    FACE_UNCERTAIN = "FACE_UNCERTAIN"
    AUTHORITY_DOWN = "AUTHORITY_DOWN"
    AUTHORITY_DOWN_TWICE = "AUTHORITY_DOWN_TWICE"
    DOCUMENT_VOID = "DOCUMENT_VOID"
    NOT_LIVE = "NOT_LIVE"


class Fault(StrEnum):
    """What a real-name provider does instead of answering."""

    DOWN = "DOWN"
    WRONG_ECHO = "WRONG_ECHO"
    HANGS = "HANGS"
    UNKNOWN_WORD = "UNKNOWN_WORD"


# Area codes that no place has, so that no magic number can be a living person's. All providers agree on these people.
DOCUMENT_PREFIXES: dict[str, Person] = {
    "700001": Person.PASS,
    "700002": Person.NAME_MISMATCH,
    "700003": Person.FACE_MISMATCH,
    "700004": Person.FACE_UNCERTAIN,
    "700005": Person.AUTHORITY_DOWN,
    "700006": Person.AUTHORITY_DOWN_TWICE,
    "700007": Person.DOCUMENT_VOID,
    "700008": Person.NOT_LIVE,
}

_FAULTS = {"1": Fault.DOWN, "2": Fault.WRONG_ECHO, "3": Fault.HANGS, "4": Fault.UNKNOWN_WORD}


def behaviour_of(*, iccids: tuple[str, ...], numbers: tuple[str, ...]) -> Behaviour | None:
    """Of the first that is magic; what an order brings in stands before what it finds."""
    found = [ICCID_ENDINGS.get(iccid[-4:]) for iccid in iccids]
    found += [NUMBER_ENDINGS.get(number[-6:]) for number in numbers]
    return next((behaviour for behaviour in found if behaviour), None)


def person_of(document_number: str) -> Person:
    """72000x are the people of 70000x, met while the first providers are down."""
    prefix = document_number[:6]
    if prefix[:2] == "72":
        prefix = f"70{prefix[2:]}"
    return DOCUMENT_PREFIXES.get(prefix, Person.PASS)


def fault_of(document_number: str, *, second: bool) -> Fault | None:
    """What the first or second provider does wrong for this number: 72xxxx the first is down, 73000f the first has
    fault f, 7400fg the first has fault f and the second g.
    """
    prefix = document_number[:6]
    if prefix[:2] == "74":
        return _FAULTS.get(prefix[5:6] if second else prefix[4:5])
    if second:
        return None
    if prefix[:2] == "72":
        return Fault.DOWN
    return _FAULTS.get(prefix[5:6]) if prefix[:5] == "73000" else None
