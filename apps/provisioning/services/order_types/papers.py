"""The operator's papers for what it newly sells: today, on this carrier, where the number is at home."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from apps.numbering.models import PhoneNumber
from apps.operators import policies, territory
from apps.operators import selectors as operators
from apps.operators.errors import AgreementNotValid, LicenceNotValid
from apps.operators.models import Licence, WholesaleAgreement
from apps.operators.policies import PolicyKey
from apps.provisioning.states import OrderType


@dataclass(frozen=True, slots=True)
class Papers:
    licence: Licence
    agreement: WholesaleAgreement


def require_papers(*, operator_id: int, host_carrier_id: int, now: datetime) -> Papers:
    """Both valid today, wherever that is. Raises LicenceNotValid or AgreementNotValid."""
    return Papers(
        operators.require_valid_licence(operator_id=operator_id, now=now),
        operators.require_valid_agreement(operator_id=operator_id, host_carrier_id=host_carrier_id, now=now),
    )


def needs_papers(*, order_type: OrderType, operator_id: int, now: datetime) -> bool:
    """Whether such an order for a running line is refused once the licence or agreement has ended; policy says so.

    Suspending, resuming and ending a line never need any: running lines keep working, and must be able to leave.
    """
    asked = policies.get(operator_id=operator_id, key=PolicyKey.ORDERS_NEEDING_PAPERS, now=now)
    return order_type.lower() in asked


@dataclass(frozen=True, slots=True)
class Bite:
    """Papers that have ended: jobs of these operations are not to be sent for the first time, and why not."""

    operations: frozenset[str]
    code: str
    detail: str


def get_bite(*, operator_id: int, host_carrier_id: int, now: datetime) -> Bite | None:
    """What the end of a licence or agreement means for orders that were accepted before it; None while both are valid,
    or where policy lets such orders go on. What the carrier may have been told of goes on in any case.
    """
    try:
        require_papers(operator_id=operator_id, host_carrier_id=host_carrier_id, now=now)
    except (LicenceNotValid, AgreementNotValid) as error:
        keys = (PolicyKey.ORDERS_NEEDING_PAPERS, PolicyKey.PAPERS_AT_FIRST_SEND)
        rules = policies.get_many(operator_id=operator_id, keys=keys, now=now)
        if not rules[PolicyKey.PAPERS_AT_FIRST_SEND]:
            return None
        asked = {code.upper() for code in rules[PolicyKey.ORDERS_NEEDING_PAPERS]}
        return Bite(frozenset({OrderType.ACTIVATE.value, *asked}), error.code, error.detail)
    return None


def require_covered(papers: Papers, number: PhoneNumber, now: datetime) -> None:
    """Some other paper may cover the number's home if these two do not. Raises like `require_papers`."""
    province, city = number.range.home_province, number.range.home_city
    operator_id = papers.licence.operator_id
    place = territory.area(province, city)
    if not territory.covers(papers.licence.areas, place):
        operators.require_valid_licence(operator_id=operator_id, now=now, area=place)
    if not territory.covers(papers.agreement.areas, place):
        operators.require_valid_agreement(
            operator_id=operator_id,
            host_carrier_id=papers.agreement.host_carrier_id,
            now=now,
            province=province,
            city=city,
        )
