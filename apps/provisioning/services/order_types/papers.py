"""The operator's papers for what it newly sells: today, on this carrier, where the number is at home."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from apps.numbering.models import PhoneNumber
from apps.operators import selectors as operators
from apps.operators import territory
from apps.operators.models import Licence, WholesaleAgreement


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
