"""Leasing ranges from host carriers."""

from __future__ import annotations

import re
from datetime import date, datetime

from django.db import IntegrityError, connection, transaction

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation, violated_constraint
from apps.core.errors import FieldError, NotFound
from apps.numbering.errors import AccessCodeMismatch, RangeInvalid, RangeOverlap
from apps.numbering.models import NumberRange
from apps.numbering.numbers import DIGITS
from apps.numbering.states import NumberGrade, NumberStatus, RangeStatus
from apps.operators import selectors as operators
from apps.operators import territory
from apps.operators.calendar import china_date
from apps.operators.errors import AgreementNotValid
from apps.operators.models import VirtualOperator, WholesaleAgreement
from apps.operators.states import Validity

# The right that an actor needs.
MANAGE_NUMBERS = "numbering.manage"

# A ten-thousand block (万号段) or a thousand block (千号段); hosts allocate nothing else to resellers.
_PREFIX = re.compile(r"1[0-9]{6,7}")

_MATERIALISE = f"""
INSERT INTO numbering_phonenumber (number, range_id, operator_id, status, grade)
SELECT number, %s, %s, {NumberStatus.AVAILABLE.value}, {NumberGrade.ORDINARY.value}
FROM generate_series(%s::bigint, %s::bigint) AS number
"""  # noqa: S608 - only our own constants are formatted in


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
) -> NumberRange:
    """Records the block of all numbers with these 7 or 8 leading digits as leased, and creates the numbers, free.

    The lease runs from `leased_from`, today or earlier, up to, not including, `leased_until`. Guaranteed: licence and
    agreement are valid now and cover the home area, the digits belong to the agreement's host carrier, and no number is
    in two ranges. Telecom Regulations art. 28: resources are used only as allocated, hence the checks.

    :raises Forbidden: without the right numbering.manage. :raises NotFound: another operator's business.
    :raises LicenceNotValid: :raises AgreementNotValid: not valid now, not covering the area, or not this operator's.
    :raises RangeInvalid: malformed prefix, area or dates, all listed. :raises AccessCodeMismatch: wrong host carrier.
    :raises RangeOverlap: some of the numbers are leased, by whomever.
    """
    actor.require(MANAGE_NUMBERS)
    if not actor.sees(operator.pk):
        raise NotFound
    _check_shape(prefix, home_province, home_city, leased_from, leased_until, agreement, now)
    operators.require_valid_licence(
        operator_id=operator.pk, now=now, area=territory.area(home_province, home_city)
    )
    _check_agreement(operator, agreement, territory.area(home_province, home_city), now)
    access_code = operators.get_access_code(digits=prefix)
    if access_code is None or access_code.host_carrier_id != agreement.host_carrier_id:
        raise AccessCodeMismatch
    size = 10 ** (DIGITS - len(prefix))
    leased = NumberRange(
        operator=operator,
        agreement=agreement,
        host_carrier_id=agreement.host_carrier_id,
        prefix=prefix,
        first=int(prefix) * size,
        last=int(prefix) * size + size - 1,
        home_province=home_province,
        home_city=home_city,
        status=RangeStatus.ACTIVE,
        leased_from=leased_from,
        leased_until=leased_until,
        created_at=now,
    )
    _insert(leased)
    _materialise(leased)
    audit.record(
        actor=actor,
        action="range.lease",
        target_type="number_range",
        target_id=leased.uid,
        operator_id=operator.pk,
        after={
            "status": leased.status,
            "prefix": prefix,
            "agreement": agreement.uid,
            "home": territory.area(home_province, home_city),
            "leased_from": str(leased_from),
            "leased_until": str(leased_until),
        },
        now=now,
    )
    return leased


def _check_shape(
    prefix: str,
    home_province: str,
    home_city: str,
    leased_from: date,
    leased_until: date,
    agreement: WholesaleAgreement,
    now: datetime,
) -> None:
    found = []
    if not _PREFIX.fullmatch(prefix):
        found.append(FieldError("/prefix", "invalid", "7 or 8 digits, the first a 1."))
    for name, place in (("home_province", home_province), ("home_city", home_city)):
        if not place or "/" in place or place != place.strip() or len(place) > 32:
            found.append(FieldError(f"/{name}", "invalid", "The name of one place, at most 32 characters."))
    if leased_until <= leased_from or leased_until <= china_date(now):
        found.append(FieldError("/leased_until", "invalid", "After the first day, and in the future."))
    elif leased_until > agreement.valid_until:
        found.append(FieldError("/leased_until", "after_agreement", "The agreement ends earlier."))
    if leased_from > china_date(now):
        found.append(FieldError("/leased_from", "in_future", "Today or earlier."))
    elif leased_from < agreement.valid_from:
        found.append(FieldError("/leased_from", "before_agreement", "The agreement begins later."))
    if found:
        raise RangeInvalid(errors=found)


def _check_agreement(
    operator: VirtualOperator, agreement: WholesaleAgreement, place: str, now: datetime
) -> None:
    own = agreement.operator_id == operator.pk
    state = agreement.validity(now=now, place=place) if own else Validity.NONE
    if state is not Validity.VALID:
        raise AgreementNotValid(reason=state)


def _insert(leased: NumberRange) -> None:
    try:
        with transaction.atomic():
            leased.save(force_insert=True)
    except IntegrityError as error:
        if violated_constraint(error) == "number_range_no_overlap":
            raise RangeOverlap from None
        raise


def _materialise(leased: NumberRange) -> None:
    """All numbers of the range in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(_MATERIALISE, [leased.pk, leased.operator_id, leased.first, leased.last])
