"""Demands to be verified again, as far as they concern lines: placed on them, lifted from them, made for lists of them.

What is demanded, since when and what comes next is known to subscribers; here lines are made what a demand wants, with
orders like anybody's. Whatever could not be done now is looked at again, so it may be killed, repeated or come late.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction

from apps.core.actor import Actor, ActorKind
from apps.core.db import operation, use_case
from apps.core.errors import DomainError, FieldError
from apps.lines import selectors as line_selectors
from apps.lines.errors import LineNotActive
from apps.lines.models import Line
from apps.lines.states import LIVE_LINE, SuspensionCause, SuspensionKind
from apps.numbering import bulk_file
from apps.numbering.bulk_file import Columns
from apps.numbering.numbers import MalformedNumber, parse_e164
from apps.operators import policies
from apps.operators import selectors as operators
from apps.operators.calendar import china_date
from apps.operators.policies import PolicyKey
from apps.provisioning import selectors
from apps.provisioning.errors import DemandListInvalid
from apps.provisioning.services.order_types.suspension import place_resumption_order, place_suspension_order
from apps.subscribers import selectors as people
from apps.subscribers import services as subscribers
from apps.subscribers.models import ReverificationDemand
from apps.subscribers.services import Wanted
from apps.subscribers.services.reverification import require_demand
from apps.subscribers.states import DemandReason

logger = logging.getLogger(__name__)

# Orders that one transaction places for one demand.
LINES_AT_ONCE = 100
# Documents that are looked at, and lines of a list that are demanded of, in one transaction.
PAGE = 1000
MOST_LINES = 10_000
FAULTS_TOLD = 100
NO_LINE = "The line has ended or has another holder."

_COLUMNS = Columns(
    names={"number": "number", "msisdn": "number", "phone": "number", "号码": "number"},
    needed=(frozenset({"number"}),),
)


@operation
def demand_reverification_of_line(
    *, actor: Actor, line: str, reason: DemandReason, note: str, now: datetime
) -> ReverificationDemand:
    """`subscribers.demand_reverification` of the holder of a line, for this line only.

    :raises NotFound: no such line of this operator. :raises LineNotActive: it is pending or terminated.
    And what that raises.
    """
    found = line_selectors.get_line(actor=actor, uid=line)
    if found.status not in LIVE_LINE:
        raise LineNotActive
    return subscribers.demand_reverification(
        actor=actor,
        subscriber_uid=found.subscriber.uid,
        line_uid=found.uid,
        reason=reason,
        note=note,
        now=now,
    )


@operation
def demand_reverification(*, actor: Actor, line: Line, reason: str, now: datetime) -> None:
    """The line is suspended one-way at once, until somebody settles why: by hand, without the steps of a demand.

    Notice and remedy are stored with the suspension (Anti-Telecom-Fraud Law arts. 11 and 32). Raises as
    `place_suspension_order`.
    """
    place_suspension_order(
        actor=actor,
        line=line.uid,
        kind=SuspensionKind.ONE_WAY,
        reason=SuspensionCause.REVERIFICATION,
        note=reason[:200],
        now=now,
    )


@dataclass(frozen=True, slots=True)
class ListOutcome:
    """What came of a list: how many lines it is demanded of now, how many it was demanded of already."""

    demanded: int
    already: int
    # Rows that are no line of the operator's, which were passed over: (line of the file, code, sentence).
    errors: Sequence[tuple[int, str, str]] = field(default=())


def demand_reverification_of_list(
    *,
    actor: Actor,
    operator_id: int,
    content: bytes,
    reason: DemandReason,
    note: str,
    skip_invalid: bool = False,
    now: datetime,
) -> ListOutcome:
    """For each line of a CSV file with a column `number`; every wrong row is named before anything happens.

    With `skip_invalid` wrong rows are passed over. The same list may be sent again: what is demanded already stays.

    :raises DemandListInvalid: rows are wrong, named in `errors` as "/rows/<line of the file>", or there are too many.
    :raises BulkFileInvalid, BulkFileTooLarge: it is no such file.
    :raises Forbidden, ReasonMissing, NoticeMissing: as `subscribers.demand_reverification`.
    """
    require_demand(actor)
    rows = bulk_file.read(content, _COLUMNS)
    if len(rows) > MOST_LINES:
        raise DemandListInvalid(f"At most {MOST_LINES} lines in one list.")
    wanted, refused = _wanted(actor, operator_id, rows)
    if refused and not (skip_invalid and wanted):
        faults = [FieldError(f"/rows/{line}", code, detail) for line, code, detail in refused[:FAULTS_TOLD]]
        raise DemandListInvalid(
            f"{len(refused)} of {len(rows)} rows are wrong; nothing has been demanded.", errors=faults
        )
    demanded = 0
    for start in range(0, len(wanted), PAGE):
        page = wanted[start : start + PAGE]
        demanded += len(
            subscribers.demand_of_many(
                actor=actor, operator_id=operator_id, reason=reason, wanted=page, note=note, now=now
            )
        )
    return ListOutcome(demanded, len(wanted) - demanded, refused)


def warn_of_ending_documents(*, actor: Actor, now: datetime) -> int:
    """Demands a verification with a new document of everybody who has a line and whose document ends; how many.

    Walks over an index, a bounded page and transaction at a time; run again it finds what is new.
    """
    warned = 0
    for operator in operators.list_operators(actor=actor):
        days = policies.get(operator_id=operator.pk, key=PolicyKey.DOCUMENT_WARNING_DAYS, now=now)
        until = china_date(now) + timedelta(days=days)
        after = None
        while page := people.list_ending_documents(
            operator_id=operator.pk, until=until, after=after, limit=PAGE
        ):
            after = (page[-1].valid_until, page[-1].id)
            holders = {document.subscriber_id for document in page if document.is_new}
            if holders:
                holders = line_selectors.list_holders(operator_id=operator.pk, subscriber_ids=holders)
            ids = [each.id for each in page if each.is_new and each.subscriber_id in holders]
            if ids:
                warned += subscribers.demand_for_documents(
                    actor=actor, operator_id=operator.pk, document_ids=ids, now=now
                )
    return warned


def apply_demands(*, now: datetime, limit: int = 500) -> int:
    """Looks at the lines of up to `limit` demands that are due for it, longest due first; returns how many were.

    One that cannot be dealt with costs the others nothing.
    """
    looked = 0
    for demand_id in people.list_demands_to_apply(now=now, limit=limit):
        try:
            looked += apply_demand(demand_id=demand_id, now=now)
        except Exception:
            logger.exception("re-verification not applied", extra={"demand_key": demand_id})
            put_off_demand(demand_id=demand_id, now=now)
    return looked


@use_case
def put_off_demand(*, demand_id: int, now: datetime) -> None:
    """Lets a demand that could not be dealt with wait, longer each time, so that it never stands before the others."""
    if (demand := subscribers.lock_to_apply(demand_id=demand_id, now=now)) is not None:
        subscribers.note_applied(demand=demand, settled=False, more=False, now=now)


@use_case
def apply_demand(*, demand_id: int, now: datetime) -> bool:
    """Places an order for each line that is not as the demand wants it; False when nobody had to look.

    Holds the demand meanwhile: a pass waits, and what it then wants is looked at next. A line that something else is
    being done to is looked at again later. A demand that no line is left for is withdrawn.
    """
    demand = subscribers.lock_to_apply(demand_id=demand_id, now=now)
    if demand is None:
        return False
    actor = Actor(
        kind=ActorKind.SYSTEM, id=demand.uid, label="re-verification", operator_id=demand.operator_id
    )
    if demand.is_open and not selectors.has_line_under(demand=demand):
        subscribers.withdraw_demand(actor=actor, demand_uid=demand.uid, reason=NO_LINE, now=now)
        return True
    lines = selectors.list_lines_to_move(demand=demand, limit=LINES_AT_ONCE)
    moved = sum(_move(actor, demand, line, now) for line, free in lines if free)
    subscribers.note_applied(demand=demand, settled=not lines, more=moved == LINES_AT_ONCE, now=now)
    return True


def _move(actor: Actor, demand: ReverificationDemand, line: str, now: datetime) -> bool:
    """False when another time is better: somebody was faster, or the operator is not connected to the carrier."""
    cause = SuspensionCause.REVERIFICATION
    try:
        with transaction.atomic():
            if demand.is_open:
                kind = SuspensionKind(demand.status)
                place_suspension_order(actor=actor, line=line, kind=kind, reason=cause, now=now)
            else:
                place_resumption_order(actor=actor, line=line, reason=cause, now=now)
    except DomainError as error:
        logger.info("line left for later", extra={"demand": demand.uid, "line": line, "code": error.code})
        return False
    return True


def _wanted(
    actor: Actor, operator_id: int, rows: Sequence[bulk_file.FileRow]
) -> tuple[list[Wanted], list[tuple[int, str, str]]]:
    """What the rows ask for, each line once, and the rows that ask for nothing that there is."""
    numbers: dict[int, int] = {}
    refused = []
    for row in rows:
        try:
            numbers[row.line] = parse_e164(row.fields.get("number", "").replace(" ", ""))
        except MalformedNumber:
            refused.append((row.line, "number_malformed", "Not a mainland mobile number."))
    lines = line_selectors.get_lines_of_numbers(actor=actor, numbers=set(numbers.values()))
    wanted = {}
    for row_line, number in numbers.items():
        line = lines.get(number)
        # Another operator's number is answered as one that nobody has.
        if line is None or line.operator_id != operator_id or line.status not in LIVE_LINE:
            refused.append((row_line, "line_not_found", "No running line has this number."))
        else:
            wanted[line.pk] = Wanted(line.subscriber_id, line.uid)
    return list(wanted.values()), sorted(refused)
