"""Rows of a file of leases: checked all together, planned all together, activated some at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from django.db import IntegrityError, connection, transaction

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import serialize_on
from apps.core.errors import DomainError, FieldError
from apps.numbering.blocks import Block
from apps.numbering.bulk_file import Columns, FileRow
from apps.numbering.errors import (
    AccessCodeMismatch,
    BulkFileTooLarge,
    RangeCrossesHomeArea,
    RangeOverlap,
)
from apps.numbering.models import BulkRow, BulkRun, NumberRange
from apps.numbering.numbers import BLOCK
from apps.numbering.services.leasing import activate_ranges
from apps.numbering.services.terms import LeaseRules, LeaseTerms, audited, new_range, refusal_of
from apps.numbering.states import RangeStatus, RowStatus
from apps.operators import selectors as operators
from apps.operators.calendar import china_date
from apps.operators.errors import AgreementNotValid
from apps.operators.models import WholesaleAgreement

COLUMNS = Columns(
    {
        "carrier": "carrier",
        "运营商": "carrier",
        "contractno": "contract_no",
        "agreement": "contract_no",
        "合同号": "contract_no",
        "prefix": "prefix",
        "号段": "prefix",
        "homeprovince": "home_province",
        "省": "home_province",
        "省份": "home_province",
        "homecity": "home_city",
        "城市": "home_city",
        "地市": "home_city",
        "leasedfrom": "leased_from",
        "开始日期": "leased_from",
        "leaseduntil": "leased_until",
        "结束日期": "leased_until",
        "contractreference": "contract_reference",
        "monthlyfee": "monthly_fee",
        "月租": "monthly_fee",
        "minimumuse": "minimum_use",
    },
    (
        frozenset({"carrier", "contract_no"}),
        *(
            frozenset({name})
            for name in ("prefix", "home_province", "home_city", "leased_from", "leased_until")
        ),
    ),
)
# In one file: each is locked while all are planned (migration 0004), and the database has room for some 12,000 locks;
# so one file at a time.
MAX_HOME_BLOCKS = 5_000

_DAY = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})")
# Where an error that names no field of its own belongs.
_POINTERS: dict[type[DomainError], str] = {
    AccessCodeMismatch: "/prefix",
    AgreementNotValid: "/contract_no",
    RangeCrossesHomeArea: "/prefix",
    RangeOverlap: "/prefix",
}

_TAKEN = f"""
SELECT wanted.line,
    EXISTS (
        SELECT FROM numbering_numberrange AS r
        WHERE r.status <> '{RangeStatus.RETURNED.value}'
            AND r.span && int8range(wanted.first, wanted.last, '[]')
    ),
    EXISTS (
        SELECT FROM numbering_numberrange AS r
        WHERE r.status <> '{RangeStatus.RETURNED.value}'
            AND r.span && int8range(wanted.first / {BLOCK} * {BLOCK}, wanted.first / {BLOCK} * {BLOCK} + {BLOCK})
            AND (r.home_province, r.home_city) <> (wanted.province, wanted.city)
    )
FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::text[], %s::text[])
    AS wanted(line, first, last, province, city)
"""  # noqa: S608 - only our own constants are formatted in

# The locks that each insert takes (migration 0004), all of them first and in one order.
_LOCK_HOMES = """
SELECT pg_advisory_xact_lock(hashtextextended('numbering.home:' || block, 0))
FROM (SELECT DISTINCT block FROM unnest(%s::bigint[]) AS block ORDER BY block) AS ordered
"""
_LINK = """
UPDATE numbering_bulkrow AS b SET range_id = planned.range_id
FROM unnest(%s::int[], %s::bigint[]) AS planned(line, range_id)
WHERE b.run_id = %s::bigint AND b.line = planned.line
"""


@dataclass(slots=True)
class LeaseRow:
    """A row that can be read: what it wants, and the block that it means."""

    row: FileRow
    terms: LeaseTerms
    block: Block


def check(*, operator_id: int, rows: Sequence[FileRow], now: datetime) -> list[LeaseRow]:
    """Adds to each row what is wrong with it; returns those with which nothing is, ascending by number.

    :raises BulkFileTooLarge: more than MAX_HOME_BLOCKS ten-thousand blocks.
    """
    rules = LeaseRules(operator_id=operator_id, now=now)
    papers = _Papers(operator_id, now)
    found = [lease for row in rows if (lease := _read(row, papers, rules)) is not None]
    if len({lease.block.home_block for lease in found}) > MAX_HOME_BLOCKS:
        raise BulkFileTooLarge(f"At most {MAX_HOME_BLOCKS} ten-thousand blocks; make several files of it.")
    found.sort(key=lambda lease: (lease.block.first, lease.row.line))
    _check_each_other(found)
    _check_leased(found)
    return [lease for lease in found if not lease.row.errors]


def plan(*, run: BulkRun, leases: Sequence[LeaseRow], actor: Actor, now: datetime) -> None:
    """Plans all of them, or none.

    :raises RangeOverlap: :raises RangeCrossesHomeArea: somebody leased them since they were checked.
    """
    ranges = [new_range(lease.terms, lease.block, now=now) for lease in leases]
    serialize_on("numbering.plan_leases")
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_HOMES, [[lease.block.home_block for lease in leases]])
    try:
        with transaction.atomic():
            NumberRange.objects.bulk_create(ranges, batch_size=1000)
    except IntegrityError as error:
        if refusal := refusal_of(error):
            raise refusal from None
        raise
    lines = [lease.row.line for lease in leases]
    with connection.cursor() as cursor:
        cursor.execute(_LINK, [lines, [planned.pk for planned in ranges], run.pk])
    audit.record_many(
        actor=actor,
        action="range.plan",
        target_type="number_range",
        entries=[
            audit.Entry(planned.uid, run.operator_id, after=audited(planned) | {"run": run.uid})
            for planned in ranges
        ],
        now=now,
    )


def activate(*, rows: Sequence[BulkRow], actor: Actor, now: datetime) -> None:
    """Activates the rows' ranges; one that begins later, or that somebody has withdrawn or begun, is left as it is.

    Marks each row SUCCEEDED, or FAILED with the reason: its range stays planned then.
    """
    keys = [row.range_id for row in rows if row.range_id is not None]
    ranges = NumberRange.objects.select_for_update(of=("self",)).select_related("agreement")
    today = china_date(now)
    planned = [
        each
        for each in ranges.filter(pk__in=keys).order_by("pk")
        if each.status == RangeStatus.PLANNED and each.leased_from <= today
    ]
    refusals = activate_ranges(actor=actor, planned=planned, now=now) if planned else {}
    done = []
    for row in rows:
        if error := refusals.get(row.range_id or 0):
            row.settle(RowStatus.FAILED, told(_errors_of(error)))
        else:
            done.append(row.pk)
    BulkRow.objects.filter(pk__in=done).update(status=RowStatus.SUCCEEDED, errors=[])


def told(errors: Sequence[FieldError]) -> list[dict[str, str]]:
    """As they are kept with a row."""
    return [{"pointer": each.pointer, "code": each.code, "detail": each.detail} for each in errors]


class _Papers:
    """The operator's agreements, read once."""

    def __init__(self, operator_id: int, now: datetime) -> None:
        system = Actor.system("numbering.bulk", operator_id=operator_id)
        agreements = operators.list_agreements(actor=system).select_related("host_carrier")
        self._by_number = {agreement.contract_no: agreement for agreement in agreements}
        self._today = china_date(now)

    def find(self, row: FileRow, leased_from: date | None) -> WholesaleAgreement | None:
        """The agreement that the row names, or the one with that host carrier that is in force on the first day."""
        number, carrier = row.fields.get("contract_no", ""), row.fields.get("carrier", "").lower()
        if number:
            found = self._by_number.get(number)
            if found is None:
                row.refuse(
                    "contract_no", "agreement_unknown", "The operator has no agreement of this number."
                )
            elif carrier and found.host_carrier.code != carrier:
                row.refuse("carrier", "carrier_mismatch", "The agreement is with another host carrier.")
            return found
        with_carrier = [each for each in self._by_number.values() if each.host_carrier.code == carrier]
        if not with_carrier:
            row.refuse(
                "carrier", "agreement_unknown", "The operator has no agreement with such a host carrier."
            )
            return None
        day = max(leased_from or self._today, self._today)
        in_force = [
            each
            for each in with_carrier
            if each.valid_from <= day < each.valid_until and each.ended_at is None
        ]
        return max(in_force or with_carrier, key=lambda each: each.valid_until)


def _read(row: FileRow, papers: _Papers, rules: LeaseRules) -> LeaseRow | None:
    """None when something is wrong with the row, which then says so."""
    leased_from, leased_until = _day(row, "leased_from"), _day(row, "leased_until")
    fee, use = _amount(row), _percent(row)
    agreement = papers.find(row, leased_from)
    if row.errors or agreement is None or leased_from is None or leased_until is None:
        return None
    terms = LeaseTerms(
        agreement=agreement,
        prefix=row.fields.get("prefix", ""),
        home_province=row.fields.get("home_province", ""),
        home_city=row.fields.get("home_city", ""),
        leased_from=leased_from,
        leased_until=leased_until,
        contract_reference=row.fields.get("contract_reference", ""),
        monthly_fee=fee,
        minimum_use=use,
    )
    try:
        return LeaseRow(row, terms, rules.check(terms))
    except DomainError as error:
        row.errors += _errors_of(error)
        return None


def _day(row: FileRow, column: str) -> date | None:
    match = _DAY.fullmatch(row.fields.get(column, ""))
    if match:
        try:
            return date(*map(int, match.groups()))
        except ValueError:
            pass
    row.refuse(column, "invalid", "A day such as 2026-01-31.")
    return None


def _amount(row: FileRow) -> Decimal:
    try:
        return Decimal(row.fields.get("monthly_fee") or "0")
    except InvalidOperation:
        row.refuse("monthly_fee", "invalid", "An amount such as 0.50.")
        return Decimal(0)


def _percent(row: FileRow) -> int:
    text = row.fields.get("minimum_use") or "0"
    if text.isascii() and text.isdigit() and len(text) <= 3:
        return int(text)
    row.refuse("minimum_use", "invalid", "Percent, from 0 to 100.")
    return 0


def _errors_of(error: DomainError) -> list[FieldError]:
    pointer = _POINTERS.get(type(error), "")
    return list(error.errors) or [FieldError(pointer, error.code, error.detail)]


def _check_each_other(leases: Sequence[LeaseRow]) -> None:
    """`leases` ascending by first number: who overlaps anything before overlaps what reaches furthest."""
    furthest: LeaseRow | None = None
    told = set[int]()
    homes: dict[int, LeaseRow] = {}
    for lease in leases:
        if furthest is not None and lease.block.first <= furthest.block.last:
            for one, other in ((lease, furthest), (furthest, lease)):
                # One overlap is enough to say: a file may have the same line ten thousand times.
                if one.row.line not in told:
                    one.row.refuse("prefix", RangeOverlap.code, f"Overlaps line {other.row.line}.")
                    told.add(one.row.line)
        if furthest is None or lease.block.last > furthest.block.last:
            furthest = lease
        known = homes.setdefault(lease.block.home_block, lease)
        if known.terms.home != lease.terms.home:
            lease.row.refuse(
                "home_city",
                RangeCrossesHomeArea.code,
                f"Line {known.row.line} says {known.terms.home} of the same ten-thousand block.",
            )


def _check_leased(leases: Sequence[LeaseRow]) -> None:
    for lease, (overlaps, elsewhere) in _taken(leases):
        if overlaps:
            lease.row.refuse("prefix", RangeOverlap.code, RangeOverlap.detail)
        elif elsewhere:
            lease.row.refuse("home_city", RangeCrossesHomeArea.code, "The block has another home area.")


def _taken(leases: Sequence[LeaseRow]) -> Iterator[tuple[LeaseRow, tuple[bool, bool]]]:
    by_line = {lease.row.line: lease for lease in leases}
    with connection.cursor() as cursor:
        cursor.execute(
            _TAKEN,
            [
                list(by_line),
                [lease.block.first for lease in leases],
                [lease.block.last for lease in leases],
                [lease.terms.home_province for lease in leases],
                [lease.terms.home_city for lease in leases],
            ],
        )
        for line, overlaps, elsewhere in cursor.fetchall():
            yield by_line[line], (overlaps, elsewhere)
