"""How a carrier's words are read, whatever the dialect: code tables, shapes, echoes. In doubt: `OutcomeUnknown`."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apps.carriers import base

LONGEST_RETRY_AFTER = 3600.0
DOCUMENT_TYPE_NOT_ACCEPTED = "document_type_not_accepted_by_carrier"

# Every refusal we can tell apart, with the sentence that people read: never the carrier's own, it may name somebody.
REFUSALS = {
    "carrier_plan_invalid": "The carrier does not sell this plan.",
    "carrier_number_invalid": "The carrier has not allocated this number to resale.",
    "carrier_number_in_use": "The number is in service at the carrier.",
    "carrier_sim_invalid": "The carrier cannot use this SIM.",
    "carrier_sim_in_use": "The SIM is in service at the carrier.",
    "carrier_identity_refused": "The carrier refused the real-name data.",
    DOCUMENT_TYPE_NOT_ACCEPTED: "The carrier does not take this kind of document.",
    "carrier_line_not_found": "The carrier knows no such line of ours.",
    "carrier_line_closed": "The line is closed at the carrier.",
    "carrier_line_busy": "The carrier is working on another order of this line.",
    "carrier_line_already_so": "The line is in that state at the carrier already.",
    # The carrier said no, with a code that its documents do not list.
    "carrier_rejected": "The carrier refused the order.",
}


class Kind(enum.Enum):
    """What a documented code means for the next step."""

    OK = enum.auto()
    REJECTED = enum.auto()
    MISCONFIGURED = enum.auto()
    BUSY = enum.auto()


@dataclass(frozen=True, slots=True)
class Meaning:
    """One carrier code in our words; `statuses` are the HTTP statuses it is documented with."""

    kind: Kind
    statuses: frozenset[int]
    code: str = ""
    detail: str = ""


def agreed(*statuses: int) -> Meaning:
    return Meaning(Kind.OK, frozenset(statuses))


def rejected(code: str, *statuses: int) -> Meaning:
    return Meaning(Kind.REJECTED, frozenset(statuses), code, REFUSALS[code])


def misconfigured(detail: str, *statuses: int) -> Meaning:
    return Meaning(Kind.MISCONFIGURED, frozenset(statuses), base.CarrierMisconfigured.code, detail)


def busy(detail: str, *statuses: int) -> Meaning:
    return Meaning(Kind.BUSY, frozenset(statuses), base.CarrierUnavailable.code, detail)


def check(
    meaning: Meaning | None,
    *,
    status: int,
    code: str,
    echoed: object,
    reference: str,
    retry_after: str | None,
) -> None:
    """Passes when a documented code says yes to our request; every other answer becomes one of the four errors.

    :raises CarrierError: by the code; `OutcomeUnknown` for what is not documented, or speaks of another request.
    """
    if meaning is None or status not in meaning.statuses:
        raise base.OutcomeUnknown(f"HTTP {status} with a code that is not documented for it")
    # Before a request is authenticated and read, its reference is not known: only then may the echo be missing.
    if echoed != reference and not (echoed is None and meaning.kind in (Kind.MISCONFIGURED, Kind.BUSY)):
        raise base.OutcomeUnknown("the answer echoes another reference")
    match meaning.kind:
        case Kind.REJECTED:
            raise base.CarrierRejected(meaning.code, meaning.detail, carrier_code=code)
        case Kind.MISCONFIGURED:
            raise base.CarrierMisconfigured(f"{code}: {meaning.detail}")
        case Kind.BUSY:
            raise base.CarrierUnavailable(f"{code}: {meaning.detail}", retry_after=_seconds(retry_after))
        case Kind.OK:
            return


def refusal(codes: Mapping[Any, Meaning], code: object, *, order_no: str) -> base.Rejected:
    """The final no of an order that was accepted; a code that is not documented is a no all the same."""
    known = codes.get(code) if isinstance(code, str | int) else None
    if known is None or known.kind is not Kind.REJECTED:
        known = rejected("carrier_rejected")
    shown = str(code) if isinstance(code, str | int) else ""
    carrier_code = shown if is_token(shown) else ""
    return base.Rejected(known.code, known.detail, carrier_code=carrier_code, carrier_reference=order_no)


# --- shapes: what does not fit proves nothing ---

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ICCID = re.compile(r"[0-9A-Z]{19,20}")
_PLAN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_E164 = re.compile(r"\+86(1[0-9]{10})")


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object without a member twice, or `OutcomeUnknown`."""
    try:
        value = json.loads(body, object_pairs_hook=_members, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise base.OutcomeUnknown("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise base.OutcomeUnknown("the answer is JSON, but not an object")
    return value


def json_reply(reply: base.Reply) -> dict[str, Any]:
    """The object in a reply that says it is JSON, or `OutcomeUnknown`."""
    expect_type(reply, "application/json")
    return json_object(reply.body)


def expect_type(reply: base.Reply, *types: str) -> None:
    content_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in types or "content-encoding" in reply.headers:
        raise base.OutcomeUnknown(f"HTTP {reply.status} that is not {types[0]}")


def is_token(value: object) -> bool:
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def order_no(value: object) -> str:
    """The carrier's own order number, or `OutcomeUnknown`."""
    if not isinstance(value, str) or not is_token(value):
        raise base.OutcomeUnknown("the answer has no order number")
    return value


def national(number: str) -> str:
    """Eleven digits of an E.164 number; another form is our mistake, and nothing was sent."""
    matched = _E164.fullmatch(number)
    if matched is None:
        raise base.CarrierMisconfigured("the number is not a mainland mobile number in E.164")
    return matched[1]


def international(number: object) -> str:
    """E.164 of a carrier's eleven digits, or `OutcomeUnknown`."""
    if not isinstance(number, str) or not re.fullmatch(r"1[0-9]{10}", number):
        raise base.OutcomeUnknown("the answer has no mobile number")
    return f"+86{number}"


def word(table: Mapping[str, str], ours: str) -> str:
    """The dialect's word for one of ours; a missing one is our mistake, and nothing was sent."""
    if ours not in table:
        raise base.CarrierMisconfigured("what is asked for has no word in the dialect")
    return table[ours]


def document_type(table: Mapping[str, str | None], ours: str) -> str:
    """The carrier's code for a kind of document; `CarrierRejected` when it takes none such, before anything is sent."""
    theirs = table.get(ours)
    if theirs is None:
        raise base.CarrierRejected(DOCUMENT_TYPE_NOT_ACCEPTED, REFUSALS[DOCUMENT_TYPE_NOT_ACCEPTED])
    return theirs


def lines_page(
    request: base.LinesRequest,
    *,
    rows: Iterable[tuple[object, object, object, object]],
    states: Mapping[str, base.LineState],
    after: object,
) -> base.LinesPage:
    """A page of (eleven digits, ICCID, the dialect's state, plan), and where the next begins; or `OutcomeUnknown`."""
    lines = []
    for number, iccid, state, plan in rows:
        if not isinstance(iccid, str) or not _ICCID.fullmatch(iccid):
            raise base.OutcomeUnknown("a row has no ICCID")
        if not isinstance(plan, str) or not _PLAN.fullmatch(plan):
            raise base.OutcomeUnknown("a row has no plan")
        if not isinstance(state, str) or state not in states:
            raise base.OutcomeUnknown("a row names a state that is not documented")
        lines.append(base.CarrierLine(international(number), iccid, states[state], plan))
    if len(lines) > request.limit or len({line.number for line in lines}) != len(lines):
        raise base.OutcomeUnknown("the page has more rows than asked for, or one twice")
    if after is None:
        return base.LinesPage(tuple(lines), None)
    # A page that leads nowhere new would be fetched for ever.
    if not isinstance(after, str) or not is_token(after) or after == request.cursor or not lines:
        raise base.OutcomeUnknown("the page does not say where the next begins")
    return base.LinesPage(tuple(lines), after)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member twice")
    return members


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _seconds(value: str | None) -> float | None:
    """Whole seconds, as the carriers document it; never more than an hour."""
    if value is None or not re.fullmatch(r"[0-9]{1,9}", value):
        return None
    return min(float(value), LONGEST_RETRY_AFTER)
