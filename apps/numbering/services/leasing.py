"""Leasing ranges from host carriers: planned, begun, prolonged. How they end: services.returns."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

from django.db import IntegrityError, transaction

from apps.audit import selectors as trail
from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation, outside_transaction, serialize_on
from apps.core.errors import DomainError, FieldError, InvalidTransition, NotFound
from apps.numbering import selectors
from apps.numbering.errors import LeaseEnded, LeaseNotLater, RangeInvalid, RangeNotDue
from apps.numbering.models import NumberRange
from apps.numbering.services.materialise import create_numbers
from apps.numbering.services.single import MANAGE_NUMBERS, record_range
from apps.numbering.services.terms import LeaseRules, LeaseTerms, audited, new_range, refusal_of
from apps.numbering.states import RangeStatus
from apps.operators import territory
from apps.operators.calendar import china_date
from apps.operators.errors import AgreementNotValid
from apps.operators.models import VirtualOperator, WholesaleAgreement
from apps.operators.states import Validity

logger = logging.getLogger(__name__)

# Leases that one message begins: well within the time limit of a task.
MOST_AT_ONCE = 500

ACTIVATION_FAILED = "range.activate_failed"


@operation
def plan_range(
    *,
    actor: Actor,
    operator: VirtualOperator,
    agreement: WholesaleAgreement,
    home_province: str,
    home_city: str,
    leased_from: date,
    leased_until: date,
    now: datetime,
    prefix: str = "",
    first: int | None = None,
    last: int | None = None,
    contract_reference: str = "",
    monthly_fee: Decimal = Decimal(0),
    minimum_use: int = 0,
) -> NumberRange:
    """Records a block as PLANNED: nobody else can lease it, and it has no numbers before it is activated.

    The block is named by its 7 or 8 leading digits (9 or 10 of numbers of machines), or by its first and last number.
    The lease runs from `leased_from`, which may lie ahead, up to, not including, `leased_until`. Guaranteed: licence
    is valid now and the agreement from that day on, both cover the home area, the digits belong to the agreement's host
    carrier, and no number is in two ranges. Telecom Regulations art. 28: resources are used only as allocated.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: another operator's business.
    :raises LicenceNotValid: :raises AgreementNotValid: not valid, not covering the area, or not this operator's.
    :raises RangeInvalid: malformed block, area, terms or dates, all listed. :raises AccessCodeMismatch: wrong host.
    :raises RangeCrossesHomeArea: several ten-thousand blocks, or a block that has another home area.
    :raises RangeOverlap: some of the numbers are leased, by whomever.
    """
    terms = LeaseTerms(
        agreement=agreement,
        prefix=prefix,
        first=first,
        last=last,
        home_province=home_province,
        home_city=home_city,
        leased_from=leased_from,
        leased_until=leased_until,
        contract_reference=contract_reference,
        monthly_fee=monthly_fee,
        minimum_use=minimum_use,
    )
    planned = _plan(actor, operator, terms, now, has_begun=False)
    record_range(actor, "range.plan", planned, now, after=audited(planned))
    return planned


@operation
def activate_range(*, actor: Actor, range_uid: str, now: datetime) -> NumberRange:
    """PLANNED -> ACTIVE: creates the numbers, free and graded. Not before its first day in China.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: not PLANNED. :raises RangeNotDue: :raises LeaseEnded:
    :raises LicenceNotValid: :raises AgreementNotValid: not valid now, or not covering the home area.
    """
    actor.require(MANAGE_NUMBERS)
    planned = selectors.get_range_for_update(actor=actor, uid=range_uid)
    _check_due(planned, LeaseRules(operator_id=planned.operator_id, now=now), now)
    _begin(planned, now)
    record_range(actor, "range.activate", planned, now, before={"status": RangeStatus.PLANNED})
    return planned


@operation
def activate_ranges(
    *, actor: Actor, planned: Sequence[NumberRange], now: datetime
) -> dict[int, DomainError | None]:
    """`activate_range` for many of one operator, in one transaction and with one statement for all their numbers.

    Answers for each key what kept it from being activated, or None. `planned` are rows that the caller has locked.

    :raises Forbidden: without the right numbering.manage.
    """
    actor.require(MANAGE_NUMBERS)
    refusals: dict[int, DomainError | None] = {}
    due: list[NumberRange] = []
    rules = LeaseRules(operator_id=planned[0].operator_id, now=now)
    for each in planned:
        try:
            _check_due(each, rules, now)
        except DomainError as error:
            refusals[each.pk] = error
        else:
            refusals[each.pk] = None
            due.append(each)
    if due:
        NumberRange.activate(*due, now=now)
        create_numbers(*due)
        audit.record_many(
            actor=actor,
            action="range.activate",
            target_type="number_range",
            entries=[
                audit.Entry(
                    each.uid,
                    each.operator_id,
                    before={"status": RangeStatus.PLANNED},
                    after={"status": each.status},
                )
                for each in due
            ],
            now=now,
        )
    return refusals


def _check_due(planned: NumberRange, rules: LeaseRules, now: datetime) -> None:
    """:raises InvalidTransition: not PLANNED. :raises RangeNotDue: :raises LeaseEnded:"""
    if planned.status != RangeStatus.PLANNED:
        raise InvalidTransition("Only a planned range can be activated.")
    today = china_date(now)
    if today < planned.leased_from:
        raise RangeNotDue
    if today >= planned.leased_until:
        raise LeaseEnded
    rules.check_papers(planned.agreement, home=_home(planned), leased_from=planned.leased_from)


@operation
def lease_range(
    *,
    actor: Actor,
    operator: VirtualOperator,
    agreement: WholesaleAgreement,
    prefix: str,
    home_province: str,
    home_city: str,
    leased_from: date,
    leased_until: date,
    now: datetime,
    contract_reference: str = "",
    monthly_fee: Decimal = Decimal(0),
    minimum_use: int = 0,
) -> NumberRange:
    """Plans the block and activates it: for a lease that has begun. Guarantees what both do.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: another operator's business.
    :raises LicenceNotValid: :raises AgreementNotValid: not valid now, not covering the area, or not this operator's.
    :raises RangeInvalid: malformed prefix, area, terms or dates, all listed. :raises AccessCodeMismatch: wrong host.
    :raises RangeCrossesHomeArea: :raises RangeOverlap: some of the numbers are leased, by whomever.
    """
    terms = LeaseTerms(
        agreement=agreement,
        prefix=prefix,
        home_province=home_province,
        home_city=home_city,
        leased_from=leased_from,
        leased_until=leased_until,
        contract_reference=contract_reference,
        monthly_fee=monthly_fee,
        minimum_use=minimum_use,
    )
    leased = _plan(actor, operator, terms, now, has_begun=True)
    _begin(leased, now)
    record_range(actor, "range.lease", leased, now, after=audited(leased))
    return leased


@operation
def withdraw_plan(*, actor: Actor, range_uid: str, now: datetime, reason: str = "") -> NumberRange:
    """PLANNED -> RETURNED: the block is not leased after all, and anybody may lease it.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: not PLANNED.
    """
    actor.require(MANAGE_NUMBERS)
    planned = selectors.get_range_for_update(actor=actor, uid=range_uid)
    if planned.status != RangeStatus.PLANNED:
        raise InvalidTransition("Only a plan can be withdrawn; a leased range is returned.")
    planned.finish_return(now=now)
    record_range(actor, "range.withdraw", planned, now, before={"status": RangeStatus.PLANNED}, reason=reason)
    return planned


@operation
def renew_lease(
    *,
    actor: Actor,
    range_uid: str,
    leased_until: date,
    now: datetime,
    agreement: WholesaleAgreement | None = None,
) -> NumberRange:
    """Prolongs the lease of a planned or active range, within its agreement or under a newer one with the same host.

    A lease that is over already can be renewed too; what it could not sell meanwhile it sells again.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: unknown or another operator's.
    :raises InvalidTransition: being returned, or returned. :raises LeaseNotLater:
    :raises RangeInvalid: the agreement ends earlier.
    :raises LicenceNotValid: :raises AgreementNotValid: not valid, another operator's or host carrier's, or not there.
    """
    actor.require(MANAGE_NUMBERS)
    leased = selectors.get_range_for_update(actor=actor, uid=range_uid)
    if leased.status not in (RangeStatus.PLANNED, RangeStatus.ACTIVE):
        raise InvalidTransition("A range that is given back is not renewed; keep it first.")
    basis = agreement or leased.agreement
    if basis.host_carrier_id != leased.host_carrier_id:
        raise AgreementNotValid("The agreement is with another host carrier.", reason=Validity.NONE)
    LeaseRules(operator_id=leased.operator_id, now=now).check_papers(
        basis, home=_home(leased), leased_from=leased.leased_from
    )
    if leased_until <= leased.leased_until or leased_until <= china_date(now):
        raise LeaseNotLater
    if leased_until > basis.valid_until:
        error = FieldError("/leased_until", "after_agreement", "The agreement ends earlier.")
        raise RangeInvalid(errors=[error])
    before = {"leased_until": str(leased.leased_until), "agreement": leased.agreement.uid}
    leased.renew(until=leased_until, agreement=basis)
    record_range(
        actor,
        "range.renew",
        leased,
        now,
        before=before,
        after={"leased_until": str(leased_until), "agreement": basis.uid},
    )
    return leased


@outside_transaction
def begin_leases(*, actor: Actor, now: datetime, limit: int = MOST_AT_ONCE) -> int:
    """Activates the planned ranges whose first day has come, each in a transaction of its own; returns how many.

    One that cannot be activated stays a plan, and its audit trail says why, once per reason. Two at once are safe.
    """
    begun = 0
    for planned in selectors.list_due_plans(now=now, limit=limit):
        try:
            activate_range(actor=actor, range_uid=planned.uid, now=now)
            begun += 1
        except InvalidTransition:
            continue  # somebody was faster
        except DomainError as error:
            _note_failure(actor=actor, planned=planned, error=error, now=now)
        except Exception:  # whatever it is: the others begin all the same, and this one in an hour
            logger.exception("lease not begun", extra={"range": planned.uid})
    return begun


@operation
def _note_failure(*, actor: Actor, planned: NumberRange, error: DomainError, now: datetime) -> None:
    logger.warning("lease not begun", extra={"range": planned.uid, "code": error.code})
    events = trail.list_for_target(actor=actor, target_type="number_range", target_ids=[planned.uid])
    after = {"code": error.code, "detail": error.detail}
    last = events.order_by("-id").first()
    if last is None or last.action != ACTIVATION_FAILED or last.after != after:
        record_range(actor, ACTIVATION_FAILED, planned, now, after=after)


def _plan(
    actor: Actor, operator: VirtualOperator, terms: LeaseTerms, now: datetime, *, has_begun: bool
) -> NumberRange:
    """:raises Forbidden: :raises NotFound: another operator's business."""
    actor.require(MANAGE_NUMBERS)
    if not actor.sees(operator.pk):
        raise NotFound
    block = LeaseRules(operator_id=operator.pk, now=now).check(terms, has_begun=has_begun)
    planned = new_range(terms, block, now=now)
    # Two that overlap, at once, could each wait for the other's row; the trigger of migration 0004 takes the same lock.
    serialize_on(f"numbering.home:{block.home_block}")
    try:
        with transaction.atomic():
            planned.save(force_insert=True)
    except IntegrityError as error:
        if refusal := refusal_of(error):
            raise refusal from None
        raise
    return planned


def _begin(planned: NumberRange, now: datetime) -> None:
    NumberRange.activate(planned, now=now)
    create_numbers(planned)


def _home(leased: NumberRange) -> str:
    return territory.area(leased.home_province, leased.home_city)
