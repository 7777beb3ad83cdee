"""What must be true of a lease before it is written down: the same for one lease and for every row of a file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal

from django.db import IntegrityError

from apps.core.db import violated_constraint
from apps.core.errors import DomainError, FieldError
from apps.numbering.blocks import Block
from apps.numbering.errors import AccessCodeMismatch, RangeCrossesHomeArea, RangeInvalid, RangeOverlap
from apps.numbering.models import NumberRange
from apps.numbering.states import RangeStatus
from apps.operators import selectors as operators
from apps.operators import territory
from apps.operators.calendar import CHINA, china_date
from apps.operators.errors import AgreementNotValid, LicenceNotValid
from apps.operators.models import AccessCode, WholesaleAgreement
from apps.operators.states import Validity

_HIGHEST_FEE = Decimal("999999.99")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTerms:
    """What somebody wants to lease, and how. The block by its leading digits, or by its first and last number."""

    agreement: WholesaleAgreement
    prefix: str = ""
    first: int | None = None
    last: int | None = None
    home_province: str
    home_city: str
    leased_from: date
    leased_until: date
    contract_reference: str = ""
    monthly_fee: Decimal = Decimal(0)
    minimum_use: int = 0

    @property
    def home(self) -> str:
        return territory.area(self.home_province, self.home_city)

    def block(self) -> Block:
        """:raises RangeInvalid: no block. :raises RangeCrossesHomeArea: several ten-thousand blocks."""
        if self.first is not None and self.last is not None and not self.prefix:
            return Block.between(self.first, self.last)
        return Block.of_prefix(self.prefix)


class LeaseRules:
    """Checks leases of one operator. What it reads it keeps: a file of thousands costs no more queries than a lease."""

    def __init__(self, *, operator_id: int, now: datetime) -> None:
        self._operator_id = operator_id
        self._now = now
        self._licences: dict[str, LicenceNotValid | None] = {}
        self._access_codes: dict[str, AccessCode] | None = None

    def check(self, terms: LeaseTerms, *, has_begun: bool = False) -> Block:
        """The block, when it may be leased like this; `has_begun` demands that the first day is not in the future.

        :raises RangeInvalid: malformed block, area, terms or dates, all listed; or the wrong number of digits.
        :raises RangeCrossesHomeArea: :raises LicenceNotValid: not now, or not there.
        :raises AgreementNotValid: not this operator's, not on the first day (or today, when that is over), not there.
        :raises AccessCodeMismatch: the digits belong to another host carrier, or to nobody.
        """
        block = self._check_shape(terms, has_begun)
        self.check_papers(terms.agreement, home=terms.home, leased_from=terms.leased_from)
        access_code = self._access_code(block.prefix)
        if access_code is None or access_code.host_carrier_id != terms.agreement.host_carrier_id:
            raise AccessCodeMismatch
        if access_code.digits != block.digits:
            detail = f"Numbers with this access code have {access_code.digits} digits."
            raise RangeInvalid(errors=[FieldError("/prefix", "wrong_length", detail)])
        return block

    def check_papers(self, agreement: WholesaleAgreement, *, home: str, leased_from: date) -> None:
        """:raises LicenceNotValid: :raises AgreementNotValid: as `check` says."""
        if home not in self._licences:
            try:
                operators.require_valid_licence(operator_id=self._operator_id, now=self._now, area=home)
            except LicenceNotValid as error:
                self._licences[home] = error
            else:
                self._licences[home] = None
        if (refusal := self._licences[home]) is not None:
            raise refusal
        begins = max(self._now, datetime.combine(leased_from, time.min, tzinfo=CHINA))
        own = agreement.operator_id == self._operator_id
        state = agreement.validity(now=begins, place=home) if own else Validity.NONE
        if state is not Validity.VALID:
            raise AgreementNotValid(reason=state)

    def _check_shape(self, terms: LeaseTerms, has_begun: bool) -> Block:
        """:raises RangeInvalid: all that is wrong. :raises RangeCrossesHomeArea:"""
        found: list[FieldError] = []
        block: Block | None = None
        try:
            block = terms.block()
        except RangeInvalid as error:
            found += error.errors
        for name, place in (("home_province", terms.home_province), ("home_city", terms.home_city)):
            if (
                not place
                or "/" in place
                or place != place.strip()
                or len(place) > 32
                or not place.isprintable()
                or place[0] in "=+-@"  # a formula, in whatever sheet a partner opens it
            ):
                found.append(
                    FieldError(f"/{name}", "invalid", "The name of one place, at most 32 characters.")
                )
        found += self._date_errors(terms, has_begun)
        if len(terms.contract_reference) > 64 or not terms.contract_reference.isprintable():
            found.append(FieldError("/contract_reference", "invalid", "At most 64 printable characters."))
        fee = terms.monthly_fee
        if not fee.is_finite() or not 0 <= fee <= _HIGHEST_FEE or fee != round(fee, 2):
            found.append(FieldError("/monthly_fee", "invalid", f"From 0 to {_HIGHEST_FEE}, in whole fen."))
        if not 0 <= terms.minimum_use <= 100:
            found.append(FieldError("/minimum_use", "invalid", "Percent, from 0 to 100."))
        if found or block is None:
            raise RangeInvalid(errors=found)
        return block

    def _date_errors(self, terms: LeaseTerms, has_begun: bool) -> list[FieldError]:
        today = china_date(self._now)
        found = []
        if terms.leased_until <= terms.leased_from or terms.leased_until <= today:
            found.append(FieldError("/leased_until", "invalid", "After the first day, and in the future."))
        elif terms.leased_until > terms.agreement.valid_until:
            found.append(FieldError("/leased_until", "after_agreement", "The agreement ends earlier."))
        if has_begun and terms.leased_from > today:
            found.append(FieldError("/leased_from", "in_future", "Today or earlier."))
        elif terms.leased_from < terms.agreement.valid_from:
            found.append(FieldError("/leased_from", "before_agreement", "The agreement begins later."))
        return found

    def _access_code(self, prefix: str) -> AccessCode | None:
        if self._access_codes is None:
            self._access_codes = {code.prefix: code for code in operators.list_access_codes()}
        lengths = range(len(prefix), 0, -1)
        return next((found for n in lengths if (found := self._access_codes.get(prefix[:n]))), None)


def new_range(terms: LeaseTerms, block: Block, *, now: datetime) -> NumberRange:
    """A range with these terms, PLANNED and not saved."""
    return NumberRange(
        operator_id=terms.agreement.operator_id,
        agreement=terms.agreement,
        host_carrier_id=terms.agreement.host_carrier_id,
        digits=block.digits,
        prefix=block.prefix,
        first=block.first,
        last=block.last,
        home_province=terms.home_province,
        home_city=terms.home_city,
        status=RangeStatus.PLANNED,
        leased_from=terms.leased_from,
        leased_until=terms.leased_until,
        contract_reference=terms.contract_reference,
        monthly_fee=terms.monthly_fee,
        minimum_use=terms.minimum_use,
        created_at=now,
    )


def refusal_of(error: IntegrityError) -> DomainError | None:
    """What the database means that refuses a range; None when it is not about ranges."""
    refusals = {"number_range_no_overlap": RangeOverlap, "number_range_one_home": RangeCrossesHomeArea}
    refusal = refusals.get(violated_constraint(error) or "")
    return refusal() if refusal else None


def audited(leased: NumberRange) -> dict[str, str]:
    """What the audit trail keeps of a lease."""
    kept = {
        "status": leased.status,
        "prefix": leased.prefix,
        "numbers": f"{leased.first}-{leased.last}",
        "agreement": leased.agreement.uid,
        "home": territory.area(leased.home_province, leased.home_city),
        "leased_from": str(leased.leased_from),
        "leased_until": str(leased.leased_until),
    }
    for name in ("contract_reference", "monthly_fee", "minimum_use"):
        if value := getattr(leased, name):
            kept[name] = str(value)
    return kept
